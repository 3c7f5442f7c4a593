//! Metrics by Receiver: written at each scrape from what is counted elsewhere, so that a Receiver that
//! is gone leaves no series behind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::DOCS;
use crate::activity::{Activities, Activity};

/// Writes the metrics by Receiver.
#[derive(Debug)]
pub(super) struct ByReceiver(pub(super) Arc<Activities>);

/// Labels and counts.
type Series<'a> = Vec<(Vec<(&'static str, &'a str)>, u64)>;

/// What is counted of a Receiver, by word.
type Counted = fn(&Activity) -> Vec<(&str, u64)>;

impl Collector for ByReceiver {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let seen = self.0.seen();
        let by_outcome: [(_, Counted); 3] = [
            ("hookgate_receiver_hooks_total", |of| counts(&of.counts)),
            ("hookgate_edge_hooks_total", |of| counts(&of.edge_counts)),
            ("hookgate_receiver_triggers_total", |of| {
                counts(&of.triggers)
            }),
        ];
        for (metric, counts) in by_outcome {
            let series = each(&seen, |of, [namespace, name]| {
                let receiver_type = ("type", of.receiver_type.as_str());
                let labels = |outcome| vec![namespace, name, receiver_type, ("outcome", outcome)];
                let counts = counts(of).into_iter();
                counts.map(|(word, n)| (labels(word), n)).collect()
            });
            family(&mut encoder, metric, series)?;
        }
        let used = each(&seen, keys_used);
        family(&mut encoder, "hookgate_receiver_token_used_total", used)?;
        let weak = each(&seen, |of, names| match of.weak_signatures {
            0 => Vec::new(),
            n => vec![(names.to_vec(), n)],
        });
        family(
            &mut encoder,
            "hookgate_receiver_weak_signatures_total",
            weak,
        )
    }
}

fn keys_used<'a>(of: &'a Activity, [namespace, name]: [(&'static str, &'a str); 2]) -> Series<'a> {
    let mut series = Vec::new();
    for (what, keys) in &of.keys_used {
        for (key, n) in keys {
            series.push((vec![namespace, name, ("use", *what), ("key", *key)], *n));
        }
    }
    series
}

fn counts<K: AsRef<str>>(counts: &BTreeMap<K, u64>) -> Vec<(&str, u64)> {
    counts.iter().map(|(key, n)| (key.as_ref(), *n)).collect()
}

/// The series of all Receivers.
fn each<'a>(
    seen: &'a [(String, Activity)],
    series: impl Fn(&'a Activity, [(&'static str, &'a str); 2]) -> Series<'a>,
) -> Series<'a> {
    let named = seen.iter().filter_map(|(name, of)| {
        let (namespace, name) = name.split_once('/')?;
        Some(series(of, [("namespace", namespace), ("name", name)]))
    });
    named.flatten().collect()
}

fn family(encoder: &mut DescriptorEncoder<'_>, metric: &str, series: Series<'_>) -> fmt::Result {
    let help = DOCS.iter().find(|doc| doc.name == metric);
    let help = help.map(|doc| format!("{}.", doc.help)).unwrap_or_default();
    let stem = metric.strip_suffix("_total").unwrap_or(metric);
    let mut family = encoder.encode_descriptor(stem, &help, None, MetricType::Counter)?;
    for (labels, n) in series {
        ConstCounter::new(n).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
