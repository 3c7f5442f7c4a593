//! One Envoy with one worker and a listener for each scenario.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::process::Process;
use e2e::{Client, binaries, ports};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::chain::{Parts, address};
use crate::report::Report;
use crate::scenario::Scenario;
use crate::server::Servers;

/// A running Envoy. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Edge {
    process: Process,
    _dir: TempDir,
}

impl Edge {
    /// Starts it on the listeners of these scenarios.
    pub(crate) fn start(
        parts: &Parts,
        servers: &Servers,
        scenarios: &[Scenario],
    ) -> Result<Self, String> {
        let listeners = scenarios.iter().map(|scenario| scenario.listener.clone());
        Self::with_listeners(parts, servers, &listeners.collect::<Vec<_>>(), 1)
    }

    /// Starts it on these listeners with this many workers, pinned to the first core if that can be.
    pub(crate) fn with_listeners(
        parts: &Parts,
        servers: &Servers,
        listeners: &[Value],
        workers: u32,
    ) -> Result<Self, String> {
        let dir = TempDir::new().map_err(|error| error.to_string())?;
        let admin = ports::address();
        let mut clusters = parts.clusters.clone();
        clusters.push(json!({
            "name": "bench_authz",
            "connect_timeout": "2s",
            "load_assignment": {"cluster_name": "bench_authz", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address(servers.authz.port())}}]}
            ]},
        }));
        let bootstrap = json!({
            "admin": {"address": address(admin.port())},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        });
        let config = dir.path().join("envoy.json");
        fs::write(&config, bootstrap.to_string()).map_err(|error| error.to_string())?;
        let process = Process::start(command(&config, workers)?, "envoy", dir.path(), || {
            is_live(admin)
        })
        .map_err(|error| error.to_string())?;
        pin(process.id(), 0);
        pin(std::process::id(), 1);
        Ok(Self { process, _dir: dir })
    }

    /// Nanoseconds that all its threads have run.
    pub(crate) fn cpu_nanoseconds(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id()));
        tasks
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
            .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
            .sum()
    }

    /// Its resident memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.process.resident_bytes()
    }
}

/// Workers of the larger of two Envoys, by which the cost of one more is told.
const WORKERS: u32 = 4;

/// What a table costs an Envoy: its memory beyond that with the smallest table, with one worker and for each further one.
pub(crate) fn table_memory(
    parts: &Parts,
    servers: &Servers,
    tables: [usize; 3],
    report: &mut Report,
) -> Result<(), String> {
    let of = |hooks, workers| resident_bytes(parts, servers, hooks, workers);
    let [smallest, larger @ ..] = tables;
    let (one, more) = (of(smallest, 1)?, of(smallest, WORKERS)?);
    for hooks in larger {
        let first = of(hooks, 1)?.saturating_sub(one);
        let all = of(hooks, WORKERS)?.saturating_sub(more);
        let further = all.saturating_sub(first) / u64::from(WORKERS - 1);
        report.table_memory(Table {
            hooks,
            first,
            further,
        });
    }
    Ok(())
}

/// What a table of this many hooks costs, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) hooks: usize,
    /// With one worker, all that Envoy keeps besides included.
    pub(crate) first: u64,
    /// For each further worker.
    pub(crate) further: u64,
}

fn resident_bytes(
    parts: &Parts,
    servers: &Servers,
    hooks: usize,
    workers: u32,
) -> Result<u64, String> {
    let port = ports::reserve();
    let listener = parts.chain("memory", port, Some(&parts.filter(hooks)));
    let edge = Edge::with_listeners(parts, servers, &[listener], workers)?;
    let client = Client::plain(SocketAddr::from(([127, 0, 0, 1], port)));
    // The workers have their own copies by their first request at the latest.
    for _ in 0..4 * workers {
        client.get("/").map_err(|error| error.to_string())?;
    }
    Ok(edge.resident_bytes())
}

fn command(config: &Path, workers: u32) -> Result<Command, String> {
    let program = binaries::envoy(binaries::ENVOY).map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.arg("-c").arg(config).args([
        "--concurrency",
        &workers.to_string(),
        "--use-dynamic-base-id",
        "--log-level",
        "error",
        "--drain-time-s",
        "1",
    ]);
    Ok(command)
}

fn is_live(admin: SocketAddr) -> bool {
    let answer = Client::plain(admin)
        .timeout(Duration::from_secs(2))
        .get("/ready");
    answer.is_ok_and(|response| response.text().trim() == "LIVE")
}

/// Every thread of a process to one core. Without taskset, or without a second core, all share what there is.
fn pin(process: u32, core: u32) {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return;
    }
    let _optional = Command::new("taskset")
        .args(["-a", "-c", "-p", &core.to_string(), &process.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
