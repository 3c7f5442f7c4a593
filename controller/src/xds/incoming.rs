//! Connections, bounded: so many at once, and none that opens and then says nothing. With TLS, the
//! handshake is the first thing that is said.

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
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::tls::Acceptor;

/// Connections at once, twice the streams that are allowed: one for ECDS and one to be replaced by.
const CONNECTIONS: usize = 2_048;

/// When the first byte must be there, a TLS handshake before it included.
const FIRST_BYTE: Duration = Duration::from_secs(10);

/// The pause after an accept that failed, as when file descriptors run out.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections of `listener`, without end; the next one waits until there is room. `what` comes in, for the log.
pub(crate) fn accept(
    listener: TcpListener,
    tls: Option<Acceptor>,
    what: &'static str,
) -> impl Stream<Item = Result<Connection, io::Error>> + Send {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    futures_util::stream::unfold(
        (listener, tls, room),
        move |(listener, tls, room)| async move {
            let permit = Arc::clone(&room).acquire_owned().await.ok()?;
            loop {
                match listener.accept().await {
                    Ok((tcp, _)) => {
                        // Without it small frames wait for an acknowledgment; with an error they do so too.
                        let _ = tcp.set_nodelay(true);
                        let info = tcp.connect_info();
                        let connection = Connection {
                            io: match &tls {
                                Some(tls) => Io::Handshake(Box::new(tls.accept(tcp))),
                                None => Io::Plain(tcp),
                            },
                            info,
                            deadline: Some(Box::pin(tokio::time::sleep(FIRST_BYTE))),
                            _permit: permit,
                        };
                        return Some((Ok(connection), (listener, tls, room)));
                    }
                    Err(error) => {
                        tracing::warn!(what, %error, "failed to accept a connection");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        },
    )
}

/// A connection that counts against the limit as long as it lives.
pub(crate) struct Connection {
    io: Io,
    info: TcpConnectInfo,
    deadline: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

enum Io {
    Plain(TcpStream),
    /// Driven by whoever reads or writes first, so that no client delays another's.
    Handshake(Box<tokio_rustls::Accept<TcpStream>>),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    /// What is spoken over: ready once there is no handshake left to do.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut dyn Duplex>>> {
        if let Self::Handshake(accept) = self {
            let tls = ready!(Pin::new(accept).poll(context))?;
            *self = Self::Tls(Box::new(tls));
        }
        Poll::Ready(match self {
            Self::Plain(tcp) => Ok(Pin::new(tcp)),
            Self::Tls(tls) => Ok(Pin::new(tls.as_mut())),
            Self::Handshake(_) => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

/// Both directions of a connection.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = match self.io.poll_ready(context) {
            Poll::Ready(io) => io?.poll_read(context, buffer),
            Poll::Pending => Poll::Pending,
        };
        match read {
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
        ready!(self.io.poll_ready(context))?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.io.poll_ready(context))?.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(tcp) => tcp.is_write_vectored(),
            Io::Handshake(_) | Io::Tls(_) => true,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.io.poll_ready(context))?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.io, Io::Handshake(_)) {
            // Nothing has been said that would have to be ended.
            return Poll::Ready(Ok(()));
        }
        ready!(self.io.poll_ready(context))?.poll_shutdown(context)
    }
}
