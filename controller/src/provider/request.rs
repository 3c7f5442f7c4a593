//! What is sent, by wire, and what comes back.

use std::fmt;

use secrecy::SecretString;

use super::http::{HttpReply, HttpRequest, Success};
use super::part::mime;

/// A request, which names its wire.
#[derive(Debug)]
pub enum Request {
    /// Over HTTP.
    Http(HttpRequest),
    /// To a hub of Event Hubs.
    Amqp(AmqpMessage),
    /// To a NATS server.
    Nats(NatsMessage),
    /// To a mail server.
    Smtp(Mail),
}

impl Request {
    pub(super) fn success(&self) -> Success {
        match self {
            Self::Http(request) => request.success,
            Self::Amqp(_) | Self::Nats(_) | Self::Smtp(_) => Success::default(),
        }
    }
}

impl From<HttpRequest> for Request {
    fn from(request: HttpRequest) -> Self {
        Self::Http(request)
    }
}

impl From<AmqpMessage> for Request {
    fn from(message: AmqpMessage) -> Self {
        Self::Amqp(message)
    }
}

impl From<NatsMessage> for Request {
    fn from(message: NatsMessage) -> Self {
        Self::Nats(message)
    }
}

impl From<Mail> for Request {
    fn from(mail: Mail) -> Self {
        Self::Smtp(mail)
    }
}

/// An event for a node of a server of AMQP 1.0, in TLS: connect, log in, send, wait until it is accepted.
pub struct AmqpMessage {
    /// Host name or IP address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Address of the node.
    pub node: String,
    /// Who sends.
    pub auth: AmqpAuth,
    /// The event, the data section of a message.
    pub payload: Vec<u8>,
}

/// How to log in at a server of AMQP.
pub enum AmqpAuth {
    /// Name and key of a shared access policy, by SASL PLAIN.
    Policy(String, SecretString),
    /// A JWT, by Claims-Based Security.
    Token(SecretString),
}

/// Host, port and node may be a secret's.
impl fmt::Debug for AmqpMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpMessage").finish_non_exhaustive()
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

/// A mail for a server of SMTP: what its dialogue needs, and all that follows `DATA`.
pub struct Mail {
    /// Host name or IP address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept secret.
    pub security: MailSecurity,
    /// User and password; there is none where the connection is open.
    pub login: Option<(String, SecretString)>,
    /// Sender, for `MAIL FROM`.
    pub from: String,
    /// Recipients, for `RCPT TO`; at least one.
    pub to: Vec<String>,
    /// The message by RFC 5322, in ASCII, its lines ended by CR LF; no dots are doubled yet.
    pub message: Vec<u8>,
}

impl Mail {
    /// The message for people to read.
    pub fn readable(&self) -> String {
        mime::show(&self.message)
    }
}

/// How a connection to a mail server is kept secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailSecurity {
    /// TLS from the first byte.
    Tls,
    /// `STARTTLS`, and nothing where the server does not offer it.
    StartTls,
    /// Not at all.
    Open,
}

/// Not even the recipients.
impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail")
            .field("security", &self.security)
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
