//! The server as an Envoy sees it: a real gRPC client over loopback.

use std::collections::{BTreeMap, HashMap};

use clap::Parser as _;
use envoy_types::pb::envoy::config::core::v3::address::Address as AnyAddress;
use envoy_types::pb::envoy::config::core::v3::{Address, HeaderMap, HeaderValue, SocketAddress};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{self, HttpRequest, Peer};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use hook::digest::Digest;
use ring::hmac;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::activity::Activities;
use crate::args::RunArgs;
use crate::manifests::{self, requester::ManifestRequester};
use crate::metrics::Metrics;
use crate::publish;
use crate::trigger::annotate::Annotator;
use crate::trigger::select::Reach;

const BODY: &[u8] = br#"{"action":"push"}"#;

/// A Receiver each: types that sign the body, that send a token, that are known by their path; and limits.
const RECEIVERS: [(&str, &str, &str); 6] = [
    ("hub", "github", ""),
    ("lab", "gitlab", ""),
    ("any", "generic", ""),
    (
        "here",
        "generic",
        "hookgate.dev/allowed-addresses: 192.0.2.7",
    ),
    (
        "once",
        "github",
        "hookgate.dev/rate: \"0.001\", hookgate.dev/burst: \"1\"",
    ),
    ("gone", "generic", ""),
];

struct Stage {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    requester: Arc<ManifestRequester>,
    bodies: Bodies,
    stop: watch::Sender<bool>,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Stage {
    async fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, true).await
    }

    /// Whether a table has been compiled from complete lists.
    async fn start_with(flags: &[&str], is_complete: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, receiver_type, annotations) in RECEIVERS {
            let suspended = name == "gone";
            let text = format!(
                "apiVersion: notification.toolkit.fluxcd.io/v1\nkind: Receiver\nmetadata: {{name: {name}, namespace: ns, annotations: {{{annotations}}}}}\nspec:\n  type: {receiver_type}\n  suspend: {suspended}\n  events: [push, \"Push Hook\"]\n  secretRef: {{name: {name}}}\n  resources: [{{kind: GitRepository, name: {name}}}]\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: ns}}\nstringData: {{token: token}}\n"
            );
            std::fs::write(folder.path().join(format!("{name}.yaml")), text).unwrap();
        }
        let snapshot = Arc::new(manifests::read(folder.path()).unwrap());
        assert_eq!(snapshot.problems, []);
        let args = [&["run", "--manifests=."], flags].concat();
        let args = RunArgs::try_parse_from(args).unwrap();
        let options = crate::run::options(&args, Reach::default());
        let compiled = if is_complete {
            publish::compile(Arc::clone(&snapshot), &BTreeMap::new(), &options, b"")
        } else {
            Compiled::incomplete(&options)
        };
        let (_, snapshots) = watch::channel(Some(snapshot));
        let requester = Arc::new(ManifestRequester::new(snapshots));
        let metrics = Arc::new(Metrics::new(Arc::default()));
        let deliverer = Deliverer::new(
            Annotator::new(Arc::clone(&requester)),
            Arc::clone(&metrics),
            Arc::new(Activities::default()),
            Reach::default(),
        );
        let authz = Authz::new(
            Arc::new(ArcSwap::from_pointee(compiled)),
            Arc::new(deliverer),
            args.ext_authz_trusted_hops.into(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let bodies = Bodies::default();
        let served = tokio::spawn(authz.serve(listener, None, bodies.clone(), stopped));
        Self {
            address,
            metrics,
            requester,
            bodies,
            stop,
            served,
        }
    }

    async fn client(&self) -> AuthorizationClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        AuthorizationClient::new(endpoint.connect().await.unwrap())
    }

    async fn ask(&self, asked: &Ask) -> Told {
        let answer = self.client().await.check(asked.check()).await;
        Told::from(answer.unwrap().into_inner())
    }

    /// Every row, so that a failure shows each that is off.
    async fn check(&self, rows: Vec<(&str, Ask, Told)>) {
        let mut off = Vec::new();
        for (what, ask, want) in rows {
            let got = self.ask(&ask).await;
            if got != want {
                off.push(format!("{what}: {got:?} and not {want:?}"));
            }
        }
        assert!(off.is_empty(), "{off:#?}");
    }

    fn counted(&self, metric: &str) -> Vec<String> {
        let text = self.metrics.encode();
        let mine = text.lines().filter(|line| line.starts_with(metric));
        mine.map(str::to_owned).collect()
    }
}

/// What Envoy is told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// To go on, with and without these headers.
    GoOn(Vec<(String, String)>, Vec<String>),
    /// To answer this status with these headers.
    Answer(i32, Vec<(String, String)>),
}

impl From<CheckResponse> for Told {
    fn from(response: CheckResponse) -> Self {
        let code = response.status.unwrap().code;
        let pairs = |headers: Vec<_>| {
            let pair = |option: envoy_types::pb::envoy::config::core::v3::HeaderValueOption| {
                // Whatever the client sent under that name is replaced.
                assert_eq!(option.append_action, 2);
                let header = option.header.unwrap();
                (header.key, header.value)
            };
            headers.into_iter().map(pair).collect()
        };
        match response.http_response.unwrap() {
            HttpResponse::OkResponse(ok) => {
                assert_eq!(code, 0);
                Self::GoOn(pairs(ok.headers), ok.headers_to_remove)
            }
            HttpResponse::DeniedResponse(denied) => {
                assert_eq!((code, denied.body.as_str()), (7, ""));
                Self::Answer(denied.status.unwrap().code, pairs(denied.headers))
            }
            HttpResponse::ErrorResponse(error) => panic!("{error:?}"),
        }
    }
}

fn go_on() -> Told {
    go_on_for("192.0.2.7")
}

fn go_on_for(client: &str) -> Told {
    let named = ("x-hookgate-client".to_owned(), client.to_owned());
    Told::GoOn(vec![named], vec![])
}

fn answer(status: i32) -> Told {
    Told::Answer(status, vec![])
}

fn later(status: i32, seconds: u32) -> Told {
    let header = ("retry-after".to_owned(), seconds.to_string());
    Told::Answer(status, vec![header])
}

/// A request as Envoy tells of it.
#[derive(Clone)]
struct Ask {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// As text, where Envoy does not pack it.
    is_text: bool,
    /// As a list, where Envoy sends headers as they came.
    is_list: bool,
    source: Option<&'static str>,
}

fn ask(name: &str) -> Ask {
    Ask {
        method: "POST",
        path: Digest::of(b"token", name, "ns").path(),
        headers: vec![("content-type", "application/json".to_owned())],
        body: BODY.to_vec(),
        is_text: false,
        is_list: false,
        source: Some("192.0.2.7"),
    }
}

impl Ask {
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn event(self, event: &str) -> Self {
        self.with("x-github-event", event)
    }

    fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    fn signed(self) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"token");
        let mac = hex::encode(hmac::sign(&key, &self.body));
        self.with("x-hub-signature-256", format!("sha256={mac}"))
    }

    fn change(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn check(&self) -> CheckRequest {
        let mut http = HttpRequest {
            method: self.method.to_owned(),
            path: self.path.clone(),
            ..HttpRequest::default()
        };
        if self.is_text {
            http.body = String::from_utf8_lossy(&self.body).into_owned();
        } else {
            http.raw_body.clone_from(&self.body);
        }
        if self.is_list {
            let header = |(name, value): &(&str, String)| HeaderValue {
                key: (*name).to_owned(),
                raw_value: value.clone().into_bytes(),
                ..HeaderValue::default()
            };
            let headers = self.headers.iter().map(header).collect();
            http.header_map = Some(HeaderMap { headers });
        } else {
            let mut joined = HashMap::<String, Vec<&str>>::new();
            for (name, value) in &self.headers {
                joined.entry((*name).to_owned()).or_default().push(value);
            }
            let join = |(name, values): (String, Vec<&str>)| (name, values.join(","));
            http.headers = joined.into_iter().map(join).collect();
        }
        let peer = |address: &str| Peer {
            address: Some(Address {
                address: Some(AnyAddress::SocketAddress(SocketAddress {
                    address: address.to_owned(),
                    ..SocketAddress::default()
                })),
            }),
            ..Peer::default()
        };
        CheckRequest {
            attributes: Some(AttributeContext {
                source: self.source.map(peer),
                request: Some(attribute_context::Request {
                    http: Some(http),
                    ..attribute_context::Request::default()
                }),
                ..AttributeContext::default()
            }),
        }
    }
}

fn genuine() -> Ask {
    ask("hub").event("push").signed()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_hook_gets_the_gates_answer() {
    let stage = Stage::start(&[]).await;
    let lab = || ask("lab").with("x-gitlab-event", "Push Hook");
    let rows = vec![
        ("genuine", genuine(), go_on()),
        (
            "as text",
            genuine().change(|ask| ask.is_text = true),
            go_on(),
        ),
        (
            "as a list",
            genuine().change(|ask| ask.is_list = true),
            go_on(),
        ),
        ("PUT", genuine().change(|ask| ask.method = "PUT"), go_on()),
        ("token", lab().with("x-gitlab-token", "token"), go_on()),
        ("path", ask("any"), go_on()),
        ("no body", ask("any").body(vec![]), go_on()),
        ("allowed address", ask("here"), go_on()),
        (
            "another address",
            ask("here").change(|ask| ask.source = Some("192.0.2.8")),
            answer(403),
        ),
        (
            "no address",
            ask("here").change(|ask| ask.source = None),
            answer(403),
        ),
        ("forged", genuine().body(b"{}".to_vec()), answer(400)),
        ("unsigned", ask("hub").event("push"), answer(400)),
        (
            "another token",
            lab().with("x-gitlab-token", "t"),
            answer(400),
        ),
        (
            "event not listed",
            ask("hub").event("ping").signed(),
            answer(200),
        ),
        (
            "GET",
            genuine().change(|ask| ask.method = "GET"),
            answer(405),
        ),
        (
            "unknown",
            genuine().change(|ask| ask.path = format!("/hook/{}", "0".repeat(64))),
            answer(404),
        ),
        (
            "elsewhere",
            genuine().change(|ask| ask.path = "/".into()),
            answer(404),
        ),
        (
            "query",
            genuine().change(|ask| ask.path += "?x=1"),
            answer(404),
        ),
        ("suspended", ask("gone"), later(503, 60)),
    ];
    stage.check(rows).await;
    assert_eq!(
        stage.requester.debug_requests()["counts"],
        serde_json::json!({}),
        "what is admitted here triggers nothing yet"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_comes_twice_passes_neither_as_a_list_nor_joined() {
    let stage = Stage::start(&[]).await;
    let twice = |ask: Ask| {
        let first = ask.headers[ask.headers.len() - 1].clone();
        ask.with(first.0, first.1)
    };
    let list = |ask: Ask| ask.change(|ask| ask.is_list = true);
    let lab = ask("lab")
        .with("x-gitlab-event", "Push Hook")
        .with("x-gitlab-token", "token");
    let rows = vec![
        ("signature, joined", twice(genuine()), answer(400)),
        ("signature, list", list(twice(genuine())), answer(400)),
        ("token, joined", twice(lab.clone()), answer(400)),
        ("token, list", list(twice(lab)), answer(400)),
        ("event, joined", genuine().event("push"), answer(400)),
        ("event, list", list(genuine().event("push")), answer(400)),
        (
            "length, list",
            list(
                genuine()
                    .with("content-length", "17")
                    .with("content-length", "17"),
            ),
            answer(400),
        ),
    ];
    stage.check(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_cut_or_too_large_is_refused_before_it_is_judged() {
    let stage = Stage::start(&["--max-hook-bytes=300000"]).await;
    let large = |bytes| ask("hub").event("push").body(vec![b'x'; bytes]).signed();
    let any = |bytes| ask("any").body(vec![b'x'; bytes]);
    let partial = "x-envoy-auth-partial-body";
    let rows = vec![
        ("at the limit", large(300_000), go_on()),
        ("above it", large(300_001), answer(413)),
        (
            "declared above it",
            large(9).with("content-length", "300001"),
            answer(413),
        ),
        ("at the limit, path", any(300_000), go_on()),
        ("above it, path", any(300_001), answer(413)),
        (
            "whole",
            genuine()
                .with(partial, "false")
                .with("content-length", "17"),
            go_on(),
        ),
        (
            "Envoy says cut",
            genuine().with(partial, "true"),
            answer(413),
        ),
        ("cut, path", ask("any").with(partial, "true"), answer(413)),
        (
            "shorter than declared",
            genuine().with("content-length", "18"),
            answer(413),
        ),
        (
            "not sent at all",
            ask("any").body(vec![]).with("content-length", "18"),
            answer(413),
        ),
        (
            "longer than declared",
            genuine().with("content-length", "16"),
            answer(400),
        ),
        (
            "no number",
            genuine().with("content-length", "1e1"),
            answer(400),
        ),
        (
            "cut, unknown path",
            genuine()
                .with(partial, "true")
                .change(|ask| ask.path = "/hook/0".into()),
            answer(404),
        ),
    ];
    stage.check(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_those_of_the_table() {
    let flags = ["--failure-rate=1", "--failure-burst=2"];
    let stage = Stage::start(&flags).await;
    let once = || ask("once").event("push").signed();
    assert_eq!(stage.ask(&once()).await, go_on());
    let Told::Answer(429, headers) = stage.ask(&once()).await else {
        panic!("the second is above the limit");
    };
    assert_eq!(headers[0].0, "retry-after");
    // Forged hooks use up their own bucket, and lock large bodies of strangers out only.
    let large = ask("hub").event("push").body(vec![b'x'; 100_000]).signed();
    let stranger = large.clone().change(|ask| ask.source = Some("192.0.2.9"));
    assert_eq!(stage.ask(&large).await, go_on());
    for _ in 0..2 {
        assert_eq!(stage.ask(&genuine().body(vec![])).await, answer(400));
    }
    assert_eq!(stage.ask(&stranger).await, later(429, 1));
    assert_eq!(stage.ask(&large).await, go_on());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_who_the_trusted_proxies_name() {
    let from = |stage: Stage, entries: &'static [&'static str], is_list| async move {
        let mut ask = ask("any").change(|ask| ask.is_list = is_list);
        for entry in entries {
            ask = ask.with("x-forwarded-for", *entry);
        }
        stage.ask(&ask).await
    };
    let unknown = || Told::GoOn(vec![], vec!["x-hookgate-client".to_owned()]);
    for (hops, entries, want) in [
        ("0", &["203.0.113.9, 198.51.100.1"][..], go_on()),
        (
            "1",
            &["203.0.113.9, 198.51.100.1"],
            go_on_for("203.0.113.9"),
        ),
        (
            "1",
            &["6.6.6.6,2001:db8::1", "198.51.100.1"],
            go_on_for("2001:db8::1"),
        ),
        ("2", &["203.0.113.9, 198.51.100.1"], unknown()),
        ("1", &["nobody, 198.51.100.1"], unknown()),
        ("1", &[], unknown()),
    ] {
        for is_list in [false, true] {
            let flag = format!("--ext-authz-trusted-hops={hops}");
            let stage = Stage::start(&[&flag]).await;
            assert_eq!(
                from(stage, entries, is_list).await,
                want,
                "{hops} {entries:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_passes_before_the_first_table() {
    let stage = Stage::start_with(&[], false).await;
    assert_eq!(stage.ask(&genuine()).await, later(503, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_no_memory_for_is_refused_with_an_answer_for_the_sender() {
    let stage = Stage::start(&["--max-hook-bytes=26214400"]).await;
    let large = ask("hub")
        .event("push")
        .body(vec![b'x'; 26_214_400])
        .signed();
    let all = stage.bodies.hold(100 * 1024 * 1024).unwrap();
    assert_eq!(stage.ask(&large).await, later(503, 1));
    assert_eq!(stage.ask(&genuine()).await, go_on(), "small ones have room");
    drop(all);
    assert_eq!(stage.ask(&large).await, go_on());
    let all = stage.bodies.hold(128 * 1024 * 1024);
    assert!(all.is_ok(), "all of it is given back");
    drop(all);
    let longest = ask("hub").body(vec![b'x'; MESSAGE_LIMIT]);
    assert_eq!(stage.ask(&longest).await, answer(413));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_request_is_an_error() {
    let stage = Stage::start(&[]).await;
    let status = stage.client().await.check(CheckRequest::default()).await;
    assert_eq!(status.unwrap_err().code(), tonic::Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_check_is_counted_and_refused_ones_as_hooks_too() {
    let stage = Stage::start(&[]).await;
    for asked in [genuine(), genuine().body(vec![])] {
        stage.ask(&asked).await;
    }
    let line =
        |metric: &str, outcome| format!("{metric}{{type=\"github\",outcome=\"{outcome}\"}} 1");
    let checks = "hookgate_ext_authz_checks_total";
    let mut counted = stage.counted(checks);
    counted.sort();
    assert_eq!(
        counted,
        [line(checks, "admitted"), line(checks, "signature")]
    );
    // The admitted one is counted where it is triggered.
    let hooks = "hookgate_hooks_total";
    assert_eq!(stage.counted(hooks), [line(hooks, "signature")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_server_though_an_envoy_is_connected() {
    let stage = Stage::start(&[]).await;
    let mut client = stage.client().await;
    client.check(genuine().check()).await.unwrap();
    stage.stop.send(true).unwrap();
    let ended = tokio::time::timeout(GRACE * 2, stage.served).await;
    ended.unwrap().unwrap().unwrap();
}

#[test]
fn an_address_that_others_reach_needs_tls_or_insistence() {
    let told = |address: &str, has_tls, insecure| {
        bind_policy(address.parse().unwrap(), has_tls, insecure)
            .map_err(|exposed| exposed.to_string())
    };
    for (address, has_tls, insecure) in [
        ("127.0.0.1:9100", false, false),
        ("[::1]:9100", false, false),
        ("0.0.0.0:9100", true, false),
        ("0.0.0.0:9100", false, true),
    ] {
        assert_eq!(told(address, has_tls, insecure), Ok(()));
    }
    assert_eq!(
        told("[::]:9100", false, false).unwrap_err(),
        "ext_authz address [::]:9100 is not loopback and has no TLS: give --xds-cert, --xds-key and --xds-client-ca, bind 127.0.0.1:9100, or accept hooks in plain text with --ext-authz-insecure"
    );
}
