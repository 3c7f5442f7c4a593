//! Events as Flux's controllers post them, and the Alerts and Providers that take them.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::client::{Client, Request};

/// The commit that [`Event`]s are about.
pub const COMMIT: &str = "5394cb7f48332b2de7c17dd8b8384bbc84b7e738";

/// An event of kustomize-controller.
#[derive(Clone, Debug)]
pub struct Event {
    json: Value,
}

impl Event {
    /// A Kustomization that failed.
    #[must_use]
    pub fn failed(namespace: &str, name: &str, message: &str) -> Self {
        let group = "kustomize.toolkit.fluxcd.io";
        let revision = format!("main@sha1:{COMMIT}");
        Self {
            json: json!({
                "involvedObject": {
                    "kind": "Kustomization", "namespace": namespace, "name": name,
                    "uid": "7d0cdc51-ddcf-4743-b223-83ca5c699632",
                    "apiVersion": format!("{group}/v1"),
                },
                "severity": "error",
                "timestamp": "2026-01-02T03:04:05Z",
                "message": message,
                "reason": "ValidationFailed",
                "metadata": {format!("{group}/revision"): revision},
                "reportingController": "kustomize-controller",
                "reportingInstance": "kustomize-controller-abc",
            }),
        }
    }

    /// A Kustomization that is well again.
    #[must_use]
    pub fn applied(namespace: &str, name: &str, message: &str) -> Self {
        let mut event = Self::failed(namespace, name, message);
        event.json["severity"] = json!("info");
        event.json["reason"] = json!("ReconciliationSucceeded");
        event
    }

    /// With a pair of metadata more.
    #[must_use]
    pub fn metadata(mut self, key: &str, value: &str) -> Self {
        self.json["metadata"][key] = json!(value);
        self
    }

    /// For another reason.
    #[must_use]
    pub fn reason(mut self, reason: &str) -> Self {
        self.json["reason"] = json!(reason);
        self
    }

    /// Its JSON.
    #[must_use]
    pub fn body(&self) -> String {
        self.json.to_string()
    }

    /// The request that Flux makes of it.
    #[must_use]
    pub fn request(&self) -> Request {
        Request::new("POST", "/")
            .header("content-type", "application/json")
            .body(self.body())
    }

    /// Posts it as Flux does; the status of the answer.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    #[must_use]
    pub fn post(&self, events: SocketAddr) -> u16 {
        let answer = Client::plain(events).send(self.request());
        answer.expect("the event server answers").status
    }
}

/// A Provider whose Secret `NAME-auth` has its address or token.
#[must_use]
pub fn provider(namespace: &str, name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["secretRef"] = json!({"name": format!("{name}-auth")});
    json!({
        "apiVersion": "notification.toolkit.fluxcd.io/v1beta3", "kind": "Provider",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

/// The Secret of a [`provider`].
#[must_use]
pub fn auth(namespace: &str, name: &str, keys: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": keys,
        "metadata": {"name": format!("{name}-auth"), "namespace": namespace},
    })
}

/// A Secret for a Provider's `certSecretRef`: the authority of its server.
#[must_use]
pub fn ca(namespace: &str, name: &str, certificate: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": {"ca.crt": certificate},
        "metadata": {"name": name, "namespace": namespace},
    })
}

/// An Alert of the same name as its Provider, for the Kustomizations of its namespace.
#[must_use]
pub fn alert(namespace: &str, provider: &str) -> Value {
    json!({
        "apiVersion": "notification.toolkit.fluxcd.io/v1beta3", "kind": "Alert",
        "metadata": {"name": provider, "namespace": namespace},
        "spec": {
            "providerRef": {"name": provider},
            "eventSources": [{"kind": "Kustomization", "name": "*"}],
        },
    })
}
