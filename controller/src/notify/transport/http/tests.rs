//! What is sent over HTTP, to servers and proxies on loopback.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::super::testing::{Answer, Authority, STRICT, Seen, Server};
use super::super::{Sockets, Transport as _};
use super::*;
use crate::provider::{Reply, Request};

/// How long a test waits for what never comes.
const PATIENCE: Duration = Duration::from_millis(200);

fn post(url: &str) -> HttpRequest {
    HttpRequest::post(Url::parse(url).unwrap()).body("text/plain", b"hello".to_vec())
}

fn proxied(proxy: String) -> Target {
    Target {
        proxy: Some(SecretString::from(proxy)),
        ..Target::default()
    }
}

async fn sent(request: &HttpRequest) -> Result<HttpReply, TransportError> {
    Http::new(STRICT).send(request, &Target::default()).await
}

/// Status and body.
async fn said(request: &HttpRequest, target: &Target) -> Result<(u16, String), TransportError> {
    let reply = Http::new(STRICT).send(request, target).await?;
    Ok((reply.status, String::from_utf8(reply.body).unwrap()))
}

fn ok() -> Result<(u16, String), TransportError> {
    Ok((200, "said".to_owned()))
}

#[tokio::test]
async fn a_request_arrives_as_it_is_and_says_who_sends_it() {
    let server = Server::start(|_| Answer::status(200)).await;
    let request = post(&server.url("http"))
        .header("X-One", "a\n".to_owned())
        .header("Host", "elsewhere.test".to_owned())
        .header("Content-Length", "1".to_owned());
    assert_eq!(said(&request, &Target::default()).await, ok());
    let get = HttpRequest::get(Url::parse(&server.url("http")).unwrap());
    let get = get.header("User-Agent", "mine".to_owned());
    assert_eq!(said(&get, &Target::default()).await, ok());
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let host = header("host", &server.address.to_string());
    let agent = concat!("hookgate/", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        server.seen(),
        [
            Seen {
                line: "POST /hook HTTP/1.1".to_owned(),
                headers: vec![
                    header("content-type", "text/plain"),
                    header("x-one", "a"),
                    header("accept", "*/*"),
                    header("user-agent", agent),
                    host.clone(),
                    header("content-length", "5"),
                ],
                body: "hello".to_owned(),
            },
            Seen {
                line: "GET /hook HTTP/1.1".to_owned(),
                headers: vec![header("user-agent", "mine"), header("accept", "*/*"), host],
                body: String::new(),
            },
        ]
    );
}

#[tokio::test]
async fn a_reply_comes_back_as_it_is_whatever_its_status() {
    let server = Server::start(|seen| match seen.line.as_str() {
        "POST /429 HTTP/1.1" => {
            Answer::Reply(429, "Retry-After: 7\r\n".to_owned(), "later".to_owned())
        }
        _ => Answer::status(500),
    })
    .await;
    let url = |path: &str| format!("http://{}/{path}", server.address);
    let reply = sent(&post(&url("429"))).await.unwrap();
    assert_eq!((reply.status, reply.body.as_slice()), (429, &b"later"[..]));
    assert_eq!(reply.header("retry-after"), Some("7"));
    assert_eq!(sent(&post(&url("x"))).await.unwrap().status, 500);
}

#[tokio::test]
async fn a_cut_connection_and_a_closed_port_are_told_apart() {
    let server = Server::start(|_| Answer::Cut).await;
    let url = server.url("http");
    let error = sent(&post(&url)).await.unwrap_err();
    assert!(matches!(error, TransportError::Exchange(_)), "{error}");
    assert!(!error.is_permanent());
    // Once aborted, the task drops the listener.
    server.task().abort();
    let mut error = sent(&post(&url)).await.unwrap_err();
    for _ in 0..100 {
        if matches!(error, TransportError::Connect(_)) {
            break;
        }
        tokio::task::yield_now().await;
        error = sent(&post(&url)).await.unwrap_err();
    }
    assert!(matches!(error, TransportError::Connect(_)), "{error}");
    assert!(!error.to_string().contains("/hook"), "{error}");
}

#[tokio::test]
async fn giving_up_on_slow_replies_frees_their_slots() {
    let server = Server::start(|seen| match seen.body.as_str() {
        "hello" => Answer::Never,
        _ => Answer::status(200),
    })
    .await;
    let (sockets, target) = (Sockets::new(false), Target::default());
    let slow = (0..super::super::slots::IN_FLIGHT * 2).map(|_| {
        let sending = sockets.send(Request::Http(post(&server.url("http"))), &target);
        tokio::time::timeout(PATIENCE, sending)
    });
    let slow = futures_util::future::join_all(slow).await;
    assert!(slow.iter().all(Result::is_err));
    let quick = HttpRequest::get(Url::parse(&server.url("http")).unwrap());
    let reply = sockets.send(Request::Http(quick), &target).await.unwrap();
    assert!(matches!(reply, Reply::Http(reply) if reply.status == 200));
}

#[tokio::test]
async fn a_redirect_is_followed_on_its_host_with_method_and_body() {
    let server = Server::start(|seen| match seen.line.as_str() {
        "POST /hook HTTP/1.1" => Answer::redirect(307, "/second"),
        "POST /second HTTP/1.1" => Answer::redirect(308, "third?a=b"),
        "GET /hook HTTP/1.1" => Answer::redirect(302, "/third?a=b"),
        _ => Answer::status(200),
    })
    .await;
    let url = server.url("http");
    assert_eq!(said(&post(&url), &Target::default()).await, ok());
    let get = HttpRequest::get(Url::parse(&url).unwrap());
    assert_eq!(said(&get, &Target::default()).await, ok());
    let seen = server.seen();
    let seen: Vec<_> = seen
        .iter()
        .map(|seen| (seen.line.as_str(), seen.body.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("POST /hook HTTP/1.1", "hello"),
            ("POST /second HTTP/1.1", "hello"),
            ("POST /third?a=b HTTP/1.1", "hello"),
            ("GET /hook HTTP/1.1", ""),
            ("GET /third?a=b HTTP/1.1", ""),
        ]
    );
}

#[tokio::test]
async fn a_redirect_to_another_host_or_method_or_in_circles_is_refused() {
    let other = Server::start(|_| Answer::status(200)).await;
    let elsewhere = other.url("http");
    for (status, to, requests) in [
        (307, elsewhere.as_str(), 1),
        (308, "http://169.254.169.254/", 1),
        (307, "ftp://127.0.0.1/", 1),
        (301, "/hook", 1),
        (302, "/hook", 1),
        (303, "/hook", 1),
        (307, "/hook", 1 + MAX_REDIRECTS),
    ] {
        let location = to.to_owned();
        let server = Server::start(move |_| Answer::redirect(status, &location)).await;
        let refused = sent(&post(&server.url("http"))).await.unwrap_err();
        assert_eq!(refused, Refused::Redirect.into(), "{status} {to}");
        assert!(refused.is_permanent());
        assert_eq!(server.seen().len(), requests, "{status} {to}");
    }
    assert_eq!(other.accepted(), 0);
}

#[tokio::test]
async fn a_body_without_end_is_read_up_to_a_limit() {
    let server = Server::start(|_| Answer::Endless).await;
    let reply = sent(&post(&server.url("http"))).await.unwrap();
    assert_eq!((reply.status, reply.body.len()), (200, MAX_ANSWER));
    let get = HttpRequest::get(Url::parse(&server.url("http")).unwrap());
    assert_eq!(sent(&get).await.unwrap().body.len(), MAX_DOCUMENT);
}

#[tokio::test]
async fn a_header_that_cannot_be_sent_is_told_without_its_value() {
    let request = post("http://127.0.0.1:1/").header("X-One", "hunter2\nX-Two: b".to_owned());
    let error = TransportError::Config("a header cannot be sent as it is".to_owned());
    assert_eq!(sent(&request).await.unwrap_err(), error);
}

#[tokio::test]
async fn metadata_services_are_refused_by_address_and_by_name() {
    for url in [
        "http://169.254.169.254/latest",
        "http://2852039166/",
        "https://[fe80::1]/",
        "http://metadata.google.internal/",
    ] {
        let refused = sent(&post(url)).await.unwrap_err();
        assert_eq!(refused, Refused::MetadataAddress.into(), "{url}");
    }
}

#[tokio::test]
async fn a_private_authority_is_trusted_instead_of_the_systems() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let tls = ours.server("127.0.0.1", false, &[]);
    let server = Server::over(Some(tls), |_| Answer::status(200)).await;
    let with = |tls| Target {
        tls,
        ..Target::default()
    };
    let request = post(&server.url("https"));
    assert_eq!(said(&request, &with(ours.trusted(None))).await, ok());
    for target in [with(theirs.trusted(None)), with(None)] {
        let error = said(&request, &target).await.unwrap_err();
        assert!(matches!(error, TransportError::Tls(_)), "{error}");
    }
    let another_name = post(&server.url("https").replace("127.0.0.1", "localhost"));
    let error = said(&another_name, &with(ours.trusted(None))).await;
    assert!(matches!(error, Err(TransportError::Tls(_))), "{error:?}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let authority = Authority::new();
    let tls = authority.server("127.0.0.1", true, &[]);
    let server = Server::over(Some(tls), |_| Answer::status(200)).await;
    let shown = Some(authority.sign("client.test"));
    let with = |shown| Target {
        tls: authority.trusted(shown),
        ..Target::default()
    };
    let request = post(&server.url("https"));
    assert_eq!(said(&request, &with(shown)).await, ok());
    let error = said(&request, &with(None)).await.unwrap_err();
    assert!(!error.is_permanent(), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_malformed_certificate_is_told_before_anything_is_sent() {
    let server = Server::start(|_| Answer::status(200)).await;
    let target = Target {
        tls: Some(provider::Tls {
            ca: Some(b"hunter2".to_vec()),
            identity: None,
        }),
        ..Target::default()
    };
    let text = "failed to parse CA certificate".to_owned();
    let error = Err(TransportError::Certificates(text));
    assert_eq!(said(&post(&server.url("http")), &target).await, error);
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn plain_text_goes_through_a_proxy_with_its_credentials() {
    let proxy = Server::start(|_| Answer::status(200)).await;
    let target = proxied(format!("http://us%40er:pa%3Ass@{}", proxy.address));
    let request = post("http://hooks.test/hook");
    assert_eq!(said(&request, &target).await, ok());
    let seen = proxy.seen();
    assert_eq!(seen[0].line, "POST http://hooks.test/hook HTTP/1.1");
    // us@er:pa:ss
    let credentials = seen[0].header("proxy-authorization");
    assert_eq!(credentials, Some("Basic dXNAZXI6cGE6c3M="));
}

#[tokio::test]
async fn tls_goes_through_a_tunnel_and_the_credentials_stay_with_the_proxy() {
    let authority = Authority::new();
    let tls = authority.server("hooks.test", false, &[]);
    let server = Server::over(Some(tls), |_| Answer::status(200)).await;
    let behind = server.address;
    let proxy = Server::start(move |seen| {
        match seen.header("proxy-authorization") {
            // user:pass
            Some("Basic dXNlcjpwYXNz") => Answer::Tunnel(behind),
            _ => Answer::status(407),
        }
    })
    .await;
    let mut target = proxied(format!("http://user:pass@{}", proxy.address));
    target.tls = authority.trusted(None);
    let request = post("https://hooks.test/hook");
    assert_eq!(said(&request, &target).await, ok());
    assert_eq!(proxy.seen()[0].line, "CONNECT hooks.test:443 HTTP/1.1");
    assert_eq!(server.seen()[0].line, "POST /hook HTTP/1.1");
    assert_eq!(server.seen()[0].header("proxy-authorization"), None);

    target.proxy = Some(format!("http://user:wrong@{}", proxy.address).into());
    let error = said(&request, &target).await.unwrap_err();
    assert!(matches!(error, TransportError::Connect(_)), "{error}");
}

#[tokio::test]
async fn a_socks_proxy_gets_credentials_and_resolves_the_name() {
    let server = Server::start(|_| Answer::status(200)).await;
    let behind = server.address;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = proxied(format!(
        "socks5://user:pass@{}",
        proxy.local_addr().unwrap()
    ));
    let proxying = async {
        let (mut client, _) = proxy.accept().await.unwrap();
        let mut expect = async |bytes: &[u8], answer: &[u8]| {
            let mut got = vec![0; bytes.len()];
            client.read_exact(&mut got).await.unwrap();
            assert_eq!(got, bytes);
            client.write_all(answer).await.unwrap();
        };
        expect(b"\x05\x01\x02", b"\x05\x02").await;
        expect(b"\x01\x04user\x04pass", b"\x01\x00").await;
        let reached = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00";
        expect(b"\x05\x01\x00\x03\x0ahooks.test\x00\x50", reached).await;
        let mut server = TcpStream::connect(behind).await.unwrap();
        let _ = copy_bidirectional(&mut client, &mut server).await;
    };
    let request = post("http://hooks.test/hook");
    let sending = async { said(&request, &target).await };
    tokio::select! {
        () = proxying => panic!("the proxy ended first"),
        said = sending => assert_eq!(said, ok()),
    }
    assert_eq!(server.seen()[0].header("host"), Some("hooks.test"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_reused_and_at_most_32_to_a_provider() {
    let server = Server::start(|_| Answer::status(200)).await;
    let (sockets, target) = (Sockets::new(false), Target::default());
    let send = async |_| {
        let request = Request::Http(post(&server.url("http")));
        let reply = sockets.send(request, &target).await.unwrap();
        assert!(matches!(reply, Reply::Http(reply) if reply.status == 200));
    };
    // One after the other, then as many at once as anybody can ask for.
    for n in 0..30 {
        send(n).await;
    }
    // A connection may come back a moment after the next request has asked for one.
    assert!(server.accepted() <= 10, "{}", server.accepted());
    stream::iter(0..170).for_each_concurrent(170, send).await;
    assert_eq!(server.seen().len(), 200);
    assert!(server.accepted() <= 32, "{}", server.accepted());
}

#[tokio::test]
async fn http_2_is_spoken_where_the_server_offers_it() {
    let authority = Authority::new();
    let tls = authority.server("127.0.0.1", false, &["h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/hook", listener.local_addr().unwrap());
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = tls.accept(stream).await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(request) = connection.accept().await {
            let (request, mut respond) = request.unwrap();
            assert_eq!(request.method(), "POST");
            let status = if request.uri().path() == "/hook" {
                202
            } else {
                404
            };
            let head = http::Response::builder().status(status).body(());
            respond.send_response(head.unwrap(), true).unwrap();
        }
    };
    let target = Target {
        tls: authority.trusted(None),
        ..Target::default()
    };
    let http = Http::new(STRICT);
    let sending = async {
        for _ in 0..20 {
            let reply = http.send(&post(&url), &target).await.unwrap();
            assert_eq!(reply.status, 202);
        }
    };
    tokio::select! {
        () = serving => panic!("the connection ended first"),
        () = sending => {}
    }
}
