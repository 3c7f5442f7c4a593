//! What is sent, by wire, and what comes back.

use std::fmt;

use secrecy::SecretString;

use super::http::{HttpReply, HttpRequest, Success};

/// A request, which names its wire.
#[derive(Debug)]
pub enum Request {
    /// Over HTTP.
    Http(HttpRequest),
    /// To a NATS server.
    Nats(NatsMessage),
}

impl Request {
    pub(super) fn success(&self) -> Success {
        match self {
            Self::Http(request) => request.success,
            Self::Nats(_) => Success::default(),
        }
    }
}

impl From<HttpRequest> for Request {
    fn from(request: HttpRequest) -> Self {
        Self::Http(request)
    }
}

impl From<NatsMessage> for Request {
    fn from(message: NatsMessage) -> Self {
        Self::Nats(message)
    }
}

/// A message to publish in NATS: connect, publish, flush.
pub struct NatsMessage {
    /// URLs of servers, with commas between; may hold credentials.
    pub servers: SecretString,
    /// Subject.
    pub subject: String,
    /// Headers. JetStream drops a second message with the same `Nats-Msg-Id`.
    pub headers: Vec<(&'static str, String)>,
    /// Who publishes.
    pub auth: NatsAuth,
    /// The message.
    pub payload: Vec<u8>,
}

/// How to log in at NATS.
pub enum NatsAuth {
    /// As the URL says, if it does.
    Url,
    /// The text of a `.creds` file.
    Creds(SecretString),
    /// The seed of an nkey.
    Nkey(SecretString),
    /// User and password.
    Password(String, SecretString),
}

impl fmt::Debug for NatsMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsMessage")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// What comes back.
#[derive(Debug)]
pub enum Reply {
    /// Of HTTP, whatever the status.
    Http(HttpReply),
    /// The wire has no more to say than that it was taken.
    Delivered,
    /// To [`Step::Token`](super::Step::Token).
    Token(SecretString),
}
