//! What a hook that comes to `:9292` is answered, and how many resources it asks for, from manifests to
//! answer.

mod cases;

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
use crate::trigger::select::Reach;
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
    _stop: watch::Sender<bool>,
}

impl Stage {
    async fn start(rows: &[Row], signer: &Signer, flags: &[&str]) -> Self {
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
        let args = RunArgs::try_parse_from(args).unwrap();
        let reach = Reach {
            no_cross_namespace_refs: true,
            only_namespace: None,
        };
        // What is refused is told by an answer here, and not by a warning.
        let options = crate::run::options(&args, Reach::default());
        let keys = Arc::new(IssuerKeys::from_jwks(signer.jwks().as_bytes()).unwrap());
        let issuers = [ISSUER, GOOGLE].map(|url| (url.to_owned(), Arc::clone(&keys)));
        let compiled = publish::compile(
            Arc::clone(&snapshot),
            &BTreeMap::from(issuers),
            &options,
            b"",
        );
        let (_, snapshots) = watch::channel(Some(snapshot));
        let requester = Arc::new(ManifestRequester::new(snapshots));
        let deliverer = Deliverer::new(
            Annotator::new(Arc::clone(&requester)),
            Arc::new(Metrics::new(Arc::default())),
            Arc::new(Activities::default()),
            reach,
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
async fn check_with(rows: Vec<Row>, signer: &Signer, flags: &[&str]) {
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
}

async fn check(rows: Vec<Row>) {
    check_with(rows, &Signer::new(), &[]).await;
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
    fn bearer(&self, changes: &Value) -> String {
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
