//! The metrics of events and alerts. Providers are labels, as there are no more of them than objects.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{
    BYTES, Doc, HandlerLabels, HttpLabels, Inflight, OutcomeLabels, SECONDS, add, bounded,
};
use crate::notify::spool::Stats;

/// These metrics, in the order in which they are registered. The first seven are
/// notification-controller's.
pub const ALERT_DOCS: &[Doc] = &[
    Doc {
        name: "gotk_event_http_request_duration_seconds",
        labels: "service, handler, method, code",
        help: "Duration of event requests, in seconds",
    },
    Doc {
        name: "gotk_event_http_response_size_bytes",
        labels: "service, handler, method, code",
        help: "Size of event responses, in bytes",
    },
    Doc {
        name: "gotk_event_http_requests_inflight",
        labels: "service, handler",
        help: "Event requests being served",
    },
    Doc {
        name: "gotk_token_cache_events_total",
        labels: "event_type, kind, name, namespace, operation",
        help: "Tokens of Providers that were at hand (cache_hit) or had to be fetched (cache_miss)",
    },
    Doc {
        name: "gotk_token_cached_items",
        labels: "",
        help: "Tokens of Providers that are kept",
    },
    Doc {
        name: "gotk_token_cache_requests_total",
        labels: "status",
        help: "Tokens that were asked for and had (success) or not to be had (failure)",
    },
    Doc {
        name: "gotk_token_cache_evictions_total",
        labels: "",
        help: "Tokens that were given up to make room for others",
    },
    Doc {
        name: "hookgate_events_total",
        labels: "outcome",
        help: "Events received, by what became of them: accepted, unmatched, duplicate, malformed, too_large, unavailable",
    },
    Doc {
        name: "hookgate_alerts_pending",
        labels: "namespace, name",
        help: "Alerts that wait to be sent, by Provider",
    },
    Doc {
        name: "hookgate_alerts_dead",
        labels: "namespace, name",
        help: "Dead letters, by Provider",
    },
    Doc {
        name: "hookgate_alerts_oldest_seconds",
        labels: "namespace, name",
        help: "Age of the oldest event that waits to be sent, by Provider",
    },
    Doc {
        name: "hookgate_alert_held_back",
        labels: "namespace, name",
        help: "1 while nobody answers at a Provider that alerts wait for, so that it is asked now and then only",
    },
    Doc {
        name: "hookgate_alert_attempts_total",
        labels: "namespace, name, outcome",
        help: "Attempts to send, by Provider: delivered, or why not",
    },
    Doc {
        name: "hookgate_alert_template_failures_total",
        labels: "namespace, name",
        help: "Messages that were sent as they came, because the Alert's template failed, by Provider",
    },
    Doc {
        name: "hookgate_alerts_total",
        labels: "namespace, name, end",
        help: "Alerts that were delivered or became dead letters, by Provider",
    },
    Doc {
        name: "hookgate_alert_delivery_seconds",
        labels: "",
        help: "Time from accepting an event to its delivery, in seconds",
    },
    Doc {
        name: "hookgate_spool_events",
        labels: "",
        help: "Events in the spool",
    },
    Doc {
        name: "hookgate_spool_bytes",
        labels: "",
        help: "Bytes of the events in the spool",
    },
    Doc {
        name: "hookgate_spool_failing",
        labels: "",
        help: "1 while the spool can't be written",
    },
];

/// From moments to hours, in seconds.
const DELIVERY: [f64; 10] = [
    0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0, 86_400.0,
];
/// What becomes of attempts: the categories of all errors on the way.
const OUTCOMES: [&str; 20] = [
    "answer",
    "config",
    "connect",
    "conversation",
    "delivered",
    "event",
    "exchange",
    "gone",
    "identity",
    "limited",
    "no_provider",
    "refused",
    "secret",
    "spool",
    "status",
    "suspended",
    "timeout",
    "tls",
    "unauthorized",
    "unsupported",
];
/// nc's words of its cache of tokens.
const HIT: &str = "cache_hit";
const MISS: &str = "cache_miss";
const SUCCESS: &str = "success";
const FAILURE: &str = "failure";
/// All events come in on one route.
const HANDLER: &str = "/";

/// A Provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ProviderLabels {
    namespace: String,
    name: String,
}

/// A Provider, and what became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AttemptLabels {
    namespace: String,
    name: String,
    outcome: &'static str,
}

/// A Provider, and how deliveries end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct EndLabels {
    namespace: String,
    name: String,
    end: &'static str,
}

/// nc's labels of its cache of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TokenCacheLabels {
    event_type: &'static str,
    kind: &'static str,
    name: String,
    namespace: String,
    operation: &'static str,
}

/// nc's label of requests to its cache of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StatusLabels {
    status: &'static str,
}

/// The cache of tokens in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenCounts {
    /// Tokens that are kept.
    pub(crate) items: usize,
    /// Tokens that made room for others so far.
    pub(crate) evictions: u64,
}

/// The metrics of events and alerts.
#[derive(Debug)]
pub struct AlertMetrics {
    duration: Family<HttpLabels, Histogram>,
    size: Family<HttpLabels, Histogram>,
    inflight: Family<HandlerLabels, Gauge>,
    tokens: Family<TokenCacheLabels, Counter>,
    token_items: Gauge,
    token_requests: Family<StatusLabels, Counter>,
    token_evictions: Counter,
    events: Family<OutcomeLabels, Counter>,
    pending: Family<ProviderLabels, Gauge>,
    dead: Family<ProviderLabels, Gauge>,
    oldest: Family<ProviderLabels, Gauge<f64, AtomicU64>>,
    held_back: Family<ProviderLabels, Gauge>,
    attempts: Family<AttemptLabels, Counter>,
    unworded: Family<ProviderLabels, Counter>,
    ends: Family<EndLabels, Counter>,
    delivery: Histogram,
    entries: Gauge,
    bytes: Gauge,
    failing: Gauge,
}

impl Default for AlertMetrics {
    fn default() -> Self {
        Self {
            duration: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            size: Family::new_with_constructor(|| Histogram::new(BYTES)),
            inflight: Family::default(),
            tokens: Family::default(),
            token_items: Gauge::default(),
            token_requests: Family::default(),
            token_evictions: Counter::default(),
            events: Family::default(),
            pending: Family::default(),
            dead: Family::default(),
            oldest: Family::default(),
            held_back: Family::default(),
            attempts: Family::default(),
            unworded: Family::default(),
            ends: Family::default(),
            delivery: Histogram::new(DELIVERY),
            entries: Gauge::default(),
            bytes: Gauge::default(),
            failing: Gauge::default(),
        }
    }
}

impl AlertMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let mut docs = ALERT_DOCS.iter();
        // In the order of `ALERT_DOCS`; a test compares.
        add(registry, docs.next(), self.duration.clone());
        add(registry, docs.next(), self.size.clone());
        add(registry, docs.next(), self.inflight.clone());
        add(registry, docs.next(), self.tokens.clone());
        add(registry, docs.next(), self.token_items.clone());
        add(registry, docs.next(), self.token_requests.clone());
        add(registry, docs.next(), self.token_evictions.clone());
        add(registry, docs.next(), self.events.clone());
        add(registry, docs.next(), self.pending.clone());
        add(registry, docs.next(), self.dead.clone());
        add(registry, docs.next(), self.oldest.clone());
        add(registry, docs.next(), self.held_back.clone());
        add(registry, docs.next(), self.attempts.clone());
        add(registry, docs.next(), self.unworded.clone());
        add(registry, docs.next(), self.ends.clone());
        add(registry, docs.next(), self.delivery.clone());
        add(registry, docs.next(), self.entries.clone());
        add(registry, docs.next(), self.bytes.clone());
        add(registry, docs.next(), self.failing.clone());
    }

    /// Counts an event request in until the guard is dropped.
    pub(crate) fn inflight(&self) -> Inflight {
        let labels = HandlerLabels {
            service: "",
            handler: HANDLER,
        };
        let gauge = self.inflight.get_or_create(&labels).clone();
        gauge.inc();
        Inflight(gauge)
    }

    /// An event request was answered with a body of so many bytes.
    pub(crate) fn answered(&self, method: &str, code: u16, size: usize, seconds: f64) {
        let labels = HttpLabels {
            service: "",
            handler: HANDLER,
            method: bounded(method),
            code,
        };
        self.duration.get_or_create(&labels).observe(seconds);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.size.get_or_create(&labels).observe(f64::from(size));
    }

    /// A token of a Provider was needed, and was at hand or not.
    pub(crate) fn token(&self, provider: &str, hit: bool) {
        let event_type = if hit { HIT } else { MISS };
        let labels = token_labels(provider, event_type);
        self.tokens.get_or_create(&labels).inc();
    }

    /// A token was asked for, and had or not, after which this much is kept.
    pub(crate) fn token_request(&self, is_had: bool, counts: TokenCounts) {
        let status = if is_had { SUCCESS } else { FAILURE };
        self.token_requests
            .get_or_create(&StatusLabels { status })
            .inc();
        self.token_cache(counts);
    }

    /// This much is kept of tokens.
    pub(crate) fn token_cache(&self, counts: TokenCounts) {
        self.token_items
            .set(i64::try_from(counts.items).unwrap_or(i64::MAX));
        self.token_evictions
            .inner()
            .store(counts.evictions, Ordering::Relaxed);
    }

    /// An event was decided on.
    pub(crate) fn received(&self, outcome: &'static str) {
        self.events.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// An attempt to send was made.
    pub(crate) fn attempted(&self, provider: &str, outcome: &'static str) {
        debug_assert!(OUTCOMES.contains(&outcome), "{outcome} is not in OUTCOMES");
        let ProviderLabels { namespace, name } = provider_labels(provider);
        let labels = AttemptLabels {
            namespace,
            name,
            outcome,
        };
        self.attempts.get_or_create(&labels).inc();
    }

    /// An Alert's template failed, and the message was sent as it came.
    pub(crate) fn unworded(&self, provider: &str) {
        self.unworded
            .get_or_create(&provider_labels(provider))
            .inc();
    }

    /// A delivery ended so long after its event was accepted.
    pub(crate) fn ended(&self, provider: &str, end: &'static str, took_ms: u64) {
        let ProviderLabels { namespace, name } = provider_labels(provider);
        let labels = EndLabels {
            namespace,
            name,
            end,
        };
        self.ends.get_or_create(&labels).inc();
        if end == "delivered" {
            self.delivery.observe(seconds(took_ms));
        }
    }

    /// Forgets the series of a Provider that is gone, or they would add up for ever.
    pub(crate) fn forget(&self, provider: &str) {
        for outcome in OUTCOMES {
            let ProviderLabels { namespace, name } = provider_labels(provider);
            let labels = AttemptLabels {
                namespace,
                name,
                outcome,
            };
            self.attempts.remove(&labels);
        }
        self.unworded.remove(&provider_labels(provider));
        for event_type in [HIT, MISS] {
            self.tokens.remove(&token_labels(provider, event_type));
        }
        for end in ["dead", "delivered"] {
            let ProviderLabels { namespace, name } = provider_labels(provider);
            let labels = EndLabels {
                namespace,
                name,
                end,
            };
            self.ends.remove(&labels);
        }
    }

    /// What is in the spool at the moment of a scrape.
    pub(crate) fn spool(&self, stats: &Stats, now_ms: u64) {
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.entries.set(count(stats.entries as u64));
        self.bytes.set(count(stats.bytes));
        self.failing.set(stats.is_failing.into());
        // Providers that nothing waits for have no series.
        self.pending.clear();
        self.dead.clear();
        self.oldest.clear();
        self.held_back.clear();
        for (provider, stats) in &stats.providers {
            let labels = provider_labels(provider);
            self.pending
                .get_or_create(&labels)
                .set(count(stats.pending));
            self.dead.get_or_create(&labels).set(count(stats.dead));
            let age = stats.oldest_ms.map_or(0, |at| now_ms.saturating_sub(at));
            self.oldest.get_or_create(&labels).set(seconds(age));
            self.held_back
                .get_or_create(&labels)
                .set(stats.is_held_back.into());
        }
    }
}

fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

fn token_labels(provider: &str, event_type: &'static str) -> TokenCacheLabels {
    let ProviderLabels { namespace, name } = provider_labels(provider);
    TokenCacheLabels {
        event_type,
        kind: "Provider",
        name,
        namespace,
        operation: "post",
    }
}

fn provider_labels(provider: &str) -> ProviderLabels {
    let (namespace, name) = provider.split_once('/').unwrap_or(("", provider));
    ProviderLabels {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::notify::spool::ProviderStats;

    #[test]
    fn every_metric_is_scraped_under_the_name_and_labels_that_the_docs_say() {
        let metrics = Metrics::new(std::sync::Arc::default());
        drop(metrics.alerts.inflight());
        metrics.alerts.answered("BREW", 202, 0, 0.1);
        metrics.alerts.received("accepted");
        metrics.alerts.token("apps/chat", true);
        let counts = TokenCounts {
            items: 3,
            evictions: 4,
        };
        metrics.alerts.token_request(false, counts);
        metrics.alerts.attempted("apps/chat", "delivered");
        metrics.alerts.unworded("apps/chat");
        metrics.alerts.ended("apps/chat", "delivered", 1_500);
        let chat = ProviderStats {
            pending: 2,
            dead: 1,
            oldest_ms: Some(1_000),
            is_held_back: true,
        };
        let stats = Stats {
            providers: [("apps/chat".into(), chat)].into(),
            ..Stats::default()
        };
        metrics.alerts.spool(&stats, 3_500);
        let text = metrics.encode();
        crate::metrics::tests::check_docs(&text, ALERT_DOCS);
        for line in [
            "gotk_token_cached_items 3\n",
            "gotk_token_cache_requests_total{status=\"failure\"} 1\n",
            "gotk_token_cache_evictions_total 4\n",
            "hookgate_alerts_oldest_seconds{namespace=\"apps\",name=\"chat\"} 2.5\n",
            "hookgate_alert_held_back{namespace=\"apps\",name=\"chat\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        metrics.alerts.spool(&Stats::default(), 3_500);
        metrics.alerts.forget("apps/chat");
        let text = metrics.encode();
        assert!(!text.contains("apps"), "{text}");
    }
}
