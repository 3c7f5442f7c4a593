//! What it costs to find the Alerts that take an event, among many.
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

use controller::api::alert::{Alert, EventSource};
use controller::api::event::Event;
use controller::api::provider::Provider;
use controller::notify::select::Alerts;

use crate::measure::{Bench, head};

fn main() {
    let bench = Bench::from_environment();
    head("an event among so many Alerts");
    for count in [100, 10_000] {
        let (alerts, providers) = objects(count);
        let compiled = Alerts::compile(&alerts, &providers, false);
        let event = event();
        bench.row(&format!("{count}, each of its own namespace"), 0, || {
            let selection = compiled.select(black_box(&event), &|_| None);
            assert_eq!(selection.deliveries.len(), 1);
        });
        bench.row(&format!("{count}, compiled"), 0, || {
            black_box(Alerts::compile(&alerts, &providers, false));
        });
    }
}

/// Alerts with a pattern each, of namespaces `ns-0` …
fn objects(count: usize) -> (Vec<Alert>, Vec<Provider>) {
    let mut alerts = Vec::new();
    let mut providers = Vec::new();
    for n in 0..count {
        let namespace = format!("ns-{n}");
        let mut provider = Provider::default();
        provider.metadata.namespace.clone_from(&namespace);
        provider.metadata.name = "chat".to_owned();
        provider.spec.r#type = "slack".to_owned();
        providers.push(provider);
        let mut alert = Alert::default();
        alert.metadata.namespace = namespace;
        alert.metadata.name = "on-call".to_owned();
        alert.spec.provider_ref.name = "chat".to_owned();
        alert.spec.exclusion_list = vec!["waiting.*socket".to_owned()];
        alert.spec.event_sources = vec![EventSource {
            kind: "Kustomization".to_owned(),
            name: "*".to_owned(),
            ..EventSource::default()
        }];
        alerts.push(alert);
    }
    (alerts, providers)
}

fn event() -> Event {
    let json = r#"{
        "involvedObject": {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
                           "namespace": "ns-7", "name": "webapp"},
        "severity": "error", "timestamp": "2026-01-02T03:04:05Z", "message": "validation failed",
        "reason": "ValidationFailed", "reportingController": "kustomize-controller"
    }"#;
    Event::parse(json.as_bytes()).unwrap()
}
