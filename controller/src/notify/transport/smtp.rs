//! One mail to a mail server, which has it when it has answered to the message.
//!
//! The dialogue is `lettre`'s; sockets and TLS are ours, as on the other wires: so are addresses checked
//! and certificates trusted as there, and what comes before TLS is never taken for what comes in it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use lettre::address::Envelope;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::extension::ClientId;
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, Take};

use super::idle::Idle;
use super::recent::{Key, key};
use super::wire::{self, Stream, Wire};
use super::{TransportError, tls};
use crate::outbound::{Reach, chain};
use crate::provider::{Mail, MailSecurity, Target};

/// The most bytes that are read of one connection.
const MOST: u64 = 1 << 20;
/// The longest line of a server before TLS.
const MAX_LINE: u64 = 4 << 10;
/// The most lines of a reply before TLS.
const MAX_LINES: usize = 100;
/// What is quoted of a server, in characters.
const QUOTED: usize = 300;

/// Sends mails.
#[derive(Debug)]
pub(super) struct Smtp {
    wire: Wire,
    idle: Idle<AsyncSmtpConnection>,
}

impl Smtp {
    pub(super) fn new(reach: Reach) -> Self {
        Self {
            wire: Wire::new(reach),
            idle: Idle::default(),
        }
    }

    /// Sends one mail; the server has it when this returns.
    pub(super) async fn send(&self, mail: &Mail, target: &Target) -> Result<(), TransportError> {
        let envelope = envelope(mail)?;
        // lettre ends the last line itself.
        let message = mail.message.as_slice();
        let message = message.strip_suffix(b"\r\n").unwrap_or(message);
        let key = key_of(mail, target);
        // One that has waited may be closed by now: that is no failure yet.
        if let Some(mut connection) = self.idle.take(&key)
            && connection.send(&envelope, message).await.is_ok()
        {
            self.idle.put(key, connection);
            return Ok(());
        }
        let mut connection = self.connect(mail, target).await?;
        let sent = connection.send(&envelope, message).await;
        sent.map_err(|error| failure(&error))?;
        self.idle.put(key, connection);
        Ok(())
    }

    async fn connect(
        &self,
        mail: &Mail,
        target: &Target,
    ) -> Result<AsyncSmtpConnection, TransportError> {
        let host = mail.host.trim_start_matches('[').trim_end_matches(']');
        let hello = ClientId::default();
        let stream = self.wire.connect(host, mail.port).await?;
        let (greeting, stream) = match mail.security {
            MailSecurity::Open => (&b""[..], stream),
            MailSecurity::Tls => (&b""[..], self.wire.encrypt(stream, host, target).await?),
            MailSecurity::StartTls => {
                let stream = start_tls(stream, &hello).await?;
                // The server has greeted, and does not again.
                let greeting = &b"220 .\r\n"[..];
                (greeting, self.wire.encrypt(stream, host, target).await?)
            }
        };
        let dialogue = Box::new(Dialogue {
            greeting,
            stream: stream.take(MOST),
        });
        let connection = AsyncSmtpConnection::connect_with_transport(dialogue, &hello).await;
        let mut connection = connection.map_err(|error| failure(&error))?;
        if let Some((user, password)) = &mail.login {
            let password = password.expose_secret().to_owned();
            let credentials = Credentials::new(user.clone(), password);
            let login = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials);
            login.await.map_err(|error| failure(&error))?;
        }
        Ok(connection)
    }
}

/// Says `STARTTLS`. A server that does not offer it gets no mail.
async fn start_tls(mut stream: Stream, hello: &ClientId) -> Result<Stream, TransportError> {
    reply(&mut stream, "220").await?;
    write(&mut stream, &format!("EHLO {hello}\r\n")).await?;
    let offers = reply(&mut stream, "250").await?;
    let offers_tls = |line: &String| {
        let keyword = line.get(4..).unwrap_or_default().trim();
        keyword.eq_ignore_ascii_case("STARTTLS")
    };
    if !offers.iter().any(offers_tls) {
        let text = "the server does not offer STARTTLS";
        return Err(TransportError::Tls(text.to_owned()));
    }
    write(&mut stream, "STARTTLS\r\n").await?;
    reply(&mut stream, "220").await?;
    Ok(stream)
}

async fn write(stream: &mut Stream, text: &str) -> Result<(), TransportError> {
    let written = stream.write_all(text.as_bytes()).await;
    written.map_err(|error| wire::failure(&error))
}

/// The lines of a reply, which must have this code.
async fn reply(stream: &mut Stream, code: &str) -> Result<Vec<String>, TransportError> {
    let mut lines = Vec::new();
    while lines.len() < MAX_LINES {
        let line = wire::line(stream, MAX_LINE).await?;
        if !line.starts_with(code) {
            let text = format!("the server says {}", quoted(&line));
            return Err(TransportError::Exchange(text));
        }
        let is_last = line.get(3..4) != Some("-");
        lines.push(line);
        if is_last {
            return Ok(lines);
        }
    }
    let text = "the server's reply has no end";
    Err(TransportError::Exchange(text.to_owned()))
}

fn envelope(mail: &Mail) -> Result<Envelope, TransportError> {
    let unusable = || TransportError::Config("a mail address cannot be used".to_owned());
    let from = mail.from.parse().map_err(|_| unusable())?;
    let to: Result<Vec<_>, _> = mail.to.iter().map(|address| address.parse()).collect();
    Envelope::new(Some(from), to.map_err(|_| unusable())?).map_err(|_| unusable())
}

fn failure(error: &Error) -> TransportError {
    let text = quoted(&error.to_string());
    if error.is_permanent() {
        TransportError::Refused(text)
    } else if chain(error).any(|error| error.is::<rustls::Error>()) {
        TransportError::Tls(text)
    } else {
        TransportError::Exchange(text)
    }
}

fn quoted(text: &str) -> String {
    let text = text.trim().chars().filter(|c| !c.is_control());
    text.take(QUOTED).collect()
}

fn key_of(mail: &Mail, target: &Target) -> Key {
    let (user, password) = mail
        .login
        .as_ref()
        .map(|(user, password)| (user.as_str(), password.expose_secret()))
        .unwrap_or_default();
    let security: &[u8] = match mail.security {
        MailSecurity::Tls => b"tls",
        MailSecurity::StartTls => b"starttls",
        MailSecurity::Open => b"open",
    };
    key(&[
        mail.host.as_bytes(),
        &mail.port.to_be_bytes(),
        security,
        user.as_bytes(),
        password.as_bytes(),
        &tls::key_of(target.tls.as_ref()),
    ])
}

/// What lettre talks over: a greeting that was heard before, and then the stream.
#[derive(Debug)]
struct Dialogue {
    greeting: &'static [u8],
    stream: Take<Stream>,
}

impl AsyncTokioStream for Dialogue {
    /// lettre asks for the sake of its log only.
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl AsyncRead for Dialogue {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.greeting.len().min(buffer.remaining());
        let (now, later) = self.greeting.split_at(length);
        buffer.put_slice(now);
        self.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Dialogue {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
