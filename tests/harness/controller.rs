//! The real controller on a folder of manifests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::binaries;
use crate::client::{Client, Response};
use crate::ports;
use crate::process::{self, Process};
use crate::tls::Tls;

/// Why there is no controller.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be built or found.
    #[error(transparent)]
    Binary(#[from] binaries::Error),
    /// A command of it failed.
    #[error("`hookgate {arguments}` failed ({status}):\n{stderr}")]
    Command {
        /// Its arguments.
        arguments: String,
        /// How it ended, or why it did not start.
        status: String,
        /// What it wrote.
        stderr: String,
    },
    /// It did not start.
    #[error(transparent)]
    Process(#[from] process::Error),
}

/// Where a controller listens: kept by whoever restarts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// `--receiverAddr`: hooks.
    pub receiver: SocketAddr,
    /// `--events-addr`: events of Flux's controllers.
    pub events: SocketAddr,
    /// `--xds-addr`: ECDS for Envoy.
    pub xds: SocketAddr,
    /// `--metrics-addr`.
    pub metrics: SocketAddr,
    /// `--health-addr`: `/healthz`, `/readyz`, `/debug/requests`.
    pub health: SocketAddr,
}

impl Addresses {
    /// Five reserved ports of 127.0.0.1.
    #[must_use]
    pub fn reserve() -> Self {
        Self {
            receiver: ports::address(),
            events: ports::address(),
            xds: ports::address(),
            metrics: ports::address(),
            health: ports::address(),
        }
    }
}

/// What a controller is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary, such as [`binaries::hookgate`] gives.
    pub binary: PathBuf,
    /// `--manifests`.
    pub manifests: PathBuf,
    /// `--filter`.
    pub filter: PathBuf,
    /// `--control-socket`.
    pub control_socket: PathBuf,
    /// Where it listens.
    pub addresses: Addresses,
    /// More flags.
    pub flags: Vec<String>,
    /// Where its log goes.
    pub log_dir: PathBuf,
}

/// A running controller. Dropping it stops it.
#[derive(Debug)]
pub struct Controller {
    process: Process,
    addresses: Addresses,
}

impl Controller {
    /// Starts `hookgate run` and waits until `/readyz` answers 200; its log is `controller.log`.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let health = options.addresses.health;
        let process = Process::start(
            Self::command(options),
            "controller",
            &options.log_dir,
            || {
                Client::plain(health)
                    .timeout(Duration::from_secs(2))
                    .get("/readyz")
                    .is_ok_and(|response| response.status == 200)
            },
        )?;
        Ok(Self {
            process,
            addresses: options.addresses,
        })
    }

    /// The command line of `hookgate run`, for whoever starts it by hand.
    #[must_use]
    pub fn command(options: &Options) -> Command {
        let Addresses {
            receiver,
            events,
            xds,
            metrics,
            health,
        } = options.addresses;
        let mut command = Command::new(&options.binary);
        command
            .arg("run")
            .arg("--manifests")
            .arg(&options.manifests)
            .arg("--filter")
            .arg(&options.filter)
            .args(["--receiverAddr", &receiver.to_string()])
            .args(["--events-addr", &events.to_string()])
            .args(["--xds-addr", &xds.to_string()])
            .args(["--metrics-addr", &metrics.to_string()])
            .args(["--health-addr", &health.to_string()])
            .arg("--control-socket")
            .arg(&options.control_socket)
            .arg("--log-encoding=json")
            .args(&options.flags);
        command
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// A client of its hook port, past Envoy.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::plain(self.addresses.receiver)
    }

    /// The reconcile requests it has made, from `GET /debug/requests`.
    ///
    /// # Panics
    ///
    /// When it does not answer with JSON.
    #[must_use]
    pub fn debug_requests(&self) -> serde_json::Value {
        let response = get(self.addresses.health, "/debug/requests");
        serde_json::from_slice(&response.body).unwrap_or_else(|error| {
            panic!("/debug/requests is no JSON ({error}): {}", response.text())
        })
    }

    /// All its metrics, as text.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    #[must_use]
    pub fn metrics(&self) -> String {
        get(self.addresses.metrics, "/metrics").text()
    }

    /// The sum of a metric over the samples whose labels contain all of `labels` (`handler="github"` …).
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        self.metrics()
            .lines()
            .filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                let rest = series.strip_prefix(name)?;
                let mine = rest.is_empty() || rest.starts_with('{');
                let matches = mine && labels.iter().all(|label| rest.contains(label));
                matches.then(|| value.parse::<f64>().ok())?
            })
            .sum()
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

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Asks it to end and waits.
    pub fn stop(self) -> Option<ExitStatus> {
        self.process.stop()
    }

    /// Kills it: no hook in flight is answered.
    pub fn kill(self) {
        self.process.kill();
    }
}

/// What `hookgate edge bootstrap` is asked for.
#[derive(Clone, Debug)]
pub struct Edge {
    /// `--listener-addr`: where senders come in.
    pub listener: SocketAddr,
    /// `--admin-addr`.
    pub admin: SocketAddr,
    /// `--xds-addr` and `--controller-addr`.
    pub controller: Addresses,
    /// More flags, such as `--client-address xff:1` or `--max-hook-bytes 26214400`.
    pub flags: Vec<String>,
}

impl Edge {
    /// The bootstrap of a stand-alone Envoy, as YAML, as this binary renders it.
    ///
    /// # Errors
    ///
    /// When the command fails.
    pub fn bootstrap(&self, binary: &Path, tls: &Tls) -> Result<String, Error> {
        let mut arguments: Vec<String> = vec!["edge".to_owned(), "bootstrap".to_owned()];
        let mut flag = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        flag("--listener-addr", self.listener.to_string());
        flag("--admin-addr", self.admin.to_string());
        flag("--xds-addr", self.controller.xds.to_string());
        flag("--controller-addr", self.controller.receiver.to_string());
        flag("--tls-cert", tls.cert_file().display().to_string());
        flag("--tls-key", tls.key_file().display().to_string());
        arguments.extend(self.flags.iter().cloned());
        run(binary, &arguments)
    }
}

/// Runs a command of the built controller that ends by itself; its standard output.
///
/// # Errors
///
/// When it cannot be had, or ends with another code than 0.
pub fn hookgate<A: AsRef<str>>(arguments: &[A]) -> Result<String, Error> {
    run(&binaries::hookgate()?, arguments)
}

/// Runs a command of this binary that ends by itself; its standard output.
///
/// # Errors
///
/// When it ends with another code than 0.
pub fn run<A: AsRef<str>>(binary: &Path, arguments: &[A]) -> Result<String, Error> {
    let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
    let failed = |status: String, stderr: &[u8]| Error::Command {
        arguments: arguments.join(" "),
        status,
        stderr: String::from_utf8_lossy(stderr).into_owned(),
    };
    let output = Command::new(binary)
        .args(&arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string(), &[]))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(failed(output.status.to_string(), &output.stderr))
    }
}

/// The folder that a controller's control socket is put into: short, as socket paths are limited to 108 bytes.
#[must_use]
pub fn control_socket(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

fn get(address: SocketAddr, path: &str) -> Response {
    match Client::plain(address).get(path) {
        Ok(response) if response.status == 200 => response,
        other => panic!("the controller answered {other:?} to GET {path}"),
    }
}
