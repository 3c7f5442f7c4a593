//! The HTTP client of the tests: any bytes over HTTP/1.1, any frames over HTTP/2, over TLS or plain TCP.
//!
//! Every exchange has a deadline. The functions block; whoever wants many requests at once uses [`Client::send_all`],
//! [`Client::flood`], or the async [`Client::open`] on [`runtime`].

mod http1;
mod http2;
mod request;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

pub use self::request::{Framing, Headers, Request, Response, Version};
use crate::tls::Tls;

/// How long an exchange may take, if the test does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection ended before the answer did.
    #[error("the connection was closed before the answer ended")]
    Closed,
    /// No connection.
    #[error("failed to connect to {address}")]
    Connect {
        /// To where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// HTTP/2 said no.
    #[error("HTTP/2 failed")]
    Http2(#[from] h2::Error),
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// The answer is not HTTP, or the request cannot be written in that version.
    #[error("{0}")]
    Protocol(String),
    /// The deadline passed.
    #[error("no answer after {0:?}")]
    Timeout(Duration),
}

/// How a number of requests were answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers by status.
    pub statuses: BTreeMap<u16, usize>,
    /// Requests without an answer.
    pub failed: usize,
}

impl Tally {
    /// How many were answered with this status.
    #[must_use]
    pub fn count(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    fn add(&mut self, answer: &Result<Response, Error>) {
        match answer {
            Ok(response) => *self.statuses.entry(response.status).or_default() += 1,
            Err(_) => self.failed += 1,
        }
    }

    fn merge(&mut self, other: Self) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.failed += other.failed;
    }
}

/// Talks to one address.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    source: Option<IpAddr>,
    tls: Option<Tls>,
    server: String,
    timeout: Duration,
}

impl Client {
    /// Over TLS, trusting the throw-away CA; the server is `localhost`, if [`Client::server`] names no other.
    #[must_use]
    pub fn tls(address: SocketAddr, tls: &Tls) -> Self {
        Self {
            tls: Some(tls.clone()),
            ..Self::plain(address)
        }
    }

    /// Over plain TCP. HTTP/2 then begins without an upgrade.
    #[must_use]
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            source: None,
            tls: None,
            server: "localhost".to_owned(),
            timeout: TIMEOUT,
        }
    }

    /// Another name that the server has to prove by its certificate, and that it is told before (SNI).
    #[must_use]
    pub fn server(mut self, name: &str) -> Self {
        name.clone_into(&mut self.server);
        self
    }

    /// Another deadline for each exchange.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Connects from this local address: any of 127.0.0.0/8 is another client to a limit per address.
    #[must_use]
    pub fn from(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Where it connects to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends one request on a connection of its own.
    ///
    /// # Errors
    ///
    /// When no whole answer comes in time.
    pub fn send(&self, request: impl Into<Request>) -> Result<Response, Error> {
        let request = request.into();
        runtime().block_on(self.exchange(&request))
    }

    /// `GET target` over HTTP/1.1.
    ///
    /// # Errors
    ///
    /// When no whole answer comes in time.
    pub fn get(&self, target: &str) -> Result<Response, Error> {
        self.send(Request::get(target))
    }

    /// Writes these bytes on an HTTP/1.1 connection, a flush each, and reads one answer.
    ///
    /// # Errors
    ///
    /// When no whole answer comes in time.
    pub fn send_bytes(&self, writes: &[&[u8]]) -> Result<Response, Error> {
        let writes: Vec<Vec<u8>> = writes.iter().map(|bytes| bytes.to_vec()).collect();
        runtime().block_on(self.in_time(async {
            let mut connection = http1::Http1::new(self.connect(Version::Http1).await?);
            connection.exchange(&writes, None, "", Vec::new()).await
        }))
    }

    /// Sends all of them, each on a connection of its own, `at_once` at a time; answers in the same order.
    #[must_use]
    pub fn send_all(&self, requests: Vec<Request>, at_once: usize) -> Vec<Result<Response, Error>> {
        let queue = Arc::new(requests);
        let next = Arc::new(AtomicUsize::new(0));
        runtime().block_on(async {
            let mut workers = JoinSet::new();
            for _ in 0..at_once.clamp(1, queue.len().max(1)) {
                let (client, queue, next) = (self.clone(), Arc::clone(&queue), Arc::clone(&next));
                workers.spawn(async move {
                    let mut answers = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(request) = queue.get(number) else {
                            return answers;
                        };
                        answers.push((number, client.exchange(request).await));
                    }
                });
            }
            let mut answers: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
            answers.sort_by_key(|(number, _)| *number);
            answers.into_iter().map(|(_, answer)| answer).collect()
        })
    }

    /// Sends `count` copies over `connections` connections that are kept while the server keeps them.
    #[must_use]
    pub fn flood(&self, request: impl Into<Request>, count: usize, connections: usize) -> Tally {
        let request = Arc::new(request.into());
        let left = Arc::new(AtomicUsize::new(count));
        runtime().block_on(async {
            let mut workers = JoinSet::new();
            for _ in 0..connections.max(1) {
                let (client, request, left) =
                    (self.clone(), Arc::clone(&request), Arc::clone(&left));
                workers.spawn(async move { client.repeat(&request, &left).await });
            }
            let mut tally = Tally::default();
            for part in workers.join_all().await {
                tally.merge(part);
            }
            tally
        })
    }

    /// Opens a connection that is kept.
    ///
    /// # Errors
    ///
    /// When it cannot be opened in time.
    pub async fn open(&self, version: Version) -> Result<Connection, Error> {
        self.in_time(async {
            let stream = self.connect(version).await?;
            let inner = match version {
                Version::Http1 => Inner::Http1(Box::new(http1::Http1::new(stream))),
                Version::Http2 => Inner::Http2(http2::Http2::open(stream).await?),
            };
            Ok(Connection {
                inner,
                timeout: self.timeout,
            })
        })
        .await
    }

    /// Sends one request on a connection of its own.
    ///
    /// # Errors
    ///
    /// When no whole answer comes in time.
    pub async fn exchange(&self, request: &Request) -> Result<Response, Error> {
        self.open(request.version).await?.send(request).await
    }

    async fn repeat(&self, request: &Request, left: &AtomicUsize) -> Tally {
        let mut tally = Tally::default();
        let mut kept: Option<Connection> = None;
        let take = |held: usize| held.checked_sub(1);
        while left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
        {
            let opened = match kept.take().filter(Connection::is_usable) {
                Some(connection) => Ok(connection),
                None => self.open(request.version).await,
            };
            let answer = match opened {
                Ok(mut connection) => {
                    let answer = connection.send(request).await;
                    kept = answer.is_ok().then_some(connection);
                    answer
                }
                Err(error) => Err(error),
            };
            tally.add(&answer);
        }
        tally
    }

    async fn connect(&self, version: Version) -> Result<Io, Error> {
        let failed = |source| Error::Connect {
            address: self.address,
            source,
        };
        let socket = if self.address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }
        .map_err(failed)?;
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0)).map_err(failed)?;
        }
        let tcp = socket.connect(self.address).await.map_err(failed)?;
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(tcp));
        };
        let alpn: &[u8] = match version {
            Version::Http1 => b"http/1.1",
            Version::Http2 => b"h2",
        };
        let name = rustls::pki_types::ServerName::try_from(self.server.clone())
            .map_err(|error| Error::Protocol(error.to_string()))?;
        let stream = tokio_rustls::TlsConnector::from(tls.client_config(alpn))
            .connect(name, tcp)
            .await?;
        Ok(Box::new(stream))
    }

    async fn in_time<T>(
        &self,
        exchange: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        within(self.timeout, exchange).await
    }
}

/// A kept connection. Requests go one after the other.
pub struct Connection {
    inner: Inner,
    timeout: Duration,
}

impl Connection {
    /// Sends a request, of the version that the connection was opened with.
    ///
    /// # Errors
    ///
    /// When no whole answer comes in time.
    pub async fn send(&mut self, request: &Request) -> Result<Response, Error> {
        match &mut self.inner {
            Inner::Http1(http1) => within(self.timeout, http1.send(request)).await,
            Inner::Http2(http2) => within(self.timeout, http2.send(request)).await,
        }
    }

    /// Whether another request can be sent.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        match &self.inner {
            Inner::Http1(http1) => !http1.spent,
            Inner::Http2(_) => true,
        }
    }
}

enum Inner {
    Http1(Box<http1::Http1>),
    Http2(http2::Http2),
}

/// What a connection is made of, TLS or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
type Io = Box<dyn Stream>;

/// The runtime of everything asynchronous in the harness. It holds no process, so that it may live in a static.
///
/// # Panics
///
/// When its threads cannot be started.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("harness")
            .enable_all()
            .build()
            .expect("the harness's runtime starts")
    });
    &RUNTIME
}

impl From<&Self> for Request {
    fn from(request: &Self) -> Self {
        request.clone()
    }
}

async fn within<T>(
    timeout: Duration,
    exchange: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(timeout, exchange)
        .await
        .unwrap_or(Err(Error::Timeout(timeout)))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers one connection with these bytes once `until` has been read.
    fn server(until: &'static str, answer: &'static [u8]) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            let mut buffer = [0; 1024];
            while !String::from_utf8_lossy(&seen).contains(until) {
                let count = stream.read(&mut buffer).unwrap();
                seen.extend_from_slice(&buffer[..count]);
            }
            stream.write_all(answer).unwrap();
        });
        Client::plain(address)
    }

    #[test]
    fn a_chunked_answer_after_an_interim_one_is_read_whole() {
        let client = server(
            "bye",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Too Many\r\nRetry-After: 7\r\n\
              Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        );
        let response = client.send(Request::new("POST", "/").body("bye")).unwrap();
        assert_eq!(
            response,
            Response {
                status: 429,
                interim: vec![100],
                headers: vec![
                    ("retry-after".to_owned(), b"7".to_vec()),
                    ("transfer-encoding".to_owned(), b"chunked".to_vec()),
                ],
                body: b"abcde".to_vec(),
            }
        );
    }

    #[test]
    fn a_sender_that_expects_100_keeps_its_body_back_when_refused() {
        let client = server(
            "\r\n\r\n",
            b"HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n",
        );
        let request = Request::new("POST", "/")
            .body("never sent")
            .expect_continue();
        let response = client.send(request).unwrap();
        assert_eq!((response.status, response.interim), (413, vec![]));
    }

    #[test]
    fn a_connection_that_ends_without_an_answer_is_an_error() {
        let error = server("\r\n\r\n", b"").get("/").unwrap_err();
        assert!(matches!(error, Error::Closed | Error::Io(_)), "{error:?}");
    }

    #[test]
    fn a_server_that_never_answers_meets_the_deadline() {
        let client = server("never", b"").timeout(Duration::from_millis(50));
        assert!(matches!(client.get("/").unwrap_err(), Error::Timeout(_)));
    }

    #[test]
    fn a_flood_counts_answers_and_failures() {
        let client = server(
            "\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        );
        let tally = client
            .timeout(Duration::from_millis(500))
            .flood(Request::get("/"), 2, 1);
        assert_eq!(
            tally,
            Tally {
                statuses: BTreeMap::from([(200, 1)]),
                failed: 1
            }
        );
    }
}
