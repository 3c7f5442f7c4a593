//! The event server on a socket: what senders see, and what is kept.

use std::time::Duration;

use clap::Parser as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::api::alert::{Alert, EventSource};
use crate::api::provider::Provider;
use crate::args::EventArgs;
use crate::notify::identity::Identities;
use crate::notify::queue::Room;
use crate::notify::service::{self, Service};
use crate::notify::spool::Limits;
use crate::notify::target::SnapshotSecrets;
use crate::notify::transport::{Transport, TransportError};
use crate::notify::warn::LogWarnings;
use crate::objects::Snapshot;
use crate::provider::{self, Reply, Target};

struct Server {
    address: std::net::SocketAddr,
    spool: Arc<Spool>,
    current: Arc<CurrentAlerts>,
    metrics: Arc<Metrics>,
    _stop: watch::Sender<bool>,
}

fn snapshot() -> Arc<Snapshot> {
    let mut alert = Alert::default();
    alert.metadata.namespace = "apps".to_owned();
    alert.metadata.name = "on-call".to_owned();
    alert.spec.provider_ref.name = "chat".to_owned();
    alert.spec.event_sources = vec![EventSource {
        kind: "Kustomization".to_owned(),
        name: "*".to_owned(),
        ..EventSource::default()
    }];
    let mut provider = Provider::default();
    provider.metadata.namespace = "apps".to_owned();
    provider.metadata.name = "chat".to_owned();
    provider.spec.r#type = "slack".to_owned();
    Arc::new(Snapshot {
        alerts: vec![Arc::new(alert)],
        providers: vec![Arc::new(provider)],
        ..Snapshot::default()
    })
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let server = Self::start_without_alerts(limits).await;
        server.current.update(&snapshot(), &LogWarnings);
        server
    }

    async fn start_without_alerts(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let spool = Arc::new(Spool::in_memory(limits, Room::default()));
        let current = Arc::new(CurrentAlerts::new(false));
        let metrics = Arc::new(Metrics::new(Arc::default()));
        let server = EventServer::new(
            current.clone(),
            spool.clone(),
            Window::new(Duration::from_secs(300)),
            metrics.clone(),
            LogWarnings,
        );
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(Arc::new(server).serve(listener, stopped));
        Self {
            address,
            spool,
            current,
            metrics,
            _stop: stop,
        }
    }

    /// The whole answer to a request.
    async fn raw(&self, head: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!("{head}Host: h\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that has seen enough may close before it has read all.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn request(&self, line: &str, body: &[u8]) -> String {
        let head = format!("{line} HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
        self.raw(&head, body).await
    }

    async fn post(&self, body: &str) -> u16 {
        status_of(&self.request("POST /", body.as_bytes()).await)
    }

    fn kept(&self) -> Vec<String> {
        let all = self.spool.list(100, |_| true);
        all.iter()
            .map(|listed| String::from_utf8(self.spool.event(listed.id).unwrap()).unwrap())
            .collect()
    }
}

fn status_of(answer: &str) -> u16 {
    let code = answer.split(' ').nth(1).unwrap_or_default();
    code.parse().unwrap_or(0)
}

fn event(message: &str) -> String {
    format!(
        r#"{{"involvedObject":{{"kind":"Kustomization","namespace":"apps","name":"web","apiVersion":"kustomize.toolkit.fluxcd.io/v1"}},"severity":"info","timestamp":"2026-01-02T03:04:05Z","message":"{message}","reason":"Done","metadata":{{"kustomize.toolkit.fluxcd.io/revision":"r1","kustomize.toolkit.fluxcd.io/token":"t","bare":"x"}},"reportingController":"kustomize-controller"}}"#
    )
}

#[tokio::test]
async fn an_accepted_event_is_in_the_spool_with_clean_metadata() {
    let server = Server::start(Limits::default()).await;
    assert_eq!(server.post(&event("a")).await, 202);
    let want = event("a").replace(r#","kustomize.toolkit.fluxcd.io/token":"t","bare":"x""#, "");
    assert_eq!(server.kept(), [want]);
    let listed = server.spool.list(10, |_| true).remove(0);
    assert_eq!(&*listed.object, "Kustomization/apps/web");
    assert_eq!(&*listed.delivery.provider, "apps/chat");
    assert_eq!(&*listed.delivery.alert, "apps/on-call");
}

#[tokio::test]
async fn a_repeated_event_is_answered_as_nc_answers_it() {
    let server = Server::start(Limits::default()).await;
    let first = server.request("POST /", event("a").as_bytes()).await;
    let second = server.request("POST /", event("a").as_bytes()).await;
    let header = |answer: &str, name: &str| {
        let line = answer.lines().find(|line| line.starts_with(name));
        line.map(|line| line[name.len()..].trim().to_owned())
    };
    assert_eq!((status_of(&first), status_of(&second)), (202, 429));
    for answer in [&first, &second] {
        assert_eq!(header(answer, "X-Ratelimit-Limit: ").as_deref(), Some("1"));
        assert_eq!(
            header(answer, "X-Ratelimit-Remaining: ").as_deref(),
            Some("0")
        );
        let reset = header(answer, "X-Ratelimit-Reset: ").unwrap();
        assert!(reset.ends_with(" UTC") && reset.len() == 29, "{reset}");
    }
    assert_eq!(header(&first, "Retry-After: "), None);
    assert_eq!(
        header(&second, "Retry-After: "),
        header(&second, "X-Ratelimit-Reset: ")
    );
    assert_eq!(
        header(&second, "Content-Type: ").as_deref(),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(
        header(&second, "X-Content-Type-Options: ").as_deref(),
        Some("nosniff")
    );
    assert!(second.ends_with("\r\n\r\nToo Many Requests\n"));
    assert!(first.ends_with("\r\n\r\n"));
    assert_eq!(server.kept().len(), 1);
}

#[test]
fn dates_are_written_as_go_writes_them() {
    assert_eq!(date(1_767_323_345_000), "Fri, 02 Jan 2026 03:09:05 UTC");
}

#[tokio::test]
async fn what_nc_takes_and_refuses_is_taken_and_refused() {
    let server = Server::start(Limits::default()).await;
    let other = event("a").replace("\"web\"", "\"other\"");
    for (line, body, want) in [
        ("POST /", event("a"), 202),
        ("POST /", event("a").replace("info", "error"), 429),
        ("POST /", event("a").replace("Done", "Other"), 429),
        ("POST /", event("b"), 202),
        ("POST /", event("b").replace("r1", "r2"), 202),
        ("POST /", other, 202),
        ("GET /any/path?x=y", event("c"), 202),
        ("PUT /", event("d"), 202),
        ("POST /", "null".to_owned(), 202),
        ("POST /", "[]".to_owned(), 400),
        ("POST /", "\"x\"".to_owned(), 400),
        ("POST /", "{".to_owned(), 400),
        ("POST /", String::new(), 400),
        (
            "POST /",
            event("e").replace("2026-01-02T03:04:05Z", "yesterday"),
            400,
        ),
        (
            "POST /",
            event("f").replace("{\"involved", "{\"unknown\":1,\"involved"),
            202,
        ),
        ("POST /", event(&"m".repeat(50_000)), 202),
    ] {
        let answer = server.request(line, body.as_bytes()).await;
        let begins: String = body.chars().take(400).collect();
        assert_eq!(status_of(&answer), want, "{line} {begins}");
    }
}

#[tokio::test]
async fn a_body_may_have_3_mib_and_not_a_byte_more() {
    let server = Server::start(Limits::default()).await;
    let mut body = event("a").into_bytes();
    body.resize(MAX_BODY, b' ');
    assert_eq!(status_of(&server.request("POST /", &body).await), 202);
    body.push(b' ');
    assert_eq!(status_of(&server.request("POST /", &body).await), 413);
    let mut chunked = format!("{:x}\r\n", body.len()).into_bytes();
    chunked.extend_from_slice(&body);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(status_of(&server.raw(head, &chunked).await), 413);
}

#[tokio::test]
async fn headers_have_a_limit() {
    let server = Server::start(Limits::default()).await;
    let head = format!("POST / HTTP/1.1\r\nX: {}\r\n", "x".repeat(2_000_000));
    let answer = server.raw(&head, b"").await;
    assert!(matches!(status_of(&answer), 0 | 431), "{answer}");
}

#[tokio::test]
async fn before_the_alerts_are_known_and_when_nothing_can_be_kept_the_sender_is_to_try_again() {
    let server = Server::start_without_alerts(Limits::default()).await;
    let answer = server.request("POST /", event("a").as_bytes()).await;
    assert_eq!(status_of(&answer), 503);
    assert!(answer.contains("Retry-After: 1\r\n"), "{answer}");
    server.current.update(&snapshot(), &LogWarnings);
    // The refused event has not spent its window.
    assert_eq!(server.post(&event("a")).await, 202);
    let full = Server::start(Limits {
        max_entries: 1,
        ..Limits::default()
    })
    .await;
    assert_eq!(full.post(&event("a")).await, 202);
    assert_eq!(full.post(&event("b")).await, 503);
    assert_eq!(full.post(&event("b")).await, 503);
    assert_eq!(full.kept().len(), 1);
    let text = full.metrics.encode();
    for line in [
        "hookgate_events_total{outcome=\"accepted\"} 1",
        "hookgate_events_total{outcome=\"unavailable\"} 2",
        "gotk_event_http_request_duration_seconds_count{service=\"\",handler=\"/\",method=\"POST\",code=\"503\"} 2",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

#[tokio::test]
async fn an_event_that_no_alert_takes_is_accepted_and_not_kept() {
    let server = Server::start(Limits::default()).await;
    let bucket = event("a").replace("\"Kustomization\"", "\"Bucket\"");
    assert_eq!(server.post(&bucket).await, 202);
    assert_eq!(server.post(&bucket).await, 429);
    assert_eq!(server.kept(), [""; 0]);
}

#[test]
fn a_long_name_is_kept_as_its_beginning_and_its_hash() {
    let long = chain(format!("digest: {}", "n".repeat(1_000_000)));
    assert!(long.len() < 200 && digest::is_digest(&long), "{long}");
    assert_ne!(long, chain(format!("digest: {}", "n".repeat(1_000_001))));
    assert_eq!(chain("Bucket/a/b".to_owned()), "Bucket/a/b");
}

#[tokio::test]
async fn events_of_a_digest_wait_in_a_chain_of_their_revision_and_errors_do_not() {
    let server = Server::start_without_alerts(Limits::default()).await;
    let mut snapshot = (*snapshot()).clone();
    let mut alert = (*snapshot.alerts[0]).clone();
    let annotations = &mut alert.metadata.annotations;
    annotations.insert("hookgate.dev/digest".to_owned(), "30s".to_owned());
    snapshot.alerts = vec![Arc::new(alert)];
    server.current.update(&Arc::new(snapshot), &LogWarnings);
    let other = event("b").replace("\"web\"", "\"other\"");
    let error = event("c").replace("\"info\"", "\"error\"");
    for event in [event("a"), other, error] {
        assert_eq!(server.post(&event).await, 202);
    }
    let chains: Vec<_> = server
        .spool
        .list(10, |_| true)
        .iter()
        .map(|listed| listed.object.to_string())
        .collect();
    let digest = "digest: apps/on-call r1";
    assert_eq!(chains, [digest, digest, "Kustomization/apps/web"]);
    let now = clock::now_ms();
    assert_eq!(server.spool.take(now).unwrap().id.entry, 3);
    assert_eq!(server.spool.take(now), None);
    let head = server.spool.take(now + 30_000).unwrap();
    let rest = server.spool.rest(head.id, 10);
    assert_eq!((head.id.entry, rest.len(), rest[0].id.entry), (1, 1, 2));
}

/// Takes everything, and keeps the bodies.
#[derive(Clone, Debug, Default)]
struct Taker(Arc<Mutex<Vec<String>>>);

impl Transport for Taker {
    async fn send(&self, request: provider::Request, _: &Target) -> Result<Reply, TransportError> {
        if let provider::Request::Http(request) = request {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            self.0.lock().unwrap().push(body);
        }
        Ok(Reply::Delivered)
    }

    async fn ask_machine(&self, _request: provider::Request) -> Result<Reply, TransportError> {
        Err(TransportError::Connect("no machine".to_owned()))
    }
}

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    events: EventArgs,
}

#[tokio::test]
async fn a_posted_event_reaches_its_provider_also_when_the_process_starts_anew_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let spool_dir = format!("--spool-dir={}", folder.path().display());
    let args = Flags::parse_from(["run", &spool_dir]).events;
    let mut without_provider = (*snapshot()).clone();
    let mut ready = without_provider.clone();
    for provider in &mut ready.providers {
        Arc::make_mut(provider).spec.address = "https://hooks.test/x".to_owned();
    }
    without_provider.providers.clear();
    let taker = Taker::default();
    for (n, snapshot) in [without_provider, ready].into_iter().enumerate() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_objects, snapshots) = watch::channel(Some(Arc::new(snapshot)));
        let (stop, stopped) = watch::channel(false);
        let service = Service::start(
            &args,
            false,
            listener,
            service::open_spool(&args).unwrap(),
            snapshots.clone(),
            SnapshotSecrets(snapshots),
            taker.clone(),
            Identities::default(),
            LogWarnings,
            Arc::new(Metrics::new(Arc::default())),
            stopped,
        );
        if n == 0 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let body = event("hello");
            let head = format!(
                "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(body.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(status_of(&answer), 202, "{answer}");
            assert_eq!(service.spool.stats().entries, 1);
        } else {
            for _ in 0..1_000 {
                if service.spool.stats().entries == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(service.spool.stats().entries, 0);
        }
        stop.send_replace(true);
        service.stopped().await;
    }
    let taken = taker.0.lock().unwrap();
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert!(
        taken[0].contains("hello") && taken[0].contains("revision"),
        "{taken:?}"
    );
}
