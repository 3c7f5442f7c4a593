//! How many events the controller takes a second, each durable before it says so, and what they take of memory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::controller::{self, Addresses, Controller, control_socket};
use e2e::events::{self, Event};
use e2e::manifests::Manifests;
use e2e::{Sink, binaries, wait};
use serde_json::json;
use tokio::task::JoinSet;

use crate::load::{exchange, open};
use crate::report::Report;

const NAMESPACE: &str = "apps";
/// As many as notification-controller was measured with.
const CONNECTIONS: usize = 16;
/// Involved objects of each connection: what concerns one is sent one after the other.
const OBJECTS: usize = 16;
/// How long all may take to be delivered after the last.
const PATIENCE: Duration = Duration::from_secs(180);

/// What the controller did with events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Events {
    pub(crate) accepted: usize,
    pub(crate) per_second: f64,
    /// From the first event until the last was delivered.
    pub(crate) delivered_after: Duration,
    /// Connections that the provider saw.
    pub(crate) connections: usize,
    /// Resident bytes after a quarter of the time.
    pub(crate) early: u64,
    /// Resident bytes when all was delivered.
    pub(crate) late: u64,
}

/// Posts events as fast as they are accepted, for this long, and waits for their alerts.
pub(crate) fn measure(binary: PathBuf, time: Duration, report: &mut Report) -> Result<(), String> {
    let dir = tempfile::TempDir::new().map_err(|error| error.to_string())?;
    let sink = Sink::start();
    let manifests = Manifests::create(&dir.path().join("manifests"));
    let provider = json!({"type": "generic", "address": format!("{}/", sink.url())});
    let objects = [
        events::provider(NAMESPACE, "sink", provider),
        events::auth(NAMESPACE, "sink", &json!({"unused": ""})),
        events::alert(NAMESPACE, "sink"),
    ];
    manifests.write(
        "sink",
        &objects.map(|object| format!("---\n{object}\n")).concat(),
    );
    let options = controller::Options {
        binary,
        manifests: manifests.dir().to_owned(),
        filter: binaries::filter_wasm().map_err(|error| error.to_string())?,
        control_socket: control_socket(dir.path()),
        addresses: Addresses::reserve(),
        flags: vec![
            format!("--spool-dir={}", dir.path().join("spool").display()),
            "--log-level=error".to_owned(),
            "--provider-rate=100000".to_owned(),
            "--provider-concurrency=16".to_owned(),
        ],
        log_dir: dir.path().to_owned(),
    };
    let controller = Controller::start(&options).map_err(|error| error.to_string())?;
    let resident = || controller.process().resident_bytes();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let port = options.addresses.events.port();
    let begin = Instant::now();
    let (accepted, early) = runtime.block_on(async {
        let posting = tokio::spawn(post_all(port, begin + time));
        tokio::time::sleep(time / 4).await;
        let early = resident();
        let accepted = posting.await.map_err(|error| error.to_string())??;
        Ok::<_, String>((accepted, early))
    })?;
    let posted = begin.elapsed();
    let is_quiet = || (controller.metric("hookgate_spool_events", &[]) == 0.0).then_some(());
    wait::until("all alerts are delivered", PATIENCE, is_quiet)
        .map_err(|error| error.to_string())?;
    let delivered_after = begin.elapsed();
    if sink.count() < accepted {
        return Err(format!(
            "{accepted} events accepted, and {} delivered",
            sink.count()
        ));
    }
    report.events(Events {
        accepted,
        per_second: accepted as f64 / posted.as_secs_f64(),
        delivered_after,
        connections: sink.connections(),
        early,
        late: resident(),
    });
    Ok(())
}

async fn post_all(port: u16, end: Instant) -> Result<usize, String> {
    let mut connections = JoinSet::new();
    for connection in 0..CONNECTIONS {
        connections.spawn(post(port, connection, end));
    }
    let mut accepted = 0;
    for posted in connections.join_all().await {
        accepted += posted?;
    }
    Ok(accepted)
}

async fn post(port: u16, connection: usize, end: Instant) -> Result<usize, String> {
    let words = |error: std::io::Error| error.to_string();
    let mut stream = open(port).await.map_err(words)?;
    let mut buffer = Vec::with_capacity(4 << 10);
    let mut accepted = 0;
    while Instant::now() < end {
        let object = format!("app-{connection}-{}", accepted % OBJECTS);
        let event = Event::failed(NAMESPACE, &object, &accepted.to_string());
        let body = event.body();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(&mut stream, request.as_bytes(), &mut buffer).await;
        let (status, kept) = answer.map_err(words)?;
        if status != 202 {
            return Err(format!("an event was answered with {status}"));
        }
        if !kept {
            stream = open(port).await.map_err(words)?;
        }
        accepted += 1;
    }
    Ok(accepted)
}
