//! What carries a Request to a provider. The only part of notify that opens sockets implements this.

use std::fmt;
use std::future::Future;

use crate::provider::{Reply, Request, Target};

/// Carries Requests.
///
/// An implementation sends one Request as it is and returns what came back, whatever the status:
/// it does not retry, judge, mask or log. It takes proxy and certificates from the Target, keeps
/// connections of one Target for reuse (at most 32), bounds what it reads of a reply, and refuses
/// redirects that would change the method. Time is the caller's: dropping the future ends the
/// attempt.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Sends one Request to a Target.
    fn send(
        &self,
        request: Request,
        target: &Target,
    ) -> impl Future<Output = Result<Reply, TransportError>> + Send;
}

/// Why no reply came. The texts may quote an address: the caller masks them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The server can't be reached.
    #[error("failed to connect: {0}")]
    Connect(String),
    /// The connection broke, or what came is no reply.
    #[error("failed to exchange messages: {0}")]
    Exchange(String),
    /// The server's certificate or ours is not accepted.
    #[error("failed to set up TLS: {0}")]
    Tls(String),
    /// Address, proxy or certificates can't be used.
    #[error("the Provider cannot be used: {0}")]
    Config(String),
    /// The wire is not built into this program.
    #[error("{0} cannot be spoken by this hookgate")]
    Unsupported(&'static str),
}

impl TransportError {
    /// A metric's label.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Exchange(_) => "exchange",
            Self::Tls(_) => "tls",
            Self::Config(_) => "config",
            Self::Unsupported(_) => "unsupported",
        }
    }

    /// Whether trying again is of no use until somebody changes something.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Unsupported(_))
    }
}

/// Carries nothing, for want of anything that does: everything is tried again.
#[derive(Debug)]
pub struct Nowhere;

impl Transport for Nowhere {
    async fn send(&self, _: Request, _: &Target) -> Result<Reply, TransportError> {
        Err(TransportError::Connect(
            "no transport is built into this program".to_owned(),
        ))
    }
}
