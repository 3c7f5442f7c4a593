//! Every text of nc that users know from Events and logs, with ours.

use std::time::Duration;

use super::*;
use crate::api::event::Event;
use crate::notify::commit_status;
use crate::provider::{AlertId, Context, ProviderType, Target, of};

fn provider(name: &str) -> Provider {
    let mut provider = Provider::default();
    provider.metadata.name = "p".to_owned();
    name.clone_into(&mut provider.spec.r#type);
    provider
}

fn event(metadata: &[(&str, &str)]) -> Event {
    let metadata = metadata.iter();
    Event {
        severity: "error".to_owned(),
        metadata: metadata
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..Event::default()
    }
}

/// What is said where a Provider of a type can't be used, or an event can't be sent to it.
fn said(name: &str, target: &Target, event: &Event) -> String {
    let provider = provider(name);
    let found: &dyn ProviderType = of(&provider).unwrap();
    let alert = AlertId::default();
    let context = Context::new(0, event, &alert, target);
    let exchange = found.exchange(event, target, &context);
    unsent(&provider, &exchange.map(drop).unwrap_err())
}

const REVISION: &str = "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738";

/// Type, address, channel, token, and what nc says after `failed to initialize notifier: `, with `*****` for the address.
const UNUSABLE: [(&str, &str, &str, &str, &str); 33] = [
    ("generic", "hush", "", "", "invalid hook URL *****"),
    (
        "generic-hmac",
        "https://a.test",
        "",
        "",
        "HMAC key is empty",
    ),
    ("slack", "hush", "", "", "invalid Slack hook URL *****: '"),
    (
        "discord",
        "hush",
        "",
        "",
        "invalid Discord hook URL *****: '",
    ),
    ("rocket", "hush", "", "", "invalid Rocket hook URL *****: '"),
    (
        "msteams",
        "hush",
        "",
        "",
        "invalid MS Teams webhook URL *****: '",
    ),
    ("webex", "hush", "", "t", "invalid Webex hook URL *****: '"),
    (
        "googlechat",
        "hush",
        "",
        "",
        "invalid Google Chat hook URL *****",
    ),
    ("lark", "hush", "", "", "invalid Slack hook URL *****"),
    (
        "matrix",
        "hush",
        "r",
        "t",
        "invalid Matrix homeserver URL *****: '",
    ),
    (
        "opsgenie",
        "hush",
        "",
        "t",
        "invalid Opsgenie hook URL *****",
    ),
    (
        "opsgenie",
        "https://a.test",
        "",
        "",
        "empty Opsgenie apikey/token",
    ),
    (
        "alertmanager",
        "hush",
        "",
        "",
        "invalid Alertmanager URL *****",
    ),
    ("grafana", "hush", "", "", "invalid Grafana URL *****"),
    (
        "pagerduty",
        "hush",
        "k",
        "",
        "invalid PagerDuty endpoint URL \"*****\": '",
    ),
    ("zulip", "hush", "a/b", "", "invalid Zulip endpoint URL: "),
    (
        "zulip",
        "https://a.test",
        "a",
        "",
        "invalid Zulip channel format, expected <channel>/<topic>, got 'a'",
    ),
    (
        "zoom",
        "hush",
        "",
        "t",
        "invalid Zoom incoming webhook URL *****: '",
    ),
    (
        "zoom",
        "https://a.test",
        "",
        "",
        "empty Zoom verification token",
    ),
    (
        "incident.io",
        "hush",
        "",
        "t",
        "invalid incident.io alert source URL *****: '",
    ),
    (
        "incident.io",
        "https://a.test",
        "",
        "",
        "empty incident.io API token",
    ),
    (
        "datadog",
        "hush",
        "",
        "t",
        "failed to parse address \"*****\": ",
    ),
    ("datadog", "https://a.test", "", "", "token cannot be empty"),
    ("telegram", "", "", "t", "empty Telegram channel"),
    ("telegram", "", "c", "", "empty Telegram token"),
    ("nats", "", "s", "", "NATS server (address) cannot be empty"),
    (
        "nats",
        "nats://a.test",
        "",
        "",
        "NATS subject (channel) cannot be empty",
    ),
    (
        "googlepubsub",
        "",
        "t",
        "",
        "GCP project ID cannot be empty",
    ),
    (
        "googlepubsub",
        "p",
        "",
        "",
        "GCP Pub/Sub topic ID cannot be empty",
    ),
    ("sentry", "", "", "", "DSN cannot be empty"),
    (
        "azureeventhub",
        "",
        "",
        "",
        "invalid authentication options: endpoint URL cannot be empty",
    ),
    (
        "bitbucketserver",
        "ssh://a.test/scm/a/b.git",
        "",
        "t",
        "could not parse git address: unsupported scheme type in address",
    ),
    (
        "bitbucketserver",
        "https://a.test/a/b.git",
        "",
        "t",
        "could not parse git address: supplied provider address is not http(s) git clone url",
    ),
];

/// The same of the forges.
const UNUSABLE_FORGES: [(&str, &str, &str, &str); 12] = [
    (
        "github",
        "https://a.test/hush",
        "t",
        "invalid repository id: '*****'",
    ),
    (
        "githubdispatch",
        "https://a.test/hush",
        "t",
        "invalid repository id: '*****'",
    ),
    (
        "githubpullrequestcomment",
        "https://a.test/hush",
        "t",
        "invalid repository id: '*****'",
    ),
    (
        "gitea",
        "https://a.test/hush",
        "t",
        "invalid repository id \"*****\"",
    ),
    (
        "giteapullrequestcomment",
        "https://a.test/hush",
        "t",
        "invalid repository id \"*****\"",
    ),
    (
        "bitbucket",
        "https://a.test/hush",
        "u:p",
        "invalid repository id \"*****\"",
    ),
    (
        "azuredevops",
        "https://a.test/hush",
        "t",
        "invalid repository id \"*****\"",
    ),
    (
        "github",
        "https://a.test/a/b",
        "",
        "github token or github app details must be specified",
    ),
    (
        "gitlab",
        "https://a.test/a/b",
        "",
        "gitlab token cannot be empty",
    ),
    (
        "gitlabmergerequestcomment",
        "https://a.test/a/b",
        "",
        "gitlab token cannot be empty",
    ),
    (
        "gitea",
        "https://a.test/a/b",
        "",
        "gitea token cannot be empty",
    ),
    (
        "bitbucket",
        "https://a.test/a/b",
        "t",
        "invalid token format, expected to be <user>:<password>",
    ),
];

#[test]
fn a_provider_that_can_not_be_used_is_told_in_the_words_of_notification_controller() {
    let fit = event(&[("revision", REVISION), ("change_request", "7")]);
    let forges =
        UNUSABLE_FORGES.map(|(name, address, token, want)| (name, address, "", token, want));
    for (name, address, channel, token, want) in UNUSABLE.into_iter().chain(forges) {
        let target = Target {
            uid: "0c9c2e41-d2f9".to_owned(),
            address: address.to_owned().into(),
            channel: channel.to_owned(),
            token: (!token.is_empty()).then(|| token.to_owned().into()),
            ..Target::default()
        };
        let said = said(name, &target, &fit);
        let want = format!(
            "failed to initialize notifier for provider 'p': failed to initialize notifier: {want}"
        );
        assert!(said.starts_with(&want), "{name}: {said}");
        assert!(!said.contains("hush"), "{name}: {said}");
    }
    let nameless = Target {
        address: "https://a.test/a/b".to_owned().into(),
        token: Some("t".to_owned().into()),
        ..Target::default()
    };
    let said = said("githubpullrequestcomment", &nameless, &fit);
    assert!(said.contains(": provider UID cannot be empty"), "{said}");
    assert_eq!(
        of(&provider("carrier-pigeon")).map(drop),
        Err("provider carrier-pigeon not supported".to_owned())
    );
}

#[test]
fn an_event_that_can_not_be_sent_is_told_in_the_words_of_notification_controller() {
    let target = Target {
        uid: "0c9c2e41-d2f9".to_owned(),
        address: "https://a.test/a/b".to_owned().into(),
        token: Some("t".to_owned().into()),
        ..Target::default()
    };
    for (name, metadata, want) in [
        ("github", ("cluster", "prod"), "missing revision metadata"),
        (
            "gitlab",
            ("revision", "main@sha1:abc"),
            "failed to extract commit hash from 'main@sha1:abc' revision",
        ),
        (
            "giteapullrequestcomment",
            ("revision", REVISION),
            "missing \"change_request\" metadata key",
        ),
        (
            "githubpullrequestcomment",
            ("change_request", "x"),
            "invalid \"change_request\" metadata value \"x\"",
        ),
    ] {
        assert_eq!(said(name, &target, &event(&[metadata])), want, "{name}");
    }
    let unnamed = Target {
        commit_status: Some(String::new()),
        ..target
    };
    let unnamed = said("github", &unnamed, &event(&[("revision", REVISION)]));
    assert!(
        unnamed.contains(": commit status cannot be empty"),
        "{unnamed}"
    );
    let mut boolean = provider("github");
    boolean.spec.commit_status_expr = Some("true".to_owned());
    let error = commit_status::evaluate(&Event::default(), &boolean, &Default::default());
    let error = error.unwrap_err().to_string();
    let want = "failed to create commit status: failed to evaluate the spec.commitStatusExpr CEL expression for the event: ";
    assert!(error.starts_with(want), "{error}");
}

fn status(status: u16, said: &str) -> Failure {
    Failure::Provider(ProviderError::Status {
        status,
        said: said.to_owned(),
        retry_after: None,
        is_permanent: true,
    })
}

#[test]
fn an_attempt_that_fails_is_told_in_the_words_of_notification_controller() {
    let get = |requests| (Some(Method::Get), requests);
    let (post, patch, put) = (Method::Post, Method::Patch, Method::Put);
    let first = (Some(post), 1);
    let text = || "refused".to_owned();
    for (name, (method, requests), failure, want) in [
        (
            "slack",
            first,
            status(400, "no"),
            "postMessage failed: request failed: request failed with status code 400: no",
        ),
        (
            "generic",
            first,
            status(503, ""),
            "postMessage failed: request failed: request failed with status code 503",
        ),
        (
            "telegram",
            first,
            status(400, "no"),
            "request failed: request failed with status code 400: no",
        ),
        (
            "lark",
            first,
            status(400, "no"),
            "request failed: request failed with status code 400: no",
        ),
        (
            "zulip",
            first,
            status(400, "no"),
            "request failed: request failed with status code 400: no",
        ),
        (
            "slack",
            first,
            Failure::Timeout(Duration::from_secs(15)),
            "postMessage failed: failed to execute request: context deadline exceeded: no answer within 15 s",
        ),
        (
            "zulip",
            first,
            TransportError::Connect(text()).into(),
            "failed to execute request: failed to connect: refused",
        ),
        (
            "slack",
            first,
            TransportError::Tls(text()).into(),
            "postMessage failed: failed to execute request: failed to set up TLS: refused",
        ),
        (
            "slack",
            first,
            TransportError::Config("unable to parse proxy URL".to_owned()).into(),
            "postMessage failed: unable to parse proxy URL",
        ),
        (
            "slack",
            first,
            TransportError::Certificates("failed to parse CA certificate".to_owned()).into(),
            "failed to initialize notifier for provider 'p': failed to get TLS config: failed to parse CA certificate",
        ),
        (
            "github",
            get(1),
            status(500, "x"),
            "could not list commit statuses: request failed: request failed with status code 500: x",
        ),
        (
            "gitea",
            get(1),
            status(500, "x"),
            "could not list commit statuses: request failed: request failed with status code 500: x",
        ),
        (
            "azuredevops",
            get(1),
            status(500, "x"),
            "could not list commit statuses: request failed: request failed with status code 500: x",
        ),
        (
            "gitlab",
            get(1),
            status(500, "x"),
            "unable to list commit status: request failed: request failed with status code 500: x",
        ),
        (
            "bitbucket",
            get(1),
            status(500, "x"),
            "could not get commit status: request failed: request failed with status code 500: x",
        ),
        (
            "github",
            (Some(post), 2),
            status(401, "x"),
            "could not create commit status: request failed: request failed with status code 401: x",
        ),
        (
            "githubdispatch",
            first,
            status(401, "x"),
            "could not send github repository dispatch webhook: request failed: request failed with status code 401: x",
        ),
        (
            "githubpullrequestcomment",
            get(1),
            status(401, "x"),
            "failed to get authenticated user info: request failed: request failed with status code 401: x",
        ),
        (
            "githubpullrequestcomment",
            get(2),
            status(401, "x"),
            "failed to list pull request comments: request failed: request failed with status code 401: x",
        ),
        (
            "giteapullrequestcomment",
            (Some(post), 3),
            status(401, "x"),
            "failed to create pull request comment: request failed: request failed with status code 401: x",
        ),
        (
            "giteapullrequestcomment",
            (Some(patch), 3),
            status(401, "x"),
            "failed to update pull request comment: request failed: request failed with status code 401: x",
        ),
        (
            "gitlabmergerequestcomment",
            get(3),
            status(401, "x"),
            "failed to list merge request notes: request failed: request failed with status code 401: x",
        ),
        (
            "gitlabmergerequestcomment",
            (Some(post), 3),
            status(401, "x"),
            "failed to create merge request note: request failed: request failed with status code 401: x",
        ),
        (
            "gitlabmergerequestcomment",
            (Some(put), 3),
            status(401, "x"),
            "failed to update merge request note: request failed: request failed with status code 401: x",
        ),
    ] {
        let attempt = Broken {
            failure,
            is_permanent: false,
            asked: Asked { requests, method },
        };
        assert_eq!(broken(&provider(name), name, &attempt), want, "{name}");
    }
}

#[test]
fn the_types_that_are_posted_are_types() {
    for name in POSTED {
        assert!(of(&provider(name)).is_ok(), "{name}");
    }
    assert!(POSTED.is_sorted());
}
