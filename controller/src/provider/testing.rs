//! What the providers' tests share: events, an example Target, and a driver that writes down what
//! it is told to send.

use std::fmt::Write as _;

use expect_test::Expect;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::part::{mime, protobuf};
use super::{
    AlertId, AmqpAuth, AmqpMessage, Context, Conversation, Exchange, GitHubApp, HttpReply,
    HttpRequest, Mail, NatsAuth, NatsMessage, ProviderError, ProviderType, Reply, Request, Step,
    Target, TokenRequest, TokenSource,
};
use crate::api::event::{Event, ObjectReference, Timestamp};

/// A part of every secret of the example Target, and of no text that may be shown.
pub(super) const SECRET: &str = "hush";

/// When everything happens, as the event does: 2026-01-02T03:04:05Z.
pub(super) const NOW: u64 = 1_767_323_045;

/// A key for tests, which guards nothing.
const KEY: &str = include_str!("../../../tests/harness/forge/rsa-test-key.pem");

/// What a token server answers, in the forms of OAuth and of GitHub.
const TOKEN: &str = r#"{"id":7,"access_token":"fetched","token":"fetched","expires_in":3600,"expires_at":"2026-01-02T04:04:05Z"}"#;

/// What a provider type is tried with.
pub(super) struct Example {
    /// Where to.
    pub(super) target: Target,
    /// What is answered, in order; 200 and `{}` after that.
    pub(super) answers: Vec<HttpReply>,
}

impl Default for Example {
    fn default() -> Self {
        Self {
            target: target(),
            answers: Vec::new(),
        }
    }
}

impl Example {
    /// The usual Target, whose server answers so.
    pub(super) fn answering<const N: usize>(answers: [(u16, &str); N]) -> Self {
        Self {
            target: target(),
            answers: answers.map(|(status, body)| answer(status, body)).into(),
        }
    }
}

/// A reply without headers.
pub(super) fn answer(status: u16, body: &str) -> HttpReply {
    HttpReply {
        status,
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
    }
}

fn target() -> Target {
    let secret = |name: &str| SecretString::from(format!("{SECRET}-{name}"));
    Target {
        namespace: "apps".to_owned(),
        name: "provider".to_owned(),
        uid: "0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a".to_owned(),
        address: "https://provider.test/hook/hush-address".to_owned().into(),
        channel: "general".to_owned(),
        token: Some(secret("token")),
        headers: [("x-team".to_owned(), "web".to_owned().into())].into(),
        ..Target::default()
    }
}

/// An App's credentials.
pub(super) fn app() -> GitHubApp {
    GitHubApp {
        id: "42".to_owned(),
        private_key: rsa_key(),
        installation_owner: Some("acme".to_owned()),
        installation_id: None,
        base_url: None,
    }
}

/// A key of RSA in PEM.
pub(super) fn rsa_key() -> SecretString {
    KEY.to_owned().into()
}

/// The JSON key of a Google service account.
pub(super) fn service_account() -> SecretString {
    let account = json!({
        "type": "service_account",
        "client_email": "notifier@acme-prod.iam.gserviceaccount.com",
        "private_key_id": SECRET,
        "private_key": KEY,
        "token_uri": "https://oauth2.test/token",
    });
    account.to_string().into()
}

/// An error, as it reaches a provider.
pub(super) fn error() -> Event {
    let metadata = [
        ("change_request", "7"),
        ("cluster", "prod"),
        (
            "revision",
            "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
        ),
        ("summary", "prod impacted"),
    ];
    Event {
        involved_object: ObjectReference {
            kind: "Kustomization".to_owned(),
            namespace: "apps".to_owned(),
            name: "webapp".to_owned(),
            uid: "7d0cdc51-ddcf-4743-b223-83ca5c699632".to_owned(),
            api_version: "kustomize.toolkit.fluxcd.io/v1".to_owned(),
            resource_version: "56921".to_owned(),
            field_path: String::new(),
        },
        severity: "error".to_owned(),
        timestamp: Some(Timestamp::from_unix(1_767_323_045)),
        message: "validation failed: <Ingress> & more\nsecond line".to_owned(),
        reason: "ValidationFailed".to_owned(),
        metadata: metadata
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        reporting_controller: "kustomize-controller".to_owned(),
        reporting_instance: "kustomize-controller-abc".to_owned(),
    }
}

/// An info.
pub(super) fn info() -> Event {
    Event {
        severity: "info".to_owned(),
        message: "Reconciliation finished".to_owned(),
        reason: "ReconciliationSucceeded".to_owned(),
        ..error()
    }
}

/// More than any platform takes, of what grows when it is escaped.
pub(super) fn huge() -> Event {
    let pairs = (0..80).map(|n| {
        let key = format!("key-{n:02}-{}", "k".repeat(400));
        (key, "<&@ \"🚨\u{7}[a](b)".repeat(500))
    });
    Event {
        message: "<!channel> & @everyone [a](b) \"🚨\u{7}\n".repeat(3000),
        metadata: pairs.collect(),
        ..error()
    }
}

/// Compares the whole conversation about an event with a snapshot.
pub(super) fn check(provider: &dyn ProviderType, event: Event, want: Expect) {
    check_with(provider, event, &provider.example(), want);
}

/// [`check`] with another example than the provider's own.
#[expect(clippy::needless_pass_by_value, reason = "reads best in a test")]
pub(super) fn check_with(
    provider: &dyn ProviderType,
    event: Event,
    example: &Example,
    want: Expect,
) {
    let (requests, end) = converse(provider, &event, example);
    let end = end.map_or_else(
        |error| format!("failed: {error}\n"),
        |()| "done\n".to_owned(),
    );
    want.assert_eq(&format!("{}{end}", requests.concat()));
}

/// The conversation about an event: what was sent, as text, and how it ended.
pub(super) fn converse(
    provider: &dyn ProviderType,
    event: &Event,
    example: &Example,
) -> (Vec<String>, Result<(), ProviderError>) {
    let mut sent = Vec::new();
    let end = begin(provider, event, &example.target)
        .and_then(|exchange| drive(exchange, &example.answers, &mut sent));
    (sent, end)
}

/// The first request of an exchange, which must be one over HTTP.
pub(super) fn request(provider: &dyn ProviderType, event: &Event, target: &Target) -> HttpRequest {
    let step = begin(provider, event, target).unwrap().next(None);
    let Step::Send(Request::Http(request)) = step else {
        panic!("{step:?}");
    };
    request
}

/// The JSON that the usual Target is sent first, and its length in bytes.
pub(super) fn body(provider: &dyn ProviderType, event: &Event) -> (Value, usize) {
    let request = request(provider, event, &provider.example().target);
    let json = serde_json::from_slice(&request.body).unwrap();
    (json, request.body.len())
}

/// Why an event can't be brought to a Target.
pub(super) fn refusal(provider: &dyn ProviderType, event: &Event, target: &Target) -> String {
    let end = begin(provider, event, target);
    end.map(drop).unwrap_err().to_string()
}

/// The exchange of an event, not yet begun.
pub(super) fn begin(
    provider: &dyn ProviderType,
    event: &Event,
    target: &Target,
) -> Result<Exchange, ProviderError> {
    let alert = AlertId {
        namespace: "apps".to_owned(),
        name: "on-call".to_owned(),
        uid: "6b1d7a52-0f3e-4a59-8a4b-2f8f0c8b1c11".to_owned(),
    };
    let context = Context::new(NOW, event, &alert, target);
    provider.exchange(event, target, &context)
}

/// Follows a conversation to its end.
pub(super) fn drive<T: std::fmt::Debug + Send + 'static>(
    mut conversation: Conversation<T>,
    answers: &[HttpReply],
    sent: &mut Vec<String>,
) -> Result<T, ProviderError> {
    let mut answers = answers.iter().cloned();
    let mut reply = None;
    loop {
        let step = conversation.next(reply.as_ref());
        assert!(!format!("{step:?} {conversation:?}").contains(SECRET));
        reply = Some(match step {
            Step::Send(request) => {
                sent.push(show(&request));
                match request {
                    Request::Http(_) => {
                        Reply::Http(answers.next().unwrap_or_else(|| answer(200, "{}")))
                    }
                    Request::Amqp(_) | Request::Nats(_) | Request::Smtp(_) => Reply::Delivered,
                }
            }
            Step::Token(token) => Reply::Token(fetch(token, sent)?),
            Step::Done(value) => return Ok(value),
            Step::Failed(error) => return Err(error),
        });
    }
}

/// Gets a token as the driver would; its requests count on their own.
fn fetch(token: TokenRequest, sent: &mut Vec<String>) -> Result<SecretString, ProviderError> {
    let mut log = Vec::new();
    let value = match token.source {
        TokenSource::Fetch(conversation) => {
            let answers = [(); 3].map(|()| answer(200, TOKEN));
            let token = drive(*conversation, &answers, &mut log)?;
            assert_eq!(token.expires, NOW + 3600);
            token.value
        }
        TokenSource::Identity(identity) => {
            log.push(format!("{identity:?}\n\n"));
            "fetched".to_owned().into()
        }
    };
    // They stand with the request that needs the token.
    sent.push(format!("token:\n{}", log.concat()));
    Ok(value)
}

fn show(request: &Request) -> String {
    match request {
        Request::Http(request) => show_http(request),
        Request::Amqp(message) => show_amqp(message),
        Request::Nats(message) => show_nats(message),
        Request::Smtp(mail) => show_mail(mail),
    }
}

fn show_http(request: &HttpRequest) -> String {
    let mut out = format!(
        "{} {}\n",
        request.method.name(),
        request.url.expose_secret()
    );
    let mut headers: Vec<String> = request
        .headers
        .iter()
        .map(|(name, value)| format!("{}: {}\n", name.to_lowercase(), value.expose_secret()))
        .collect();
    headers.sort();
    out += &headers.concat();
    if headers.contains(&"content-type: application/x-protobuf\n".to_owned()) {
        let _ = writeln!(out, "\n{}", protobuf::show(&request.body));
    } else if !request.body.is_empty() {
        let _ = writeln!(out, "\n{}", pretty(&request.body));
    }
    // What has no width shall be seen.
    without_tokens(&(out + "\n")).replace('\u{200b}', "\\u{200b}")
}

fn show_amqp(message: &AmqpMessage) -> String {
    let auth = match &message.auth {
        AmqpAuth::Policy(name, key) => format!("policy {name}:{}", key.expose_secret()),
        AmqpAuth::Token(token) => format!("token {}", token.expose_secret()),
    };
    format!(
        "AMQP {} at {}:{}\nauth: {auth}\n\n{}\n\n",
        message.node,
        message.host,
        message.port,
        pretty(&message.payload)
    )
}

fn show_nats(message: &NatsMessage) -> String {
    let mut out = format!(
        "PUB {} at {}\n",
        message.subject,
        message.servers.expose_secret()
    );
    for (name, value) in &message.headers {
        let _ = writeln!(out, "{name}: {value}");
    }
    let auth = match &message.auth {
        NatsAuth::Url => "url".to_owned(),
        NatsAuth::Creds(creds) => format!("creds {}", creds.expose_secret()),
        NatsAuth::Nkey(seed) => format!("nkey {}", seed.expose_secret()),
        NatsAuth::Password(user, password) => format!("{user}:{}", password.expose_secret()),
    };
    let _ = writeln!(out, "auth: {auth}\n\n{}\n", pretty(&message.payload));
    out
}

fn show_mail(mail: &Mail) -> String {
    let login = mail
        .login
        .as_ref()
        .map(|(user, password)| format!("{user}:{}", password.expose_secret()));
    format!(
        "MAIL from {} to {:?} at {}:{} by {:?} as {login:?}\n\n{}\n",
        mail.from,
        mail.to,
        mail.host,
        mail.port,
        mail.security,
        mime::show(&mail.message)
    )
}

/// JSON indented, everything else as it is.
fn pretty(body: &[u8]) -> String {
    let json = serde_json::from_slice::<Value>(body).ok();
    json.and_then(|json| serde_json::to_string_pretty(&json).ok())
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}

/// A signed token says nothing to a reader: `<jwt>` in its place.
fn without_tokens(text: &str) -> String {
    let mut parts = text.split("eyJhbGciOi");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| {
            c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
        });
        out += "<jwt>";
        out += rest;
    }
    out
}
