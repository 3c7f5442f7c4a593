//! Provider types: how an event becomes a conversation with a chat, a pager, a forge or a queue.
//!
//! ```text
//!  Event, Target, Context ──► ProviderType::exchange ──► Exchange ──► Step::Send(Request) ─┐
//!                                                            ▲                             ▼
//!                                                            └────── Reply ◄──────── the driver
//! ```
//!
//! Nothing here waits, sends, retries, reads a clock or judges a status: the driver sends,
//! [`Exchange::next`] judges. So a provider is the text of its requests and no more.
//!
//! # To add a provider
//!
//! 1. Write `provider/zoom.rs` (the name of `spec.type`, `-` and `.` as `_`): a unit struct
//!    `pub(super) struct Zoom;` and its `impl ProviderType`.
//! 2. Here: `mod zoom;` and `&zoom::Zoom,` in [`PROVIDER_TYPES`]. That is all.
//!
//! The method [`exchange`](ProviderType::exchange) returns
//! - [`Exchange::once`] of one [`HttpRequest`]: `HttpRequest::post(target.url("…")?)`, `.bearer(…)`,
//!   `.json(&json!({…}))`;
//! - [`Exchange::ask`] where the next request depends on the reply to the first;
//! - [`Exchange::with_token`] where a token must be fetched first; the driver keeps it until it expires;
//! - [`Exchange::nothing`] where the event is none of this provider's business.
//!
//! An event's metadata arrives merged and without prefixes. Cut what a platform limits with
//! `part::text`, escape what it would interpret, and take from `part` what it has:
//!
//! | part | for |
//! |---|---|
//! | `subject` | `kustomization/webapp.apps`, `kustomization/webapp`, `apply succeeded` |
//! | `attachment` | Slack's attachments: slack, discord, rocket |
//! | `text` | cutting and escaping |
//! | `fit` | an event cut to what a platform takes |
//! | `headers` | the Secret's `headers` |
//! | `chat` | metadata line by line |
//! | `git` | the repository's address, for forges |
//! | `commit` | the commit hash, the state and the name of a commit status |
//! | `comment` | marker and Markdown of a comment on a change, the change's number; its Markdown: zulip |
//! | `mime`, `protobuf` | mails; OTLP |
//! | `thread` | the way to the own comment among others', and its change |
//! | `github`, `gitlab`, `gitea` | API address and headers of all their types; App tokens of GitHub |
//! | `oauth`, `jwt` | tokens for a service account's key; RS256 |
//!
//! A token of a cloud's identity is asked for as [`TokenSource::Identity`]: the driver has it by the
//! conversations of [`identity`] and [`machine`]. The name of a commit status by an expression is
//! the dispatcher's to compute too, since it needs Provider and Alert.
//!
//! Never put an address or a token into a [`ProviderError`]. Ids that must stay the same over
//! retries come from [`Context::key`], times from [`Context::now`] or the event.
//!
//! The test of a provider is one call of `testing::check`, with an inline snapshot that
//! `UPDATE_EXPECT=1` writes. The tests over the table run the provider by themselves; what they
//! need to know of it (a channel of a certain form, the replies to a conversation) is its
//! `example`, a method of the trait for tests only.

mod conversation;
mod error;
mod http;
pub mod identity;
pub mod machine;
mod request;
mod target;
#[cfg(test)]
mod testing;

mod part {
    //! What several providers share.
    pub(super) mod attachment;
    pub(super) mod chat;
    pub(super) mod comment;
    pub(super) mod commit;
    pub(super) mod fit;
    pub(super) mod git;
    pub(super) mod gitea;
    pub(super) mod github;
    pub(super) mod gitlab;
    pub(super) mod headers;
    pub(super) mod jwt;
    pub(super) mod mime;
    pub(super) mod oauth;
    pub(super) mod protobuf;
    pub(super) mod subject;
    pub(super) mod text;
    pub(super) mod thread;
}

mod alertmanager;
mod azuredevops;
mod azureeventhub;
mod bitbucket;
mod bitbucketserver;
mod datadog;
mod discord;
mod generic;
mod generic_hmac;
mod gitea;
mod giteapullrequestcomment;
mod github;
mod githubdispatch;
mod githubpullrequestcomment;
mod gitlab;
mod gitlabmergerequestcomment;
mod googlechat;
mod googlepubsub;
mod grafana;
mod incident_io;
mod lark;
mod matrix;
mod msteams;
mod nats;
mod ntfy;
mod opsgenie;
mod otel;
mod pagerduty;
mod rocket;
mod sentry;
mod slack;
mod smtp;
mod telegram;
mod webex;
mod zoom;
mod zulip;

use sha2::{Digest as _, Sha256};

pub use self::conversation::{
    Conversation, Exchange, Identity, IdentityProvider, MAX_REQUESTS, Step, Token, TokenRequest,
    TokenSource,
};
pub use self::error::{ProviderError, RetryAfter};
pub use self::http::{HttpReply, HttpRequest, Method, Success};
pub use self::request::{
    AmqpAuth, AmqpMessage, Mail, MailSecurity, NatsAuth, NatsMessage, Reply, Request,
};
pub use self::target::{GitHubApp, Target, Tls};
use crate::annotations::Doc;
use crate::api::event::Event;
use crate::api::provider::Provider;

/// A kind of provider, as `spec.type` names it.
pub trait ProviderType: Sync {
    /// The name in `spec.type`.
    fn name(&self) -> &'static str;

    /// Which events it takes.
    fn takes(&self) -> Takes {
        Takes::Messages
    }

    /// Whether an info closes what an error opened there: then order matters more than quiet.
    fn keeps_incidents(&self) -> bool {
        false
    }

    /// The conversation that tells `target` of `event`.
    ///
    /// # Errors
    /// [`ProviderError`] where the Provider or the event lacks something.
    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        context: &Context<'_>,
    ) -> Result<Exchange, ProviderError>;

    /// What the tests over the table use.
    #[cfg(test)]
    #[expect(private_interfaces, reason = "only the tests of this module call it")]
    fn example(&self) -> testing::Example {
        testing::Example::default()
    }
}

/// Which events a provider type takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// All but updates of commit statuses.
    Messages,
    /// All.
    Everything,
    /// Those that say something about a commit.
    CommitStatuses,
    /// Those that say which change request they belong to.
    ChangeRequests,
}

/// What a conversation needs besides event and Target.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Unix time in seconds.
    pub now: u64,
    /// The Alert that the event goes through.
    pub alert: &'a AlertId,
    /// See [`Context::key`].
    key: [u8; 32],
}

/// Which Alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertId {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID; empty without an API server.
    pub uid: String,
}

impl<'a> Context<'a> {
    /// The context of one event on its way through an Alert to a Target.
    pub fn new(now: u64, event: &Event, alert: &'a AlertId, target: &Target) -> Self {
        let mut hash = Sha256::new();
        let json = event.to_json();
        for part in [
            alert.namespace.as_str(),
            &alert.name,
            &alert.uid,
            &target.namespace,
            &target.name,
            &target.uid,
            &json,
        ] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Self {
            now,
            alert,
            key: hash.finalize().into(),
        }
    }

    /// 32 bytes that are the same for every attempt to bring this event through this Alert to this
    /// Provider, and differ from those of every other: for idempotency keys, and for ids that
    /// would otherwise be random.
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// [`Context::key`] in hexadecimal.
    pub fn key_hex(&self) -> String {
        hex::encode(self.key)
    }
}

/// Every provider type, by name.
pub static PROVIDER_TYPES: &[&dyn ProviderType] = &[
    &alertmanager::Alertmanager,
    &azuredevops::AzureDevOps,
    &azureeventhub::AzureEventHub,
    &bitbucket::Bitbucket,
    &bitbucketserver::BitbucketServer,
    &datadog::DataDog,
    &discord::Discord,
    &generic::Generic,
    &generic_hmac::GenericHmac,
    &gitea::Gitea,
    &giteapullrequestcomment::GiteaPullRequestComment,
    &github::GitHub,
    &githubdispatch::GitHubDispatch,
    &githubpullrequestcomment::GitHubPullRequestComment,
    &gitlab::GitLab,
    &gitlabmergerequestcomment::GitLabMergeRequestComment,
    &googlechat::GoogleChat,
    &googlepubsub::GooglePubSub,
    &grafana::Grafana,
    &incident_io::IncidentIo,
    &lark::Lark,
    &matrix::Matrix,
    &msteams::MsTeams,
    &nats::Nats,
    &ntfy::Ntfy,
    &opsgenie::Opsgenie,
    &otel::Otel,
    &pagerduty::PagerDuty,
    &rocket::Rocket,
    &sentry::Sentry,
    &slack::Slack,
    &smtp::Smtp,
    &telegram::Telegram,
    &webex::Webex,
    &zoom::Zoom,
    &zulip::Zulip,
];

/// The types that Flux's schema does not know.
pub const EXTRA_TYPES: [&str; 2] = ["ntfy", "smtp"];
/// Which of them a Provider of type `generic` is.
const PROVIDER_TYPE: &str = "hookgate.dev/provider-type";
/// Whether an opsgenie or alertmanager Provider ends alerts.
const RESOLVE: &str = "hookgate.dev/resolve";

/// The annotations of Providers that are ours.
pub const ANNOTATIONS: &[Doc] = &[
    Doc {
        name: PROVIDER_TYPE,
        value: "`ntfy` or `smtp`",
        default: "`spec.type`",
        help: "On `type: generic`: a provider type that Flux's schema does not know",
    },
    Doc {
        name: RESOLVE,
        value: "`true` or `false`",
        default: "`false`",
        help: "On `type: opsgenie` and `type: alertmanager`: one alert an object, which an info ends",
    },
];

/// The type of a Provider, or why it has none.
///
/// # Errors
/// What is wrong with its type or annotations.
pub fn of(provider: &Provider) -> Result<&'static dyn ProviderType, String> {
    let declared = provider.spec.r#type.as_str();
    let extra = provider.metadata.annotations.get(PROVIDER_TYPE);
    let name = match extra.map(|name| name.trim()) {
        Some(_) if declared != "generic" => {
            return Err(format!(
                "annotation {PROVIDER_TYPE} is for type generic only"
            ));
        }
        Some(name) if EXTRA_TYPES.contains(&name) => name,
        Some(_) => {
            let known = EXTRA_TYPES.join(" or ");
            return Err(format!("annotation {PROVIDER_TYPE} is not {known}"));
        }
        None if EXTRA_TYPES.contains(&declared) => {
            return Err(format!(
                "type {declared} is reached by type generic and annotation {PROVIDER_TYPE}"
            ));
        }
        None => declared,
    };
    find(name).ok_or_else(|| format!("provider {name} not supported"))
}

/// Whether a Provider ends the alerts of an object that is well again.
///
/// # Errors
/// What is wrong with the annotation.
pub fn resolves(provider: &Provider) -> Result<bool, String> {
    match provider.metadata.annotations.get(RESOLVE).map(|v| v.trim()) {
        None | Some("false") => Ok(false),
        Some("true") if matches!(provider.spec.r#type.as_str(), "opsgenie" | "alertmanager") => {
            Ok(true)
        }
        Some("true") => Err(format!(
            "annotation {RESOLVE} is for types opsgenie and alertmanager only"
        )),
        Some(_) => Err(format!("annotation {RESOLVE} is neither true nor false")),
    }
}

/// The provider type of a name.
fn find(name: &str) -> Option<&'static dyn ProviderType> {
    PROVIDER_TYPES
        .iter()
        .copied()
        .find(|provider| provider.name() == name)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
