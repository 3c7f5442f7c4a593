//! `hookgate alerts preview`: what an event would become, and why. Sends nothing.
//!
//! No secret is in it: what Secrets hold is replaced before a request is made wherever its form
//! does not matter, and masked in what is shown where it does.

use std::fmt::Write as _;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::target::{self, SecretReader};
use super::template::{self, Templates};
use super::{commit_status, digest, metadata, select};
use crate::api::alert::Alert;
use crate::api::event::{Event, EventError};
use crate::api::provider::Provider;
use crate::api::reference::ResourceRef;
use crate::mask::Mask;
use crate::objects::Snapshot;
use crate::provider::{
    self, AlertId, AmqpAuth, AmqpMessage, Context, Exchange, HttpRequest, Mail, NatsAuth,
    NatsMessage, ProviderType, Reply, Request, Step, Takes, Target,
};

/// What stands for a part of an address.
const HIDDEN: &str = "*****";
/// What stands for a token.
const TOKEN: &str = "TOKEN";
/// What stands for a password.
const PASSWORD: &str = "PASSWORD";
/// What stands for a header's value.
const HEADER: &str = "HEADER";
/// A channel of so many letters and digits is a key, as PagerDuty's is.
const KEY_LENGTH: usize = 20;

/// Which event, and for which Alert.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// `namespace/name`.
    pub alert: String,
    /// The event in JSON, as Flux posts it.
    pub event: String,
    /// nc's flag.
    #[serde(default)]
    pub no_cross_namespace_refs: bool,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// There is no such Alert.
    #[error("there is no Alert {0:?}; give its name, and its namespace with -n")]
    NoAlert(String),
    /// The event can't be read.
    #[error("{0}")]
    Event(String),
}

/// Tells what would become of an event, with the Provider's Secrets as they are now; it prints none of them.
///
/// # Errors
/// [`PreviewError`] for an Alert that there is not and for an event that can't be read.
pub async fn preview(
    snapshot: &Arc<Snapshot>,
    question: &Question,
    secrets: &impl SecretReader,
    now_ms: u64,
) -> Result<String, PreviewError> {
    let name = question.alert.split_once('/').unwrap_or_default();
    let found = snapshot.alerts.iter().find(|alert| {
        let metadata = &alert.metadata;
        (metadata.namespace.as_str(), metadata.name.as_str()) == name
    });
    let alert = found.ok_or_else(|| PreviewError::NoAlert(question.alert.clone()))?;
    let mut event = Event::parse(question.event.as_bytes()).map_err(|error| unread(&error))?;
    metadata::clean(&mut event);
    metadata::strip_internal(&mut event);
    let mut story = Story::default();
    story.say("alert", &question.alert);
    let provider = snapshot.providers.iter().find(|provider| {
        let metadata = &provider.metadata;
        metadata.namespace == alert.metadata.namespace
            && metadata.name == alert.spec.provider_ref.name
    });
    let provider = provider.map(Arc::as_ref);
    let flag = question.no_cross_namespace_refs;
    if takes(&mut story, snapshot, alert, provider, &event, flag)
        && let Some(provider) = provider
    {
        sends(&mut story, secrets, alert, provider, event, now_ms / 1000).await;
    }
    Ok(story.0)
}

fn unread(error: &EventError) -> PreviewError {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    PreviewError::Event(format!("{error}: {}", cause.unwrap_or_default()))
}

/// Whether the Alert takes the event; says so, and why not.
fn takes(
    story: &mut Story,
    snapshot: &Snapshot,
    alert: &Alert,
    provider: Option<&Provider>,
    event: &Event,
    no_cross_namespace_refs: bool,
) -> bool {
    // What is suspended would not be compiled, and shall be told apart.
    let mut awake = alert.clone();
    awake.spec.suspend = false;
    let mut provider = provider.cloned();
    let sleeps = provider
        .as_mut()
        .is_some_and(|p| std::mem::take(&mut p.spec.suspend));
    let providers: Vec<_> = provider.into_iter().collect();
    let alerts = select::Alerts::compile(&[awake], &providers, no_cross_namespace_refs);
    for warning in alerts.warnings.values().flatten() {
        story.say("warning", &warning.message);
    }
    let objects = snapshot.objects.load();
    let labels = |reference: &ResourceRef| {
        let found = objects.object(reference);
        found.map(|object| object.metadata.labels.clone())
    };
    let selection = alerts.select(event, &labels);
    for (_, warning) in &selection.warnings {
        story.say("warning", &warning.message);
    }
    let refusal = alerts.refusals(event, &labels).into_iter().flatten().next();
    let why = if alert.spec.suspend {
        "the Alert is suspended".to_owned()
    } else if let Some(refusal) = refusal {
        refusal.to_string()
    } else if sleeps {
        "its Provider is suspended".to_owned()
    } else if let Some((_, lacks)) = selection.unfit.first() {
        format!("the Provider's type needs {lacks:?} in the metadata")
    } else if let Some((_, _, window)) = selection.digests.first() {
        let revision = digest::revision(event).unwrap_or_default();
        story.say(
            "takes",
            &format!("yes, and waits {window:?} for others of revision {revision:?}"),
        );
        return true;
    } else if !selection.deliveries.is_empty() {
        story.say("takes", "yes");
        return true;
    } else if !selection.warnings.is_empty() {
        "see the warning".to_owned()
    } else {
        "updates of commit statuses are nothing for the Provider's type".to_owned()
    };
    story.say("takes", &format!("no: {why}"));
    false
}

/// Says what the Provider would be sent.
async fn sends(
    story: &mut Story,
    secrets: &impl SecretReader,
    alert: &Alert,
    provider: &Provider,
    mut event: Event,
    now: u64,
) {
    let known = provider::of(provider);
    let name = known
        .as_ref()
        .map_or(provider.spec.r#type.as_str(), |found| found.name());
    let metadata = &provider.metadata;
    story.say(
        "provider",
        &format!("{}/{} ({name})", metadata.namespace, metadata.name),
    );
    // A type that is not known is a warning that was told.
    let Ok(found) = known else {
        return;
    };
    let (merged, conflicts) = metadata::merged(&event, &alert.spec);
    event.metadata = merged;
    if !conflicts.is_empty() {
        let keys = metadata::keys(&conflicts);
        story.say("metadata", &format!("{}: {keys}", metadata::CONFLICT));
    }
    let target = match target::read(provider, secrets).await {
        Ok(target) => target,
        Err(error) => return story.say("provider", &format!("not ready: {error}")),
    };
    let shown = Shown {
        mask: Mask::of(&target),
        address: Url::parse(target.address.expose_secret()).ok(),
    };
    let exchange = exchange(story, found, alert, provider, event, redacted(target), now);
    match exchange.map(first) {
        Ok(Ok(Some((request, with_token)))) => {
            if with_token {
                story.say("token", "is fetched first");
            }
            story.say("sends", "first this request");
            story.0.push('\n');
            story.0.push_str(&shown.request(&request));
        }
        Ok(Ok(None)) => story.say("sends", "nothing for this event"),
        Ok(Err(error)) | Err(error) => {
            story.say("sends", &format!("nothing: {}", shown.line(&error)))
        }
    }
}

/// The conversation about the event; the error may hold secrets.
fn exchange(
    story: &mut Story,
    found: &dyn ProviderType,
    alert: &Alert,
    provider: &Provider,
    mut event: Event,
    mut target: Target,
    now: u64,
) -> Result<Exchange, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let id = AlertId {
        namespace: alert.metadata.namespace.clone(),
        name: alert.metadata.name.clone(),
        uid: alert.metadata.uid.clone().unwrap_or_default(),
    };
    let original = event.clone();
    if found.takes() == Takes::CommitStatuses {
        let name = commit_status::evaluate(&event, provider, alert);
        target.commit_status = name.map_err(|error| text(&error))?;
    } else {
        match Templates::default().message(alert, &event) {
            Ok(None) => {}
            Ok(Some(message)) => {
                story.say("message", &format!("by {}", template::ANNOTATION));
                event.message = message;
            }
            Err(error) => story.say(
                "message",
                &format!("as it came: {} failed: {error}", template::ANNOTATION),
            ),
        }
    }
    let context = Context::new(now, &original, &id, &target);
    let exchange = found.exchange(&event, &target, &context);
    exchange.map_err(|error| text(&error))
}

/// The first request, and whether it needs a token; `None` where nothing is sent.
fn first(mut exchange: Exchange) -> Result<Option<(Request, bool)>, String> {
    let mut reply = None;
    // A token may be asked for once; what asks for ever is a mistake of ours.
    for _ in 0..3 {
        match exchange.next(reply.as_ref()) {
            Step::Send(request) => return Ok(Some((request, reply.is_some()))),
            Step::Token(_) => reply = Some(Reply::Token(TOKEN.into())),
            Step::Done(()) => return Ok(None),
            Step::Failed(error) => return Err(error.to_string()),
        }
    }
    Err("it asks for one token after the other".to_owned())
}

/// A Target with words in place of secrets, where their form does not matter.
fn redacted(mut target: Target) -> Target {
    let is_account = |token: &SecretString| token.expose_secret().trim_start().starts_with('{');
    // The key of a service account must be one for a token to be asked for.
    if target
        .token
        .as_ref()
        .is_some_and(|token| !is_account(token))
    {
        target.token = Some(TOKEN.into());
    }
    target.password = target.password.map(|_| PASSWORD.into());
    target.creds = target.creds.map(|_| TOKEN.into());
    target.nkey = target.nkey.map(|_| TOKEN.into());
    target
        .headers
        .values_mut()
        .for_each(|value| *value = HEADER.into());
    let channel = &target.channel;
    if channel.len() >= KEY_LENGTH && channel.bytes().all(|b| b.is_ascii_alphanumeric()) {
        TOKEN.clone_into(&mut target.channel);
    }
    target
}

/// What may be shown of requests.
struct Shown {
    mask: Mask,
    address: Option<Url>,
}

impl Shown {
    fn request(&self, request: &Request) -> String {
        match request {
            Request::Http(request) => self.http(request),
            Request::Amqp(message) => self.amqp(message),
            Request::Nats(message) => self.nats(message),
            Request::Smtp(mail) => self.mail(mail),
        }
    }

    fn http(&self, request: &HttpRequest) -> String {
        let url = self.url(request.url.expose_secret());
        let mut headers: Vec<_> = request
            .headers
            .iter()
            .map(|(name, value)| self.header(&name.to_lowercase(), value.expose_secret()))
            .collect();
        headers.sort();
        let is_text = std::str::from_utf8(&request.body).is_ok();
        let is_binary = headers.iter().any(|line| line.contains("protobuf")) || !is_text;
        let body = match is_binary {
            true => format!("({} bytes that are no text)\n", request.body.len()),
            false => self.lines(&pretty(&request.body)),
        };
        let head = headers.concat();
        format!("{} {url}\n{head}\n{body}", request.method.name())
    }

    /// A URL with its host, and without what its path and query have of the address.
    fn url(&self, text: &str) -> String {
        let Ok(url) = Url::parse(text) else {
            return HIDDEN.to_owned();
        };
        let address = self.address.iter();
        let parts = |url: &Url| -> Vec<String> {
            let query = url.query().unwrap_or_default();
            let parts = url.path().split('/').chain(query.split(['&', '=']));
            parts.map(str::to_owned).collect()
        };
        let known: Vec<_> = address.flat_map(parts).collect();
        let hide = |part: &str| match known.iter().any(|one| !one.is_empty() && one == part) {
            true => HIDDEN.to_owned(),
            false => self.line(part),
        };
        let path: Vec<_> = url.path().split('/').map(hide).collect();
        let mut shown = format!("{}{}", url.origin().ascii_serialization(), path.join("/"));
        for (n, (name, value)) in url.query_pairs().enumerate() {
            let mark = if n == 0 { '?' } else { '&' };
            let _ = write!(shown, "{mark}{}={}", hide(&name), hide(&value));
        }
        shown
    }

    /// A header's line. What logs in is made of secrets, whatever it looks like.
    fn header(&self, name: &str, value: &str) -> String {
        let value = match value.split_once(' ') {
            _ if name != "authorization" => self.line(value),
            Some((scheme, secret)) if secret == TOKEN || secret == HEADER => {
                format!("{} {secret}", self.line(scheme))
            }
            Some((scheme, _)) => format!("{} {HIDDEN}", self.line(scheme)),
            None if value == TOKEN || value == HEADER => value.to_owned(),
            None => HIDDEN.to_owned(),
        };
        format!("{name}: {value}\n")
    }

    fn amqp(&self, message: &AmqpMessage) -> String {
        let login = match &message.auth {
            AmqpAuth::Policy(name, _) => format!("the policy {}", self.line(name)),
            AmqpAuth::Token(_) => "a token".to_owned(),
        };
        format!(
            "AMQP {} at {}:{}\nlogin: {login}\n\n{}",
            self.line(&message.node),
            self.line(&message.host),
            message.port,
            self.lines(&pretty(&message.payload))
        )
    }

    fn nats(&self, message: &NatsMessage) -> String {
        let servers = message.servers.expose_secret().split(',');
        let hosts: Vec<_> = servers.map(|server| host(server.trim())).collect();
        let login = match message.auth {
            NatsAuth::Url => "what the address says",
            NatsAuth::Creds(_) => "creds",
            NatsAuth::Nkey(_) => "an nkey",
            NatsAuth::Password(..) => "user and password",
        };
        let mut out = format!(
            "PUB {} at {}\n",
            self.line(&message.subject),
            hosts.join(",")
        );
        for (name, value) in &message.headers {
            let _ = writeln!(out, "{name}: {}", self.line(value));
        }
        let _ = write!(
            out,
            "login: {login}\n\n{}",
            self.lines(&pretty(&message.payload))
        );
        out
    }

    fn mail(&self, mail: &Mail) -> String {
        let login = if mail.login.is_some() { "yes" } else { "no" };
        format!(
            "MAIL from {} to {} at {}:{}\nsecurity: {:?}\nlogin: {login}\n\n{}",
            self.line(&mail.from),
            self.line(&mail.to.join(", ")),
            self.line(&mail.host),
            mail.port,
            mail.security,
            self.lines(&mail.readable()),
        )
    }

    fn line(&self, text: &str) -> String {
        self.mask.apply(text)
    }

    fn lines(&self, text: &str) -> String {
        let lines = text.lines();
        lines.map(|line| self.line(line) + "\n").collect()
    }
}

/// JSON indented, everything else as it is.
fn pretty(body: &[u8]) -> String {
    let json = serde_json::from_slice::<Value>(body).ok();
    json.and_then(|json| serde_json::to_string_pretty(&json).ok())
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}

fn host(server: &str) -> String {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default().to_owned()
}

/// What is told, a step a line.
#[derive(Debug, Default)]
struct Story(String);

impl Story {
    fn say(&mut self, step: &str, text: &str) {
        // What an event or a Secret's owner wrote must not move the terminal's cursor.
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let line = format!("{step:<10}{text}");
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }
}

#[cfg(test)]
mod tests;
