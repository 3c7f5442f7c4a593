//! What is shipped to be deployed: rendered, looked at, and given to a real API server.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a trial fails by panicking"
)]

#[path = "deploy/base.rs"]
mod base;
#[path = "deploy/certificates.rs"]
mod certificates;
#[path = "deploy/chart.rs"]
mod chart;
#[path = "deploy/edge.rs"]
mod edge;
#[path = "deploy/image.rs"]
mod image;
#[path = "deploy/install.rs"]
mod install;
#[path = "deploy/monitoring.rs"]
mod monitoring;
#[path = "deploy/policies.rs"]
mod policies;

use std::error::Error;
use std::process::ExitCode;

use e2e::Cluster;
use e2e::cluster::NAMESPACE;
use e2e::definitions::{CERT_MANAGER, CONTOUR, PROMETHEUS};
use e2e::trials::Trials;
use serde_json::{Value, json};

fn main() -> ExitCode {
    let trials = Trials::started_by(try_start);
    let trials = base::trials(trials);
    let trials = monitoring::trials(trials);
    let trials = certificates::trials(trials);
    let trials = chart::trials(trials);
    let trials = edge::trials(trials);
    let trials = image::trials(trials);
    let trials = install::trials(trials);
    policies::trials(trials).run()
}

/// A cluster with the kinds of those whom the manifests speak to, and with Pods in Flux's namespace as harmless as can be.
fn try_start() -> Result<Cluster, Box<dyn Error + Send + Sync>> {
    let cluster = Cluster::try_start()?;
    for definitions in [CERT_MANAGER, CONTOUR, PROMETHEUS] {
        cluster.define(&definitions.objects()?)?;
    }
    let admin = cluster.admin();
    let restricted = "restricted";
    admin.try_apply(&json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {
            "pod-security.kubernetes.io/enforce": restricted,
            "pod-security.kubernetes.io/warn": restricted,
        }},
    }))?;
    admin.try_apply(&json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "projectcontour"},
    }))?;
    Ok(cluster)
}

/// The one object of this kind and name.
fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = objects
        .iter()
        .filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    match (found.next(), found.next()) {
        (Some(object), None) => object,
        (None, _) => panic!("there is no {kind} {name}"),
        (Some(_), Some(_)) => panic!("there are several {kind} {name}"),
    }
}

/// The Deployment or StatefulSet.
fn workload(objects: &[Value]) -> &Value {
    let is_workload = |kind: &Value| kind == "Deployment" || kind == "StatefulSet";
    let mut found = objects.iter().filter(|object| is_workload(&object["kind"]));
    found.next().expect("there is a workload")
}

/// The elements of a list; none where it is no list.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The strings of a list.
fn strings(value: &Value) -> Vec<&str> {
    list(value).iter().filter_map(Value::as_str).collect()
}

/// Whether labels have everything that a `matchLabels` or a Service's selector asks for.
fn has_labels(labels: &Value, wanted: &Value) -> bool {
    let wanted = wanted.as_object().into_iter().flatten();
    wanted
        .into_iter()
        .all(|(name, value)| labels[name] == *value)
}
