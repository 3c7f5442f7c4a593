//! What a hook that comes to `:9292` is answered, and how many resources it asks for, from manifests to
//! answer: the rows of the reference's conformance cases, with our answer where that differs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::Parser as _;
use hook::digest::Digest;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::activity::Activities;
use crate::args::RunArgs;
use crate::manifests::{self, requester::ManifestRequester};
use crate::metrics::Metrics;
use crate::publish;
use crate::receiver::jwks::IssuerKeys;
use crate::receiver::plan::GOOGLE;
use crate::trigger::annotate::Annotator;
use crate::trigger::deliver::Deliverer;
use crate::trigger::server::HookServer;

/// The body of the reference's cases, and its MACs with the key `token`.
const BODY: &str = r#"{"action":"push"}"#;
const SHA1: &str = "0a23fffb3dd66539440cf881ae6fdfbc8ccae4a9";
const SHA256: &str = "83eee066cf716dd10bc327e341a581ae657bf26d8815c9334434f470c12d3079";
const ISSUER: &str = "https://issuer.example";
const EMAIL: &str = "pusher@example.com";
const AUDIENCE: &str = "https://hooks.example";

/// The limit of bodies, in bytes.
const MAX: usize = 3_145_728;

/// A Receiver of its own, one request to it, and what is expected.
struct Row {
    what: &'static str,
    receiver_type: &'static str,
    token: String,
    /// More lines of `spec`.
    spec: String,
    /// Items of `spec.resources`.
    resources: String,
    method: &'static str,
    /// Around the path.
    target: fn(&str) -> String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Status, and how many resources were asked for.
    want: (u16, usize),
}

fn row(what: &'static str, receiver_type: &'static str, want: (u16, usize)) -> Row {
    Row {
        what,
        receiver_type,
        token: "token".to_owned(),
        spec: String::new(),
        resources: "  - {kind: GitRepository, name: ROW}\n".to_owned(),
        method: "POST",
        target: str::to_owned,
        headers: vec![("Content-Type", "application/json".to_owned())],
        body: BODY.into(),
        want,
    }
}

impl Row {
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(held, _)| *held != name);
        self.headers.push((name, value.into()));
        self
    }

    fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn token(mut self, token: &str) -> Self {
        token.clone_into(&mut self.token);
        self
    }

    fn spec(mut self, line: &str) -> Self {
        self.spec = format!("{}  {line}\n", self.spec);
        self
    }

    fn resources(mut self, items: &[&str]) -> Self {
        self.resources = items.iter().map(|item| format!("  - {item}\n")).collect();
        self
    }

    fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    fn target(mut self, target: fn(&str) -> String) -> Self {
        self.target = target;
        self
    }

    /// Signed as GitHub does it, with the row's token.
    fn signed(self) -> Self {
        let value = format!("sha256={}", mac(&self.token, &self.body));
        self.with("X-Hub-Signature-256", value)
    }

    /// Receiver, Secret, and objects `NAME`, `NAME-a`, `NAME-b` (labelled x, y and x), under `name`.
    fn manifests(&self, name: &str) -> String {
        let secret = match self.receiver_type {
            "generic-oidc" => String::new(),
            _ => format!("  secretRef: {{name: {name}}}\n"),
        };
        let mut text = format!(
            "apiVersion: notification.toolkit.fluxcd.io/v1\nkind: Receiver\nmetadata: {{name: {name}, namespace: ns}}\nspec:\n  type: {}\n{secret}{}  resources:{}\n{}",
            self.receiver_type,
            self.spec,
            if self.resources.is_empty() { " []" } else { "" },
            self.resources,
        )
        .replace("ROW", name);
        let token = STANDARD.encode(&self.token);
        text += &format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: ns}}\ndata: {{token: {token:?}}}\nstringData: {{email: {EMAIL:?}, audience: {AUDIENCE:?}}}\n"
        );
        for (suffix, label) in [("", "x"), ("-a", "y"), ("-b", "x")] {
            text += &format!(
                "---\napiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {{name: {name}{suffix}, namespace: ns, labels: {{row: {name}, app: {label}}}}}\n"
            );
        }
        text
    }

    fn path(&self, name: &str) -> String {
        let token = match self.receiver_type {
            "generic-oidc" => "",
            _ => &self.token,
        };
        (self.target)(&Digest::of(token.as_bytes(), name, "ns").path())
    }
}

fn mac(key: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    hex::encode(hmac::sign(&key, body))
}

/// A server over the rows, with these flags.
struct Stage {
    address: SocketAddr,
    requester: Arc<ManifestRequester>,
    signer: Signer,
    _stop: watch::Sender<bool>,
}

impl Stage {
    async fn start(rows: &[Row], signer: Signer, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (n, row) in rows.iter().enumerate() {
            let name = format!("row-{n}");
            std::fs::write(
                folder.path().join(format!("{name}.yaml")),
                row.manifests(&name),
            )
            .unwrap();
        }
        let snapshot = Arc::new(manifests::read(folder.path()).unwrap());
        assert_eq!(snapshot.problems, []);
        let args = [&["run", "--manifests=."], flags].concat();
        let options = crate::run::options(&RunArgs::try_parse_from(args).unwrap());
        let keys = Arc::new(IssuerKeys::from_jwks(signer.jwks().as_bytes()).unwrap());
        let issuers = [ISSUER, GOOGLE].map(|url| (url.to_owned(), Arc::clone(&keys)));
        let compiled = publish::compile(
            Arc::clone(&snapshot),
            &BTreeMap::from(issuers),
            &options,
            b"",
        );
        let (_, snapshots) = watch::channel(snapshot);
        let requester = Arc::new(ManifestRequester::new(snapshots));
        let deliverer = Deliverer::new(
            Annotator::new(Arc::clone(&requester)),
            Arc::new(Metrics::default()),
            Arc::new(Activities::default()),
            true,
        );
        let server = HookServer::new(
            Arc::new(ArcSwap::from_pointee(compiled)),
            Arc::new(deliverer),
            Vec::new(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(Arc::new(server).serve(listener, stopped));
        Self {
            address,
            requester,
            signer,
            _stop: stop,
        }
    }

    /// The status, and that there is no body.
    async fn send(&self, row: &Row, name: &str) -> u16 {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: h\r\n", row.method, row.path(name));
        for (name, value) in &row.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!(
            "Content-Length: {}\r\nConnection: close\r\n\r\n",
            row.body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // A body above the limit is refused by its declared length, and never sent.
        if row.body.len() <= MAX {
            stream.write_all(&row.body).await.unwrap();
        }
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(20), reading).await;
        let text = String::from_utf8(answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        assert_eq!(body, "", "{}", row.what);
        head.split(' ').nth(1).unwrap_or("0").parse().unwrap()
    }

    /// How many of a row's resources were asked for.
    fn requested(&self, name: &str) -> usize {
        let requests = self.requester.debug_requests();
        let counts = requests["counts"].as_object().unwrap();
        let mine = |resource: &&String| {
            let held = resource.rsplit('/').next().unwrap();
            held == name
                || held.strip_suffix("-a") == Some(name)
                || held.strip_suffix("-b") == Some(name)
        };
        counts.keys().filter(mine).count()
    }
}

/// Answers of all rows at once, so that a failure shows every row that is off.
async fn check_with(rows: Vec<Row>, signer: Signer, flags: &[&str]) {
    let stage = Stage::start(&rows, signer, flags).await;
    let mut off = Vec::new();
    for (n, row) in rows.iter().enumerate() {
        let name = format!("row-{n}");
        let status = stage.send(row, &name).await;
        let got = (status, stage.requested(&name));
        if got != row.want {
            off.push(format!(
                "{} ({}): {got:?} and not {:?}",
                row.what, row.receiver_type, row.want
            ));
        }
    }
    assert!(off.is_empty(), "{off:#?}");
    drop(stage.signer);
}

async fn check(rows: Vec<Row>) {
    check_with(rows, Signer::new(), &[]).await;
}

/// Signs tokens as an issuer.
struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
    }

    fn jwks(&self) -> String {
        // An uncompressed point: 4, x, y.
        let point = self.0.public_key().as_ref();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256", "use": "sig",
            "x": part(&point[1..33]), "y": part(&point[33..]),
        }]})
        .to_string()
    }

    fn token(&self, head: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(head), part(claims));
        let signature = self
            .0
            .sign(&SystemRandom::new(), message.as_bytes())
            .unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token that `generic-oidc` and `gcr` take, but for these changes; `null` leaves out.
    fn bearer(&self, changes: Value) -> String {
        let now = crate::clock::now_ms() / 1000;
        let mut claims = json!({"iss": ISSUER, "aud": "notification-controller", "exp": now + 600});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        format!(
            "Bearer {}",
            self.token(&json!({"alg": "ES256", "kid": "k"}), &claims)
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_signatures() {
    let old = |algorithm: &str, digits: &str| {
        row("old header", "github", (200, 1))
            .with("X-Hub-Signature", format!("{algorithm}={digits}"))
    };
    let sha512 = "ba49015231e38c2779666c90692d82917c88a814b1c1ae23e94d9544b321011aa9c10824df4d5ac1c5bbb397d1947d4eda37014bbd33d4acb1b11a6f71039f59";
    let good = format!("sha256={SHA256}");
    let form = |want| {
        row("a form", "github", want)
            .with("Content-Type", "application/x-www-form-urlencoded")
            .body("payload=%7B%22action%22%3A%22push%22%7D")
            .with(
                "X-Hub-Signature-256",
                "sha256=75a94070d3a7810961f64822568c0d40546bedb6d70dc7ab59cb443a0197d55c",
            )
    };
    let empty = |want| {
        row("an empty body", "github", want).body("").with(
            "X-Hub-Signature-256",
            "sha256=ce282bed9e6f7eb223c19a9ed2220e32c351b5a3e14ddfeab0f2230755a2987b",
        )
    };
    let nexus = |signature: &str, want| {
        row("nexus", "nexus", want).with("X-Nexus-Webhook-Signature", signature)
    };
    let trailing = r#"{"action":"push"} x"#;
    let sha1 = |body: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"token");
        hex::encode(hmac::sign(&key, body.as_bytes()))
    };
    check(vec![
        row("sha256", "github", (200, 1)).with("X-Hub-Signature-256", good.as_str()),
        old("sha1", SHA1),
        old("sha512", sha512),
        row("the prefix decides", "github", (200, 1))
            .with("X-Hub-Signature-256", format!("sha1={SHA1}")),
        row("both, the strong one wrong", "github", (400, 0))
            .with("X-Hub-Signature-256", format!("sha256={}", "0".repeat(64)))
            .with("X-Hub-Signature", good.as_str()),
        row("both, the strong one empty", "github", (200, 1))
            .with("X-Hub-Signature-256", "")
            .with("X-Hub-Signature", good.as_str()),
        row("upper case", "github", (200, 1)).with(
            "X-Hub-Signature-256",
            format!("sha256={}", SHA256.to_uppercase()),
        ),
        row("an upper-case prefix", "github", (400, 0))
            .with("X-Hub-Signature-256", format!("SHA256={SHA256}")),
        row("another prefix", "github", (400, 0))
            .with("X-Hub-Signature-256", format!("sha384={SHA256}")),
        row("no prefix", "github", (400, 0)).with("X-Hub-Signature-256", SHA256),
        row("no signature", "github", (400, 0)),
        // nc takes an empty token; here the Receiver is not ready and its path unknown.
        row("an empty token, unsigned", "github", (404, 0)).token(""),
        row("an empty token, signed", "github", (404, 0))
            .token("")
            .with(
                "X-Hub-Signature-256",
                "sha256=f9eb7404aac82dec8dc6304fb1c8401fa81c04e6f8467bce161af10a2b25cbd3",
            ),
        row("signed without the token's newline", "github", (400, 0))
            .token("token\n")
            .with("X-Hub-Signature-256", good.as_str()),
        row("signed with the token's newline", "github", (200, 1))
            .token("token\n")
            .with(
                "X-Hub-Signature-256",
                "sha256=f85bd3e39b74742729fc55bd2bb28bd13a506d264bf8e697a997c6bd1a587d03",
            ),
        empty((200, 1)),
        empty((500, 0)).spec("resourceFilter: 'true'"),
        form((200, 1)),
        form((500, 0)).spec("resourceFilter: req.action == 'push'"),
        row("a key longer than the block", "github", (200, 1))
            .token(&"k".repeat(100))
            .with(
                "X-Hub-Signature-256",
                "sha256=847dbff4779ddefefe5d4754496ac78fa9b7914d752ac2105121b110351cc4a5",
            ),
        row("no content type", "generic-hmac", (200, 1))
            .with("X-Signature", good.as_str())
            .with("Content-Type", ""),
        row("in GitHub's header", "generic-hmac", (400, 0))
            .with("X-Hub-Signature-256", good.as_str()),
        nexus(SHA1, (200, 1)),
        nexus(&SHA1.to_uppercase(), (400, 0)),
        nexus(&format!("sha1={SHA1}"), (400, 0)),
        nexus(&sha1(trailing), (400, 0)).body(trailing),
        row("sha256", "bitbucket", (200, 1)).with("X-Hub-Signature", good.as_str()),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_content_types() {
    let mut rows = Vec::new();
    for receiver_type in ["github", "bitbucket"] {
        for (content_type, status) in [
            ("application/json", 200),
            ("Application/JSON", 200),
            ("application/json; charset=utf-8", 200),
            ("application/json;", 200),
            ("application/x-www-form-urlencoded; charset=utf-8", 200),
            ("", 400),
            ("text/plain", 400),
            ("application/vnd.github+json", 400),
            ("application/json, text/plain", 400),
            ("application/json; charset", 400),
            ("application/json; a=1; a=2", 400),
        ] {
            let want = (status, usize::from(status == 200));
            let row = row(content_type, receiver_type, want).with("Content-Type", content_type);
            rows.push(row.signed());
        }
        let mut absent = row("no content type", receiver_type, (400, 0)).signed();
        absent.headers.retain(|(name, _)| *name != "Content-Type");
        rows.push(absent);
    }
    // Filters see the body where the first readable element of the header is JSON.
    for (content_type, status) in [
        ("text/plain, application/json", 200),
        ("application/json, ;", 200),
        ("; , application/json", 500),
        ("application/cloudevents+json", 500),
    ] {
        let want = (status, usize::from(status == 200));
        rows.push(
            row(content_type, "generic", want)
                .with("Content-Type", content_type)
                .spec("resourceFilter: req.action == 'push'"),
        );
    }
    check(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_events() {
    let github = |event: &str, want| {
        row("github", "github", want)
            .signed()
            .spec("events: [push, ping]")
            .with("X-GitHub-Event", event)
    };
    let gitlab = |event: &str, want| {
        row("gitlab", "gitlab", want)
            .with("X-Gitlab-Token", "token")
            .spec("events: [Push Hook]")
            .with("X-Gitlab-Event", event)
    };
    let unread =
        |receiver_type| row("events do not count", receiver_type, (200, 1)).spec("events: [x]");
    check(vec![
        github("push", (200, 1)),
        github("PUSH", (200, 1)),
        // Genuine, but not listed: ignored with 200, where nc answers 400.
        github("issues", (200, 0)),
        row("no event", "github", (200, 0))
            .signed()
            .spec("events: [push, ping]"),
        row("no list, no event", "github", (200, 1))
            .signed()
            .spec("events: []"),
        gitlab("push hook", (200, 1)),
        gitlab("Push Hook ", (200, 1)),
        gitlab("Tag Push Hook", (200, 0)),
        unread("harbor").with("Authorization", "token"),
        unread("quay"),
        unread("dockerhub"),
        unread("acr"),
        unread("generic"),
    ])
    .await;
    let strict = vec![
        github("issues", (400, 0)),
        gitlab("Tag Push Hook", (400, 0)),
    ];
    check_with(strict, Signer::new(), &["--filtered-hook-status=400"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a4_token_headers() {
    let gitlab = |token: &str, want| row("gitlab", "gitlab", want).with("X-Gitlab-Token", token);
    let harbor = |token: &str, want| row("harbor", "harbor", want).with("Authorization", token);
    check(vec![
        gitlab("token", (200, 1)),
        gitlab("other", (400, 0)),
        gitlab("tok", (400, 0)),
        row("no token", "gitlab", (400, 0)),
        // Duplicates are refused, whichever is right.
        gitlab("token", (400, 0)).with("x-gitlab-token", "other"),
        gitlab("other", (400, 0)).with("x-gitlab-token", "token"),
        harbor("token", (200, 1)),
        harbor("Bearer token", (400, 0)),
        harbor("Bearer token", (200, 1)).token("Bearer token"),
        row("no token", "harbor", (400, 0)),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_paths_methods_and_sizes() {
    let methods = |status: fn(&str) -> u16| {
        ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"].map(|method| {
            let status = status(method);
            row(method, "generic", (status, usize::from(status == 200))).method(method)
        })
    };
    // nc takes any method.
    let mut rows = Vec::from(methods(|method| if method == "PUT" { 200 } else { 405 }));
    let targets: [fn(&str) -> String; 13] = [
        |path| format!("{path}?a=b"),
        |path| format!("{path}/"),
        |path| format!("/hook/{}", path[6..].to_uppercase()),
        |path| format!("/hook/%{:02x}{}", path.as_bytes()[6], &path[7..]),
        // nc redirects these.
        |path| format!("/{path}"),
        |_| "/hook".to_owned(),
        |_| "/".to_owned(),
        |_| "/healthz".to_owned(),
        |path| format!("/x/..{path}"),
        |path| path.replacen("/hook/", "/hook%2f", 1),
        |path| path.replacen("/hook/", "/Hook/", 1),
        |path| format!("{path};x=1"),
        |path| format!("http://h{path}"),
    ];
    rows.extend(targets.map(|target| row("another form", "generic", (404, 0)).target(target)));
    rows.extend([
        row("3 MiB", "generic", (200, 1)).body(vec![b' '; MAX]),
        row("3 MiB and a byte", "generic", (413, 0)).body(vec![b' '; MAX + 1]),
        // nc answers 413 before it looks; here the path comes first.
        row("as large, unknown", "generic", (404, 0))
            .body(vec![b' '; MAX + 1])
            .target(|_| "/hook/unknown".to_owned()),
        row("as large, suspended", "generic", (503, 0))
            .body(vec![b' '; MAX + 1])
            .spec("suspend: true"),
    ]);
    check(rows).await;
    let any = Vec::from(methods(|_| 200));
    check_with(any, Signer::new(), &["--allow-any-method"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_states() {
    check(vec![
        row("suspended", "generic", (503, 0)).spec("suspend: true"),
        row("a broken filter", "generic", (503, 0)).spec("resourceFilter: req.flag"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_targets() {
    let of = |what, resources: &[&str], want| row(what, "generic", want).resources(resources);
    let labels = "matchLabels: {row: ROW}";
    let wild = format!("{{kind: GitRepository, name: '*', {labels}}}");
    let mut rows = vec![
        of(
            "the first fails",
            &["{kind: GitRepository, name: none}", "{kind: GitRepository, name: ROW}"],
            (500, 1),
        ),
        // One object's error leaves the others alone; nc stops at it.
        of(
            "a filter that fails for one of three",
            &[&wild.replace(
                labels,
                "matchLabels: {row: ROW}, filter: \"res.metadata.labels.app == 'x' || req.nothing == 1\"",
            )],
            (500, 2),
        ),
        of(
            "a wildcard that matches none",
            &["{kind: GitRepository, name: '*', matchLabels: {row: none}}"],
            (200, 0),
        ),
        of("a wildcard", &[&wild], (200, 3)),
        of("a wildcard without labels", &["{kind: GitRepository, name: '*'}"], (500, 0)),
        of(
            "labels of a name do not count",
            &["{kind: GitRepository, name: ROW, matchLabels: {no: match}}"],
            (200, 1),
        ),
        of("no resources", &[], (200, 0)),
        of(
            "another version of the group",
            &["{apiVersion: source.toolkit.fluxcd.io/v1beta2, kind: GitRepository, name: ROW}"],
            (200, 1),
        ),
        of(
            "another group",
            &["{apiVersion: source.example/v1, kind: GitRepository, name: ROW}"],
            (500, 0),
        ),
        of(
            "its own namespace, named",
            &["{kind: GitRepository, name: ROW, namespace: ns}"],
            (200, 1),
        ),
        of(
            "another namespace",
            &["{kind: GitRepository, name: ROW, namespace: other}"],
            (500, 0),
        ),
        of(
            "the same object by two entries",
            &["{kind: GitRepository, name: ROW}", &wild],
            (200, 3),
        ),
        row("both filters", "generic", (200, 1))
            .spec("resourceFilter: req.action == 'push'")
            .resources(&[&wild.replace(labels, "matchLabels: {row: ROW}, filter: \"res.metadata.name == 'ROW'\"")]),
        row("the top-level filter says no", "generic", (200, 0))
            .spec("resourceFilter: 'false'")
            .resources(&[&wild]),
    ];
    for kind in [
        "HelmRelease",
        "Kustomization",
        "ImagePolicy",
        "ImageUpdateAutomation",
        "ExternalArtifact",
    ] {
        let entry = format!("{{kind: {kind}, name: ROW}}");
        rows.push(of("no apiVersion", &[&entry], (500, 0)));
    }
    check(rows).await;
    // In the one namespace there is, everything: a stage of its own, to count.
    let all = of(
        "all",
        &["{kind: GitRepository, name: '*', matchLabels: {}}"],
        (200, 3),
    );
    check(vec![all]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_shapes_of_json() {
    let mut rows = Vec::new();
    for receiver_type in ["dockerhub", "quay", "acr"] {
        for (body, status) in [
            ("{}", 200),
            ("null", 200),
            (r#"{"push_data":null}"#, 200),
            ("{} trailing", 200),
            ("", 400),
            ("[]", 400),
            (r#""x""#, 400),
        ] {
            let want = (status, usize::from(status == 200));
            let row = row(body, receiver_type, want).body(body);
            rows.push(row.with("Content-Type", "text/plain"));
        }
    }
    rows.push(row("a tag", "dockerhub", (400, 0)).body(r#"{"push_data":{"tag":1}}"#));
    let signer = Signer::new();
    let google = signer.bearer(json!({
        "iss": GOOGLE, "aud": AUDIENCE, "email": EMAIL, "email_verified": true,
    }));
    let gcr = |body: &str, want| {
        row("gcr", "gcr", want)
            .with("Authorization", google.as_str())
            .body(body)
    };
    let inner = |data: &str| format!(r#"{{"message":{{"data":"{}"}}}}"#, STANDARD.encode(data));
    rows.extend([
        gcr(r#"{"message":{"data":""}}"#, (400, 0)),
        gcr(&inner("{}"), (200, 1))
            .spec("resourceFilter: \"req == {'action': '', 'digest': '', 'tag': ''}\""),
        gcr(
            &inner(r#"{"action":"INSERT","tag":"v1","more":1}"#),
            (200, 1),
        )
        .spec("resourceFilter: req.tag == 'v1' && !has(req.more)"),
        gcr(
            &format!(
                r#"{{"message":{{"data":"{}","publishTime":"x"}}}}"#,
                STANDARD.encode("{}")
            ),
            (400, 0),
        ),
    ]);
    check_with(rows, signer, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a9_tokens() {
    let signer = Signer::new();
    let now = crate::clock::now_ms() / 1000;
    let providers = format!(
        "oidcProviders: [{{issuerURL: {ISSUER:?}, variables: [{{name: repo, expression: claims.repo}}], validations: [{{expression: \"vars.repo == 'a/b'\", message: wrong repo}}]}}]"
    );
    let plain = format!(
        "oidcProviders: [{{issuerURL: {ISSUER:?}, validations: [{{expression: 'true', message: never}}]}}]"
    );
    let token = |changes: Value, want| {
        row("oidc", "generic-oidc", want)
            .spec(&plain)
            .with("Authorization", signer.bearer(changes))
    };
    let validated = |changes: Value, want| {
        row("validated", "generic-oidc", want)
            .spec(&providers)
            .with("Authorization", signer.bearer(changes))
    };
    let raw = |head: Value, want| {
        let claims = json!({"iss": ISSUER, "aud": "notification-controller", "exp": now + 600});
        row("raw", "generic-oidc", want).spec(&plain).with(
            "Authorization",
            format!("Bearer {}", signer.token(&head, &claims)),
        )
    };
    let google = |changes: Value, want| {
        let mut claims = json!({
            "iss": GOOGLE, "aud": AUDIENCE, "email": EMAIL, "email_verified": true,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        row("gcr", "gcr", want)
            .with("Authorization", signer.bearer(claims))
            .body(format!(
                r#"{{"message":{{"data":"{}"}}}}"#,
                STANDARD.encode("{}")
            ))
    };
    let lower = signer.bearer(json!({})).replacen("Bearer", "bearer", 1);
    let rows = vec![
        token(json!({}), (200, 1)),
        token(json!({}), (400, 0)).with("Authorization", lower),
        token(json!({}), (400, 0)).with("Authorization", "Bearer not-a-jwt"),
        row("no token", "generic-oidc", (400, 0)).spec(&plain),
        token(json!({"aud": ["x", "notification-controller"]}), (200, 1)),
        token(json!({"aud": null}), (400, 0)),
        token(json!({"aud": "x"}), (400, 0)),
        token(json!({"exp": now - 1}), (400, 0)),
        token(json!({"nbf": now + 240}), (200, 1)),
        token(json!({"nbf": now + 420}), (400, 0)),
        token(json!({"iss": format!("{ISSUER}/")}), (400, 0)),
        raw(json!({"alg": "none", "kid": "k"}), (400, 0)),
        raw(json!({"alg": "HS256", "kid": "k"}), (400, 0)),
        raw(json!({"alg": "ES256", "kid": "unknown"}), (400, 0)),
        validated(json!({"repo": "a/b"}), (200, 1)),
        validated(json!({"repo": "a/c"}), (400, 0)),
        validated(json!({}), (400, 0)),
        validated(json!({"repo": "a/b"}), (200, 1)).spec("resourceFilter: claims.repo == 'a/b'"),
        validated(json!({"repo": "a/b"}), (200, 0)).spec("resourceFilter: claims.repo == 'a/c'"),
        google(json!({}), (200, 1)),
        google(json!({"iss": "accounts.google.com"}), (200, 1)),
        google(json!({"aud": [AUDIENCE]}), (400, 0)),
        google(json!({"email_verified": "true"}), (400, 0)),
        google(json!({"email": "other@example.com"}), (400, 0)),
    ];
    check_with(rows, signer, &[]).await;
}
