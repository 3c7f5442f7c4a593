//! A provider of alerts on loopback: takes every request over HTTP, keeps it, answers as it is told to, and can fail or be
//! away.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use serde_json::Value;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::client::runtime;
use crate::tls::Tls;
use crate::wait::{self, PATIENCE};

/// Bytes of a request's head.
const MAX_HEAD: usize = 64 << 10;

/// A request that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The head, as it came.
    pub head: String,
    /// Body.
    pub body: Vec<u8>,
}

impl Call {
    /// The body as JSON; `null` if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// `METHOD PATH?QUERY`.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    /// A header's value; empty if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        values.next().map_or("", |(_, value)| value.trim())
    }
}

/// The provider. Dropping it closes its listener.
#[derive(Debug)]
pub struct Sink {
    state: Arc<State>,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    server: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    calls: Mutex<Vec<Call>>,
    /// What it says to whom, the latest last.
    answers: Mutex<Vec<Answer>>,
    /// 0: takes them; else the status that it answers with.
    failing: AtomicU16,
    /// That were opened.
    connections: AtomicUsize,
}

/// What is said to requests of a method for a path.
#[derive(Debug)]
struct Answer {
    method: String,
    path: String,
    status: u16,
    body: String,
}

impl Sink {
    /// Starts it on a free port.
    ///
    /// # Panics
    ///
    /// When no port can be bound.
    #[must_use]
    pub fn start() -> Self {
        Self::with(None)
    }

    /// The same over TLS, with the certificate of localhost.
    ///
    /// # Panics
    ///
    /// When no port can be bound.
    #[must_use]
    pub fn start_tls(tls: &Tls) -> Self {
        Self::with(Some(tls.server_config()))
    }

    fn with(tls: Option<Arc<ServerConfig>>) -> Self {
        let mut sink = Self {
            state: Arc::default(),
            address: crate::ports::address(),
            tls,
            server: None,
        };
        sink.come_back();
        sink
    }

    /// Its URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Says this to requests of a method for exactly this path, whatever their query, from now on.
    pub fn answer(&self, method: &str, path: &str, status: u16, body: &str) {
        let answers = self.state.answers.lock();
        answers
            .unwrap_or_else(PoisonError::into_inner)
            .push(Answer {
                method: method.to_owned(),
                path: path.to_owned(),
                status,
                body: body.to_owned(),
            });
    }

    /// Refuses connections from now on.
    pub fn go_away(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            // The listener is closed when the task has ended.
            let _ended = runtime().block_on(server);
        }
    }

    /// Takes connections again, on the same port.
    ///
    /// # Panics
    ///
    /// When somebody else has taken the port.
    pub fn come_back(&mut self) {
        self.go_away();
        let listener = runtime()
            .block_on(TcpListener::bind(self.address))
            .expect("the sink can bind its port");
        let served = Arc::clone(&self.state);
        let tls = self.tls.clone();
        self.server = Some(runtime().spawn(async move {
            // Those that are open end with this task.
            let mut open = JoinSet::new();
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    let state = Arc::clone(&served);
                    state.connections.fetch_add(1, Ordering::SeqCst);
                    let tls = tls.clone();
                    open.spawn(async move {
                        let _gone = match tls {
                            None => serve(stream, &state).await,
                            Some(tls) => match TlsAcceptor::from(tls).accept(stream).await {
                                Ok(stream) => serve(stream, &state).await,
                                Err(error) => Err(error),
                            },
                        };
                    });
                }
                while open.try_join_next().is_some() {}
            }
        }));
    }

    /// Answers every request with this status from now on; 0 ends that. What is answered so is not kept.
    pub fn fail_with(&self, status: u16) {
        self.state.failing.store(status, Ordering::SeqCst);
    }

    /// What it has taken under a path, in order.
    #[must_use]
    pub fn taken(&self, path: &str) -> Vec<Call> {
        let calls = self
            .state
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let calls = calls.iter().filter(|call| call.target.starts_with(path));
        calls.cloned().collect()
    }

    /// How many it has taken, under any path.
    #[must_use]
    pub fn count(&self) -> usize {
        let calls = self.state.calls.lock();
        calls.unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How many connections to it were opened.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Waits until it has taken so many under a path.
    ///
    /// # Panics
    ///
    /// When they do not come in time.
    #[must_use]
    pub fn await_taken(&self, path: &str, count: usize) -> Vec<Call> {
        let what = format!("{count} requests under {path}");
        let probe = || Some(self.taken(path)).filter(|taken| taken.len() >= count);
        wait::until(&what, PATIENCE, probe)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.taken(path)))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }
}

impl State {
    fn answer(&self, call: &Call) -> (u16, String) {
        let path = call.target.split('?').next().unwrap_or_default();
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let told = answers.iter().rev();
        let told = told
            .filter(|answer| answer.method == call.method && answer.path == path)
            .map(|answer| (answer.status, answer.body.clone()));
        // A forge is asked for the statuses of a commit first.
        let usual = if call.method == "GET" {
            (200, "[]")
        } else {
            (201, "{}")
        };
        told.into_iter()
            .next()
            .unwrap_or_else(|| (usual.0, usual.1.to_owned()))
    }
}

/// One request after the other, until the other side closes.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, state: &State) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while !stream.fill_buf().await?.is_empty() {
        let call = read(&mut stream).await?;
        let (status, answer) = match state.failing.load(Ordering::SeqCst) {
            0 => state.answer(&call),
            status => (status, "{}".to_owned()),
        };
        if state.failing.load(Ordering::SeqCst) == 0 {
            let calls = state.calls.lock();
            calls.unwrap_or_else(PoisonError::into_inner).push(call);
        }
        let answer = format!(
            "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

async fn read(stream: &mut BufReader<impl AsyncRead + Unpin>) -> std::io::Result<Call> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_HEAD {
        if stream.read_until(b'\n', &mut head).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut line = head.split(' ');
    let method = line.next().unwrap_or_default().to_owned();
    let target = line.next().unwrap_or_default().to_owned();
    let mut body = vec![0; length(&head)];
    stream.read_exact(&mut body).await?;
    Ok(Call {
        method,
        target,
        head,
        body,
    })
}

fn length(head: &str) -> usize {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .find_map(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Client, Request};

    #[test]
    fn requests_are_kept_but_not_while_it_fails_or_is_away() {
        let mut sink = Sink::start();
        let client = Client::plain(sink.address);
        let post = |body: &str| client.send(Request::new("POST", "/chat?x").body(body));
        assert_eq!(post("{\"a\":1}").unwrap().status, 201);
        sink.fail_with(503);
        assert_eq!(post("lost").unwrap().status, 503);
        sink.fail_with(0);
        sink.go_away();
        assert!(post("lost").is_err());
        sink.come_back();
        assert_eq!(client.get("/repos").unwrap().text(), "[]");
        sink.answer("GET", "/repos", 404, "none");
        let answer = client.get("/repos?page=1").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (404, "none"));
        let taken = sink.await_taken("/", 3);
        assert_eq!(
            (taken[0].json(), taken[1].method.as_str()),
            (serde_json::json!({"a": 1}), "GET")
        );
        assert_eq!(sink.taken("/chat"), taken[..1]);
    }
}
