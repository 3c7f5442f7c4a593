//! What a Receiver's status, finalizers and Events should be: notification-controller's, to the
//! letter. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::duration;
use crate::kubernetes::{Condition, Live, LiveStatus};
use crate::publish::Status;

/// Keeps a Receiver until its controller lets it go. Also notification-controller's: whoever takes
/// over must own it.
pub const FINALIZER: &str = "finalizers.fluxcd.io";
/// The longest message of a condition.
const MAX_MESSAGE: usize = 32_768;

/// What is told as a Kubernetes Event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notice {
    /// Whether it is a Warning, not Normal.
    pub is_warning: bool,
    /// A word.
    pub reason: &'static str,
    /// A sentence. Names no path.
    pub message: String,
}

/// The finalizers that the Receiver should have, where they are not those that it has.
pub fn finalizers(live: &Live) -> Option<Vec<String>> {
    let has = live.finalizers.iter().any(|name| name == FINALIZER);
    if has != live.is_deleting {
        return None;
    }
    let others = live.finalizers.iter().filter(|name| *name != FINALIZER);
    let mut wanted: Vec<_> = others.cloned().collect();
    if !live.is_deleting {
        wanted.push(FINALIZER.to_owned());
    }
    Some(wanted)
}

/// The status that the Receiver should have. `now` is RFC 3339 in whole seconds.
pub fn desired(live: &Live, verdict: &Status, now: &str) -> LiveStatus {
    let mut status = live.status.clone();
    if live.requested_at.is_some() {
        status
            .last_handled_reconcile_at
            .clone_from(&live.requested_at);
    }
    if verdict.suspended {
        if status.is_ready() {
            status.observed_generation = Some(live.generation);
        }
        return status;
    }
    let mut write = Conditions {
        all: &mut status.conditions,
        generation: live.generation,
        now,
    };
    match &verdict.failure {
        None => {
            write.remove("Stalled");
            write.remove("Reconciling");
            let digest = verdict.digest.as_ref();
            let path = digest.map(hook::digest::Digest::path).unwrap_or_default();
            write.set(
                "Ready",
                "True",
                "Succeeded",
                &ready_message(&path, &verdict.warnings),
            );
            status.webhook_path = Some(path);
            status.observed_generation = Some(live.generation);
        }
        Some(failure) if failure.is_terminal => {
            write.remove("Reconciling");
            write.set("Stalled", "True", failure.reason, &failure.message);
            write.set("Ready", "False", failure.reason, &failure.message);
            status.observed_generation = Some(live.generation);
        }
        Some(failure) => {
            write.remove("Stalled");
            write.set(
                "Reconciling",
                "True",
                "ProgressingWithRetry",
                "Reconciliation in progress",
            );
            write.set("Ready", "False", failure.reason, &failure.message);
            status.webhook_path = None;
        }
    }
    status
        .conditions
        .sort_by_key(|condition| rank(&condition.r#type));
    status
}

/// What a pass tells. A suspended Receiver's pass does nothing, so it tells nothing: that its next
/// run is in ten minutes, as notification-controller says, is not true.
pub fn notices(verdict: &Status) -> Vec<Notice> {
    if verdict.suspended {
        return Vec::new();
    }
    let notice = |is_warning, reason, message: String| Notice {
        is_warning,
        reason,
        message,
    };
    match &verdict.failure {
        Some(failure) if failure.is_terminal => {
            vec![notice(true, failure.reason, failure.message.clone())]
        }
        Some(failure) => vec![notice(true, "Failed", failure.message.clone())],
        None => {
            let warnings = verdict.warnings.iter();
            let warnings = warnings.map(|text| notice(true, "Misconfigured", text.clone()));
            let interval = duration::go_text(verdict.interval);
            let finished = format!("Reconciliation finished, next run in {interval}");
            warnings
                .chain([notice(false, "Succeeded", finished)])
                .collect()
        }
    }
}

/// When the next pass is due without a change; `None` for never.
pub fn next_pass(
    verdict: &Status,
    failures: u32,
    min: Duration,
    max: Duration,
) -> Option<Duration> {
    let retries = verdict
        .failure
        .as_ref()
        .is_some_and(|failure| !failure.is_terminal);
    match (&verdict.failure, verdict.suspended) {
        (_, true) => None,
        (Some(_), false) if retries => Some(backoff(failures, min, max)),
        (Some(_), false) => None,
        (None, false) => Some(verdict.interval).filter(|interval| !interval.is_zero()),
    }
}

/// The wait after so many failures: doubled each time.
pub fn backoff(failures: u32, min: Duration, max: Duration) -> Duration {
    min.saturating_mul(1 << failures.min(20)).min(max.max(min))
}

/// The merge patch of a status that was read at `resource_version`.
pub fn status_patch(status: &LiveStatus, resource_version: &str) -> Value {
    // A null takes a field away.
    json!({
        "metadata": {"resourceVersion": resource_version},
        "status": {
            "conditions": status.conditions,
            "webhookPath": status.webhook_path,
            "observedGeneration": status.observed_generation,
            "lastHandledReconcileAt": status.last_handled_reconcile_at,
        },
    })
}

/// The merge patch of finalizers that were read at `resource_version`.
pub fn finalizers_patch(finalizers: &[String], resource_version: &str) -> Value {
    json!({"metadata": {"finalizers": finalizers, "resourceVersion": resource_version}})
}

fn ready_message(path: &str, warnings: &[String]) -> String {
    let mut message = format!("Receiver initialized for path: {path}");
    for (i, warning) in warnings.iter().enumerate() {
        message.push_str(if i == 0 { ", but " } else { "; " });
        message.push_str(warning);
    }
    message
}

fn rank(r#type: &str) -> u8 {
    match r#type {
        "Stalled" => 0,
        "Reconciling" => 1,
        "Ready" => 2,
        _ => 3,
    }
}

/// Conditions being written.
struct Conditions<'a> {
    all: &'a mut Vec<Condition>,
    generation: i64,
    now: &'a str,
}

impl Conditions<'_> {
    fn remove(&mut self, r#type: &str) {
        self.all.retain(|condition| condition.r#type != r#type);
    }

    /// The time moves when status, reason or message do.
    fn set(&mut self, r#type: &str, status: &str, reason: &str, message: &str) {
        let mut condition = Condition {
            r#type: r#type.to_owned(),
            status: status.to_owned(),
            observed_generation: Some(self.generation),
            last_transition_time: self.now.to_owned(),
            reason: reason.to_owned(),
            message: cut(message),
        };
        if let Some(before) = self.all.iter().find(|before| before.r#type == r#type) {
            let is_same = before.status == condition.status
                && before.reason == condition.reason
                && before.message == condition.message;
            if is_same {
                condition
                    .last_transition_time
                    .clone_from(&before.last_transition_time);
            }
        }
        self.remove(r#type);
        self.all.push(condition);
    }
}

fn cut(message: &str) -> String {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use hook::digest::Digest;

    use super::*;
    use crate::api::condition;
    use crate::api::condition::Failure;

    const NOW: &str = "2026-08-07T12:00:00Z";

    fn live(change: impl FnOnce(&mut Live)) -> Live {
        let mut live = Live {
            key: ("ns".to_owned(), "app".to_owned()),
            generation: 2,
            resource_version: "7".to_owned(),
            finalizers: vec![FINALIZER.to_owned()],
            ..Live::default()
        };
        live.status.observed_generation = Some(-1);
        change(&mut live);
        live
    }

    fn verdict(failure: Option<Failure>) -> Status {
        Status {
            receiver_type: "generic".to_owned(),
            generation: Some(2),
            digest: Some(Digest::of(b"token", "app", "ns")),
            interval: Duration::from_secs(600),
            failure,
            suspended: false,
            warnings: Vec::new(),
        }
    }

    fn written(live: &Live, verdict: &Status) -> Value {
        status_patch(&desired(live, verdict, NOW), "7")["status"].clone()
    }

    fn condition(r#type: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({"type": r#type, "status": status, "reason": reason, "message": message,
               "observedGeneration": 2, "lastTransitionTime": NOW})
    }

    fn path() -> String {
        Digest::of(b"token", "app", "ns").path()
    }

    #[test]
    fn a_good_receiver_is_ready_at_its_path() {
        let message = format!("Receiver initialized for path: {}", path());
        assert_eq!(
            written(&live(|_| {}), &verdict(None)),
            json!({
                "conditions": [condition("Ready", "True", "Succeeded", &message)],
                "webhookPath": path(),
                "observedGeneration": 2,
                "lastHandledReconcileAt": null,
            })
        );
    }

    #[test]
    fn a_missing_secret_is_waited_for_and_takes_the_path_away() {
        let before = live(|live| live.status.webhook_path = Some("/hook/old".to_owned()));
        let failure = condition::token_not_found("no");
        assert_eq!(
            written(&before, &verdict(Some(failure))),
            json!({
                "conditions": [
                    condition("Reconciling", "True", "ProgressingWithRetry", "Reconciliation in progress"),
                    condition("Ready", "False", "TokenNotFound", "no"),
                ],
                "webhookPath": null,
                "observedGeneration": -1,
                "lastHandledReconcileAt": null,
            })
        );
    }

    #[test]
    fn a_mistake_in_the_spec_stalls_and_leaves_the_path() {
        let before = live(|live| live.status.webhook_path = Some("/hook/old".to_owned()));
        let message = "Reconciliation failed terminally due to configuration error: no";
        assert_eq!(
            written(&before, &verdict(Some(condition::invalid_cel("no")))),
            json!({
                "conditions": [
                    condition("Stalled", "True", "InvalidCELExpression", message),
                    condition("Ready", "False", "InvalidCELExpression", message),
                ],
                "webhookPath": "/hook/old",
                "observedGeneration": 2,
                "lastHandledReconcileAt": null,
            })
        );
    }

    #[test]
    fn a_recovery_takes_the_other_conditions_away_and_keeps_foreign_ones() {
        let mut before = live(|_| {});
        before.status = desired(
            &before,
            &verdict(Some(condition::invalid_cel("no"))),
            "then",
        );
        let foreign = Condition {
            r#type: "Foreign".to_owned(),
            ..Condition::default()
        };
        before.status.conditions.insert(0, foreign);
        let after = desired(&before, &verdict(None), NOW);
        let types: Vec<_> = after.conditions.iter().map(|c| c.r#type.as_str()).collect();
        assert_eq!(types, ["Ready", "Foreign"]);
    }

    #[test]
    fn nothing_is_written_when_nothing_has_changed() {
        for failure in [
            None,
            Some(condition::invalid_cel("a")),
            Some(condition::token_not_found("b")),
        ] {
            let verdict = verdict(failure);
            let mut live = live(|live| live.requested_at = Some("now".to_owned()));
            live.status = desired(&live, &verdict, NOW);
            assert!(desired(&live, &verdict, "later") == live.status);
        }
    }

    #[test]
    fn the_time_of_a_condition_moves_with_its_message_only() {
        let mut before = live(|_| {});
        before.status = desired(&before, &verdict(None), "then");
        before.generation = 3;
        let after = desired(&before, &verdict(None), NOW);
        let ready = after.condition("Ready").cloned().unwrap();
        assert_eq!(
            (
                ready.last_transition_time.as_str(),
                ready.observed_generation
            ),
            ("then", Some(3))
        );
        let mut warned = verdict(None);
        warned.warnings = vec!["a".to_owned(), "b".to_owned()];
        let ready = desired(&before, &warned, NOW)
            .condition("Ready")
            .cloned()
            .unwrap();
        assert_eq!(ready.last_transition_time, NOW);
        assert_eq!(
            ready.message,
            format!("Receiver initialized for path: {}, but a; b", path())
        );
    }

    #[test]
    fn a_suspended_receiver_keeps_its_conditions_and_a_request_is_handled_all_the_same() {
        let mut suspended = verdict(Some(condition::token_not_found("no")));
        suspended.suspended = true;
        let mut before = live(|live| live.requested_at = Some("now".to_owned()));
        before.status = desired(&before, &verdict(None), "then");
        before.generation = 5;
        let after = desired(&before, &suspended, NOW);
        assert!(after.conditions == before.status.conditions);
        assert_eq!(after.observed_generation, Some(5));
        assert_eq!(after.last_handled_reconcile_at.as_deref(), Some("now"));
        assert_eq!(notices(&suspended), []);
        let never_ready = live(|_| {});
        assert_eq!(
            desired(&never_ready, &suspended, NOW).observed_generation,
            Some(-1)
        );
    }

    #[test]
    fn the_finalizer_is_added_first_and_removed_last() {
        let with = |names: &[&str], is_deleting| {
            finalizers(&live(|live| {
                live.finalizers = names.iter().map(|name| (*name).to_owned()).collect();
                live.is_deleting = is_deleting;
            }))
        };
        let owned =
            |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(with(&["other"], false), owned(&["other", FINALIZER]));
        assert_eq!(with(&[FINALIZER], false), None);
        assert_eq!(with(&[FINALIZER, "other"], true), owned(&["other"]));
        assert_eq!(with(&[], true), None);
    }

    #[test]
    fn each_pass_tells_what_notification_controller_tells() {
        let notice = |is_warning, reason, message: &str| Notice {
            is_warning,
            reason,
            message: message.to_owned(),
        };
        let mut warned = verdict(None);
        warned.warnings = vec!["w".to_owned()];
        let finished = "Reconciliation finished, next run in 10m0s";
        assert_eq!(
            notices(&warned),
            [
                notice(true, "Misconfigured", "w"),
                notice(false, "Succeeded", finished)
            ]
        );
        let failed = verdict(Some(condition::token_not_found("no")));
        assert_eq!(notices(&failed), [notice(true, "Failed", "no")]);
        let stalled = verdict(Some(condition::validation_failed("no")));
        let message = "Reconciliation failed terminally due to configuration error: no";
        assert_eq!(
            notices(&stalled),
            [notice(true, "ValidationFailed", message)]
        );
    }

    #[test]
    fn the_next_pass_is_after_the_interval_or_a_growing_wait() {
        let (min, max) = (Duration::from_millis(750), Duration::from_secs(900));
        let next = |verdict: &Status, failures| next_pass(verdict, failures, min, max);
        assert_eq!(next(&verdict(None), 0), Some(Duration::from_secs(600)));
        let mut never = verdict(None);
        never.interval = Duration::ZERO;
        assert_eq!(next(&never, 0), None);
        let failed = verdict(Some(condition::token_not_found("no")));
        assert_eq!(next(&failed, 0), Some(min));
        assert_eq!(next(&failed, 3), Some(min * 8));
        assert_eq!(next(&failed, 40), Some(max));
        assert_eq!(next(&verdict(Some(condition::invalid_cel("no"))), 0), None);
    }

    #[test]
    fn a_message_is_cut_at_what_the_api_server_takes() {
        let long = condition::token_not_found(&"ä".repeat(20_000));
        let status = desired(&live(|_| {}), &verdict(Some(long)), NOW);
        assert_eq!(
            status.condition("Ready").unwrap().message.len(),
            MAX_MESSAGE
        );
    }
}
