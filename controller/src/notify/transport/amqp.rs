//! One event to a hub of Event Hubs over AMQP 1.0, taken when the hub has accepted it.
//!
//! The protocol is `fe2o3-amqp`'s; sockets and TLS are ours, as on the other wires. A shared access policy
//! logs in by SASL PLAIN, a token is put to the node `$cbs` of a connection without a login (Claims-Based
//! Security): both as the vendor's protocol guide describes them,
//! <https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-protocol-guide>.

use fe2o3_amqp::connection::{ConnectionHandle, ConnectionStopReason, OpenError};
use fe2o3_amqp::link::{
    DetachError, LinkStateError, ReceiverAttachError, RecvError, SendError, SenderAttachError,
    SessionStopReason,
};
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::{BeginError, SessionHandle};
use fe2o3_amqp::types::definitions::{self, AmqpError, ErrorCondition, LinkError};
use fe2o3_amqp::types::messaging::{
    ApplicationProperties, Body, Data, Message, Outcome, Properties, Source,
};
use fe2o3_amqp::types::primitives::{Binary, SimpleValue, Symbol, Value};
use fe2o3_amqp::types::sasl::SaslCode;
use fe2o3_amqp::{Connection, Receiver, Sender, Session, transport};
use secrecy::ExposeSecret as _;

use super::idle::Idle;
use super::recent::{Key, key};
use super::wire::{self, Wire};
use super::{TransportError, tls};
use crate::outbound::Reach;
use crate::provider::{AmqpAuth, AmqpMessage, Target};

/// The largest frame that is read, in bytes.
const MAX_FRAME: u32 = 64 << 10;
/// A server that says nothing for so long is gone, in milliseconds.
const SILENCE: u32 = 60_000;
/// The node that takes tokens.
const CBS: &str = "$cbs";
/// Where its answers go.
const CBS_REPLIES: &str = "hookgate-cbs";
/// What is quoted of a server, in characters.
const QUOTED: usize = 300;
/// The vendor's conditions that only a change of the Provider mends,
/// <https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-troubleshoot>.
const PERMANENT: [&str; 4] = [
    "com.microsoft:argument-error",
    "com.microsoft:argument-out-of-range",
    "com.microsoft:entity-disabled",
    "com.microsoft:auth-failed",
];

/// Sends events to hubs.
#[derive(Debug)]
pub(super) struct Amqp {
    wire: Wire,
    idle: Idle<Link>,
}

impl Amqp {
    pub(super) fn new(reach: Reach) -> Self {
        Self {
            wire: Wire::new(reach),
            idle: Idle::default(),
        }
    }

    /// Sends one event; the hub has it when this returns.
    pub(super) async fn send(
        &self,
        message: &AmqpMessage,
        target: &Target,
    ) -> Result<(), TransportError> {
        let key = key_of(message, target);
        // One that has waited may be closed by now: that is no failure yet.
        if let Some(mut link) = self.idle.take(&key)
            && link.send(message).await.is_ok()
        {
            self.idle.put(key, link);
            return Ok(());
        }
        let mut link = self.connect(message, target).await?;
        link.send(message).await?;
        self.idle.put(key, link);
        Ok(())
    }

    async fn connect(
        &self,
        message: &AmqpMessage,
        target: &Target,
    ) -> Result<Link, TransportError> {
        let host = message.host.trim_start_matches('[').trim_end_matches(']');
        let stream = self.wire.connect(host, message.port).await?;
        let stream = self.wire.encrypt(stream, host, target).await?;
        let profile = match &message.auth {
            AmqpAuth::Policy(name, key) => SaslProfile::Plain {
                username: name.clone(),
                password: key.expose_secret().to_owned(),
            },
            AmqpAuth::Token(_) => SaslProfile::Anonymous,
        };
        let mut connection = Connection::builder()
            .container_id("hookgate")
            .hostname(host)
            .max_frame_size(MAX_FRAME)
            .idle_time_out(SILENCE)
            .sasl_profile(profile)
            .open_with_stream(stream)
            .await?;
        let mut session = Session::begin(&mut connection).await?;
        if let AmqpAuth::Token(token) = &message.auth {
            let audience = format!("amqps://{host}/{}", message.node);
            put_token(&mut session, &audience, token.expose_secret()).await?;
        }
        let sender = Sender::attach(&mut session, "hookgate", message.node.as_str()).await?;
        Ok(Link {
            sender,
            _session: session,
            _connection: connection,
        })
    }
}

/// A link to a hub. Each part ends with the one that it runs in, so they are kept, and dropped in this order.
struct Link {
    sender: Sender,
    _session: SessionHandle<()>,
    _connection: ConnectionHandle<()>,
}

impl Link {
    async fn send(&mut self, message: &AmqpMessage) -> Result<(), TransportError> {
        let body = Data(Binary::from(message.payload.clone()));
        let event = Message::builder().data(body).build();
        match self.sender.send(event).await? {
            Outcome::Accepted(_) => Ok(()),
            Outcome::Rejected(rejected) => Err(match rejected.error {
                Some(error) => said(&error),
                None => TransportError::Refused("it gives no reason".to_owned()),
            }),
            Outcome::Released(_) | Outcome::Modified(_) => Err(TransportError::Exchange(
                "the server did not take the event now".to_owned(),
            )),
        }
    }
}

/// Lets a connection use what a token allows, for as long as it holds.
async fn put_token(
    session: &mut SessionHandle<()>,
    audience: &str,
    token: &str,
) -> Result<(), TransportError> {
    let mut sender = Sender::attach(session, "hookgate-cbs-requests", CBS).await?;
    let mut receiver = Receiver::builder()
        .name("hookgate-cbs-replies")
        .source(Source::from(CBS))
        .target(CBS_REPLIES)
        .attach(session)
        .await?;
    let claims = ApplicationProperties::builder()
        .insert("operation", "put-token")
        .insert("type", "jwt")
        .insert("name", audience)
        .build();
    let properties = Properties::builder()
        .message_id(1_u64)
        .reply_to(CBS_REPLIES)
        .build();
    let request = Message::builder()
        .properties(properties)
        .application_properties(claims)
        .value(token.to_owned())
        .build();
    sender.send(request).await?;
    let reply = receiver.recv::<Body<Value>>().await?;
    let ended = receiver.accept(&reply).await;
    ended.map_err(|error| TransportError::Exchange(error.to_string()))?;
    answered(reply.message().application_properties.as_ref())
}

/// What the answer to a token says: a status of HTTP and its description.
fn answered(properties: Option<&ApplicationProperties>) -> Result<(), TransportError> {
    let get = |name: &str| properties.and_then(|properties| properties.0.get(name));
    let status = match get("status-code") {
        Some(SimpleValue::Int(status)) => *status,
        _ => {
            let text = "the answer to the token has no status";
            return Err(TransportError::Exchange(text.to_owned()));
        }
    };
    let description = match get("status-description") {
        Some(SimpleValue::String(text)) => quoted(text),
        _ => String::new(),
    };
    let text = format!("the token was answered with {status} {description}");
    match status {
        200..=299 => Ok(()),
        400..=499 if status != 408 && status != 429 => {
            Err(TransportError::Refused(text.trim_end().to_owned()))
        }
        _ => Err(TransportError::Exchange(text.trim_end().to_owned())),
    }
}

impl From<OpenError> for TransportError {
    fn from(error: OpenError) -> Self {
        if let OpenError::RemoteClosedWithError(error) = &error {
            return said(error);
        }
        if let OpenError::SaslError { code, .. } = &error {
            return match code {
                SaslCode::Auth | SaslCode::SysPerm => {
                    Self::Refused("it does not accept the login".to_owned())
                }
                SaslCode::Ok | SaslCode::Sys | SaslCode::SysTemp => {
                    Self::Exchange("the server can't check the login now".to_owned())
                }
            };
        }
        if let OpenError::Io(error) | OpenError::TransportError(transport::Error::Io(error)) =
            &error
        {
            return wire::failure(error);
        }
        broken(&error)
    }
}

impl From<BeginError> for TransportError {
    fn from(error: BeginError) -> Self {
        match &error {
            BeginError::RemoteEndedWithError(error) => said(error),
            BeginError::ConnectionStopped(reason) => stopped(reason, &error),
            BeginError::IllegalState
            | BeginError::ConnectionNotOpened
            | BeginError::RemoteEnded
            | BeginError::LocalChannelMaxReached => broken(&error),
        }
    }
}

impl From<SenderAttachError> for TransportError {
    fn from(error: SenderAttachError) -> Self {
        if let SenderAttachError::RemoteClosedWithError(error) = &error {
            return said(error);
        }
        if let SenderAttachError::SessionStopped(reason) = &error {
            return ended(reason, &error);
        }
        broken(&error)
    }
}

impl From<ReceiverAttachError> for TransportError {
    fn from(error: ReceiverAttachError) -> Self {
        if let ReceiverAttachError::RemoteClosedWithError(error) = &error {
            return said(error);
        }
        if let ReceiverAttachError::SessionStopped(reason) = &error {
            return ended(reason, &error);
        }
        broken(&error)
    }
}

impl From<SendError> for TransportError {
    fn from(error: SendError) -> Self {
        match &error {
            SendError::LinkStateError(state) => detached(state),
            SendError::Detached(
                DetachError::RemoteDetachedWithError(error)
                | DetachError::RemoteClosedWithError(error),
            ) => said(error),
            SendError::Detached(DetachError::SessionStopped(reason)) => ended(reason, &error),
            SendError::MessageSizeExceeded(_) => Self::Refused(error.to_string()),
            SendError::Detached(_)
            | SendError::NonTerminalDeliveryState
            | SendError::IllegalDeliveryState
            | SendError::MessageEncodeError => broken(&error),
        }
    }
}

impl From<RecvError> for TransportError {
    fn from(error: RecvError) -> Self {
        if let RecvError::LinkStateError(state) = &error {
            return detached(state);
        }
        broken(&error)
    }
}

fn detached(error: &LinkStateError) -> TransportError {
    match error {
        LinkStateError::RemoteDetachedWithError(error)
        | LinkStateError::RemoteClosedWithError(error) => said(error),
        LinkStateError::SessionStopped(reason) => ended(reason, error),
        LinkStateError::IllegalState
        | LinkStateError::RemoteDetached
        | LinkStateError::RemoteClosed
        | LinkStateError::ExpectImmediateDetach => broken(error),
    }
}

/// Why a link's session ended.
fn ended(reason: &SessionStopReason, error: &impl ToString) -> TransportError {
    match reason {
        SessionStopReason::RemoteEndedWithError(error) => said(error),
        SessionStopReason::ConnectionStopped(reason) => stopped(reason, error),
        SessionStopReason::Ended
        | SessionStopReason::EndedWithError(_)
        | SessionStopReason::RemoteEnded => broken(error),
    }
}

/// Why a session's connection stopped.
fn stopped(reason: &ConnectionStopReason, error: &impl ToString) -> TransportError {
    match reason {
        ConnectionStopReason::RemoteClosedWithError(error) => said(error),
        ConnectionStopReason::Closed
        | ConnectionStopReason::ClosedWithError(_)
        | ConnectionStopReason::RemoteClosed => broken(error),
    }
}

fn broken(error: &impl ToString) -> TransportError {
    TransportError::Exchange(quoted(&error.to_string()))
}

/// What a server's error means.
fn said(error: &definitions::Error) -> TransportError {
    let condition = name(&error.condition);
    let description = error.description.as_deref().map(quoted).unwrap_or_default();
    let text = format!("{condition} {description}").trim_end().to_owned();
    if is_permanent(&error.condition) {
        TransportError::Refused(text)
    } else {
        TransportError::Exchange(format!("the server says {text}"))
    }
}

fn is_permanent(condition: &ErrorCondition) -> bool {
    match condition {
        ErrorCondition::AmqpError(error) => matches!(
            error,
            AmqpError::NotFound
                | AmqpError::UnauthorizedAccess
                | AmqpError::DecodeError
                | AmqpError::NotAllowed
                | AmqpError::InvalidField
                | AmqpError::NotImplemented
        ),
        ErrorCondition::LinkError(error) => matches!(error, LinkError::MessageSizeExceeded),
        ErrorCondition::Custom(name) => PERMANENT.contains(&name.as_str()),
        ErrorCondition::ConnectionError(_) | ErrorCondition::SessionError(_) => false,
    }
}

/// A condition's name in the protocol.
fn name(condition: &ErrorCondition) -> String {
    let name = match condition {
        ErrorCondition::AmqpError(error) => Symbol::from(error),
        ErrorCondition::LinkError(error) => Symbol::from(error),
        ErrorCondition::ConnectionError(error) => Symbol::from(error),
        ErrorCondition::SessionError(error) => Symbol::from(error),
        ErrorCondition::Custom(name) => name.clone(),
    };
    quoted(name.as_str())
}

fn quoted(text: &str) -> String {
    let text = text.trim().chars().filter(|c| !c.is_control());
    text.take(QUOTED).collect()
}

fn key_of(message: &AmqpMessage, target: &Target) -> Key {
    let (kind, name, secret) = match &message.auth {
        AmqpAuth::Policy(name, key) => ("policy", name.as_str(), key.expose_secret()),
        AmqpAuth::Token(token) => ("token", "", token.expose_secret()),
    };
    key(&[
        message.host.as_bytes(),
        &message.port.to_be_bytes(),
        message.node.as_bytes(),
        kind.as_bytes(),
        name.as_bytes(),
        secret.as_bytes(),
        &tls::key_of(target.tls.as_ref()),
    ])
}

#[cfg(test)]
mod tests;
