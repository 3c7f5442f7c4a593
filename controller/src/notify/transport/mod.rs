//! What carries a Request to a provider. The only part of notify that opens sockets.
//!
//! ```text
//!  dispatch ──► Transport ◄── Sockets ─┬─► http ──► client   reqwest, a client per proxy and certificates
//!                                      ├─► amqp              fe2o3-amqp, a connection for each message in flight
//!                                      ├─► nats ──► nkey     likewise
//!                                      └─► smtp              lettre, likewise
//!  slots: messages in flight for each Provider     wire, tls: sockets and certificates
//! ```

mod amqp;
mod client;
mod http;
mod idle;
mod nats;
mod nkey;
mod pinned;
mod recent;
mod slots;
mod smtp;
#[cfg(test)]
mod testing;
mod tls;
mod wire;

use std::fmt;
use std::future::Future;

use self::amqp::Amqp;
use self::http::Http;
use self::nats::Nats;
use self::slots::Slots;
use self::smtp::Smtp;
use crate::outbound::{Reach, Refused};
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

    /// Asks the metadata service of the machine's cloud: no Provider has a say in where that is, and no proxy leads there.
    fn ask_machine(
        &self,
        request: Request,
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
    /// The Provider's certificates or key can't be used.
    #[error("failed to get TLS config: {0}")]
    Certificates(String),
    /// Address or proxy can't be used.
    #[error("the Provider cannot be used: {0}")]
    Config(String),
    /// The server refused the message for good.
    #[error("the server refused the message: {0}")]
    Refused(String),
}

impl TransportError {
    /// A metric's label.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Exchange(_) => "exchange",
            Self::Tls(_) | Self::Certificates(_) => "tls",
            Self::Config(_) => "config",
            Self::Refused(_) => "refused",
        }
    }

    /// Whether trying again is of no use until somebody changes the Provider. Certificates are renewed by machines, the
    /// server's and those of a Secret, and what a machine has broken it may mend.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Refused(_))
    }

    /// Whether nobody answered. A certificate that is not accepted is an answer, or none of the server's business: what mends
    /// it, a renewed Secret, is noticed by the next attempt of any event, so none is held back for it.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Exchange(_))
    }
}

impl From<Refused> for TransportError {
    fn from(refused: Refused) -> Self {
        Self::Config(
            match refused {
                Refused::MetadataAddress => {
                    "its address is a metadata service or link-local, which is refused; \
                     --allow-metadata-addresses allows it"
                }
                Refused::Redirect => "the server redirects elsewhere; set the final address",
            }
            .to_owned(),
        )
    }
}

/// The sockets of this process.
#[derive(Debug)]
pub struct Sockets {
    slots: Slots,
    http: Http,
    /// For the metadata service.
    machine: Http,
    amqp: Amqp,
    nats: Nats,
    smtp: Smtp,
}

impl Sockets {
    /// Nothing is opened before it is needed.
    pub fn new(allow_metadata_addresses: bool) -> Self {
        let reach = Reach {
            allow_metadata_addresses,
        };
        Self {
            slots: Slots::default(),
            http: Http::new(reach),
            machine: Http::new(Reach {
                allow_metadata_addresses: true,
            }),
            amqp: Amqp::new(reach),
            nats: Nats::new(reach),
            smtp: Smtp::new(reach),
        }
    }
}

impl Transport for Sockets {
    async fn send(&self, request: Request, target: &Target) -> Result<Reply, TransportError> {
        let _slot = self.slots.take(target).await;
        match request {
            Request::Http(request) => self.http.send(&request, target).await.map(Reply::Http),
            Request::Amqp(message) => {
                self.amqp.send(&message, target).await?;
                Ok(Reply::Delivered)
            }
            Request::Nats(message) => {
                self.nats.publish(&message, target).await?;
                Ok(Reply::Delivered)
            }
            Request::Smtp(mail) => {
                self.smtp.send(&mail, target).await?;
                Ok(Reply::Delivered)
            }
        }
    }

    async fn ask_machine(&self, request: Request) -> Result<Reply, TransportError> {
        match request {
            Request::Http(request) => {
                let nobody = Target::default();
                self.machine.send(&request, &nobody).await.map(Reply::Http)
            }
            Request::Amqp(_) | Request::Nats(_) | Request::Smtp(_) => Err(TransportError::Config(
                "a machine is asked over HTTP".to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_that_does_not_answer_is_silent_and_only_a_change_mends_what_is_permanent() {
        let text = String::new;
        for (error, silent, permanent) in [
            (TransportError::Connect(text()), true, false),
            (TransportError::Exchange(text()), true, false),
            (TransportError::Tls(text()), false, false),
            (TransportError::Certificates(text()), false, false),
            (TransportError::Config(text()), false, true),
            (TransportError::Refused(text()), false, true),
        ] {
            let got = (error.is_silence(), error.is_permanent());
            assert_eq!(got, (silent, permanent), "{error:?}");
        }
    }
}
