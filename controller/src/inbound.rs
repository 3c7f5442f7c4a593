//! HTTP/1.1 as hooks and events come in: so many connections and no more, headers bounded in size and time, and what is in
//! flight answered before a stop is over.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// notification-controller's limits: of the header block, in bytes, and of its reading.
const HEADER_BYTES: usize = 256 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after an accept that failed, as when file descriptors run out: at once, it would spin.
const PAUSE: Duration = Duration::from_millis(50);

/// How a port is served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inbound {
    /// What comes in, for the log.
    pub(crate) what: &'static str,
    /// Connections at once; the next one waits to be accepted.
    pub(crate) connections: usize,
    /// How long a stop waits for what is in flight.
    pub(crate) drain: Duration,
    /// Whether headers are written as Go writes them, `Like-This`.
    pub(crate) title_case: bool,
}

impl Inbound {
    /// Serves until `stop` turns true, then answers what is in flight.
    pub(crate) async fn serve<F, A>(
        self,
        listener: TcpListener,
        mut stop: watch::Receiver<bool>,
        answer: F,
    ) where
        F: Fn(Request<Incoming>, SocketAddr) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let connections = Arc::new(Semaphore::new(self.connections));
        loop {
            let Ok(permit) = connections.clone().acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (answer, stop) = (answer.clone(), stop.clone());
                    tokio::spawn(async move {
                        self.connection(stream, peer, stop, answer).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::error!(what = self.what, %error, "failed to accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        drop(listener);
        let all = u32::try_from(self.connections).unwrap_or(u32::MAX);
        let over = connections.acquire_many(all);
        if tokio::time::timeout(self.drain, over).await.is_err() {
            let seconds = self.drain.as_secs();
            tracing::error!(what = self.what, seconds, "stopped with some in flight");
        }
    }

    async fn connection<F, A>(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        mut stop: watch::Receiver<bool>,
        answer: F,
    ) where
        F: Fn(Request<Incoming>, SocketAddr) -> A + Send + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let service = hyper::service::service_fn(|request| {
            let answered = answer(request, peer);
            async move { Ok::<_, Infallible>(answered.await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_BYTES)
            .title_case_headers(self.title_case)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            // What goes wrong on a connection is the client's and is told to it.
            _ = connection.as_mut() => return,
            _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}
