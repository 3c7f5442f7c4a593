//! Connections, bounded: so many at once, and none that opens and then says nothing.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Connections at once, twice the streams that are allowed: one for ECDS and one to be replaced by.
const CONNECTIONS: usize = 2_048;

/// When the first byte must be there.
const FIRST_BYTE: Duration = Duration::from_secs(10);

/// The pause after an accept that failed, as when file descriptors run out.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections of `listener`, without end; the next one waits until there is room.
pub(super) fn accept(
    listener: TcpListener,
) -> impl Stream<Item = Result<Connection, io::Error>> + Send {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    futures_util::stream::unfold((listener, room), |(listener, room)| async move {
        let permit = Arc::clone(&room).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((tcp, _)) => {
                    // Without it small frames wait for an acknowledgment; with an error they do so too.
                    let _ = tcp.set_nodelay(true);
                    let connection = Connection {
                        tcp,
                        deadline: Some(Box::pin(tokio::time::sleep(FIRST_BYTE))),
                        _permit: permit,
                    };
                    return Some((Ok(connection), (listener, room)));
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to accept an xDS connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    })
}

/// A connection that counts against the limit as long as it lives.
pub(super) struct Connection {
    tcp: TcpStream,
    deadline: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.tcp.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.tcp).poll_read(context, buffer) {
            Poll::Ready(read) => {
                self.deadline = None;
                Poll::Ready(read)
            }
            Poll::Pending => {
                let Some(deadline) = &mut self.deadline else {
                    return Poll::Pending;
                };
                ready!(deadline.as_mut().poll(context));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
