//! Bodies of 25 MiB: how long they keep another request on the same worker waiting, and what memory they leave behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::ports;
use serde_json::json;

use crate::chain::{LARGEST, Parts, bare};
use crate::edge::Edge;
use crate::load::{exchange, open};
use crate::report::Report;
use crate::scenario::hook_wire;
use crate::server::Servers;

/// Measures with the filter and without, each in an Envoy of its own.
pub(crate) fn measure(
    parts: &Parts,
    servers: &Servers,
    bodies: usize,
    report: &mut Report,
) -> Result<(), String> {
    let without = one(parts, servers, bodies, false)?;
    let with = one(parts, servers, bodies, true)?;
    report.bodies(with, without);
    Ok(())
}

/// What bodies did to one Envoy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bodies {
    /// The longest wait of another request while a body passed: the median over the bodies.
    pub(crate) stall: Duration,
    /// Memory that grew from the second body to the last.
    pub(crate) grown_bytes: u64,
}

fn one(parts: &Parts, servers: &Servers, bodies: usize, filter: bool) -> Result<Bodies, String> {
    let (port, other) = (ports::reserve(), ports::reserve());
    let place = filter.then(|| parts.filter(10));
    let route = json!({"direct_response": {"status": 404}});
    let listeners = [
        parts.chain("bodies", port, place.as_ref()),
        bare("other", other, &route, &[]),
    ];
    let edge = Edge::with_listeners(parts, servers, &listeners, 1)?;
    let request = hook_wire(&parts.hook(LARGEST));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let (mut stalls, mut first) = (Vec::new(), 0);
    for number in 0..bodies {
        stalls.push(runtime.block_on(stall(port, other, &request))?);
        if number == 0 {
            first = edge.resident_bytes();
        }
    }
    stalls.sort_unstable();
    Ok(Bodies {
        stall: stalls.get(stalls.len() / 2).copied().unwrap_or_default(),
        grown_bytes: edge.resident_bytes().saturating_sub(first),
    })
}

/// The longest wait of a small request while one body passes.
async fn stall(port: u16, other: u16, request: &[u8]) -> Result<Duration, String> {
    let words = |error: std::io::Error| error.to_string();
    let done = AtomicBool::new(false);
    let body = async {
        let mut stream = open(port).await?;
        let answer = exchange(&mut stream, request, &mut Vec::new()).await;
        done.store(true, Ordering::Relaxed);
        answer
    };
    let probe = async {
        let mut longest = Duration::ZERO;
        let mut buffer = Vec::new();
        let mut stream = open(other).await?;
        while !done.load(Ordering::Relaxed) {
            let from = Instant::now();
            let (_, kept) = exchange(
                &mut stream,
                b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
                &mut buffer,
            )
            .await?;
            longest = longest.max(from.elapsed());
            if !kept {
                stream = open(other).await?;
            }
        }
        Ok(longest)
    };
    let (answer, longest) = tokio::join!(body, probe);
    match answer.map_err(words)? {
        (200, _) => longest.map_err(words),
        (status, _) => Err(format!("a body of 25 MiB was answered {status}")),
    }
}
