//! One request to the API server, with a deadline and an error that says what it means.
//!
//! URLs are made of parts that were checked: names that an API server takes, and nothing else.

use std::time::Duration;

use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use kube::Client;
use kube::core::Status;
use serde_json::Value;
use tokio::time::timeout;

use crate::api::meta::{is_label, is_object_name};
use crate::api::reference::ResourceRef;

/// How long one request may take.
const DEADLINE: Duration = Duration::from_secs(8);
/// Who writes, in `managedFields`: notification-controller's name, as its drop-in.
const FIELD_MANAGER: &str = "notification-controller";
/// Asks for metadata only.
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Why the API server did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// There is no such object.
    #[error("{0}")]
    NotFound(String),
    /// There is no such kind or version.
    #[error("the API server does not serve it: {0}")]
    NotServed(String),
    /// It may not be done; RBAC mostly.
    #[error("{0}")]
    Forbidden(String),
    /// It changed meanwhile, or is there already.
    #[error("{0}")]
    Conflict(String),
    /// Too many requests, or the API server has a problem. Worth another try.
    #[error("{0}")]
    Unavailable(String),
    /// No answer in time.
    #[error("no answer from the API server within {} s", DEADLINE.as_secs())]
    Timeout,
    /// The API server refused it for what it is.
    #[error("{0}")]
    Refused(String),
}

/// A client of one API server.
#[derive(Clone)]
pub struct Api {
    client: Client,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api(..)")
    }
}

impl Api {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The namespace of the Pod or of the kubeconfig's context.
    pub fn default_namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// Reads an object.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.send(Request::get(path), Vec::new()).await
    }

    /// Changes an object by a JSON merge patch.
    ///
    /// # Errors
    /// [`ApiError`]; [`ApiError::Conflict`] if the patch names a resourceVersion that is not the last.
    pub async fn merge(&self, path: &str, patch: &Value) -> Result<Value, ApiError> {
        self.send(merge(path), patch.to_string().into_bytes()).await
    }

    /// As [`Self::merge`], for kinds that are not known here: only metadata comes back.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn merge_metadata(&self, path: &str, patch: &Value) -> Result<Value, ApiError> {
        let request = merge(path).header(ACCEPT, PARTIAL);
        self.send(request, patch.to_string().into_bytes()).await
    }

    /// Makes an object.
    ///
    /// # Errors
    /// [`ApiError`]; [`ApiError::Conflict`] if there is one already.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        let request = Request::post(managed(path)).header(CONTENT_TYPE, "application/json");
        self.send(request, object.to_string().into_bytes()).await
    }

    /// Replaces an object.
    ///
    /// # Errors
    /// [`ApiError`]; [`ApiError::Conflict`] if its resourceVersion is not the last.
    pub async fn replace(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        let request = Request::put(managed(path)).header(CONTENT_TYPE, "application/json");
        self.send(request, object.to_string().into_bytes()).await
    }

    async fn send(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<Value, ApiError> {
        let request = request
            .body(body)
            .map_err(|error| ApiError::Refused(format!("not a request: {error}")))?;
        // Not `Client::request`: it logs what it can't parse, and that may be a Secret.
        let text = timeout(DEADLINE, self.client.request_text(request))
            .await
            .map_err(|_| ApiError::Timeout)?
            .map_err(|error| ApiError::from(&error))?;
        serde_json::from_str(&text)
            .map_err(|_| ApiError::Unavailable("the API server's answer is not JSON".to_owned()))
    }
}

impl From<&kube::Error> for ApiError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all other errors mean that no answer came"
    )]
    fn from(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::from(status.as_ref()),
            other => Self::Unavailable(chain(other)),
        }
    }
}

impl From<&Status> for ApiError {
    fn from(status: &Status) -> Self {
        let names_object = status
            .details
            .as_ref()
            .is_some_and(|details| !details.name.is_empty());
        let text = status.message.clone();
        match status.code {
            404 if names_object => Self::NotFound(text),
            404 => Self::NotServed(text.trim().to_owned()),
            // The service account's token may just have been replaced.
            401 => Self::Unavailable("the API server does not accept our credentials".to_owned()),
            403 => Self::Forbidden(text),
            409 => Self::Conflict(text),
            429 | 500..=599 => Self::Unavailable(text),
            _ => Self::Refused(text),
        }
    }
}

/// The path of a namespaced object, or of a list if `name` is empty. `None` if a part can't stand in
/// a URL as it is: `..`, slashes and queries could name something else than what was asked for.
pub fn path(api_version: &str, namespace: &str, plural: &str, name: &str) -> Option<String> {
    let prefix = match api_version.split_once('/') {
        Some((group, version)) => (is_object_name(group) && is_label(version))
            .then(|| format!("/apis/{group}/{version}"))?,
        None => is_label(api_version).then(|| format!("/api/{api_version}"))?,
    };
    let is_fit =
        is_label(namespace) && is_label(plural) && (name.is_empty() || is_object_name(name));
    let list = is_fit.then(|| format!("{prefix}/namespaces/{namespace}/{plural}"))?;
    Some(match name {
        "" => list,
        name => format!("{list}/{name}"),
    })
}

/// The path of a resource whose kind goes by `plural` in URLs.
pub(super) fn resource_path(resource: &ResourceRef, plural: &str) -> Option<String> {
    let at = path(
        &resource.api_version,
        &resource.namespace,
        plural,
        &resource.name,
    )?;
    (!resource.name.is_empty()).then_some(at)
}

fn merge(path: &str) -> http::request::Builder {
    Request::patch(managed(path)).header(CONTENT_TYPE, "application/merge-patch+json")
}

fn managed(path: &str) -> String {
    format!("{path}?fieldManager={FIELD_MANAGER}")
}

/// An error and its causes on one line; causes that repeat it are left out.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_names_gets_into_a_url() {
        let at = |version, namespace, name| path(version, namespace, "buckets", name);
        assert_eq!(
            at("a.b/v1", "ns", "n.1").as_deref(),
            Some("/apis/a.b/v1/namespaces/ns/buckets/n.1")
        );
        assert_eq!(
            at("v1", "ns", "").as_deref(),
            Some("/api/v1/namespaces/ns/buckets")
        );
        for (version, namespace, name) in [
            ("../v1", "ns", "n"),
            ("a/v1/../../api", "ns", "n"),
            ("a/..", "ns", "n"),
            ("", "ns", "n"),
            ("a/v1?x=", "ns", "n"),
            ("a/v1", "..", "n"),
            ("a/v1", "", "n"),
            ("a/v1", "ns", "../n"),
            ("a/v1", "ns", "n?fieldManager=x"),
            ("a/v1", "ns", "%2e%2e"),
        ] {
            assert_eq!(
                at(version, namespace, name),
                None,
                "{version} {namespace} {name}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_does_not_answer_is_not_waited_for() {
        let silent = tower::service_fn(|_: Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
        });
        let api = Api::new(Client::new(silent, "default"));
        let began = tokio::time::Instant::now();
        assert_eq!(api.get("/readyz").await, Err(ApiError::Timeout));
        assert_eq!(began.elapsed(), DEADLINE);
    }

    #[test]
    fn each_answer_of_the_api_server_means_one_thing() {
        let status = |code, name: &str| {
            let details = serde_json::json!({"name": name});
            let json = serde_json::json!({"code": code, "message": "m", "details": details});
            ApiError::from(&serde_json::from_value::<Status>(json).unwrap())
        };
        let m = || "m".to_owned();
        assert_eq!(status(404, "app"), ApiError::NotFound(m()));
        assert_eq!(status(404, ""), ApiError::NotServed(m()));
        assert_eq!(status(403, "app"), ApiError::Forbidden(m()));
        assert_eq!(status(409, "app"), ApiError::Conflict(m()));
        for code in [429, 500, 503, 504] {
            assert_eq!(status(code, ""), ApiError::Unavailable(m()), "{code}");
        }
        assert_eq!(status(422, "app"), ApiError::Refused(m()));
        assert!(matches!(status(401, ""), ApiError::Unavailable(_)));
    }
}
