//! How long a genuine hook takes while a flood of forged ones comes in on many connections, beside how long it takes
//! when nothing else happens. The chain is as it is shipped, per-address limit included; flood and sender have
//! addresses of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::ports;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{MissedTickBehavior, interval};

use crate::chain::Parts;
use crate::edge::Edge;
use crate::load::{exchange, open_from};
use crate::report::Report;
use crate::scenario::hook_wire;
use crate::server::Servers;

/// As many as nc was measured with.
const CONNECTIONS: usize = 512;
/// Between two genuine hooks.
const PACE: Duration = Duration::from_millis(10);
const SENDER: u8 = 3;
const FLOODER: u8 = 2;

/// What a sender waited, and how many forged hooks were answered meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flood {
    pub(crate) quiet_p99: Duration,
    pub(crate) flooded_p99: Duration,
    pub(crate) forged_per_second: f64,
}

/// Measures both, for this long each.
pub(crate) fn measure(
    parts: &Parts,
    servers: &Servers,
    time: Duration,
    report: &mut Report,
) -> Result<(), String> {
    let port = ports::reserve();
    let listener = parts.shipped("flood", port, Some(&parts.filter(10)));
    let _edge = Edge::with_listeners(parts, servers, &[listener], 1)?;
    let genuine = hook_wire(&parts.hook(8 << 10));
    let forged: Arc<[u8]> = hook_wire(&parts.hook(8 << 10).forged()).into();
    // A runtime each: what the flood's own tasks wait for one another is not the sender's wait.
    let sender = runtime()?;
    let quiet_p99 = sender.block_on(p99(port, &genuine, time))?;
    let over = Arc::new(AtomicBool::new(false));
    let from = Instant::now();
    let flood = std::thread::spawn({
        let over = Arc::clone(&over);
        move || runtime().map(|runtime| runtime.block_on(flood(port, &forged, &over)))
    });
    let flooded_p99 = sender.block_on(p99(port, &genuine, time));
    over.store(true, Ordering::Relaxed);
    let answered = flood.join().map_err(|_| "the flood broke off")??;
    if answered == 0 {
        return Err("the flood was not answered once".to_owned());
    }
    report.flood(Flood {
        quiet_p99,
        flooded_p99: flooded_p99?,
        forged_per_second: answered as f64 / from.elapsed().as_secs_f64(),
    });
    Ok(())
}

fn runtime() -> Result<Runtime, String> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| error.to_string())
}

/// Sends genuine hooks at a steady pace; each must be admitted.
async fn p99(port: u16, request: &[u8], time: Duration) -> Result<Duration, String> {
    let words = |error: std::io::Error| format!("a genuine hook: {error}");
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut waits, mut buffer) = (Vec::new(), Vec::new());
    let mut stream = open_from(SENDER, port).await.map_err(words)?;
    let end = Instant::now() + time;
    while Instant::now() < end {
        pace.tick().await;
        let from = Instant::now();
        let (status, kept) = exchange(&mut stream, request, &mut buffer)
            .await
            .map_err(words)?;
        if status != 200 {
            return Err(format!("a genuine hook was answered {status}"));
        }
        waits.push(from.elapsed());
        if !kept {
            stream = open_from(SENDER, port).await.map_err(words)?;
        }
    }
    waits.sort_unstable();
    let at = waits.len() * 99 / 100;
    waits
        .get(at)
        .copied()
        .ok_or_else(|| "no genuine hook".to_owned())
}

/// Forged hooks as fast as they are answered, until it is over. How many were.
async fn flood(port: u16, request: &Arc<[u8]>, over: &Arc<AtomicBool>) -> u64 {
    let mut connections = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (request, over) = (Arc::clone(request), Arc::clone(over));
        connections.spawn(async move {
            let (mut answered, mut buffer) = (0, Vec::new());
            while !over.load(Ordering::Relaxed) {
                let Ok(mut stream) = open_from(FLOODER, port).await else {
                    continue;
                };
                // A refusal before the body's end closes the connection, as may the limit: both are answers.
                while let Ok((_, kept)) = exchange(&mut stream, &request, &mut buffer).await {
                    answered += 1;
                    if !kept || over.load(Ordering::Relaxed) {
                        break;
                    }
                }
            }
            answered
        });
    }
    connections.join_all().await.into_iter().sum()
}
