//! Every metric, by name. Labels are bounded: nothing that a sender chooses becomes a label.

mod alerts;

use std::sync::atomic::Ordering;

use hook::config::Slot;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

pub use self::alerts::{ALERT_DOCS, AlertMetrics};
use crate::xds::Counts;

/// A metric as the README's table shows it.
#[derive(Clone, Copy, Debug)]
pub struct Doc {
    /// Its name, as scraped.
    pub name: &'static str,
    /// Its labels.
    pub labels: &'static str,
    /// What it counts.
    pub help: &'static str,
}

/// The metrics of the controller. The first three are notification-controller's.
pub const DOCS: &[Doc] = &[
    Doc {
        name: "gotk_receiver_http_request_duration_seconds",
        labels: "service, handler, method, code",
        help: "Duration of hook requests, in seconds",
    },
    Doc {
        name: "gotk_receiver_http_response_size_bytes",
        labels: "service, handler, method, code",
        help: "Size of hook responses, in bytes",
    },
    Doc {
        name: "gotk_receiver_http_requests_inflight",
        labels: "service, handler",
        help: "Hook requests being served",
    },
    Doc {
        name: "hookgate_hooks_total",
        labels: "type, outcome",
        help: "Hooks decided by the controller, by receiver type and reason word",
    },
    Doc {
        name: "hookgate_receiver_hooks_total",
        labels: "namespace, name, type, outcome",
        help: "Hooks decided by the controller, by Receiver",
    },
    Doc {
        name: "hookgate_edge_hooks_total",
        labels: "namespace, name, type, outcome",
        help: "Hooks decided by Envoy, by Receiver, as its edge reports say",
    },
    Doc {
        name: "hookgate_receiver_token_used_total",
        labels: "namespace, name, use, key",
        help: "Admitted hooks by the Secret's key that made the path (use=path) or the proof (use=proof)",
    },
    Doc {
        name: "hookgate_receiver_weak_signatures_total",
        labels: "namespace, name",
        help: "Admitted hooks that were signed with SHA-1",
    },
    Doc {
        name: "hookgate_reconcile_requests_total",
        labels: "outcome",
        help: "Resources that hooks asked to reconcile, by what became of it",
    },
    Doc {
        name: "hookgate_receivers",
        labels: "ready",
        help: "Receivers known",
    },
    Doc {
        name: "hookgate_manifest_problems",
        labels: "",
        help: "Problems in the manifests",
    },
    Doc {
        name: "hookgate_table_bytes",
        labels: "",
        help: "Size of the table, in bytes",
    },
    Doc {
        name: "hookgate_xds_envoys",
        labels: "",
        help: "Envoys connected for the table",
    },
    Doc {
        name: "hookgate_xds_pushes_total",
        labels: "",
        help: "Tables sent to Envoys",
    },
    Doc {
        name: "hookgate_xds_acks_total",
        labels: "",
        help: "Tables that Envoys took",
    },
    Doc {
        name: "hookgate_xds_nacks_total",
        labels: "",
        help: "Tables that Envoys refused",
    },
];

/// Labels of the three HTTP metrics of nc.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    service: &'static str,
    handler: &'static str,
    method: &'static str,
    code: u16,
}

/// Labels of the gauge of nc.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HandlerLabels {
    service: &'static str,
    handler: &'static str,
}

/// Labels of `hookgate_hooks_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HookLabels {
    r#type: &'static str,
    outcome: &'static str,
}

/// Labels of metrics by Receiver.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReceiverLabels {
    namespace: String,
    name: String,
    r#type: &'static str,
    outcome: String,
}

/// Labels of `hookgate_receiver_token_used_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TokenLabels {
    namespace: String,
    name: String,
    r#use: &'static str,
    key: &'static str,
}

/// A Receiver.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NameLabels {
    namespace: String,
    name: String,
}

/// Labels of `hookgate_reconcile_requests_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    outcome: &'static str,
}

/// Labels of `hookgate_receivers`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReadyLabels {
    ready: &'static str,
}

/// The metrics and their registry.
#[derive(Debug)]
pub struct Metrics {
    /// Those of events and alerts.
    pub alerts: AlertMetrics,
    registry: Registry,
    duration: Family<HttpLabels, Histogram>,
    size: Family<HttpLabels, Histogram>,
    inflight: Family<HandlerLabels, Gauge>,
    hooks: Family<HookLabels, Counter>,
    receiver_hooks: Family<ReceiverLabels, Counter>,
    edge_hooks: Family<ReceiverLabels, Counter>,
    token_used: Family<TokenLabels, Counter>,
    weak: Family<NameLabels, Counter>,
    reconcile_requests: Family<OutcomeLabels, Counter>,
    receivers: Family<ReadyLabels, Gauge>,
    problems: Gauge,
    table_bytes: Gauge,
    xds_envoys: Gauge,
    xds_pushes: Counter,
    xds_acks: Counter,
    xds_nacks: Counter,
}

/// The Prometheus client's default buckets, in seconds.
const SECONDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// nc's buckets, in bytes.
const BYTES: [f64; 8] = [1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// All hooks come in on one route; the path is secret.
const HANDLER: &str = "/hook/";

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            alerts: AlertMetrics::default(),
            registry: Registry::default(),
            duration: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            size: Family::new_with_constructor(|| Histogram::new(BYTES)),
            inflight: Family::default(),
            hooks: Family::default(),
            receiver_hooks: Family::default(),
            edge_hooks: Family::default(),
            token_used: Family::default(),
            weak: Family::default(),
            reconcile_requests: Family::default(),
            receivers: Family::default(),
            problems: Gauge::default(),
            table_bytes: Gauge::default(),
            xds_envoys: Gauge::default(),
            xds_pushes: Counter::default(),
            xds_acks: Counter::default(),
            xds_nacks: Counter::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let mut docs = DOCS.iter();
        // In the order of `DOCS`; a test compares.
        add(&mut self.registry, docs.next(), self.duration.clone());
        add(&mut self.registry, docs.next(), self.size.clone());
        add(&mut self.registry, docs.next(), self.inflight.clone());
        add(&mut self.registry, docs.next(), self.hooks.clone());
        add(&mut self.registry, docs.next(), self.receiver_hooks.clone());
        add(&mut self.registry, docs.next(), self.edge_hooks.clone());
        add(&mut self.registry, docs.next(), self.token_used.clone());
        add(&mut self.registry, docs.next(), self.weak.clone());
        add(
            &mut self.registry,
            docs.next(),
            self.reconcile_requests.clone(),
        );
        add(&mut self.registry, docs.next(), self.receivers.clone());
        add(&mut self.registry, docs.next(), self.problems.clone());
        add(&mut self.registry, docs.next(), self.table_bytes.clone());
        add(&mut self.registry, docs.next(), self.xds_envoys.clone());
        add(&mut self.registry, docs.next(), self.xds_pushes.clone());
        add(&mut self.registry, docs.next(), self.xds_acks.clone());
        add(&mut self.registry, docs.next(), self.xds_nacks.clone());
        self.alerts.register(&mut self.registry);
    }

    /// All metrics in the text form that Prometheus scrapes.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }

    /// Counts a request in until the guard is dropped.
    pub(crate) fn inflight(&self) -> Inflight {
        let gauge = self
            .inflight
            .get_or_create(&HandlerLabels {
                service: "",
                handler: HANDLER,
            })
            .clone();
        gauge.inc();
        Inflight(gauge)
    }

    /// A hook request was answered.
    pub(crate) fn answered(&self, method: &str, code: u16, seconds: f64) {
        let labels = HttpLabels {
            service: "",
            handler: HANDLER,
            method: bounded(method),
            code,
        };
        self.duration.get_or_create(&labels).observe(seconds);
        self.size.get_or_create(&labels).observe(0.0);
    }

    /// A hook was decided on.
    pub(crate) fn decided(
        &self,
        receiver: Option<&str>,
        r#type: &'static str,
        outcome: &'static str,
    ) {
        self.hooks
            .get_or_create(&HookLabels { r#type, outcome })
            .inc();
        if let Some((namespace, name)) = receiver.and_then(|r| r.split_once('/')) {
            self.receiver_hooks
                .get_or_create(&receiver_labels(namespace, name, r#type, outcome))
                .inc();
        }
    }

    /// Envoy reported hooks that it decided on.
    pub(crate) fn reported(&self, receiver: &str, r#type: &'static str, outcome: &str, n: u64) {
        if let Some((namespace, name)) = receiver.split_once('/') {
            self.edge_hooks
                .get_or_create(&receiver_labels(namespace, name, r#type, outcome))
                .inc_by(n);
        }
    }

    /// An admitted hook used these keys of the Secret.
    pub(crate) fn admitted(
        &self,
        receiver: &str,
        path: &'static str,
        proof: &'static str,
        weak: bool,
    ) {
        let Some((namespace, name)) = receiver.split_once('/') else {
            return;
        };
        for (r#use, key) in [("path", path), ("proof", proof)] {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            self.token_used
                .get_or_create(&TokenLabels {
                    namespace,
                    name,
                    r#use,
                    key,
                })
                .inc();
        }
        if weak {
            let labels = NameLabels {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            };
            self.weak.get_or_create(&labels).inc();
        }
    }

    /// A resource was asked to reconcile, or could not be.
    pub(crate) fn requested(&self, outcome: &'static str) {
        self.reconcile_requests
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
    }

    /// A new table was compiled.
    pub(crate) fn compiled(&self, ready: usize, not_ready: usize, problems: usize, bytes: usize) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.receivers
            .get_or_create(&ReadyLabels { ready: "true" })
            .set(count(ready));
        self.receivers
            .get_or_create(&ReadyLabels { ready: "false" })
            .set(count(not_ready));
        self.problems.set(count(problems));
        self.table_bytes.set(count(bytes));
    }

    /// Forgets the series of a Receiver that is gone, or they would add up for ever.
    pub(crate) fn forget<'a>(
        &self,
        receiver: &str,
        r#type: &'static str,
        outcomes: impl Iterator<Item = &'a String>,
    ) {
        let Some((namespace, name)) = receiver.split_once('/') else {
            return;
        };
        for outcome in outcomes {
            let labels = receiver_labels(namespace, name, r#type, outcome);
            self.receiver_hooks.remove(&labels);
            self.edge_hooks.remove(&labels);
        }
        let owned = || (namespace.to_owned(), name.to_owned());
        for slot in [Slot::Token, Slot::TokenPrevious, Slot::SigningToken] {
            for r#use in ["path", "proof"] {
                let (namespace, name) = owned();
                let labels = TokenLabels {
                    namespace,
                    name,
                    r#use,
                    key: slot.name(),
                };
                self.token_used.remove(&labels);
            }
        }
        let (namespace, name) = owned();
        self.weak.remove(&NameLabels { namespace, name });
    }

    /// What the Envoys said, as counted where they speak.
    pub(crate) fn edges(&self, counts: Counts) {
        self.xds_envoys
            .set(i64::try_from(counts.streams).unwrap_or(i64::MAX));
        self.xds_pushes
            .inner()
            .store(counts.pushes, Ordering::Relaxed);
        self.xds_acks.inner().store(counts.acks, Ordering::Relaxed);
        self.xds_nacks
            .inner()
            .store(counts.nacks, Ordering::Relaxed);
    }
}

fn add(registry: &mut Registry, doc: Option<&Doc>, metric: impl Metric) {
    if let Some(doc) = doc {
        // The encoder adds `_total` to counters itself.
        registry.register(
            doc.name.strip_suffix("_total").unwrap_or(doc.name),
            doc.help,
            metric,
        );
    }
}

fn receiver_labels(
    namespace: &str,
    name: &str,
    r#type: &'static str,
    outcome: &str,
) -> ReceiverLabels {
    ReceiverLabels {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        r#type,
        outcome: outcome.to_owned(),
    }
}

/// A method as a label: nc's is whatever the client sends.
fn bounded(method: &str) -> &'static str {
    ["POST", "PUT", "GET", "HEAD", "DELETE", "OPTIONS", "PATCH"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}

/// A request being served.
#[derive(Debug)]
pub(crate) struct Inflight(Gauge<i64, std::sync::atomic::AtomicI64>);

impl Drop for Inflight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_scraped_under_the_name_and_labels_that_the_docs_say() {
        let metrics = Metrics::default();
        drop(metrics.inflight());
        metrics.answered("BREW", 200, 0.1);
        metrics.decided(Some("ns/a"), "github", "admitted");
        metrics.reported("ns/a", "github", "signature", 2);
        metrics.admitted("ns/a", "token", "token-previous", true);
        metrics.requested("done");
        metrics.compiled(1, 0, 0, 10);
        let text = metrics.encode();
        check_docs(&text, DOCS);
        assert!(text.contains("method=\"other\"") && !text.contains("BREW"));
    }

    /// Every metric of `docs` is in a scrape with its labels.
    pub(super) fn check_docs(text: &str, docs: &[Doc]) {
        for doc in docs {
            let series = text
                .lines()
                .find(|line| {
                    line.starts_with(doc.name) || line.starts_with(&format!("{}_count", doc.name))
                })
                .unwrap_or_else(|| panic!("{} is not in\n{text}", doc.name));
            let labels = series.split_once('{').map_or("", |(_, rest)| rest);
            let names: Vec<_> = labels
                .split(',')
                .filter_map(|label| Some(label.split_once('=')?.0))
                .collect();
            assert_eq!(names.join(", "), doc.labels, "{series}");
        }
    }

    #[test]
    fn a_receiver_that_is_gone_leaves_no_series() {
        let metrics = Metrics::default();
        metrics.decided(Some("ns/gone"), "github", "admitted");
        metrics.reported("ns/gone", "github", "signature", 2);
        metrics.admitted("ns/gone", "token", "token", true);
        let outcomes = ["admitted".to_owned(), "signature".to_owned()];
        metrics.forget("ns/gone", "github", outcomes.iter());
        assert!(!metrics.encode().contains("gone"), "{}", metrics.encode());
    }
}
