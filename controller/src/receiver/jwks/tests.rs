//! The cache against issuers on loopback that count what they are asked.

use super::*;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::http::{Response, Uri};
use serde_json::{Value, json};
use std::convert::Infallible;

const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/keys";
const HOUR: Duration = Duration::from_secs(3600);

/// What the server does at a path.
#[derive(Clone)]
enum Reply {
    Body(String),
    /// Without a declared length.
    Chunked(usize),
    Never,
    Redirect(String),
    Status(u16),
}

struct Server {
    url: String,
    replies: Arc<Mutex<BTreeMap<String, Reply>>>,
    asked: watch::Receiver<BTreeMap<String, usize>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Everything = (
    Arc<Mutex<BTreeMap<String, Reply>>>,
    Arc<watch::Sender<BTreeMap<String, usize>>>,
);

async fn answer(Shared((replies, asked)): Shared<Everything>, uri: Uri) -> Response<Body> {
    let path = uri.path().to_owned();
    asked.send_modify(|asked| *asked.entry(path.clone()).or_default() += 1);
    let reply = lock(&replies)
        .get(&path)
        .cloned()
        .unwrap_or(Reply::Status(404));
    let response = Response::builder();
    match reply {
        Reply::Body(body) => response.body(body.into()),
        Reply::Chunked(length) => {
            let chunks =
                (0..length).map(|_| Ok::<_, Infallible>(Bytes::from_static(&[b' '; 1024])));
            response.body(Body::from_stream(futures_util::stream::iter(chunks)))
        }
        Reply::Never => std::future::pending().await,
        Reply::Redirect(to) => response
            .status(302)
            .header("location", to)
            .body(Body::empty()),
        Reply::Status(status) => response.status(status).body("secret".into()),
    }
    .unwrap()
}

impl Server {
    /// An issuer with one key.
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let replies = Arc::new(Mutex::new(BTreeMap::new()));
        let (sender, asked) = watch::channel(BTreeMap::new());
        let state: Everything = (Arc::clone(&replies), Arc::new(sender));
        let app = Router::new().fallback(answer).with_state(state);
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let server = Self {
            url,
            replies,
            asked,
            task,
        };
        server.discovery(&json!({}));
        server.keys(&["p256"]);
        server
    }

    fn set(&self, path: &str, reply: Reply) {
        lock(&self.replies).insert(path.into(), reply);
    }

    fn discovery(&self, members: &Value) {
        let mut document = json!({"issuer": self.url, "jwks_uri": format!("{}{KEYS}", self.url)});
        document["id_token_signing_alg_values_supported"] = json!(["ES256", "RS256", "ES512"]);
        for (name, value) in members.as_object().unwrap() {
            document[name] = value.clone();
        }
        self.set(DISCOVERY, Reply::Body(document.to_string()));
    }

    fn keys(&self, kids: &[&str]) {
        let keys: Vec<_> = kids.iter().map(|kid| jwk(kid)).collect();
        self.set(KEYS, Reply::Body(json!({ "keys": keys }).to_string()));
    }

    fn asked(&self, path: &str) -> usize {
        self.asked.borrow().get(path).copied().unwrap_or_default()
    }
}

/// A key of the vectors shared with the core.
fn jwk(kid: &str) -> Value {
    let vectors = include_str!("../../../../filter/hook/tests/vectors/jwt.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let keys = vectors["keys"].as_array().unwrap();
    keys.iter().find(|key| key["jwk"]["kid"] == kid).unwrap()["jwk"].clone()
}

fn key(kid: &str, algorithms: &[Algorithm]) -> Key {
    let key = jwk_to_key(&serde_json::from_value(jwk(kid)).unwrap()).unwrap();
    Key {
        algorithms: algorithms.to_vec(),
        ..key
    }
}

/// The issuer as [`Server::start`] makes it.
fn one_key() -> IssuerKeys {
    IssuerKeys {
        algorithms: vec![Algorithm::Rs256, Algorithm::Es256],
        keys: vec![key("p256", &[Algorithm::Es256])],
    }
}

fn two_keys() -> IssuerKeys {
    let mut keys = one_key();
    keys.keys.push(key("rsa-2048", &[Algorithm::Rs256]));
    keys
}

/// May ask for newer keys at any time.
fn eager() -> Settings {
    Settings {
        retry: Duration::ZERO,
        ..Settings::default()
    }
}

#[tokio::test]
async fn keys_are_fetched_once_however_many_ask() {
    let server = Server::start().await;
    let jwks = Jwks::new(Settings::default());
    let all = futures_util::future::join_all((0..20).map(|_| jwks.keys(&server.url))).await;
    for keys in all {
        assert_eq!(keys.as_deref(), Ok(&one_key()));
    }
    assert_eq!(jwks.keys(&server.url).await.as_deref(), Ok(&one_key()));
    assert_eq!((server.asked(DISCOVERY), server.asked(KEYS)), (1, 1));
}

#[tokio::test]
async fn a_caller_that_gives_up_stops_no_fetch_and_starts_no_second() {
    let server = Server::start().await;
    let jwks = Jwks::new(Settings::default());
    for _ in 0..5 {
        let _ = tokio::time::timeout(Duration::ZERO, jwks.keys(&server.url)).await;
    }
    assert_eq!(jwks.keys(&server.url).await.as_deref(), Ok(&one_key()));
    assert_eq!((server.asked(DISCOVERY), server.asked(KEYS)), (1, 1));
}

#[tokio::test]
async fn an_unknown_key_fetches_again_but_not_more_often_than_allowed() {
    let server = Server::start().await;
    let jwks = Jwks::new(Settings::default());
    jwks.keys(&server.url).await.unwrap();
    server.keys(&["rsa-2048", "p256"]);
    for _ in 0..100 {
        assert_eq!(jwks.refresh(&server.url).await.as_deref(), Ok(&one_key()));
    }
    assert_eq!(server.asked(KEYS), 1);

    let jwks = Jwks::new(eager());
    server.keys(&["p256"]);
    jwks.keys(&server.url).await.unwrap();
    let changed = jwks.changed();
    server.keys(&["rsa-2048", "p256"]);
    assert_eq!(jwks.refresh(&server.url).await.as_deref(), Ok(&two_keys()));
    assert!(changed.has_changed().unwrap());
}

#[tokio::test]
async fn the_same_keys_in_another_order_are_no_change() {
    let server = Server::start().await;
    let jwks = Jwks::new(eager());
    server.keys(&["p256", "rsa-2048", "p256"]);
    jwks.keys(&server.url).await.unwrap();
    let changed = jwks.changed();
    server.keys(&["rsa-2048", "p256"]);
    assert_eq!(jwks.refresh(&server.url).await.as_deref(), Ok(&two_keys()));
    assert_eq!(server.asked(KEYS), 2);
    assert!(!changed.has_changed().unwrap());
}

#[tokio::test]
async fn a_failing_issuer_is_not_asked_again_at_once() {
    let server = Server::start().await;
    server.set(DISCOVERY, Reply::Status(500));
    let jwks = Jwks::new(Settings::default());
    let document = Document::Discovery;
    for _ in 0..10 {
        let error = JwksError::Status {
            document,
            status: 500,
        };
        assert_eq!(jwks.keys(&server.url).await, Err(error.clone()));
        assert_eq!(jwks.refresh(&server.url).await, Err(error));
    }
    assert_eq!(server.asked(DISCOVERY), 1);
}

#[tokio::test]
async fn good_keys_outlive_a_failure_until_they_are_too_old() {
    let server = Server::start().await;
    let jwks = Jwks::new(eager());
    let forgetful = Jwks::new(Settings {
        max_age: Duration::ZERO,
        ..eager()
    });
    jwks.keys(&server.url).await.unwrap();
    forgetful.keys(&server.url).await.unwrap();
    let (changed, forgotten) = (jwks.changed(), forgetful.changed());
    server.set(KEYS, Reply::Status(503));
    assert_eq!(jwks.refresh(&server.url).await.as_deref(), Ok(&one_key()));
    assert!(!changed.has_changed().unwrap());
    let error = JwksError::Status {
        document: Document::Keys,
        status: 503,
    };
    assert_eq!(forgetful.refresh(&server.url).await, Err(error));
    assert!(forgotten.has_changed().unwrap());
}

#[tokio::test]
async fn keys_are_fetched_again_in_the_background_and_a_change_is_told() {
    let mut server = Server::start().await;
    let settings = Settings {
        refresh: Duration::from_millis(5),
        retry: Duration::from_millis(5),
        ..Settings::default()
    };
    let jwks = Jwks::new(settings);
    let background = jwks.clone();
    let task = tokio::spawn(async move { background.run().await });
    jwks.keys(&server.url).await.unwrap();
    server
        .asked
        .wait_for(|asked| asked.get(KEYS) >= Some(&3))
        .await
        .unwrap();
    let mut changed = jwks.changed();
    server.set(KEYS, Reply::Status(500));
    server
        .asked
        .wait_for(|asked| asked.get(KEYS) >= Some(&6))
        .await
        .unwrap();
    assert!(!changed.has_changed().unwrap());
    server.keys(&["rsa-2048", "p256"]);
    changed.changed().await.unwrap();
    assert_eq!(jwks.keys(&server.url).await.as_deref(), Ok(&two_keys()));
    task.abort();
}

#[tokio::test]
async fn an_issuer_is_exactly_what_its_document_says() {
    let server = Server::start().await;
    let slash = format!("{}/", server.url);
    let jwks = Jwks::new(Settings::default());
    assert_eq!(jwks.keys(&slash).await, Err(JwksError::IssuerMismatch));
    server.discovery(&json!({ "issuer": slash }));
    assert_eq!(jwks.keys(&server.url).await, Err(JwksError::IssuerMismatch));
    assert_eq!(
        Jwks::new(Settings::default()).keys(&slash).await.as_deref(),
        Ok(&one_key())
    );
}

#[tokio::test]
async fn documents_that_break_a_rule_are_refused() {
    let (discovery, keys) = (Document::Discovery, Document::Keys);
    let padded = |length| Reply::Body(" ".repeat(length));
    let body = |text: &str| Reply::Body(text.into());
    let many: Vec<_> = (0..65)
        .map(|n| {
            let mut jwk = jwk("p256");
            jwk["kid"] = json!(n.to_string());
            jwk
        })
        .collect();
    let many = json!({ "keys": many }).to_string();
    let big = |document, limit| JwksError::TooLarge { document, limit };
    let malformed = |document| JwksError::Malformed { document };
    let rows = [
        (DISCOVERY, padded(64 * 1024 + 1), big(discovery, 64 * 1024)),
        (DISCOVERY, Reply::Chunked(65), big(discovery, 64 * 1024)),
        (DISCOVERY, Reply::Chunked(64), malformed(discovery)),
        (DISCOVERY, body("<html>"), malformed(discovery)),
        (DISCOVERY, body("{}"), malformed(discovery)),
        (
            DISCOVERY,
            Reply::Status(204),
            JwksError::Status {
                document: discovery,
                status: 204,
            },
        ),
        (
            DISCOVERY,
            Reply::Never,
            JwksError::Timeout {
                document: discovery,
            },
        ),
        (KEYS, padded(256 * 1024 + 1), big(keys, 256 * 1024)),
        (KEYS, Reply::Chunked(257), big(keys, 256 * 1024)),
        (KEYS, body("[]"), malformed(keys)),
        (KEYS, body(r#"{"keys":{}}"#), malformed(keys)),
        (KEYS, body(r#"{"keys":[]}"#), JwksError::NoKeys),
        (
            KEYS,
            body(r#"{"keys":[1,{},{"kty":1},{"kty":"oct","k":"AA"}]}"#),
            JwksError::NoKeys,
        ),
        (KEYS, Reply::Body(many), JwksError::TooManyKeys),
        (
            KEYS,
            Reply::Status(404),
            JwksError::Status {
                document: keys,
                status: 404,
            },
        ),
        (KEYS, Reply::Never, JwksError::Timeout { document: keys }),
    ];
    for (index, (path, reply, expected)) in rows.into_iter().enumerate() {
        let server = Server::start().await;
        server.set(path, reply);
        let jwks = Jwks::new(Settings {
            timeout: Duration::from_secs(1),
            ..Settings::default()
        });
        let error = jwks.keys(&server.url).await.unwrap_err();
        assert_eq!(error, expected, "row {index}");
        assert!(!error.to_string().contains("secret"));
    }
}

#[tokio::test]
async fn keys_for_other_algorithms_and_uses_are_skipped() {
    let server = Server::start().await;
    server.keys(&["rsa-2048", "p256", "p384", "ed25519"]);
    server.discovery(&json!({"id_token_signing_alg_values_supported": ["EdDSA", "none", "HS256"]}));
    let jwks = Jwks::new(Settings::default());
    let expected = IssuerKeys {
        algorithms: vec![Algorithm::EdDsa],
        keys: vec![key("ed25519", &[Algorithm::EdDsa])],
    };
    assert_eq!(jwks.keys(&server.url).await.as_deref(), Ok(&expected));
    for announced in [json!(null), json!([]), json!(["ES512"])] {
        server.discovery(&json!({"id_token_signing_alg_values_supported": announced}));
        let expected = IssuerKeys {
            algorithms: vec![Algorithm::Rs256],
            keys: vec![key("rsa-2048", &[Algorithm::Rs256])],
        };
        let jwks = Jwks::new(Settings::default());
        assert_eq!(jwks.keys(&server.url).await.as_deref(), Ok(&expected));
    }
}

#[tokio::test]
async fn redirects_stay_on_their_host() {
    let (server, other) = (Server::start().await, Server::start().await);
    let redirect = |to: String| server.set(KEYS, Reply::Redirect(to));
    let outcome = async || Jwks::new(Settings::default()).keys(&server.url).await;
    server.set(
        "/moved",
        Reply::Body(json!({"keys": [jwk("p256")]}).to_string()),
    );
    redirect("/moved".into());
    assert_eq!(outcome().await.as_deref(), Ok(&one_key()));
    for to in [
        format!("{}{KEYS}", other.url),
        format!("{}/moved", server.url.replace("127.0.0.1", "localhost")),
        "http://169.254.169.254/latest".into(),
        format!("{}/moved", server.url.replace("http://", "http://u:p@")),
        KEYS.into(),
    ] {
        redirect(to.clone());
        assert_eq!(
            outcome().await,
            Err(JwksError::Redirect {
                document: Document::Keys
            }),
            "{to}"
        );
    }
    assert_eq!(other.asked(KEYS), 0);
}

#[tokio::test]
async fn metadata_services_are_not_asked() {
    let server = Server::start().await;
    let outcome = async |url: &str| {
        let settings = Settings {
            timeout: Duration::from_secs(1),
            ..Settings::default()
        };
        Jwks::new(settings).keys(url).await
    };
    let document = Document::Discovery;
    for url in [
        "http://169.254.169.254",
        "http://[fd00:ec2::254]",
        "http://metadata.google.internal",
    ] {
        assert_eq!(
            outcome(url).await,
            Err(JwksError::MetadataAddress { document }),
            "{url}"
        );
    }
    server.discovery(&json!({"jwks_uri": "http://100.100.100.200/keys"}));
    let document = Document::Keys;
    assert_eq!(
        outcome(&server.url).await,
        Err(JwksError::MetadataAddress { document })
    );
    server.discovery(&json!({"jwks_uri": "file:///etc/passwd"}));
    assert_eq!(outcome(&server.url).await, Err(JwksError::Url { document }));
}

#[tokio::test]
async fn an_issuer_that_cannot_be_reached_says_why() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Jwks::new(Settings::default()).keys(&url).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("failed to fetch the discovery document: "),
        "{text}"
    );
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn the_number_of_issuers_is_bounded_and_unused_ones_are_forgotten() {
    let server = Server::start().await;
    let jwks = Jwks::new(Settings::default());
    for n in 0..MAX_ISSUERS {
        jwks.keys(&format!("not a URL {n}")).await.unwrap_err();
    }
    assert_eq!(jwks.keys(&server.url).await, Err(JwksError::TooManyIssuers));
    jwks.retain(&BTreeSet::from([server.url.clone()]), false);
    assert_eq!(jwks.keys(&server.url).await.as_deref(), Ok(&one_key()));
    jwks.retain(&BTreeSet::from([server.url.clone()]), false);
    jwks.keys(&server.url).await.unwrap();
    assert_eq!(server.asked(KEYS), 1);
}

#[tokio::test]
async fn googles_keys_come_from_two_places_and_the_second_may_be_missing() {
    let server = Server::start().await;
    let settings = Settings {
        google_certs: format!("{}/certs", server.url),
        google_iap: format!("{}/iap", server.url),
        ..Settings::default()
    };
    let keys = |kids: &[&str]| {
        let keys: Vec<_> = kids.iter().map(|kid| jwk(kid)).collect();
        Reply::Body(json!({ "keys": keys }).to_string())
    };
    server.set("/certs", keys(&["rsa-2048", "p384"]));
    let mut expected = IssuerKeys {
        algorithms: vec![Algorithm::Rs256],
        keys: vec![key("rsa-2048", &[Algorithm::Rs256])],
    };
    assert_eq!(
        Jwks::new(settings.clone()).google().await.as_ref(),
        Ok(&expected)
    );
    server.set("/iap", keys(&["p256", "rsa-2048"]));
    expected.algorithms.push(Algorithm::Es256);
    expected.keys.insert(0, key("p256", &[Algorithm::Es256]));
    let jwks = Jwks::new(settings.clone());
    assert_eq!(jwks.google().await.as_ref(), Ok(&expected));
    assert_eq!(jwks.google().await.as_ref(), Ok(&expected));
    assert_eq!((server.asked("/certs"), server.asked("/iap")), (2, 2));
    server.set("/certs", Reply::Status(404));
    let error = JwksError::Status {
        document: Document::Keys,
        status: 404,
    };
    assert_eq!(Jwks::new(settings).google().await, Err(error));
}

#[test]
fn production_asks_google_and_never_a_metadata_service() {
    let Settings {
        refresh,
        refresh_bounds,
        retry,
        max_age,
        allow_metadata_addresses,
        ..
    } = Settings::default();
    assert_eq!((refresh, refresh_bounds), (HOUR / 4, (HOUR / 60, HOUR)));
    assert_eq!(
        (retry, max_age, allow_metadata_addresses),
        (HOUR / 360, 24 * HOUR, false)
    );
}
