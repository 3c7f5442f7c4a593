//! Failures in notification-controller's words, as far as it has any for them: people look for them in logs and Events, and
//! rules of alerts match them. Pure.
//!
//! An address stands as `*****` in them. What differs: what the server said is told after every attempt, where nc tells that
//! it gave up; and where each of its libraries has words of its own, what failed is said in one way.

use super::drive::{Asked, Broken, Failure};
use crate::api::provider::Provider;
use crate::notify::transport::TransportError;
use crate::provider::{Method, ProviderError};

/// The types that nc sends with what all of them share.
const POSTED: [&str; 15] = [
    "alertmanager",
    "discord",
    "generic",
    "generic-hmac",
    "googlechat",
    "grafana",
    "incident.io",
    "matrix",
    "msteams",
    "opsgenie",
    "pagerduty",
    "rocket",
    "slack",
    "webex",
    "zoom",
];

/// A Provider that can't be made ready.
pub(super) fn unready(provider: &Provider, why: &str) -> String {
    let name = &provider.metadata.name;
    format!("failed to initialize notifier for provider '{name}': {why}")
}

/// What keeps an event from being sent.
pub(super) fn unsent(provider: &Provider, error: &ProviderError) -> String {
    match error {
        ProviderError::Config(why) => {
            unready(provider, &format!("failed to initialize notifier: {why}"))
        }
        ProviderError::Event(why) => why.clone(),
        ProviderError::Status { .. }
        | ProviderError::Refused { .. }
        | ProviderError::Answer { .. }
        | ProviderError::Conversation(_) => error.to_string(),
    }
}

/// Whether it was found out on the way, and belongs before it.
pub(super) fn is_of_setup(failure: &Failure) -> bool {
    matches!(failure, Failure::Transport(TransportError::Certificates(_)))
}

/// An attempt of a Provider of a type that failed on the way.
pub(super) fn broken(provider: &Provider, name: &str, broken: &Broken) -> String {
    if is_of_setup(&broken.failure) {
        return unready(provider, &broken.failure.to_string());
    }
    let doing = doing(name, broken.asked);
    match &broken.failure {
        Failure::Identity(error) if name == "azuredevops" => {
            format!("failed to acquire azure devops token: {error}")
        }
        failure @ Failure::Identity(_) => failure.to_string(),
        Failure::Provider(ProviderError::Status { status, said, .. }) => {
            let said = if said.is_empty() {
                String::new()
            } else {
                format!(": {said}")
            };
            format!("{doing}request failed: request failed with status code {status}{said}")
        }
        Failure::Provider(ProviderError::Config(why) | ProviderError::Event(why))
        | Failure::Transport(TransportError::Config(why)) => format!("{doing}{why}"),
        failure @ Failure::Timeout(_) => {
            format!("{doing}failed to execute request: context deadline exceeded: {failure}")
        }
        Failure::Transport(
            error @ (TransportError::Connect(_)
            | TransportError::Exchange(_)
            | TransportError::Tls(_)),
        ) => format!("{doing}failed to execute request: {error}"),
        Failure::Provider(
            error @ (ProviderError::Refused { .. }
            | ProviderError::Answer { .. }
            | ProviderError::Conversation(_)),
        ) => format!("{doing}{error}"),
        Failure::Transport(
            error @ (TransportError::Certificates(_) | TransportError::Refused(_)),
        ) => format!("{doing}{error}"),
    }
}

/// What was being done, as nc says it before the cause.
fn doing(name: &str, Asked { requests, method }: Asked) -> &'static str {
    let asks = method == Some(Method::Get);
    let changes = matches!(method, Some(Method::Patch | Method::Put));
    match name {
        _ if POSTED.contains(&name) => "postMessage failed: ",
        "bitbucket" if asks => "could not get commit status: ",
        "gitlab" if asks => "unable to list commit status: ",
        "azuredevops" | "gitea" | "github" if asks => "could not list commit statuses: ",
        "azuredevops" | "bitbucket" | "gitea" | "github" | "gitlab" => {
            "could not create commit status: "
        }
        "githubdispatch" => "could not send github repository dispatch webhook: ",
        "giteapullrequestcomment" | "githubpullrequestcomment" | "gitlabmergerequestcomment"
            if asks && requests < 2 =>
        {
            "failed to get authenticated user info: "
        }
        "gitlabmergerequestcomment" if asks => "failed to list merge request notes: ",
        "gitlabmergerequestcomment" if changes => "failed to update merge request note: ",
        "gitlabmergerequestcomment" => "failed to create merge request note: ",
        "giteapullrequestcomment" | "githubpullrequestcomment" if asks => {
            "failed to list pull request comments: "
        }
        "giteapullrequestcomment" | "githubpullrequestcomment" if changes => {
            "failed to update pull request comment: "
        }
        "giteapullrequestcomment" | "githubpullrequestcomment" => {
            "failed to create pull request comment: "
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests;
