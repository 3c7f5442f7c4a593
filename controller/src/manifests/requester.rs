//! The Requester without a cluster: a reconcile request is logged and kept for `GET /debug/requests`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::api::reference::ResourceRef;
use crate::objects::Snapshot;
use crate::trigger::annotate::{RequestError, Requester};

/// Requests that are kept.
const KEPT: usize = 1_000;
/// Resources that are counted.
const COUNTED: usize = 10_000;

/// Keeps reconcile requests for the objects of a folder.
#[derive(Debug)]
pub struct ManifestRequester {
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    last: VecDeque<(ResourceRef, String)>,
    counts: BTreeMap<ResourceRef, u64>,
}

impl ManifestRequester {
    /// A Requester for the objects of these snapshots.
    pub fn new(snapshots: watch::Receiver<Option<Arc<Snapshot>>>) -> Self {
        Self {
            snapshots,
            kept: Mutex::default(),
        }
    }

    /// The last requests, oldest first, and how many there were for each resource.
    pub fn debug_requests(&self) -> Value {
        let kept = self.lock();
        let last: Vec<_> = kept
            .last
            .iter()
            .map(|(resource, at)| {
                json!({
                    "apiVersion": resource.api_version,
                    "kind": resource.kind,
                    "namespace": resource.namespace,
                    "name": resource.name,
                    "requestedAt": at,
                })
            })
            .collect();
        let counts: BTreeMap<_, _> = kept
            .counts
            .iter()
            .map(|(resource, n)| (resource.to_string(), n))
            .collect();
        json!({"requests": last, "counts": counts})
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Requester for ManifestRequester {
    async fn request(
        &self,
        resource: &ResourceRef,
        requested_at: &str,
    ) -> Result<(), RequestError> {
        let snapshot = self.snapshots.borrow().clone();
        let objects = snapshot.map(|snapshot| snapshot.objects.load());
        if objects.is_none_or(|objects| objects.object(resource).is_none()) {
            return Err(RequestError::NotFound);
        }
        tracing::info!(%resource, requested_at, "reconcile request");
        let mut kept = self.lock();
        if kept.last.len() == KEPT {
            kept.last.pop_front();
        }
        kept.last
            .push_back((resource.clone(), requested_at.to_owned()));
        if kept.counts.len() < COUNTED || kept.counts.contains_key(resource) {
            *kept.counts.entry(resource.clone()).or_default() += 1;
        }
        Ok(())
    }
}
