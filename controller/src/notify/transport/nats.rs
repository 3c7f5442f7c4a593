//! One message to a NATS server, taken when the server has answered the PING that follows it.
//!
//! The protocol is spoken here and not by `async-nats`: its `flush` returns when the socket took the
//! bytes, whether or not the server takes the message; and it resolves names itself, so that
//! the addresses that are connected to can't be checked.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use url::Url;

use super::idle::Idle;
use super::nkey::{Creds, Nkey};
use super::recent::{Key, key};
use super::wire::{self, Stream, Wire};
use super::{TransportError, tls};
use crate::outbound::Reach;
use crate::provider::{NatsAuth, NatsMessage, Target};

/// How long one server may take from the first packet to a login; the next one is tried then.
const LOGIN: Duration = Duration::from_secs(5);
/// The longest line of a server: it names every server of its cluster in one.
const MAX_LINE: u64 = 256 << 10;
/// What is quoted of a server's error, in characters.
const QUOTED: usize = 200;
/// The name that nc has in a server's list of connections.
const NAME: &str = "NATS Provider Publisher";

/// Sends messages to NATS servers.
#[derive(Debug)]
pub(super) struct Nats {
    wire: Wire,
    idle: Idle<Connection>,
}

impl Nats {
    pub(super) fn new(reach: Reach) -> Self {
        Self {
            wire: Wire::new(reach),
            idle: Idle::default(),
        }
    }

    /// Publishes one message; the server has it when this returns.
    pub(super) async fn publish(
        &self,
        message: &NatsMessage,
        target: &Target,
    ) -> Result<(), TransportError> {
        let key = key_of(message, target);
        // One that has waited may be closed by now: that is no failure yet.
        if let Some(mut connection) = self.idle.take(&key)
            && connection.publish(message).await.is_ok()
        {
            self.idle.put(key, connection);
            return Ok(());
        }
        let mut connection = self.connect(message, target).await?;
        connection.publish(message).await?;
        self.idle.put(key, connection);
        Ok(())
    }

    /// A connection to the first server that takes one.
    async fn connect(
        &self,
        message: &NatsMessage,
        target: &Target,
    ) -> Result<Connection, TransportError> {
        let mut failed = TransportError::Config("no NATS server is named".to_owned());
        for server in servers(message.servers.expose_secret())? {
            let login = self.login(&server, &message.auth, target);
            match timeout(LOGIN, login).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => failed = error,
                Err(_) => failed = TransportError::Connect("it took too long".to_owned()),
            }
        }
        Err(failed)
    }

    async fn login(
        &self,
        server: &Server,
        auth: &NatsAuth,
        target: &Target,
    ) -> Result<Connection, TransportError> {
        let mut stream = self.wire.connect(&server.host, server.port).await?;
        let info = greeting(&mut stream).await?;
        let is_tls = server.is_tls || info.tls_required;
        if is_tls {
            if !info.tls_required && !info.tls_available {
                return Err(TransportError::Tls("the server offers none".to_owned()));
            }
            stream = self.wire.encrypt(stream, &server.host, target).await?;
        }
        let login = login(auth, server, &info, is_tls)?;
        let mut connection = Connection { stream, info };
        let hello = format!("CONNECT {login}\r\nPING\r\n");
        connection.write(hello.as_bytes()).await?;
        connection.pong().await?;
        Ok(connection)
    }
}

/// One of the servers of an address.
#[derive(Debug, PartialEq, Eq)]
struct Server {
    host: String,
    port: u16,
    is_tls: bool,
    user: String,
    password: Option<String>,
}

/// Reads URLs with commas between; without a scheme they are `nats`.
fn servers(text: &str) -> Result<Vec<Server>, TransportError> {
    let parts = text.split(',').map(str::trim);
    parts
        .filter(|part| !part.is_empty())
        .map(|part| {
            server(part).ok_or_else(|| {
                TransportError::Config("the address is no URL of nats or tls".to_owned())
            })
        })
        .collect()
}

fn server(text: &str) -> Option<Server> {
    let url = if text.contains("://") {
        Url::parse(text)
    } else {
        Url::parse(&format!("nats://{text}"))
    };
    let url = url.ok()?;
    let is_tls = match url.scheme() {
        "nats" => false,
        "tls" => true,
        _ => return None,
    };
    let decoded = |text: &str| {
        let decoded = percent_encoding::percent_decode_str(text);
        decoded.decode_utf8_lossy().into_owned()
    };
    let host = url.host_str().filter(|host| !host.is_empty())?;
    Some(Server {
        host: host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned(),
        port: url.port().unwrap_or(4222),
        is_tls,
        user: decoded(url.username()),
        password: url.password().map(decoded),
    })
}

/// What a server greets with, as far as it matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Info {
    headers: bool,
    max_payload: Option<usize>,
    nonce: String,
    tls_available: bool,
    tls_required: bool,
}

/// The object of a CONNECT.
fn login(
    auth: &NatsAuth,
    server: &Server,
    info: &Info,
    is_tls: bool,
) -> Result<Value, TransportError> {
    let unusable = |what: &str| TransportError::Config(format!("{what} cannot be used"));
    let mut login = Map::new();
    let mut set = |name: &str, value: Value| login.insert(name.to_owned(), value);
    match auth {
        NatsAuth::Url => match &server.password {
            Some(password) => {
                set("user", json!(server.user));
                set("pass", json!(password));
            }
            None if server.user.is_empty() => {}
            None => {
                set("auth_token", json!(server.user));
            }
        },
        NatsAuth::Password(user, password) => {
            set("user", json!(user));
            set("pass", json!(password.expose_secret()));
        }
        NatsAuth::Nkey(seed) => {
            let key = Nkey::from_seed(seed.expose_secret());
            let key = key.ok_or_else(|| unusable("the Secret's nkey"))?;
            set("nkey", json!(key.public()));
            set("sig", json!(key.sign(&info.nonce)));
        }
        NatsAuth::Creds(text) => {
            let creds = Creds::parse(text.expose_secret());
            let creds = creds.ok_or_else(|| unusable("the Secret's creds"))?;
            let key = Nkey::from_seed(creds.seed);
            let key = key.ok_or_else(|| unusable("the seed in the Secret's creds"))?;
            set("jwt", json!(creds.jwt));
            set("sig", json!(key.sign(&info.nonce)));
        }
    }
    set("verbose", json!(false));
    set("pedantic", json!(false));
    set("tls_required", json!(is_tls));
    set("name", json!(NAME));
    set("lang", json!("rust"));
    set("version", json!(env!("CARGO_PKG_VERSION")));
    set("protocol", json!(1));
    set("headers", json!(info.headers));
    Ok(login.into())
}

/// A connection that is logged in.
struct Connection {
    stream: Stream,
    info: Info,
}

impl Connection {
    async fn publish(&mut self, message: &NatsMessage) -> Result<(), TransportError> {
        let mut bytes = publication(message, &self.info)?;
        bytes.extend_from_slice(b"PING\r\n");
        self.write(&bytes).await?;
        self.pong().await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        write.await.map_err(|error| wire::failure(&error))
    }

    /// Waits for the answer to a PING: all that was sent before it was taken then.
    async fn pong(&mut self) -> Result<(), TransportError> {
        loop {
            let line = wire::line(&mut self.stream, MAX_LINE).await?;
            let word = line.split_whitespace().next().unwrap_or_default();
            match word {
                "PONG" => return Ok(()),
                "PING" => self.write(b"PONG\r\n").await?,
                "+OK" | "INFO" => {}
                "-ERR" => {
                    let said = line.trim_start_matches("-ERR").trim();
                    let said: String = said.chars().take(QUOTED).collect();
                    let text = format!("the server says {said}");
                    return Err(TransportError::Exchange(text));
                }
                _ => return Err(not_nats()),
            }
        }
    }
}

/// The bytes that publish a message.
fn publication(message: &NatsMessage, info: &Info) -> Result<Vec<u8>, TransportError> {
    let is_line = |text: &str| !text.contains(['\r', '\n']);
    let is_subject = !message.subject.is_empty() && !message.subject.contains(char::is_whitespace);
    if !is_subject || !message.headers.iter().all(|(_, value)| is_line(value)) {
        let text = "the subject or a header cannot be sent as it is";
        return Err(TransportError::Config(text.to_owned()));
    }
    let mut headers = String::new();
    if info.headers && !message.headers.is_empty() {
        headers.push_str("NATS/1.0\r\n");
        for (name, value) in &message.headers {
            headers.push_str(&format!("{name}: {value}\r\n"));
        }
        headers.push_str("\r\n");
    }
    let (subject, length) = (&message.subject, headers.len());
    let total = length + message.payload.len();
    if info.max_payload.is_some_and(|most| total > most) {
        let text = format!("the message has {total} bytes, which is more than the server takes");
        return Err(TransportError::Config(text));
    }
    let first = if headers.is_empty() {
        format!("PUB {subject} {total}\r\n")
    } else {
        format!("HPUB {subject} {length} {total}\r\n")
    };
    let mut bytes = first.into_bytes();
    bytes.extend_from_slice(headers.as_bytes());
    bytes.extend_from_slice(&message.payload);
    bytes.extend_from_slice(b"\r\n");
    Ok(bytes)
}

async fn greeting(stream: &mut Stream) -> Result<Info, TransportError> {
    let line = wire::line(stream, MAX_LINE).await?;
    let info = line.strip_prefix("INFO ").ok_or_else(not_nats)?;
    serde_json::from_str(info).map_err(|_| not_nats())
}

fn key_of(message: &NatsMessage, target: &Target) -> Key {
    let (kind, user, secret) = match &message.auth {
        NatsAuth::Url => ("url", "", ""),
        NatsAuth::Creds(text) => ("creds", "", text.expose_secret()),
        NatsAuth::Nkey(seed) => ("nkey", "", seed.expose_secret()),
        NatsAuth::Password(user, password) => ("password", user.as_str(), password.expose_secret()),
    };
    let servers = message.servers.expose_secret();
    let texts = [servers, kind, user, secret].map(str::as_bytes);
    let [servers, kind, user, secret] = texts;
    key(&[
        servers,
        kind,
        user,
        secret,
        &tls::key_of(target.tls.as_ref()),
    ])
}

fn not_nats() -> TransportError {
    TransportError::Exchange("what came is not the protocol of NATS".to_owned())
}

#[cfg(test)]
mod tests;
