//! What is said to a NATS server, against one on loopback that follows a script.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use secrecy::SecretString;
use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::super::testing::{Authority, STRICT};
use super::*;
use crate::outbound::Refused;

/// How a server behaves.
#[derive(Clone, Default)]
struct Script {
    /// Members of its greeting.
    info: &'static str,
    /// It goes on in TLS.
    tls: Option<Tls>,
    /// What it answers the first PING with, instead of PONG.
    to_login: Option<&'static str>,
    /// What it answers to a message, instead of nothing before PONG.
    to_message: Option<&'static str>,
    /// It closes the connection after so many messages.
    closes_after: Option<usize>,
}

#[derive(Clone)]
struct Tls(TlsAcceptor);

#[derive(Default)]
struct Inner {
    /// The object of each CONNECT.
    logins: Vec<Value>,
    /// Each message, its first line and all that follows it.
    messages: Vec<String>,
}

struct Server {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Mutex::new(Inner::default()));
        let kept = inner.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, script.clone(), kept.clone()));
            }
        });
        Self {
            address,
            inner,
            task,
        }
    }

    fn logins(&self) -> Vec<Value> {
        self.inner.lock().unwrap().logins.clone()
    }

    fn messages(&self) -> Vec<String> {
        self.inner.lock().unwrap().messages.clone()
    }
}

/// Serves one connection until the client has enough of it.
async fn serve(mut stream: TcpStream, script: Script, kept: Arc<Mutex<Inner>>) {
    let greeting = format!("INFO {{\"server_id\":\"x\"{}}}\r\n", script.info);
    stream.write_all(greeting.as_bytes()).await.unwrap();
    let mut stream: Stream = match &script.tls {
        None => BufReader::new(Box::new(stream)),
        Some(Tls(tls)) => match tls.accept(stream).await {
            Ok(stream) => BufReader::new(Box::new(stream)),
            Err(_) => return,
        },
    };
    let (mut pings, mut messages) = (0, 0);
    while let Ok(line) = wire::line(&mut stream, MAX_LINE).await {
        let words: Vec<_> = line.split_whitespace().collect();
        let answer = match words.as_slice() {
            ["CONNECT", ..] => {
                let login = line.trim_start_matches("CONNECT ");
                let login = serde_json::from_str(login).unwrap();
                kept.lock().unwrap().logins.push(login);
                String::new()
            }
            ["PUB" | "HPUB", .., length] => {
                let mut rest = vec![0; length.parse::<usize>().unwrap() + 2];
                stream.read_exact(&mut rest).await.unwrap();
                let rest = String::from_utf8(rest).unwrap();
                kept.lock().unwrap().messages.push(format!("{line}{rest}"));
                messages += 1;
                script.to_message.unwrap_or_default().to_owned()
            }
            ["PING"] => {
                pings += 1;
                let first = script.to_login.filter(|_| pings == 1);
                // A server may ask too, and repeats its greeting when its cluster changes.
                first.unwrap_or("INFO {}\r\nPING\r\nPONG\r\n").to_owned()
            }
            _ => {
                assert_eq!(words, ["PONG"]);
                String::new()
            }
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        if script.closes_after.is_some_and(|n| messages >= n) && line.starts_with("PING") {
            return;
        }
    }
}

fn message(servers: &str) -> NatsMessage {
    NatsMessage {
        servers: SecretString::from(servers.to_owned()),
        subject: "general".to_owned(),
        headers: vec![("Nats-Msg-Id", "1a".to_owned())],
        auth: NatsAuth::Url,
        payload: b"hello".to_vec(),
    }
}

fn secret(text: &str) -> SecretString {
    text.to_owned().into()
}

async fn published(message: &NatsMessage) -> Result<(), TransportError> {
    Nats::new(STRICT).publish(message, &Target::default()).await
}

#[tokio::test]
async fn a_message_is_published_with_its_headers_where_the_server_takes_them() {
    let info = ",\"headers\":true";
    let server = Server::start(Script {
        info,
        ..Script::default()
    })
    .await;
    let url = format!("nats://{}", server.address);
    assert_eq!(published(&message(&url)).await, Ok(()));
    let wanted = "HPUB general 29 34\r\nNATS/1.0\r\nNats-Msg-Id: 1a\r\n\r\nhello\r\n";
    assert_eq!(server.messages(), [wanted]);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        server.logins(),
        [json!({
            "verbose": false, "pedantic": false, "tls_required": false, "name": NAME,
            "lang": "rust", "version": version, "protocol": 1, "headers": true,
        })]
    );

    let plain = Server::start(Script::default()).await;
    // Without a scheme too.
    let address = plain.address.to_string();
    assert_eq!(published(&message(&address)).await, Ok(()));
    assert_eq!(plain.messages(), ["PUB general 5\r\nhello\r\n"]);
}

#[tokio::test]
async fn whoever_publishes_logs_in_as_the_secret_or_the_url_says() {
    let info = ",\"nonce\":\"a nonce\"";
    let server = Server::start(Script {
        info,
        ..Script::default()
    })
    .await;
    let seed = super::super::nkey::EXAMPLE_SEED;
    let creds = format!("-----BEGIN USER JWT-----\ne.e.e\n---\n-----BEGIN SEED-----\n{seed}\n---");
    let url = |user: &str| format!("nats://{user}{}", server.address);
    for (user, auth) in [
        ("", NatsAuth::Url),
        ("us%40er:pa:ss@", NatsAuth::Url),
        ("t0ken@", NatsAuth::Url),
        ("t0ken@", NatsAuth::Password("u".to_owned(), secret("p"))),
        ("", NatsAuth::Nkey(secret(seed))),
        ("", NatsAuth::Creds(secret(&creds))),
    ] {
        let mut message = message(&url(user));
        message.auth = auth;
        assert_eq!(published(&message).await, Ok(()));
    }
    let names = ["user", "pass", "auth_token", "nkey", "jwt", "sig"];
    let logins = server.logins();
    let found = logins.iter().map(|login| {
        let members = names
            .iter()
            .filter_map(|name| Some((*name, login.get(name)?.as_str()?)));
        members.collect::<Vec<_>>()
    });
    let key = Nkey::from_seed(seed).unwrap();
    let (public, signature) = (key.public(), key.sign("a nonce"));
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            vec![],
            vec![("user", "us@er"), ("pass", "pa:ss")],
            vec![("auth_token", "t0ken")],
            vec![("user", "u"), ("pass", "p")],
            vec![("nkey", public.as_str()), ("sig", signature.as_str())],
            vec![("jwt", "e.e.e"), ("sig", signature.as_str())],
        ]
    );
}

#[tokio::test]
async fn credentials_that_cannot_be_read_are_told_for_good_and_without_their_content() {
    let server = Server::start(Script::default()).await;
    for (auth, what) in [
        (NatsAuth::Nkey(secret("hunter2")), "the Secret's nkey"),
        (NatsAuth::Creds(secret("hunter2")), "the Secret's creds"),
        (
            NatsAuth::Creds(secret("---BEGIN JWT\ne.e.e\n---BEGIN SEED\nhunter2")),
            "the seed in the Secret's creds",
        ),
    ] {
        let mut message = message(&server.address.to_string());
        message.auth = auth;
        let error = TransportError::Config(format!("{what} cannot be used"));
        assert_eq!(published(&message).await, Err(error));
    }
    assert_eq!(server.logins(), Vec::<Value>::new());
}

#[tokio::test]
async fn what_a_server_refuses_is_not_delivered() {
    let refused = |text: &str| Err(TransportError::Exchange(format!("the server says {text}")));
    let no_login = Script {
        to_login: Some("-ERR 'Authorization Violation'\r\n"),
        ..Script::default()
    };
    let server = Server::start(no_login).await;
    let result = published(&message(&server.address.to_string())).await;
    assert_eq!(result, refused("'Authorization Violation'"));
    assert_eq!(server.messages(), Vec::<String>::new());

    let no_permission = Script {
        to_message: Some("-ERR 'Permissions Violation for Publish to \"general\"'\r\n"),
        ..Script::default()
    };
    let server = Server::start(no_permission).await;
    let result = published(&message(&server.address.to_string())).await;
    let said = "'Permissions Violation for Publish to \"general\"'";
    assert_eq!(result, refused(said));
}

#[tokio::test]
async fn what_a_server_could_not_take_is_not_sent() {
    let info = ",\"max_payload\":4";
    let server = Server::start(Script {
        info,
        ..Script::default()
    })
    .await;
    let text = "the message has 5 bytes, which is more than the server takes";
    let error = Err(TransportError::Config(text.to_owned()));
    assert_eq!(
        published(&message(&server.address.to_string())).await,
        error
    );

    let server = Server::start(Script::default()).await;
    for (subject, value) in [
        ("", "a"),
        ("a b", "a"),
        ("a\r\nPUB", "a"),
        ("a", "a\r\nPUB b 0"),
    ] {
        let mut message = message(&server.address.to_string());
        message.subject = subject.to_owned();
        message.headers = vec![("X", value.to_owned())];
        let text = "the subject or a header cannot be sent as it is".to_owned();
        assert_eq!(published(&message).await, Err(TransportError::Config(text)));
    }
    assert_eq!(server.messages(), Vec::<String>::new());
}

#[tokio::test]
async fn connections_are_reused_and_one_that_was_closed_meanwhile_is_no_failure() {
    let server = Server::start(Script::default()).await;
    let nats = Nats::new(STRICT);
    let mine = message(&server.address.to_string());
    for _ in 0..10 {
        assert_eq!(nats.publish(&mine, &Target::default()).await, Ok(()));
    }
    assert_eq!((server.logins().len(), server.messages().len()), (1, 10));
    let mut another = message(&server.address.to_string());
    another.auth = NatsAuth::Password("u".to_owned(), secret("p"));
    assert_eq!(nats.publish(&another, &Target::default()).await, Ok(()));
    assert_eq!(server.logins().len(), 2);

    let closing = Script {
        closes_after: Some(1),
        ..Script::default()
    };
    let server = Server::start(closing).await;
    let mine = message(&server.address.to_string());
    for _ in 0..5 {
        assert_eq!(nats.publish(&mine, &Target::default()).await, Ok(()));
    }
    assert_eq!(server.messages().len(), 5);
}

#[tokio::test]
async fn the_next_server_is_tried_where_one_is_away() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = gone.local_addr().unwrap();
    drop(gone);
    let server = Server::start(Script::default()).await;
    let both = format!("nats://{away}, nats://{}", server.address);
    assert_eq!(published(&message(&both)).await, Ok(()));
    let error = published(&message(&away.to_string())).await.unwrap_err();
    assert!(matches!(error, TransportError::Connect(_)), "{error}");
}

#[tokio::test]
async fn tls_is_spoken_where_the_url_or_the_server_wants_it() {
    let authority = Authority::new();
    let tls = Some(Tls(authority.server("127.0.0.1", true, &[])));
    let target = Target {
        tls: authority.trusted(Some(authority.sign("client.test"))),
        ..Target::default()
    };
    let nats = Nats::new(STRICT);
    for (scheme, info) in [
        ("nats", ",\"tls_required\":true"),
        ("tls", ",\"tls_available\":true"),
    ] {
        let tls = tls.clone();
        let server = Server::start(Script {
            info,
            tls,
            ..Script::default()
        })
        .await;
        let mine = message(&format!("{scheme}://{}", server.address));
        assert_eq!(nats.publish(&mine, &target).await, Ok(()));
        assert_eq!(server.logins()[0]["tls_required"], json!(true));
        let error = published(&mine).await.unwrap_err();
        assert!(matches!(error, TransportError::Tls(_)), "{error}");
    }
    let plain = Server::start(Script::default()).await;
    let mine = message(&format!("tls://{}", plain.address));
    let error = nats.publish(&mine, &target);
    let text = "the server offers none".to_owned();
    assert_eq!(error.await, Err(TransportError::Tls(text)));
    assert_eq!(plain.logins(), Vec::<Value>::new());
}

#[tokio::test]
async fn whatever_is_no_nats_is_told() {
    for bytes in [
        "HTTP/1.1 200 OK\r\n",
        "INFO {\r\n",
        "INFO",
        "\r\n",
        "INFO {}\r\n+MSG\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mine = message(&address);
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(bytes.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        };
        let (result, ()) = tokio::join!(published(&mine), serving);
        let error = result.unwrap_err();
        assert!(
            matches!(error, TransportError::Exchange(_)),
            "{bytes:?}: {error}"
        );
    }
}

#[tokio::test]
async fn metadata_services_are_refused_in_any_notation() {
    // The resolver reads some of these as addresses.
    for url in [
        "nats://169.254.169.254:80",
        "nats://2852039166:80",
        "tls://0xa9.254.169.254",
        "nats://[fe80::1]",
        "metadata.google.internal",
    ] {
        let result = published(&message(url)).await;
        assert_eq!(result, Err(Refused::MetadataAddress.into()), "{url}");
    }
}

#[test]
fn an_address_names_servers_with_commas_between() {
    let server = |host: &str, port, is_tls| super::Server {
        host: host.to_owned(),
        port,
        is_tls,
        user: String::new(),
        password: None,
    };
    let rows = servers("nats://a.test, tls://b.test:1,c.test,,nats://[::1]:5");
    let wanted = vec![
        server("a.test", 4222, false),
        server("b.test", 1, true),
        server("c.test", 4222, false),
        server("::1", 5, false),
    ];
    assert_eq!(rows, Ok(wanted));
    for text in [
        "http://a.test",
        "ws://a.test",
        "nats://",
        "nats://a.test:x",
        "nats://a b",
    ] {
        assert!(servers(text).is_err(), "{text}");
    }
    assert_eq!(servers(" , "), Ok(Vec::new()));
}
