//! Sockets under the protocols that are spoken here: connected within reach, encrypted, read by lines.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::recent::Recent;
use super::{TransportError, tls};
use crate::outbound::{Reach, Refused, cause, chain};
use crate::provider::Target;

/// A socket, plain or encrypted.
pub(super) trait Socket: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin> Socket for S {}

/// A socket that is read through a buffer.
pub(super) type Stream = BufReader<Box<dyn Socket>>;

/// Connects and encrypts.
#[derive(Debug)]
pub(super) struct Wire {
    reach: Reach,
    configs: Recent<Arc<ClientConfig>>,
}

impl Wire {
    pub(super) fn new(reach: Reach) -> Self {
        Self {
            reach,
            configs: Recent::default(),
        }
    }

    /// Connects to the very addresses that were checked.
    pub(super) async fn connect(&self, host: &str, port: u16) -> Result<Stream, TransportError> {
        let addresses = self.reach.resolve(host, port);
        let addresses = addresses.await.map_err(|error| unreachable(&error))?;
        let stream = TcpStream::connect(addresses.as_slice());
        let stream = stream.await.map_err(|error| unreachable(&error))?;
        // It only saves time.
        let _ = stream.set_nodelay(true);
        Ok(BufReader::new(Box::new(stream)))
    }

    /// Goes on in TLS, with a Target's certificates.
    pub(super) async fn encrypt(
        &self,
        stream: Stream,
        host: &str,
        target: &Target,
    ) -> Result<Stream, TransportError> {
        // What came in plain text before TLS is nobody's word.
        if !stream.buffer().is_empty() {
            let text = "the server says more before TLS than it should";
            return Err(TransportError::Tls(text.to_owned()));
        }
        let tls = target.tls.as_ref();
        let config = self
            .configs
            .get_or(tls::key_of(tls), || tls::config(tls).map(Arc::new))?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| TransportError::Config("the server's name is not valid".to_owned()))?;
        let encrypted = TlsConnector::from(config).connect(name, stream.into_inner());
        let encrypted = encrypted.await.map_err(|error| failure(&error))?;
        Ok(BufReader::new(Box::new(encrypted)))
    }
}

/// Reads a line, of so many bytes at most, with its end.
pub(super) async fn line(stream: &mut Stream, most: u64) -> Result<String, TransportError> {
    let mut bytes = Vec::new();
    let read = stream.take(most).read_until(b'\n', &mut bytes).await;
    read.map_err(|error| failure(&error))?;
    let said = |text: &str| Err(TransportError::Exchange(text.to_owned()));
    match String::from_utf8(bytes) {
        Ok(line) if line.ends_with('\n') => Ok(line),
        Ok(line) if (line.len() as u64) < most => said("the connection was closed"),
        Ok(_) | Err(_) => said("what came is no text, or too long"),
    }
}

/// What a socket's error means.
pub(super) fn failure(error: &io::Error) -> TransportError {
    if chain(error).any(|error| error.is::<rustls::Error>()) {
        TransportError::Tls(cause(error))
    } else {
        TransportError::Exchange(cause(error))
    }
}

fn unreachable(error: &io::Error) -> TransportError {
    match Refused::within(error) {
        Some(refused) => refused.into(),
        None => TransportError::Connect(cause(error)),
    }
}
