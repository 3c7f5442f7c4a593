//! Writes a Receiver's finalizers and status, each only where it differs. Client.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::api::receiver::API_VERSION;
use crate::clock;
use crate::kubernetes::{Api, ApiError, Live, live_of, object_path};
use crate::publish::Status;
use crate::receiver::status;

/// Writes that lose against others' are tried so often in all.
const TRIES: u32 = 5;
/// The wait between them, and as much again at most.
const WAIT: Duration = Duration::from_millis(100);

/// Brings the Receiver to what `verdict` says; one that is being deleted is let go. Gives the
/// Receiver as it is then; `None` if it is gone.
///
/// # Errors
/// [`ApiError`], if it could not be written.
pub async fn apply(
    api: &Api,
    live: Arc<Live>,
    verdict: Option<&Status>,
) -> Result<Option<Arc<Live>>, ApiError> {
    let (namespace, name) = &live.key;
    let path = object_path(API_VERSION, namespace, "receivers", name)
        .ok_or_else(|| ApiError::Refused(format!("{namespace:?}/{name:?} is not a name")))?;
    let mut live = live.clone();
    for _ in 1..TRIES {
        match attempt(api, &path, live.clone(), verdict).await {
            Err(ApiError::Conflict(_)) => {
                sleep(WAIT + jitter()).await;
                live = match api.get(&path).await {
                    Ok(object) => Arc::new(live_of(object)),
                    Err(ApiError::NotFound(_)) => return Ok(None),
                    Err(error) => return Err(error),
                };
            }
            Err(ApiError::NotFound(_)) => return Ok(None),
            answer => return answer,
        }
    }
    attempt(api, &path, live, verdict).await
}

async fn attempt(
    api: &Api,
    path: &str,
    mut live: Arc<Live>,
    verdict: Option<&Status>,
) -> Result<Option<Arc<Live>>, ApiError> {
    if let Some(finalizers) = status::finalizers(&live) {
        let patch = status::finalizers_patch(&finalizers, &live.resource_version);
        live = Arc::new(live_of(api.merge(path, &patch).await?));
    }
    // What was decided about another generation must not be said of this one.
    let verdict = verdict.filter(|verdict| verdict.generation == Some(live.generation));
    let Some(verdict) = verdict.filter(|_| !live.is_deleting) else {
        return Ok(Some(live));
    };
    let desired = status::desired(&live, verdict, &clock::rfc3339_seconds(clock::now_ms()));
    if desired == live.status {
        return Ok(Some(live));
    }
    let patch = status::status_patch(&desired, &live.resource_version);
    let object = api.merge(&format!("{path}/status"), &patch).await?;
    Ok(Some(Arc::new(live_of(object))))
}

fn jitter() -> Duration {
    let share = u32::try_from(clock::now_ns() % 100).unwrap_or(0);
    WAIT * share / 100
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kubernetes::script::{refusal, scripted};
    use crate::receiver::status::FINALIZER;

    fn object(version: &str, generation: i64, more: &Value) -> Value {
        let mut metadata = json!({
            "name": "app", "namespace": "ns", "uid": "u", "resourceVersion": version,
            "generation": generation, "finalizers": [FINALIZER],
        });
        for (key, value) in more.as_object().unwrap() {
            metadata[key] = value.clone();
        }
        json!({"metadata": metadata, "spec": {"type": "generic", "resources": []}})
    }

    fn live(version: &str, more: &Value) -> Arc<Live> {
        Arc::new(live_of(object(version, 1, more)))
    }

    fn verdict() -> Status {
        Status {
            receiver_type: "generic".to_owned(),
            generation: Some(1),
            digest: Some(hook::digest::Digest::of(b"t", "app", "ns")),
            interval: Duration::from_secs(600),
            failure: None,
            suspended: false,
            warnings: Vec::new(),
        }
    }

    const RECEIVER: &str = "/apis/notification.toolkit.fluxcd.io/v1/namespaces/ns/receivers/app";

    fn versions(requests: &[(String, Value)]) -> Vec<(&str, Option<&str>)> {
        let requests = requests.iter();
        requests
            .map(|(call, body)| {
                let call = call
                    .split_once(RECEIVER)
                    .map_or(("", ""), |(verb, rest)| (verb, rest));
                let kind = match call {
                    ("GET ", "") => "get",
                    ("PATCH ", "") => "metadata",
                    ("PATCH ", "/status") => "status",
                    _ => "other",
                };
                (kind, body["metadata"]["resourceVersion"].as_str())
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_receiver_gets_its_finalizer_and_then_its_status() {
        let none = json!({"finalizers": []});
        let (api, requests) = scripted([
            (200, object("2", 1, &json!({}))),
            (200, object("3", 1, &json!({}))),
        ]);
        let left = apply(&api, live("1", &none), Some(&verdict()))
            .await
            .unwrap();
        assert_eq!(left.unwrap().resource_version, "3");
        let requests = requests.lock().unwrap();
        assert_eq!(
            versions(&requests),
            [("metadata", Some("1")), ("status", Some("2"))]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_loses_is_made_again_on_what_is_there_then() {
        let (api, requests) = scripted([
            refusal(409, "app"),
            (200, object("5", 1, &json!({}))),
            (200, object("6", 1, &json!({}))),
        ]);
        let left = apply(&api, live("1", &json!({})), Some(&verdict()))
            .await
            .unwrap();
        assert_eq!(left.unwrap().resource_version, "6");
        let requests = requests.lock().unwrap();
        assert_eq!(
            versions(&requests),
            [("status", Some("1")), ("get", None), ("status", Some("5"))]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_loses_five_times_is_given_up_for_now() {
        let round = || [refusal(409, "app"), (200, object("5", 1, &json!({})))];
        let answers = (0..4).flat_map(|_| round()).chain([refusal(409, "app")]);
        let (api, _) = scripted(answers.collect::<Vec<_>>());
        let result = apply(&api, live("1", &json!({})), Some(&verdict())).await;
        assert_eq!(result, Err(ApiError::Conflict("no".to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_said_of_a_generation_that_was_not_decided_about() {
        let (api, requests) = scripted([refusal(409, "app"), (200, object("5", 2, &json!({})))]);
        let left = apply(&api, live("1", &json!({})), Some(&verdict()))
            .await
            .unwrap();
        assert_eq!(left.unwrap().generation, 2);
        assert_eq!(requests.lock().unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deleted_receiver_is_let_go_and_one_that_is_gone_is_no_error() {
        let deleting = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let (api, requests) = scripted([refusal(404, "app")]);
        let left = apply(&api, live("1", &deleting), None).await;
        assert_eq!(left, Ok(None));
        let requests = requests.lock().unwrap();
        assert_eq!(requests[0].1["metadata"]["finalizers"], json!([]));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_twice() {
        let now = clock::rfc3339_seconds(clock::now_ms());
        let mut settled = live_of(object("1", 1, &json!({})));
        settled.status = status::desired(&settled, &verdict(), &now);
        let (api, requests) = scripted([]);
        apply(&api, Arc::new(settled), Some(&verdict()))
            .await
            .unwrap();
        assert_eq!(requests.lock().unwrap().len(), 0);
    }
}
