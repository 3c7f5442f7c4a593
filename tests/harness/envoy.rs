//! A real Envoy on a rendered bootstrap.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

use crate::binaries;
use crate::client::{self, Client, Request};
use crate::process::{self, Process};

/// Workers of every Envoy: limits have to be exact across them.
pub const WORKERS: usize = 2;

/// Why there is no Envoy, or no answer of its admin port.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such Envoy here.
    #[error(transparent)]
    Binary(#[from] binaries::Error),
    /// The bootstrap could not be written.
    #[error("failed to write the bootstrap")]
    Bootstrap(#[source] std::io::Error),
    /// It did not start.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// It took the bootstrap but told no admin address.
    #[error("Envoy wrote no admin address: the bootstrap needs an admin section")]
    Silent,
}

/// A running Envoy. Dropping it stops it.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    admin: SocketAddr,
}

impl Envoy {
    /// Starts an Envoy of this version with two workers and waits until it is `LIVE`; its log is `envoy.log`.
    ///
    /// # Errors
    ///
    /// When there is none, or it does not start.
    pub fn start(version: &str, bootstrap: &str, log_dir: &Path) -> Result<Self, Error> {
        Self::start_with(version, bootstrap, log_dir, &[])
    }

    /// The same with more arguments, such as `--component-log-level wasm:debug`.
    ///
    /// # Errors
    ///
    /// When there is none, or it does not start.
    pub fn start_with(
        version: &str,
        bootstrap: &str,
        log_dir: &Path,
        arguments: &[&str],
    ) -> Result<Self, Error> {
        let dir = TempDir::new().map_err(Error::Bootstrap)?;
        let (config, address) = (dir.path().join("envoy.yaml"), dir.path().join("admin"));
        fs::write(&config, bootstrap).map_err(Error::Bootstrap)?;
        let mut command = Command::new(binaries::envoy(version)?);
        command
            .arg("-c")
            .arg(&config)
            .args([
                "--concurrency",
                &WORKERS.to_string(),
                "--use-dynamic-base-id",
            ])
            .arg("--admin-address-path")
            .arg(&address)
            .args(["--drain-time-s", "1"])
            .args(arguments);
        if !arguments.contains(&"--log-level") {
            // What it tells at info fills the end of the log that a failed start shows.
            command.args(["--log-level", "warning"]);
        }
        let process = Process::start(command, "envoy", log_dir, || {
            read_address(&address).is_some_and(is_live)
        })?;
        let admin = read_address(&address).ok_or(Error::Silent)?;
        Ok(Self {
            process: process.holding(dir),
            admin,
        })
    }

    /// One that another part of the harness started, and whose admin port is there.
    pub(crate) fn started(process: Process, admin: SocketAddr) -> Self {
        Self { process, admin }
    }

    /// Where its admin port is.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// What the admin port answers to `GET path`.
    ///
    /// # Panics
    ///
    /// When it does not answer 200.
    #[must_use]
    pub fn admin(&self, path: &str) -> String {
        self.ask(Request::get(path))
    }

    /// What the admin port answers to `POST path`.
    ///
    /// # Panics
    ///
    /// When it does not answer 200.
    pub fn admin_post(&self, path: &str) -> String {
        self.ask(Request::new("POST", path).body(Vec::new()))
    }

    /// A counter or gauge, if Envoy has it.
    #[must_use]
    pub fn stat(&self, name: &str) -> Option<u64> {
        self.stats(name)
            .into_iter()
            .find(|(held, _)| held == name)
            .map(|(_, value)| value)
    }

    /// Every counter and gauge whose name contains `part`.
    ///
    /// # Panics
    ///
    /// When the admin port does not answer.
    #[must_use]
    pub fn stats(&self, part: &str) -> Vec<(String, u64)> {
        self.admin("/stats")
            .lines()
            .filter_map(|line| line.rsplit_once(": "))
            .filter(|(name, _)| name.contains(part))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// All of `/config_dump`, extension configurations of ECDS included.
    ///
    /// # Panics
    ///
    /// When it is no JSON.
    #[must_use]
    pub fn config_dump(&self) -> serde_json::Value {
        serde_json::from_str(&self.admin("/config_dump?include_eds"))
            .expect("Envoy's config dump is JSON")
    }

    /// The address that a listener of the bootstrap was bound to.
    #[must_use]
    pub fn listener(&self, name: &str) -> Option<SocketAddr> {
        let text = self.admin("/listeners");
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix("::")?.parse().ok())
    }

    /// All it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Whether it has not ended by itself.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Asks it to end and waits.
    pub fn stop(self) -> Option<ExitStatus> {
        self.process.stop()
    }

    fn ask(&self, request: Request) -> String {
        let asked = format!("{request:?}");
        match Client::plain(self.admin).send(request) {
            Ok(response) if response.status == 200 => response.text(),
            other => panic!("Envoy's admin port answered {other:?} to {asked}"),
        }
    }
}

fn read_address(file: &Path) -> Option<SocketAddr> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn is_live(admin: SocketAddr) -> bool {
    let answer: Result<client::Response, _> = Client::plain(admin)
        .timeout(Duration::from_secs(2))
        .get("/ready");
    answer.is_ok_and(|response| response.status == 200 && response.text().trim() == "LIVE")
}
