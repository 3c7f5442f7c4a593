//! The load generator: connections that are kept, each sending the same request again and again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::edge::Edge;
use crate::scenario::Scenario;
use crate::server::{end_of_head, header};

const CONNECTIONS: usize = 32;
const WARM_UP: Duration = Duration::from_millis(200);

/// What a round measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Requests a second of the wall clock.
    pub(crate) rate: f64,
    /// Envoy's own time for a request, in microseconds, all its threads together.
    pub(crate) cpu_microseconds: f64,
}

/// Sends as fast as it is answered, for this long.
pub(crate) fn run(scenario: &Scenario, edge: &Edge, time: Duration) -> Result<Sample, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        // The first request takes what a limiter has, whatever it answers.
        exchange_once(scenario).await?;
        repeat(scenario, WARM_UP).await?;
        let (cpu, from) = (edge.cpu_nanoseconds(), Instant::now());
        let count = repeat(scenario, time).await?;
        let (cpu, time) = (edge.cpu_nanoseconds().saturating_sub(cpu), from.elapsed());
        if count == 0 || cpu == 0 {
            return Err(format!("{}: nothing was measured", scenario.name));
        }
        Ok(Sample {
            rate: count as f64 / time.as_secs_f64(),
            cpu_microseconds: cpu as f64 / 1_000.0 / count as f64,
        })
    })
}

/// Opens a connection to a port of this machine.
pub(crate) async fn open(port: u16) -> std::io::Result<TcpStream> {
    open_from(1, port).await
}

/// The same from another address of the loopback range, by its last byte.
pub(crate) async fn open_from(last: u8, port: u16) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0)))?;
    let stream = socket
        .connect(SocketAddr::from(([127, 0, 0, 1], port)))
        .await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request and reads the answer: its status, and whether the connection is kept.
pub(crate) async fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> std::io::Result<(u16, bool)> {
    buffer.clear();
    stream.write_all(request).await?;
    let head = loop {
        if let Some(at) = end_of_head(buffer) {
            break at;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let length = header(&buffer[..head], "content-length").and_then(|text| text.parse().ok());
    let whole = head + length.unwrap_or(0_usize);
    while buffer.len() < whole {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let status = std::str::from_utf8(&buffer[..head])
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse().ok());
    let kept = header(&buffer[..head], "connection") != Some("close");
    Ok((status.unwrap_or(0), kept))
}

async fn exchange_once(scenario: &Scenario) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", scenario.name);
    let mut stream = open(scenario.port).await.map_err(failed)?;
    let answer = exchange(&mut stream, &scenario.request, &mut Vec::new()).await;
    answer.map(|_| ()).map_err(failed)
}

/// How many requests were answered.
async fn repeat(scenario: &Scenario, time: Duration) -> Result<u64, String> {
    let end = Instant::now() + time;
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (port, request, wanted) = (scenario.port, scenario.request.clone(), scenario.status);
        connections.spawn(async move { connection(port, &request, wanted, end).await });
    }
    let mut count = 0;
    for answered in connections.join_all().await {
        count += answered.map_err(|error| format!("{}: {error}", scenario.name))?;
    }
    Ok(count)
}

async fn connection(port: u16, request: &[u8], wanted: u16, end: Instant) -> Result<u64, String> {
    let words = |error: std::io::Error| error.to_string();
    let mut buffer = Vec::with_capacity(4 << 10);
    let mut stream = open(port).await.map_err(words)?;
    let mut count = 0;
    while Instant::now() < end {
        let (status, kept) = exchange(&mut stream, request, &mut buffer)
            .await
            .map_err(words)?;
        if status != wanted {
            return Err(format!("answered {status} instead of {wanted}"));
        }
        if !kept {
            stream = open(port).await.map_err(words)?;
        }
        count += 1;
    }
    Ok(count)
}
