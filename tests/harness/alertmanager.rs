//! A real Alertmanager on loopback, that tells nobody.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::client::Client;
use crate::ports;
use crate::process::Process;
use crate::servers;
use crate::world::chain;

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
        let program = servers::alertmanager().unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.path={}",
                dir.join("alertmanager").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=");
        let is_ready = || {
            Client::plain(address)
                .get("/-/ready")
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
        let answer = Client::plain(self.address).get("/api/v2/alerts?active=true");
        let answer = answer.expect("Alertmanager answers");
        serde_json::from_slice(&answer.body).expect("it is a list")
    }
}
