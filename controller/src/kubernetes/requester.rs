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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::script::{refusal, scripted};
    use super::*;

    fn resource(api_version: &str, kind: &str, name: &str) -> ResourceRef {
        ResourceRef {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: "ns".to_owned(),
            name: name.to_owned(),
        }
    }

    fn git() -> ResourceRef {
        resource("source.toolkit.fluxcd.io/v1", "GitRepository", "app")
    }

    #[tokio::test]
    async fn a_request_is_one_blind_patch() {
        let (api, requests) = scripted([(200, json!({}))]);
        let requester = KubernetesRequester::new(api);
        assert_eq!(requester.request(&git(), "now").await, Ok(()));
        let patch =
            json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}});
        let path = "/apis/source.toolkit.fluxcd.io/v1/namespaces/ns/gitrepositories/app";
        assert_eq!(
            *requests.lock().unwrap(),
            [(format!("PATCH {path}"), patch)]
        );
    }

    #[tokio::test]
    async fn each_refusal_is_told_from_the_others() {
        let no = || "no".to_owned();
        for (answer, want) in [
            (refusal(404, "app"), RequestError::NotFound),
            (refusal(404, ""), RequestError::NotServed),
            (refusal(403, "app"), RequestError::Forbidden(no())),
            (refusal(422, "app"), RequestError::Refused(no())),
            (refusal(429, ""), RequestError::Unavailable(no())),
            (refusal(503, ""), RequestError::Unavailable(no())),
            (refusal(409, "app"), RequestError::Unavailable(no())),
        ] {
            let (api, _) = scripted([answer]);
            let requester = KubernetesRequester::new(api);
            assert_eq!(requester.request(&git(), "now").await, Err(want));
        }
    }

    #[tokio::test]
    async fn a_kind_that_is_not_fluxs_is_discovered_once() {
        let list = json!({"resources": [{"name": "geese", "kind": "Goose", "namespaced": true}]});
        let (api, requests) = scripted([(200, list), (200, json!({})), (200, json!({}))]);
        let requester = KubernetesRequester::new(api);
        for at in ["now", "later"] {
            let goose = resource("farm.example/v1", "Goose", "g");
            assert_eq!(requester.request(&goose, at).await, Ok(()));
        }
        let calls: Vec<String> = requests
            .lock()
            .unwrap()
            .iter()
            .map(|(call, _)| call.clone())
            .collect();
        let patch = "PATCH /apis/farm.example/v1/namespaces/ns/geese/g";
        assert_eq!(calls, ["GET /apis/farm.example/v1", patch, patch]);
    }

    #[tokio::test]
    async fn what_would_leave_its_place_in_a_url_is_not_sent() {
        for hostile in [
            resource("a/v1/../../../api/v1", "Bucket", "b"),
            resource(
                "source.toolkit.fluxcd.io/v1",
                "Bucket",
                "../../../../secrets",
            ),
            resource("source.toolkit.fluxcd.io/v1", "Bucket", ""),
            resource("../v1", "Goose", "g"),
        ] {
            let (api, requests) = scripted(Vec::<(u16, Value)>::new());
            let requester = KubernetesRequester::new(api);
            assert!(requester.request(&hostile, "now").await.is_err());
            assert_eq!(requests.lock().unwrap().len(), 0);
        }
    }
}
