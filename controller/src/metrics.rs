//! Every metric, by name. Labels are bounded: nothing that a sender chooses becomes a label.

mod alerts;
mod receivers;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

pub(crate) use self::alerts::TokenCounts;
pub use self::alerts::{ALERT_DOCS, AlertMetrics};
use self::receivers::ByReceiver;
use crate::activity::Activities;
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

/// The metrics of the controller. The first five are notification-controller's.
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
        name: "gotk_reconcile_duration_seconds",
        labels: "kind, name, namespace",
        help: "Duration of reconciling a Receiver, in seconds",
    },
    Doc {
        name: "leader_election_master_status",
        labels: "name",
        help: "Whether this process writes statuses",
    },
    Doc {
        name: "hookgate_hooks_total",
        labels: "type, outcome",
        help: "Hooks decided by the controller, by receiver type and reason word",
    },
    Doc {
        name: "hookgate_ext_authz_checks_total",
        labels: "type, outcome",
        help: "Hooks that Envoy asked about by ext_authz, by receiver type and reason word; what was refused counts among the hooks decided, too",
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
    Doc {
        name: "hookgate_xds_streams_refused_total",
        labels: "",
        help: "Envoys turned away because too many were connected",
    },
    Doc {
        name: "hookgate_xds_tls_reloads_total",
        labels: "",
        help: "Times that changed TLS files of the xDS port came into use",
    },
    Doc {
        name: "hookgate_xds_tls_reload_failures_total",
        labels: "",
        help: "Times that changed TLS files of the xDS port could not be used, so that the last good ones were kept",
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
        name: "hookgate_receiver_triggers_total",
        labels: "namespace, name, type, outcome",
        help: "Admitted hooks by Receiver and by what became of them: done, replayed, failed, later",
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

/// Labels of `gotk_reconcile_duration_seconds`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReconcileLabels {
    kind: &'static str,
    name: String,
    namespace: String,
}

/// Labels of `leader_election_master_status`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LeaseLabels {
    name: &'static str,
}

/// Labels of `hookgate_hooks_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HookLabels {
    r#type: &'static str,
    outcome: &'static str,
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
    reconcile: Family<ReconcileLabels, Histogram>,
    leads: Family<LeaseLabels, Gauge>,
    hooks: Family<HookLabels, Counter>,
    checks: Family<HookLabels, Counter>,
    reconcile_requests: Family<OutcomeLabels, Counter>,
    receivers: Family<ReadyLabels, Gauge>,
    problems: Gauge,
    table_bytes: Gauge,
    xds_envoys: Gauge,
    xds_pushes: Counter,
    xds_acks: Counter,
    xds_nacks: Counter,
    xds_refused: Counter,
    xds_tls_reloads: Counter,
    xds_tls_reload_failures: Counter,
}

/// The Prometheus client's default buckets, in seconds.
const SECONDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// nc's buckets, in bytes.
const BYTES: [f64; 8] = [1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// nc's buckets of reconcile times: ten from 10 ms to half an hour.
const RECONCILE_SECONDS: (f64, f64, u16) = (0.01, 180_000.0, 10);
/// The Lease, which is nc's.
pub(crate) const LEASE: &str = "notification-controller-leader-election";
/// All hooks come in on one route; the path is secret.
const HANDLER: &str = "/hook/";

#[cfg(test)]
impl Default for Metrics {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl Metrics {
    /// Metrics, those by Receiver out of `activities`.
    pub fn new(activities: Arc<Activities>) -> Self {
        let mut metrics = Self {
            alerts: AlertMetrics::default(),
            registry: Registry::default(),
            duration: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            size: Family::new_with_constructor(|| Histogram::new(BYTES)),
            inflight: Family::default(),
            reconcile: Family::new_with_constructor(reconcile_histogram),
            leads: Family::default(),
            hooks: Family::default(),
            checks: Family::default(),
            reconcile_requests: Family::default(),
            receivers: Family::default(),
            problems: Gauge::default(),
            table_bytes: Gauge::default(),
            xds_envoys: Gauge::default(),
            xds_pushes: Counter::default(),
            xds_acks: Counter::default(),
            xds_nacks: Counter::default(),
            xds_refused: Counter::default(),
            xds_tls_reloads: Counter::default(),
            xds_tls_reload_failures: Counter::default(),
        };
        metrics.register();
        let by_receiver = Box::new(ByReceiver(activities));
        metrics.registry.register_collector(by_receiver);
        metrics
    }

    fn register(&mut self) {
        let mut docs = DOCS.iter();
        // In the order of `DOCS`; a test compares.
        add(&mut self.registry, docs.next(), self.duration.clone());
        add(&mut self.registry, docs.next(), self.size.clone());
        add(&mut self.registry, docs.next(), self.inflight.clone());
        add(&mut self.registry, docs.next(), self.reconcile.clone());
        add(&mut self.registry, docs.next(), self.leads.clone());
        add(&mut self.registry, docs.next(), self.hooks.clone());
        add(&mut self.registry, docs.next(), self.checks.clone());
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
        add(&mut self.registry, docs.next(), self.xds_refused.clone());
        add(
            &mut self.registry,
            docs.next(),
            self.xds_tls_reloads.clone(),
        );
        add(
            &mut self.registry,
            docs.next(),
            self.xds_tls_reload_failures.clone(),
        );
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

    /// A Receiver was reconciled.
    pub(crate) fn reconciled(&self, namespace: &str, name: &str, seconds: f64) {
        let labels = reconcile_labels(namespace, name);
        self.reconcile.get_or_create(&labels).observe(seconds);
    }

    /// A Receiver is gone, as far as reconciling goes.
    pub(crate) fn reconciled_no_more(&self, namespace: &str, name: &str) {
        self.reconcile.remove(&reconcile_labels(namespace, name));
    }

    /// Whether this process leads.
    pub(crate) fn leads(&self, leads: bool) {
        let labels = LeaseLabels { name: LEASE };
        self.leads.get_or_create(&labels).set(leads.into());
    }

    /// A hook was decided on.
    pub(crate) fn decided(&self, r#type: &'static str, outcome: &'static str) {
        self.hooks
            .get_or_create(&HookLabels { r#type, outcome })
            .inc();
    }

    /// Envoy asked about a hook by `ext_authz`.
    pub(crate) fn checked(&self, r#type: &'static str, outcome: &'static str) {
        self.checks
            .get_or_create(&HookLabels { r#type, outcome })
            .inc();
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

    /// What the Envoys said, as counted where they speak.
    pub(crate) fn edges(&self, counts: Counts) {
        self.xds_envoys
            .set(i64::try_from(counts.streams).unwrap_or(i64::MAX));
        for (counter, n) in [
            (&self.xds_pushes, counts.pushes),
            (&self.xds_acks, counts.acks),
            (&self.xds_nacks, counts.nacks),
            (&self.xds_refused, counts.refused),
            (&self.xds_tls_reloads, counts.tls_reloads),
            (&self.xds_tls_reload_failures, counts.tls_reload_failures),
        ] {
            counter.inner().store(n, Ordering::Relaxed);
        }
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

fn reconcile_histogram() -> Histogram {
    let (first, range, count) = RECONCILE_SECONDS;
    let bucket = |n| first * range.powf(f64::from(n) / f64::from(count - 1));
    Histogram::new((0..count).map(bucket))
}

fn reconcile_labels(namespace: &str, name: &str) -> ReconcileLabels {
    ReconcileLabels {
        kind: "Receiver",
        name: name.to_owned(),
        namespace: namespace.to_owned(),
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
    use crate::activity::{KeysUsed, Triggered};

    /// One of everything, about `ns/a`.
    fn full(activities: &Activities) {
        activities.settle([("ns/a", "github")].into_iter());
        activities.decided("ns/a", "admitted", 1);
        let keys = KeysUsed {
            path: "token",
            proof: "token-previous",
            is_weak: true,
        };
        activities.admitted("ns/a", keys);
        activities.triggered("ns/a", Triggered::Done, String::new(), 2);
        let mut report = hook::report::Report::default();
        report.count("ns/a", "signature", false, 3);
        report.count("ns/a", "signature", false, 4);
        activities.reported(&report, 5);
    }

    #[test]
    fn every_metric_is_scraped_under_the_name_and_labels_that_the_docs_say() {
        let activities = Arc::new(Activities::default());
        let metrics = Metrics::new(activities.clone());
        full(&activities);
        drop(metrics.inflight());
        metrics.answered("BREW", 200, 0.1);
        metrics.decided("github", "admitted");
        metrics.checked("github", "admitted");
        metrics.requested("done");
        metrics.reconciled("ns", "a", 0.1);
        metrics.leads(true);
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
            let stem = doc.name.strip_suffix("_total").unwrap_or(doc.name);
            let help = format!("# HELP {stem} {}.\n", doc.help);
            assert!(text.contains(&help), "{help} is not in\n{text}");
        }
    }

    #[test]
    fn what_is_counted_by_receiver_is_scraped_and_goes_with_it() {
        let activities = Arc::new(Activities::default());
        let metrics = Metrics::new(activities.clone());
        full(&activities);
        metrics.reconciled("ns", "a", 0.1);
        let text = metrics.encode();
        let series: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("hookgate_") && line.contains("name=\"a\""))
            .collect();
        assert_eq!(
            series,
            [
                "hookgate_receiver_hooks_total{namespace=\"ns\",name=\"a\",type=\"github\",outcome=\"admitted\"} 1",
                "hookgate_edge_hooks_total{namespace=\"ns\",name=\"a\",type=\"github\",outcome=\"signature\"} 2",
                "hookgate_receiver_triggers_total{namespace=\"ns\",name=\"a\",type=\"github\",outcome=\"done\"} 1",
                "hookgate_receiver_token_used_total{namespace=\"ns\",name=\"a\",use=\"path\",key=\"token\"} 1",
                "hookgate_receiver_token_used_total{namespace=\"ns\",name=\"a\",use=\"proof\",key=\"token-previous\"} 1",
                "hookgate_receiver_weak_signatures_total{namespace=\"ns\",name=\"a\"} 1",
            ]
        );
        metrics.reconciled_no_more("ns", "a");
        activities.settle([("ns/a", "gitlab")].into_iter());
        assert!(
            !metrics.encode().contains("name=\"a\""),
            "{}",
            metrics.encode()
        );
    }
}
