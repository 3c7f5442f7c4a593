//! A real NATS server on loopback, and a subscriber that speaks its text protocol.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::ports;
use crate::process::{self, Process};
use crate::wait::PATIENCE;
use crate::{binaries, servers};

/// Who may publish and subscribe.
pub const USER: &str = "flux";
/// The password of [`USER`].
pub const PASSWORD: &str = "hush-password";

/// Why there is no NATS server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be built or found.
    #[error(transparent)]
    Binary(#[from] binaries::Error),
    /// It did not start.
    #[error(transparent)]
    Process(#[from] process::Error),
}

/// A running NATS server. Dropping it stops it.
#[derive(Debug)]
pub struct Nats {
    address: SocketAddr,
    _process: Process,
}

impl Nats {
    /// Starts it; its log is `nats.log`.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(log_dir: &Path) -> Result<Self, Error> {
        let address = ports::address();
        let mut command = Command::new(servers::nats()?);
        command
            .args(["--addr", "127.0.0.1", "--port"])
            .arg(address.port().to_string())
            .args(["--user", USER, "--pass", PASSWORD]);
        let process = Process::start(command, "nats", log_dir, || {
            TcpStream::connect(address).is_ok()
        })?;
        Ok(Self {
            address,
            _process: process,
        })
    }

    /// Where publishers find it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Subscribes; what is published from now on is read.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    #[must_use]
    pub fn subscribe(&self, subject: &str) -> Subscription {
        let mut stream = TcpStream::connect(self.address).expect("the server listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a deadline can be set");
        let options = json!({"verbose": false, "user": USER, "pass": PASSWORD});
        let hello = format!("CONNECT {options}\r\nSUB {subject} 1\r\nPING\r\n");
        stream
            .write_all(hello.as_bytes())
            .expect("the server reads");
        let mut subscription = Subscription(BufReader::new(stream));
        while subscription.line() != "PONG" {}
        subscription
    }
}

/// Reads what is published under one subject.
#[derive(Debug)]
pub struct Subscription(BufReader<TcpStream>);

impl Subscription {
    /// The next message, which must be JSON.
    ///
    /// # Panics
    ///
    /// When none comes in time.
    pub fn next_json(&mut self) -> Value {
        loop {
            let line = self.line();
            let Some(head) = line.strip_prefix("MSG ") else {
                continue; // A PING, or the server's news.
            };
            let length = head.rsplit(' ').next().and_then(|text| text.parse().ok());
            let mut message = vec![0; length.expect("MSG ends with a length")];
            self.0.read_exact(&mut message).expect("the whole message");
            return serde_json::from_slice(&message).expect("the message is JSON");
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).expect("a line in time");
        assert!(read > 0 && !line.starts_with("-ERR"), "{line:?}");
        line.trim_end().to_owned()
    }
}
