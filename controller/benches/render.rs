//! What it costs to make a provider's first request of an event, for each type of Provider.
//!
//! `cargo bench -p controller` prints a table in Markdown; `--test` does everything once and measures nothing.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its table, and may panic"
)]

#[path = "../../filter/hook/benches/measure/mod.rs"]
mod measure;

use std::hint::black_box;

use controller::api::event::Event;
use controller::provider::{AlertId, Context, PROVIDER_TYPES, Step, Target};

use crate::measure::{Bench, head};

/// 2026-01-02T03:04:05Z, in Unix seconds.
const NOW: u64 = 1_767_323_045;

fn main() {
    let bench = Bench::from_environment();
    let event = event();
    head("the first request of an event");
    for provider in PROVIDER_TYPES {
        let name = provider.name();
        let target = target(name);
        let alert = AlertId::default();
        bench.row(name, 0, || {
            let context = Context::new(NOW, &event, &alert, &target);
            let mut exchange = provider
                .exchange(black_box(&event), &target, &context)
                .unwrap();
            let step = exchange.next(None);
            assert!(!matches!(step, Step::Failed(_)), "{name}: {step:?}");
        });
    }
}

/// What this type can be sent to.
fn target(name: &str) -> Target {
    let (address, channel) = match name {
        "azuredevops" => ("https://dev.azure.com/acme/shop/_git/web", ""),
        "azureeventhub" => ("flux", "acme"),
        "bitbucketserver" => ("https://git.test/scm/shop/web.git", ""),
        "googlepubsub" => ("acme-prod", "alerts"),
        "matrix" => ("https://matrix.test", "!room:matrix.test"),
        "nats" => ("nats://nats.test:4222", "flux.alerts"),
        "sentry" => ("https://key@sentry.test/1", "staging"),
        "smtp" => ("smtp://mail.test", "oncall@acme.test"),
        "telegram" => ("https://api.telegram.org", "-100123"),
        "zulip" => ("https://zulip.test", "general/alerts"),
        _ => ("https://hooks.test/acme/web", "ops"),
    };
    Target {
        namespace: "apps".to_owned(),
        name: "provider".to_owned(),
        uid: "0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a".to_owned(),
        address: address.to_owned().into(),
        channel: channel.to_owned(),
        username: if name == "smtp" { "flux@acme.test" } else { "" }.to_owned(),
        password: (name == "smtp" || name.starts_with("bitbucket"))
            .then(|| "password".to_owned().into()),
        // Without a key Pub/Sub asks for an identity of the cloud.
        token: (!matches!(name, "smtp" | "googlepubsub")).then(|| "user:token".to_owned().into()),
        commit_status: None,
        ..Target::default()
    }
}

fn event() -> Event {
    let message = "health check failed: Deployment/apps/webapp status: 'InProgress' ".repeat(8);
    let json = serde_json::json!({
        "involvedObject": {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
                           "namespace": "apps", "name": "webapp", "uid": "7d0cdc51-ddcf-4743-b223-83ca5c699632"},
        "severity": "error", "timestamp": "2026-01-02T03:04:05Z", "message": message,
        "reason": "HealthCheckFailed", "reportingController": "kustomize-controller",
        "metadata": {
            "revision": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738", "change_request": "42",
            "cluster": "prod", "env": "eu-west-1", "summary": "the shop",
        },
    });
    Event::parse(json.to_string().as_bytes()).unwrap()
}
