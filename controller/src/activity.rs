//! What happened to each Receiver's hooks lately, seen by this process or reported by Envoy.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hook::report::Report;
use serde::Serialize;

/// What happened to the hooks of one Receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// When the last hook was admitted, Unix milliseconds.
    pub admitted_at: Option<u64>,
    /// Why the last refused hook was refused.
    pub refused: Option<String>,
    /// When that was, Unix milliseconds.
    pub refused_at: Option<u64>,
    /// What became of the last trigger.
    pub triggered: Option<String>,
    /// When that was, Unix milliseconds.
    pub triggered_at: Option<u64>,
    /// Admitted hooks that were signed with SHA-1, which is weak.
    pub weak_signatures: u64,
    /// Hooks that the controller decided on, by reason word.
    pub counts: BTreeMap<String, u64>,
    /// Hooks that Envoy decided on, by reason word.
    pub edge_counts: BTreeMap<String, u64>,
}

/// The activity of all Receivers. Bounded by the Receivers that there are.
#[derive(Debug, Default)]
pub struct Activities(Mutex<BTreeMap<String, Activity>>);

impl Activities {
    /// A hook was decided on here.
    pub fn decided(&self, receiver: &str, reason: &str, admitted: bool, now_ms: u64) {
        let mut all = self.lock();
        let activity = all.entry(receiver.to_owned()).or_default();
        *activity.counts.entry(reason.to_owned()).or_default() += 1;
        if admitted {
            activity.admitted_at = Some(now_ms);
        } else {
            activity.refused = Some(reason.to_owned());
            activity.refused_at = Some(now_ms);
        }
    }

    /// A hook's resources were asked to reconcile.
    pub fn triggered(&self, receiver: &str, outcome: String, now_ms: u64) {
        let mut all = self.lock();
        let activity = all.entry(receiver.to_owned()).or_default();
        activity.triggered = Some(outcome);
        activity.triggered_at = Some(now_ms);
    }

    /// A hook was admitted that was signed with SHA-1.
    pub fn weak(&self, receiver: &str) {
        let mut all = self.lock();
        all.entry(receiver.to_owned()).or_default().weak_signatures += 1;
    }

    /// Envoy reported. Names that `is_known` does not know are left out.
    pub fn reported(&self, report: &Report, is_known: impl Fn(&str) -> bool) {
        let mut all = self.lock();
        for (receiver, counts) in report.hooks.iter().filter(|(name, _)| is_known(name)) {
            let activity = all.entry(receiver.clone()).or_default();
            for (reason, n) in &counts.reasons {
                let sum = activity.edge_counts.entry(reason.clone()).or_default();
                *sum = sum.saturating_add(*n);
            }
            activity.admitted_at = activity.admitted_at.max(counts.admitted_at);
            if let Some((reason, at)) = &counts.refused
                && activity.refused_at < Some(*at)
            {
                activity.refused = Some(reason.clone());
                activity.refused_at = Some(*at);
            }
        }
    }

    /// Forgets Receivers that are gone.
    pub fn retain(&self, is_known: impl Fn(&str) -> bool) {
        self.lock().retain(|name, _| is_known(name));
    }

    /// What is known of one Receiver.
    pub fn of(&self, receiver: &str) -> Activity {
        self.lock().get(receiver).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Activity>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_only_for_receivers_that_there_are() {
        let activities = Activities::default();
        let mut report = Report::default();
        report.count("ns/a", "signature", false, 7);
        report.count("ns/b", "signature", false, 7);
        activities.reported(&report, |name| name == "ns/a");
        assert_eq!(activities.of("ns/b"), Activity::default());
        assert_eq!(
            activities.of("ns/a").edge_counts,
            BTreeMap::from([("signature".into(), 1)])
        );
        assert_eq!(activities.of("ns/a").refused_at, Some(7));
    }
}
