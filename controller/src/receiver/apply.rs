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
