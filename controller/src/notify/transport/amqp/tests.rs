//! What is said to a server of AMQP, against one on loopback: the acceptor of the same crate, so that what only a hub of
//! Event Hubs has, `$cbs`, is there too. The end-to-end tests send to a server of somebody else.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use fe2o3_amqp::acceptor::{
    ConnectionAcceptor, LinkAcceptor, LinkEndpoint, SaslAcceptor, SaslAnonymousMechanism,
    SaslPlainMechanism, SessionAcceptor, sasl_acceptor::SaslServerFrame,
};
use fe2o3_amqp::types::messaging::AmqpValue;
use fe2o3_amqp::types::primitives::Array;
use fe2o3_amqp::types::sasl::{SaslInit, SaslResponse};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::testing::{Authority, STRICT};
use super::*;
use crate::outbound::Refused;

/// How a server behaves.
#[derive(Clone)]
struct Script {
    tls: TlsAcceptor,
    /// What it answers a token with.
    status: i32,
    /// What it rejects each event with.
    rejects: Option<ErrorCondition>,
    /// It closes each connection after an event.
    closes: bool,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Script {
    fn see(&self, seen: Seen) {
        self.seen.lock().unwrap().push(seen);
    }
}

/// What a server has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Connection,
    /// Audience and token.
    Token(String, String),
    /// Node and body.
    Event(String, String),
}

struct Server {
    address: SocketAddr,
    authority: Authority,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(change: impl FnOnce(&mut Script)) -> Self {
        let authority = Authority::new();
        let seen = Arc::default();
        let mut script = Script {
            tls: authority.server("127.0.0.1", false, &[]),
            status: 202,
            rejects: None,
            closes: false,
            seen: Arc::clone(&seen),
        };
        change(&mut script);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let script = script.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = script.tls.accept(stream).await {
                        serve(stream, script).await;
                    }
                });
            }
        });
        Self {
            address,
            authority,
            seen,
            task,
        }
    }

    fn target(&self) -> Target {
        Target {
            tls: self.authority.trusted(None),
            ..Target::default()
        }
    }

    fn message(&self, auth: AmqpAuth) -> AmqpMessage {
        AmqpMessage {
            host: "127.0.0.1".to_owned(),
            port: self.address.port(),
            node: "flux".to_owned(),
            auth,
            payload: b"hello".to_vec(),
        }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Sends by one and the same Amqp, one after the other.
    async fn send(&self, messages: &[AmqpMessage]) -> Vec<Result<(), TransportError>> {
        let (amqp, target) = (Amqp::new(STRICT), self.target());
        let mut results = Vec::new();
        for message in messages {
            results.push(amqp.send(message, &target).await);
        }
        results
    }
}

fn policy(key: &str) -> AmqpAuth {
    AmqpAuth::Policy("send".to_owned(), key.to_owned().into())
}

fn token() -> AmqpAuth {
    AmqpAuth::Token("a.jwt.token".to_owned().into())
}

fn event() -> Seen {
    Seen::Event("flux".to_owned(), "hello".to_owned())
}

/// Takes a login by the policy `send`, or none at all.
#[derive(Clone, Debug)]
struct Logins(SaslPlainMechanism, SaslAnonymousMechanism);

impl SaslAcceptor for Logins {
    fn mechanisms(&self) -> Array<Symbol> {
        vec![Symbol::from("PLAIN"), Symbol::from("ANONYMOUS")].into()
    }

    fn on_init(&mut self, init: SaslInit) -> SaslServerFrame {
        match init.mechanism.as_str() {
            "PLAIN" => self.0.on_init(init),
            _ => self.1.on_init(init),
        }
    }

    fn on_response(&mut self, response: SaslResponse) -> SaslServerFrame {
        self.0.on_response(response)
    }
}

async fn serve(stream: TlsStream<TcpStream>, script: Script) {
    let logins = Logins(
        SaslPlainMechanism::new("send", "hush-key"),
        SaslAnonymousMechanism::new(),
    );
    let acceptor = ConnectionAcceptor::builder()
        .container_id("hub")
        .sasl_acceptor(logins)
        .build();
    let Ok(mut connection) = acceptor.accept(stream).await else {
        return;
    };
    script.see(Seen::Connection);
    let Ok(mut session) = SessionAcceptor::new().accept(&mut connection).await else {
        return;
    };
    let links = LinkAcceptor::new();
    while let Ok(LinkEndpoint::Receiver(mut receiver)) = links.accept(&mut session).await {
        let node = receiver.target().as_ref().unwrap().address.clone().unwrap();
        if node == CBS {
            let Ok(LinkEndpoint::Sender(mut replies)) = links.accept(&mut session).await else {
                return;
            };
            answer(&mut receiver, &mut replies, &script).await;
        } else {
            events(&mut receiver, &node, &script).await;
            return;
        }
    }
}

/// Takes a token and answers it.
async fn answer(requests: &mut Receiver, replies: &mut Sender, script: &Script) {
    let request = requests.recv::<AmqpValue<String>>().await.unwrap();
    requests.accept(&request).await.unwrap();
    let message = request.message();
    let claims = &message.application_properties.as_ref().unwrap().0;
    let claim = |name: &str| match claims.get(name) {
        Some(SimpleValue::String(text)) => text.clone(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(
        (claim("operation"), claim("type")),
        ("put-token".to_owned(), "jwt".to_owned())
    );
    script.see(Seen::Token(claim("name"), message.body.0.clone()));
    let status = ApplicationProperties::builder()
        .insert("status-code", script.status)
        .insert("status-description", "as\nit is")
        .build();
    let properties = Properties::builder().correlation_id(1_u64).build();
    let reply = Message::builder()
        .properties(properties)
        .application_properties(status)
        .value(Value::Null)
        .build();
    // The client may have gone.
    let _ = replies.send(reply).await;
}

async fn events(receiver: &mut Receiver, node: &str, script: &Script) {
    while let Ok(event) = receiver.recv::<Data>().await {
        let body = String::from_utf8(event.body().0.to_vec()).unwrap();
        script.see(Seen::Event(node.to_owned(), body));
        match &script.rejects {
            None => receiver.accept(&event).await.unwrap(),
            Some(condition) => {
                let error = definitions::Error::new(condition.clone(), "no\nway".to_owned(), None);
                receiver.reject(&event, error).await.unwrap();
            }
        }
        if script.closes {
            return;
        }
    }
}

#[tokio::test]
async fn a_policy_logs_in_and_its_connection_is_used_again() {
    let server = Server::start(|_| {}).await;
    let messages = [(); 2].map(|()| server.message(policy("hush-key")));
    assert_eq!(server.send(&messages).await, [Ok(()), Ok(())]);
    assert_eq!(server.seen(), [Seen::Connection, event(), event()]);
}

#[tokio::test]
async fn a_token_is_put_before_the_first_event() {
    let server = Server::start(|_| {}).await;
    let messages = [(); 2].map(|()| server.message(token()));
    assert_eq!(server.send(&messages).await, [Ok(()), Ok(())]);
    let put = Seen::Token(
        "amqps://127.0.0.1/flux".to_owned(),
        "a.jwt.token".to_owned(),
    );
    assert_eq!(server.seen(), [Seen::Connection, put, event(), event()]);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_no_failure() {
    let server = Server::start(|script| script.closes = true).await;
    let messages = [(); 2].map(|()| server.message(policy("hush-key")));
    assert_eq!(server.send(&messages).await, [Ok(()), Ok(())]);
    let seen = server.seen();
    let events = seen.iter().filter(|seen| **seen == event()).count();
    assert_eq!(events, 2, "{seen:?}");
}

#[tokio::test]
async fn what_only_a_change_mends_is_refused_for_good() {
    let refused = |text: &str| TransportError::Refused(text.to_owned());
    let server = Server::start(|_| {}).await;
    assert_eq!(
        server.send(&[server.message(policy("wrong"))]).await,
        [Err(refused("it does not accept the login"))]
    );
    let server = Server::start(|script| script.status = 401).await;
    assert_eq!(
        server.send(&[server.message(token())]).await,
        [Err(refused("the token was answered with 401 asit is"))]
    );
    let server = Server::start(|script| {
        script.rejects = Some(AmqpError::UnauthorizedAccess.into());
    })
    .await;
    assert_eq!(
        server.send(&[server.message(policy("hush-key"))]).await,
        [Err(refused("amqp:unauthorized-access noway"))]
    );
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let server = Server::start(|script| script.status = 503).await;
    let failed = |text: &str| [Err(TransportError::Exchange(text.to_owned()))];
    assert_eq!(
        server.send(&[server.message(token())]).await,
        failed("the token was answered with 503 asit is")
    );
    let server = Server::start(|script| {
        let busy = Symbol::from("com.microsoft:server-busy");
        script.rejects = Some(ErrorCondition::Custom(busy));
    })
    .await;
    assert_eq!(
        server.send(&[server.message(policy("hush-key"))]).await,
        failed("the server says com.microsoft:server-busy noway")
    );
}

#[tokio::test]
async fn a_server_with_another_authority_or_another_protocol_gets_nothing() {
    let server = Server::start(|_| {}).await;
    let message = server.message(policy("hush-key"));
    let stranger = Amqp::new(STRICT).send(&message, &Target::default()).await;
    assert!(
        matches!(stranger, Err(TransportError::Tls(_))),
        "{stranger:?}"
    );
    assert_eq!(server.seen(), []);

    let authority = Authority::new();
    let tls = authority.server("127.0.0.1", false, &[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = tls.accept(stream).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
    });
    let target = Target {
        tls: authority.trusted(None),
        ..Target::default()
    };
    let message = AmqpMessage { port, ..message };
    let other = Amqp::new(STRICT).send(&message, &target).await;
    assert!(
        matches!(other, Err(TransportError::Exchange(_))),
        "{other:?}"
    );
    task.await.unwrap();
}

#[tokio::test]
async fn a_metadata_address_is_refused() {
    let server = Server::start(|_| {}).await;
    let message = AmqpMessage {
        host: "169.254.169.254".to_owned(),
        ..server.message(policy("hush-key"))
    };
    let refused = Amqp::new(STRICT).send(&message, &server.target()).await;
    assert_eq!(refused, Err(Refused::MetadataAddress.into()));
}

#[test]
fn every_condition_is_named_and_judged() {
    for (condition, name, permanent) in [
        (AmqpError::NotFound.into(), "amqp:not-found", true),
        (
            AmqpError::InternalError.into(),
            "amqp:internal-error",
            false,
        ),
        (
            ErrorCondition::LinkError(LinkError::MessageSizeExceeded),
            "amqp:link:message-size-exceeded",
            true,
        ),
        (
            ErrorCondition::LinkError(LinkError::DetachForced),
            "amqp:link:detach-forced",
            false,
        ),
        (
            ErrorCondition::Custom(Symbol::from("com.microsoft:argument-error")),
            "com.microsoft:argument-error",
            true,
        ),
        (
            ErrorCondition::Custom(Symbol::from("com.microsoft:timeout")),
            "com.microsoft:timeout",
            false,
        ),
    ] {
        assert_eq!(super::name(&condition), name);
        assert_eq!(is_permanent(&condition), permanent, "{name}");
    }
}
