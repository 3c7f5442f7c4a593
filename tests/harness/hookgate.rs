//! `hookgate run` on a cluster, with the rights that it ships with.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::binaries;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::controller::{self, Addresses};
use crate::manifests::Receiver;
use crate::process::Process;

/// A running `hookgate`. Dropping it stops it.
#[derive(Debug)]
pub struct Hookgate {
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub addresses: Addresses,
}

impl Hookgate {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    ///
    /// When it cannot be built or does not become ready.
    #[must_use]
    pub fn start(cluster: &Cluster, name: &str, flags: &[&str]) -> Self {
        Self::try_start(cluster, name, flags).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, or why not.
    ///
    /// # Errors
    ///
    /// When it cannot be built or does not become ready.
    pub fn try_start(
        cluster: &Cluster,
        name: &str,
        flags: &[&str],
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Self::try_start_binary(&binaries::hookgate()?, cluster, name, flags)
    }

    /// The same of another build.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub fn try_start_binary(
        binary: &Path,
        cluster: &Cluster,
        name: &str,
        flags: &[&str],
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Self::try_start_binary_at(binary, Addresses::reserve(), cluster, name, flags)
    }

    /// The same where others look for it.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub fn try_start_binary_at(
        binary: &Path,
        addresses: Addresses,
        cluster: &Cluster,
        name: &str,
        flags: &[&str],
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let filter = binaries::filter_wasm()?;
        let command = command(binary, &filter, cluster, name, addresses, flags);
        let process = Process::start(command, name, cluster.dir(), || is_ready(addresses))?;
        Ok(Self { process, addresses })
    }

    /// Starts it where others look for it, with this filter, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// When it cannot be built or does not become ready.
    #[must_use]
    pub fn start_at(
        addresses: Addresses,
        filter: &Path,
        cluster: &Cluster,
        name: &str,
        flags: &[&str],
    ) -> Self {
        let binary = binaries::hookgate().unwrap_or_else(|error| panic!("{error}"));
        let command = command(&binary, filter, cluster, name, addresses, flags);
        let started = Process::start(command, name, cluster.dir(), || is_ready(addresses));
        let process = started.unwrap_or_else(|error| panic!("{error}"));
        Self { process, addresses }
    }

    /// Starts it and does not wait.
    ///
    /// # Panics
    ///
    /// When it cannot be built or started.
    #[must_use]
    pub fn spawn(cluster: &Cluster, name: &str, flags: &[&str]) -> Self {
        let addresses = Addresses::reserve();
        let binary = binaries::hookgate().expect("hookgate can be built");
        let filter = binaries::filter_wasm().expect("the filter can be built");
        let command = command(&binary, &filter, cluster, name, addresses, flags);
        let process = Process::spawn(command, name, cluster.dir()).expect("hookgate starts");
        Self { process, addresses }
    }

    /// A client of its hook port.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::plain(self.addresses.receiver)
    }

    /// Whether it says so.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        is_ready(self.addresses)
    }

    /// What it knows of a Receiver.
    ///
    /// # Panics
    ///
    /// When it cannot be asked.
    #[must_use]
    pub fn explain(
        &self,
        cluster: &Cluster,
        name: &str,
        of: &Receiver,
        flag: Option<&str>,
    ) -> Value {
        let socket = socket(cluster.dir(), name).display().to_string();
        let mut arguments = vec!["explain", "receiver", &of.name, "-n", &of.namespace];
        arguments.extend(["--control-socket", &socket]);
        arguments.extend(flag);
        let said = controller::hookgate(&arguments).expect("the command succeeds");
        serde_json::from_str(&said).expect("it is JSON")
    }

    /// What `hookgate alerts` says with these arguments.
    ///
    /// # Errors
    ///
    /// When it ends with another code than 0.
    pub fn alerts(
        &self,
        cluster: &Cluster,
        name: &str,
        arguments: &[&str],
    ) -> Result<String, controller::Error> {
        let socket = socket(cluster.dir(), name).display().to_string();
        let socket = ["--control-socket", &socket];
        controller::hookgate(&[&["alerts"], arguments, &socket].concat())
    }

    /// The lines of its metrics that contain all of this.
    ///
    /// # Panics
    ///
    /// When it serves none.
    #[must_use]
    pub fn metrics(&self, parts: &[&str]) -> Vec<String> {
        let client = Client::plain(self.addresses.metrics);
        let text = client.get("/metrics").expect("metrics are served").text();
        let lines = text
            .lines()
            .filter(|line| parts.iter().all(|part| line.contains(part)));
        lines.map(str::to_owned).collect()
    }

    /// The version of the table that it compiled last, from its log.
    #[must_use]
    pub fn table(&self) -> Option<String> {
        let log = self.process.log();
        let compiled = log.lines().rev().find_map(|line| {
            let entry: Value = serde_json::from_str(line).ok()?;
            (entry["message"] == "table compiled").then(|| entry["version"].clone())
        })?;
        compiled.as_str().map(str::to_owned)
    }
}

fn is_ready(addresses: Addresses) -> bool {
    let health = Client::plain(addresses.health).timeout(Duration::from_secs(2));
    health
        .get("/readyz")
        .is_ok_and(|response| response.status == 200)
}

fn command(
    binary: &Path,
    filter: &Path,
    cluster: &Cluster,
    name: &str,
    addresses: Addresses,
    flags: &[&str],
) -> Command {
    let Addresses {
        receiver,
        events,
        xds,
        metrics,
        health,
    } = addresses;
    let mut command = Command::new(binary);
    command
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .arg("--filter")
        .arg(filter)
        .args(["--receiverAddr", &receiver.to_string()])
        .args(["--events-addr", &events.to_string()])
        .args(["--xds-addr", &xds.to_string()])
        .args(["--metrics-addr", &metrics.to_string()])
        .args(["--health-addr", &health.to_string()])
        .arg("--control-socket")
        .arg(socket(cluster.dir(), name))
        .args(["--log-encoding=json", "--shutdown-delay=0s"])
        .args(flags);
    command
}

/// Where its control socket is.
fn socket(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.sock"))
}
