//! The Requester on Kubernetes: one blind merge PATCH, no read before it.

use super::api::{Api, ApiError, resource_path};
use super::convert::requested_at_patch;
use super::kinds::Kinds;
use crate::api::reference::ResourceRef;
use crate::trigger::annotate::{RequestError, Requester};

/// Asks through the API server.
#[derive(Debug)]
pub struct KubernetesRequester {
    api: Api,
    kinds: Kinds,
}

impl KubernetesRequester {
    /// A Requester that speaks through `api`.
    pub fn new(api: Api) -> Self {
        let kinds = Kinds::new(api.clone());
        Self { api, kinds }
    }
}

impl Requester for KubernetesRequester {
    async fn request(
        &self,
        resource: &ResourceRef,
        requested_at: &str,
    ) -> Result<(), RequestError> {
        let plural = self.kinds.plural(&resource.api_version, &resource.kind);
        let plural = plural.await.map_err(refusal)?;
        let path = resource_path(resource, &plural).ok_or_else(|| {
            RequestError::Refused(format!("{resource:?} does not make the path of a URL"))
        })?;
        let patch = requested_at_patch(requested_at);
        let answer = self.api.merge_metadata(&path, &patch).await;
        answer.map(drop).map_err(refusal)
    }
}

fn refusal(error: ApiError) -> RequestError {
    match error {
        ApiError::NotFound(_) => RequestError::NotFound,
        ApiError::NotServed(_) => RequestError::NotServed,
        ApiError::Forbidden(text) => RequestError::Forbidden(text),
        ApiError::Timeout => RequestError::Timeout,
        // A merge patch without a resourceVersion has no conflicts of its own: the API server lost
        // a race against other writers as often as it tries.
        ApiError::Conflict(text) | ApiError::Unavailable(text) => RequestError::Unavailable(text),
        ApiError::Refused(text) => RequestError::Refused(text),
    }
}
