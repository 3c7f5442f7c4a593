//! What an API server takes for a Provider, and what it refuses.

use e2e::Cluster;
use e2e::trials::Trials;
use serde_json::{Value, json};

use crate::schema::{Kind, unsupported, with};

const PROVIDER: Kind = Kind {
    kind: "Provider",
    version: "v1beta3",
};

/// The types that commit statuses are for.
const COMMIT_STATUS: [&str; 6] = [
    "github",
    "gitlab",
    "gitea",
    "bitbucketserver",
    "bitbucket",
    "azuredevops",
];

const TYPES: [&str; 34] = [
    "slack",
    "discord",
    "msteams",
    "rocket",
    "generic",
    "generic-hmac",
    "github",
    "gitlab",
    "gitea",
    "giteapullrequestcomment",
    "bitbucketserver",
    "bitbucket",
    "azuredevops",
    "googlechat",
    "googlepubsub",
    "webex",
    "sentry",
    "azureeventhub",
    "telegram",
    "lark",
    "matrix",
    "opsgenie",
    "alertmanager",
    "grafana",
    "githubdispatch",
    "githubpullrequestcomment",
    "gitlabmergerequestcomment",
    "pagerduty",
    "datadog",
    "nats",
    "zulip",
    "otel",
    "zoom",
    "incident.io",
];

pub(crate) fn trials(trials: Trials<Cluster>) -> Trials<Cluster> {
    trials
        .shared("a_provider_that_flux_takes_is_taken_as_it_is", accepted)
        .shared("a_provider_that_flux_refuses_is_refused", refused)
        .shared(
            "only_a_provider_of_commit_statuses_has_an_expression_for_their_names",
            commit_status,
        )
}

fn accepted(cluster: &Cluster) {
    let takes = |what: &str, spec: Value| PROVIDER.accepts(cluster, what, &spec, &spec);
    for name in TYPES {
        takes(name, json!({"type": name}));
    }
    let long = "x".repeat(2048);
    takes(
        "every field",
        json!({
            "type": "slack",
            "address": long,
            "certSecretRef": {"name": "ca"},
            "channel": long,
            "interval": "1h30m",
            "proxy": "http://proxy:3128",
            "proxySecretRef": {"name": "proxy"},
            "secretRef": {"name": "token"},
            "serviceAccountName": "chat",
            "suspend": true,
            "timeout": "0s",
            "username": long,
        }),
    );
    takes(
        "no URL",
        json!({"type": "slack", "address": "no URL", "proxy": "https://"}),
    );
}

fn refused(cluster: &Cluster) {
    let refuses = |what: &str, fields: Value, cause: &str| {
        PROVIDER.refuses(
            cluster,
            what,
            &with(&json!({"type": "slack"}), fields),
            &[cause],
        );
    };
    refuses(
        "no type",
        json!({"type": null}),
        "spec.type: Required value",
    );
    refuses(
        "another type",
        json!({"type": "irc"}),
        &unsupported("spec.type", "irc", &TYPES),
    );
    for field in ["address", "channel", "username"] {
        let cause = format!("spec.{field}: Too long: may not be more than 2048 bytes");
        refuses(field, json!({field: "x".repeat(2049)}), &cause);
    }
    for field in ["certSecretRef", "proxySecretRef", "secretRef"] {
        refuses(
            field,
            json!({field: {}}),
            &format!("spec.{field}.name: Required value"),
        );
    }
    let long = format!("http://{}", "x".repeat(2042));
    refuses(
        "a long proxy",
        json!({"proxy": long}),
        "spec.proxy: Too long: may not be more than 2048 bytes",
    );
    for (field, value, pattern) in [
        ("interval", "1d", "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"),
        ("timeout", "1h", "^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"),
        ("timeout", "15", "^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"),
        ("proxy", "socks5://proxy", "^(http|https)://.*$"),
    ] {
        let cause = format!(
            "spec.{field}: Invalid value: {value:?}: spec.{field} in body should match '{pattern}'"
        );
        refuses(value, json!({field: value}), &cause);
    }
}

fn commit_status(cluster: &Cluster) {
    for name in TYPES {
        let spec = json!({"type": name, "commitStatusExpr": "(("});
        if COMMIT_STATUS.contains(&name) {
            PROVIDER.accepts(cluster, name, &spec, &spec);
        } else {
            let cause = "spec: Invalid value: spec.commitStatusExpr is only supported for the 'github', 'gitlab', 'gitea', 'bitbucketserver', 'bitbucket', 'azuredevops' provider types";
            PROVIDER.refuses(cluster, name, &spec, &[cause]);
        }
    }
}
