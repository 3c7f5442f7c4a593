//! A cluster with `hookgate run` on it, and what trials ask of both.

use std::error::Error;

use e2e::client::Response;
use e2e::cluster::USER;
pub(crate) use e2e::hookgate::Hookgate;
use e2e::manifests::Receiver;
use e2e::trials::Stage;
use e2e::wait::{self, PATIENCE};
use e2e::{Cluster, flux};
use serde_json::{Value, json};

/// The API version of Receivers.
pub(crate) const API_VERSION: &str = "notification.toolkit.fluxcd.io/v1";

/// A cluster and one `hookgate` for all of its namespaces.
pub(crate) struct Stand {
    pub(crate) hookgate: Hookgate,
    pub(crate) cluster: Cluster,
}

impl Stand {
    pub(crate) fn try_start() -> Result<Self, Box<dyn Error + Send + Sync>> {
        let cluster = Cluster::try_start()?;
        let flags = ["--trigger-interval=1s", "--concurrent=4"];
        let hookgate = Hookgate::try_start(&cluster, "hookgate", &flags)?;
        Ok(Self { hookgate, cluster })
    }

    /// A Receiver in a namespace of its own, with its Secret and its named resources, ready.
    pub(crate) fn receiver(&self, receiver: Receiver) -> Receiver {
        ready(&self.cluster, receiver)
    }

    /// The status of the answer to a hook.
    pub(crate) fn send(&self, hook: impl Into<e2e::client::Request>) -> Response {
        self.hookgate.client().send(hook).expect("hookgate answers")
    }
}

impl Stage for Stand {
    fn keep_files(&mut self) {
        self.cluster.keep_files();
    }
}

/// Puts a Receiver into a namespace of its own, with its Secret and its named resources.
pub(crate) fn apply(cluster: &Cluster, mut receiver: Receiver) -> Receiver {
    receiver.namespace = cluster.namespace(&receiver.name);
    for resource in &receiver.resources {
        if resource.name != "*" {
            let object = flux::object(&resource.kind, &receiver.namespace, &resource.name);
            cluster.admin().apply(&object);
        }
    }
    apply_again(cluster, &receiver);
    receiver
}

/// Applies the Receiver and its Secret as they are now.
pub(crate) fn apply_again(cluster: &Cluster, receiver: &Receiver) {
    for object in objects(&receiver.manifest()) {
        cluster.admin().apply(&object);
    }
}

/// The objects of a manifest, the Secret before the Receiver that names it.
pub(crate) fn objects(yaml: &str) -> Vec<Value> {
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("manifests are YAML");
    objects.reverse();
    objects
}

/// The same, and waits until it is ready.
pub(crate) fn ready(cluster: &Cluster, receiver: Receiver) -> Receiver {
    let receiver = apply(cluster, receiver);
    await_ready(cluster, &receiver);
    receiver
}

pub(crate) fn await_ready(cluster: &Cluster, receiver: &Receiver) {
    await_status(cluster, receiver, "it is ready", |status| {
        status["observedGeneration"].as_i64() > Some(0)
            && condition(status, "Ready")["status"] == "True"
            && status["webhookPath"] == receiver.path()
    });
}

/// Waits until the status is as it should be; the status.
pub(crate) fn await_status(
    cluster: &Cluster,
    receiver: &Receiver,
    what: &str,
    is_right: impl Fn(&Value) -> bool,
) -> Value {
    let probe = || {
        let status = get(cluster, receiver)["status"].clone();
        is_right(&status).then_some(status)
    };
    let waited = wait::until(what, PATIENCE, probe);
    waited.unwrap_or_else(|error| panic!("{error}: {}", get(cluster, receiver)))
}

pub(crate) fn get(cluster: &Cluster, receiver: &Receiver) -> Value {
    cluster
        .admin()
        .object(API_VERSION, "Receiver", &receiver.namespace, &receiver.name)
}

pub(crate) fn condition(status: &Value, r#type: &str) -> Value {
    let conditions = status["conditions"].as_array();
    let found = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == r#type);
    found.cloned().unwrap_or_default()
}

/// Changes a Receiver by a merge patch.
pub(crate) fn patch(cluster: &Cluster, receiver: &Receiver, patch: &Value) {
    let path = format!(
        "/apis/{API_VERSION}/namespaces/{}/receivers/{}",
        receiver.namespace, receiver.name
    );
    let answer = cluster.admin().send("PATCH", &path, Some(patch));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Annotates a Receiver, as `flux reconcile` does.
pub(crate) fn request(cluster: &Cluster, receiver: &Receiver, at: &str) {
    let annotations = json!({"reconcile.fluxcd.io/requestedAt": at});
    patch(
        cluster,
        receiver,
        &json!({"metadata": {"annotations": annotations}}),
    );
}

/// The annotation by which an object is asked to reconcile.
pub(crate) fn requested_at(
    cluster: &Cluster,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Option<String> {
    let api_version = flux::api_version(kind);
    let object = cluster.admin().object(&api_version, kind, namespace, name);
    let annotation = &object["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"];
    annotation.as_str().map(str::to_owned)
}

/// What the controller did in a namespace: verb and resource of each call, Events left out.
pub(crate) fn calls(cluster: &Cluster, namespace: &str) -> Vec<String> {
    let calls = cluster.server().calls().into_iter();
    calls
        .filter(|call| call.user == USER && call.namespace == namespace)
        .filter(|call| call.resource != "events")
        .map(|call| format!("{} {}", call.verb, call.resource))
        .collect()
}

/// The Events of a Receiver, as `TYPE REASON MESSAGE`.
pub(crate) fn events(cluster: &Cluster, receiver: &Receiver) -> Vec<String> {
    let path = format!("/api/v1/namespaces/{}/events", receiver.namespace);
    let list = cluster.admin().get(&path).body;
    let items = list["items"].as_array().into_iter().flatten();
    items
        .filter(|event| event["involvedObject"]["name"] == receiver.name)
        .filter(|event| event["source"]["component"] == "notification-controller")
        .map(|event| {
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", text("type"), text("reason"), text("message"))
        })
        .collect()
}

/// Waits for an Event.
pub(crate) fn await_event(cluster: &Cluster, receiver: &Receiver, event: &str) {
    let probe = || {
        events(cluster, receiver)
            .iter()
            .any(|told| told == event)
            .then_some(())
    };
    wait::until(event, PATIENCE, probe)
        .unwrap_or_else(|error| panic!("{error}: {:?}", events(cluster, receiver)));
}
