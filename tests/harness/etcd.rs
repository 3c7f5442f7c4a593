//! A real etcd on loopback. Its data is in memory where the machine has a file system there.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Client, Request};
use crate::ports;
use crate::process::{self, Process};
use crate::{binaries, servers};

/// Linux's file system in memory.
const MEMORY: &str = "/dev/shm";

/// Why there is no etcd.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be built or found.
    #[error(transparent)]
    Binary(#[from] binaries::Error),
    /// Its data has no place.
    #[error("failed to make the folder of etcd's data")]
    Data(#[source] io::Error),
    /// It did not start.
    #[error(transparent)]
    Process(#[from] process::Error),
}

/// A running etcd. Dropping it stops it and deletes its data.
#[derive(Debug)]
pub struct Etcd {
    process: Process,
    address: SocketAddr,
}

impl Etcd {
    /// Starts it, empty, and waits until `/health` answers 200; its log is `etcd.log`.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(log_dir: &Path) -> Result<Self, Error> {
        let data = data_dir().map_err(Error::Data)?;
        let (address, peers) = (ports::address(), ports::address());
        let mut command = Command::new(servers::etcd()?);
        command
            .arg("--data-dir")
            .arg(data.path())
            .args(["--listen-client-urls", &url(address)])
            .args(["--advertise-client-urls", &url(address)])
            .args(["--listen-peer-urls", &url(peers)])
            .args(["--initial-advertise-peer-urls", &url(peers)])
            .args(["--initial-cluster", &format!("default={}", url(peers))])
            // Nothing here has to survive the machine.
            .arg("--unsafe-no-fsync");
        let process = Process::start(command, "etcd", log_dir, || {
            Client::plain(address)
                .timeout(Duration::from_secs(2))
                .get("/health")
                .is_ok_and(|response| response.status == 200)
        })?;
        Ok(Self {
            process: process.holding(data),
            address,
        })
    }

    /// Where kube-apiserver finds it.
    #[must_use]
    pub fn url(&self) -> String {
        url(self.address)
    }

    /// Deletes what an API server keeps under this key, behind its back, and forgets all that was
    /// before: who watches from an older revision is told that it is gone.
    ///
    /// # Panics
    ///
    /// When there is no such key, or etcd refuses.
    pub fn delete_and_compact(&self, key: &str) {
        let deleted = self.ask("/v3/kv/deleterange", &json!({"key": STANDARD.encode(key)}));
        assert_eq!(deleted["deleted"], "1", "{key}: {deleted}");
        let revision = deleted["header"]["revision"].clone();
        self.ask(
            "/v3/kv/compaction",
            &json!({"revision": revision, "physical": true}),
        );
    }

    fn ask(&self, path: &str, question: &Value) -> Value {
        let request = Request::new("POST", path).body(question.to_string().into_bytes());
        let answer = Client::plain(self.address).send(request);
        let answer = answer.expect("etcd answers");
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_str(&answer.text()).expect("etcd answers with JSON")
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn data_dir() -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("hookgate-etcd-");
    if Path::new(MEMORY).is_dir()
        && let Ok(dir) = builder.tempdir_in(MEMORY)
    {
        return Ok(dir);
    }
    builder.tempdir()
}
