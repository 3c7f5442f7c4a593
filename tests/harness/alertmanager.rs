//! A real Alertmanager on loopback, that wants a password and tells nobody.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::client::{Client, Request};
use crate::ports;
use crate::process::Process;
use crate::servers;
use crate::world::chain;

/// Who may send alerts and see them.
pub const USER: &str = "flux";
/// The password of [`USER`].
pub const PASSWORD: &str = "hush-password";

/// [`PASSWORD`] by bcrypt, with few rounds.
const HASHED: &str = "$2b$04$abcdefghijklmnopqrstuunfkFx/xvmpIvzN1tRqO4rz8dNdkRa92";

/// A running Alertmanager. Dropping it stops it.
#[derive(Debug)]
pub struct Alertmanager {
    address: SocketAddr,
    _process: Process,
}

impl Alertmanager {
    /// Starts it; its log is `alertmanager.log`.
    ///
    /// # Panics
    ///
    /// When it cannot be had or does not start.
    #[must_use]
    pub fn start(dir: &Path) -> Self {
        let address = ports::address();
        let config = dir.join("alertmanager.yaml");
        fs::write(
            &config,
            "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n",
        )
        .expect("a configuration can be written");
        let web = dir.join("alertmanager-web.yaml");
        let users = format!("basic_auth_users: {{{USER}: \"{HASHED}\"}}\n");
        fs::write(&web, users).expect("a configuration can be written");
        let program = servers::alertmanager().unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--web.config.file={}", web.display()))
            .arg(format!(
                "--storage.path={}",
                dir.join("alertmanager").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=");
        let is_ready = || {
            Client::plain(address)
                .send(get("/-/ready"))
                .is_ok_and(|ready| ready.status == 200)
        };
        let process = Process::start(command, "alertmanager", dir, is_ready);
        Self {
            address,
            _process: process.unwrap_or_else(|error| panic!("{}", chain(&error))),
        }
    }

    /// Where a Provider sends alerts.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/api/v2/alerts", self.address)
    }

    /// The alerts that fire.
    ///
    /// # Panics
    ///
    /// When it does not say.
    #[must_use]
    pub fn firing(&self) -> Vec<Value> {
        let answer = Client::plain(self.address).send(get("/api/v2/alerts?active=true"));
        let answer = answer.expect("Alertmanager answers");
        serde_json::from_slice(&answer.body).expect("it is a list")
    }
}

fn get(target: &str) -> Request {
    let login = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    Request::new("GET", target).header("authorization", format!("Basic {login}"))
}
