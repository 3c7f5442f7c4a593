//! Takes notification-controller's finalizer off Alerts and Providers.
//!
//! Alerts had it of old and have no use for it; there an Event tells of it, as notification-controller's
//! does. A Provider keeps it until it is deleted, and would never go if nobody took it off. None gets
//! one here: nothing has to be cleaned up after a Provider.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use super::api::{Api, ApiError, path};
use super::events::Recorder;
use super::live::{Key, Lives};
use crate::api::alert::{API_VERSION, Alert};
use crate::receiver::status::{FINALIZER, Notice, finalizers_patch};

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// An object whose finalizer is to be taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relic {
    key: Key,
    plural: &'static str,
    uid: String,
    resource_version: String,
    /// The finalizers of others.
    others: Vec<String>,
}

impl Relic {
    /// An Alert with the finalizer. A suspended one is let alone unless it is being deleted.
    pub(super) fn of_alert(metadata: &Value, is_suspended: bool) -> Option<Self> {
        let is_due = !is_suspended || is_deleting(metadata);
        is_due.then(|| Self::of("alerts", metadata))?
    }

    /// A Provider with the finalizer that is being deleted.
    pub(super) fn of_provider(metadata: &Value) -> Option<Self> {
        is_deleting(metadata).then(|| Self::of("providers", metadata))?
    }

    fn of(plural: &'static str, metadata: &Value) -> Option<Self> {
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        let finalizers = metadata["finalizers"].as_array()?.iter();
        let finalizers: Vec<&str> = finalizers.filter_map(Value::as_str).collect();
        finalizers.contains(&FINALIZER).then(|| Self {
            key: (text("namespace"), text("name")),
            plural,
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            others: finalizers
                .into_iter()
                .filter(|finalizer| *finalizer != FINALIZER)
                .map(str::to_owned)
                .collect(),
        })
    }
}

fn is_deleting(metadata: &Value) -> bool {
    !metadata["deletionTimestamp"].is_null()
}

/// Takes finalizers off while this process leads, until `stop` turns true.
pub async fn finalize(
    api: Api,
    mut lives: watch::Receiver<Arc<Lives>>,
    mut leads: watch::Receiver<bool>,
    mut stop: watch::Receiver<bool>,
) {
    let recorder = Recorder::new(api.clone());
    loop {
        let relics = lives.borrow_and_update().relics.clone();
        let mut is_done = true;
        if *leads.borrow_and_update() {
            for relic in &relics {
                is_done &= take_off(&api, &recorder, relic).await;
            }
        }
        tokio::select! {
            changed = lives.changed() => if changed.is_err() { return },
            changed = leads.changed() => if changed.is_err() { return },
            () = sleep(AGAIN), if !is_done => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Whether nothing is left to be done, as far as the watch has told.
async fn take_off(api: &Api, recorder: &Recorder, relic: &Relic) -> bool {
    let (namespace, name) = &relic.key;
    let Some(path) = path(API_VERSION, namespace, relic.plural, name) else {
        return true;
    };
    let patch = finalizers_patch(&relic.others, &relic.resource_version);
    match api.merge(&path, &patch).await {
        Ok(_) => {
            if relic.plural == "alerts" {
                recorder.record((&alert(relic)).into(), migrated());
            }
            true
        }
        // The watch is behind.
        Err(ApiError::Conflict(_) | ApiError::NotFound(_)) => true,
        Err(error) => {
            let what = relic.plural;
            tracing::error!(what, namespace, name, %error, "failed to take off a finalizer");
            false
        }
    }
}

fn alert(relic: &Relic) -> Alert {
    let mut alert = Alert::default();
    (alert.metadata.namespace, alert.metadata.name) = relic.key.clone();
    alert.metadata.uid = Some(relic.uid.clone());
    alert
}

fn migrated() -> Notice {
    Notice {
        is_warning: false,
        reason: "Migration",
        message: "removed finalizer from Alert to migrate to static Alert".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::script::{refusal, scripted};
    use super::*;

    fn metadata(finalizers: &[&str], is_deleting: bool) -> Value {
        json!({
            "name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "7",
            "finalizers": finalizers,
            "deletionTimestamp": is_deleting.then_some("2026-01-01T00:00:00Z"),
        })
    }

    #[test]
    fn alerts_lose_it_at_once_and_providers_when_they_are_deleted() {
        for (finalizers, is_deleting, alert, suspended_alert, provider) in [
            (&[][..], false, false, false, false),
            (&["foo.bar"], true, false, false, false),
            (&[FINALIZER], false, true, false, false),
            (&[FINALIZER], true, true, true, true),
            (&["foo.bar", FINALIZER], false, true, false, false),
        ] {
            let metadata = metadata(finalizers, is_deleting);
            assert_eq!(
                (
                    Relic::of_alert(&metadata, false).is_some(),
                    Relic::of_alert(&metadata, true).is_some(),
                    Relic::of_provider(&metadata).is_some(),
                ),
                (alert, suspended_alert, provider),
                "{metadata}"
            );
        }
        assert_eq!(Relic::of_alert(&json!({}), false), None);
    }

    #[tokio::test]
    async fn finalizers_of_others_stay_and_what_fails_is_tried_again() {
        let relic = Relic::of_provider(&metadata(&["foo.bar", FINALIZER], true)).unwrap();
        let (api, requests) = scripted([
            refusal(503, ""),
            refusal(409, "a"),
            refusal(404, "a"),
            (200, json!({})),
        ]);
        let recorder = Recorder::new(api.clone());
        let mut done = Vec::new();
        for _ in 0..4 {
            done.push(take_off(&api, &recorder, &relic).await);
        }
        assert_eq!(done, [false, true, true, true]);
        let path = "/apis/notification.toolkit.fluxcd.io/v1beta3/namespaces/ns/providers/a";
        let patch = json!({"metadata": {"finalizers": ["foo.bar"], "resourceVersion": "7"}});
        assert_eq!(
            *requests.lock().unwrap(),
            vec![(format!("PATCH {path}"), patch); 4]
        );
    }
}
