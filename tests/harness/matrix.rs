//! A real homeserver of Matrix on loopback: Synapse, with one user and a room.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use ring::hmac;
use serde_json::{Value, json};

use crate::client::{Client, Request};
use crate::forge::hex;
use crate::ports;
use crate::process::Process;
use crate::python;
use crate::wait::{self, PATIENCE};
use crate::world::chain;

/// What a new user is registered with.
const SHARED_SECRET: &str = "of-the-tests";

/// A running homeserver. Dropping it stops it.
#[derive(Debug)]
pub struct Homeserver {
    address: SocketAddr,
    token: String,
    room: String,
    _process: Process,
}

impl Homeserver {
    /// Starts it, makes a user and a room; its log is `matrix.log`.
    ///
    /// # Panics
    ///
    /// When it cannot be had, does not start, or refuses what it is asked.
    #[must_use]
    pub fn start(dir: &Path) -> Self {
        let address = ports::address();
        let program = python::synapse().unwrap_or_else(|error| panic!("{error}"));
        let config = dir.join("homeserver.yaml");
        fs::write(&config, configuration(dir, address)).expect("a configuration can be written");
        let synapse = || {
            let mut command = Command::new(&program);
            command
                .args(["-m", "synapse.app.homeserver", "--config-path"])
                .arg(&config)
                .current_dir(dir);
            command
        };
        let made = synapse()
            .arg("--generate-keys")
            .output()
            .expect("Synapse can be run");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let is_ready = || {
            Client::plain(address)
                .get("/health")
                .is_ok_and(|health| health.status == 200)
        };
        let process = Process::start(synapse(), "matrix", dir, is_ready);
        let process = process.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let token = register(address);
        let room = call(
            address,
            &token,
            "POST",
            "/_matrix/client/v3/createRoom",
            &json!({}),
        );
        Self {
            address,
            room: room["room_id"].as_str().expect("a room").to_owned(),
            token,
            _process: process,
        }
    }

    /// The address for a Provider.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The room's ID.
    #[must_use]
    pub fn room(&self) -> &str {
        &self.room
    }

    /// The user's access token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The texts of the room's messages, the oldest first, once there are so many.
    ///
    /// # Panics
    ///
    /// When there are not so many in time.
    #[must_use]
    pub fn await_messages(&self, count: usize) -> Vec<String> {
        wait::until("the messages are there", PATIENCE, || {
            let messages = self.messages();
            (messages.len() >= count).then_some(messages)
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}", self.messages()))
    }

    fn messages(&self) -> Vec<String> {
        let path = format!(
            "/_matrix/client/v3/rooms/{}/messages?dir=f&limit=100",
            self.room
        );
        let answer = call(self.address, &self.token, "GET", &path, &Value::Null);
        let events = answer["chunk"].as_array().cloned().unwrap_or_default();
        let messages = events
            .iter()
            .filter(|event| event["type"] == "m.room.message");
        let text = |event: &Value| {
            event["content"]["body"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        messages.map(text).collect()
    }
}

/// One message a second after the first two: what comes faster is told when to come again.
fn configuration(dir: &Path, address: SocketAddr) -> String {
    let path = |name: &str| dir.join(name).display().to_string();
    json!({
        "server_name": "acme.test",
        "listeners": [{
            "port": address.port(), "bind_addresses": ["127.0.0.1"], "type": "http", "tls": false,
            "resources": [{"names": ["client"]}],
        }],
        "database": {"name": "sqlite3", "args": {"database": path("homeserver.db")}},
        "media_store_path": path("media"),
        "signing_key_path": path("signing.key"),
        "registration_shared_secret": SHARED_SECRET,
        "macaroon_secret_key": SHARED_SECRET,
        "form_secret": SHARED_SECRET,
        "report_stats": false,
        "trusted_key_servers": [],
        "rc_message": {"per_second": 1, "burst_count": 2},
    })
    .to_string()
}

/// Registers a user as `register_new_matrix_user` does; the access token.
fn register(address: SocketAddr) -> String {
    let path = "/_synapse/admin/v1/register";
    let nonce = call(address, "", "GET", path, &Value::Null);
    let nonce = nonce["nonce"].as_str().expect("a nonce");
    let (user, password) = ("flux", "hush-password");
    let key = hmac::Key::new(
        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        SHARED_SECRET.as_bytes(),
    );
    let proof = [nonce, user, password, "notadmin"].join("\0");
    let mac = hex(hmac::sign(&key, proof.as_bytes()).as_ref());
    let body =
        json!({"nonce": nonce, "username": user, "password": password, "admin": false, "mac": mac});
    let made = call(address, "", "POST", path, &body);
    made["access_token"]
        .as_str()
        .expect("an access token")
        .to_owned()
}

fn call(address: SocketAddr, token: &str, method: &str, path: &str, body: &Value) -> Value {
    let mut request = Request::new(method, path).header("content-type", "application/json");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if !body.is_null() {
        request = request.body(body.to_string());
    }
    let answer = Client::plain(address)
        .send(request)
        .expect("the homeserver answers");
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    serde_json::from_slice(&answer.body).expect("it is JSON")
}
