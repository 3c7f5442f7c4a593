//! The pinned way as an operator goes it: `hookgate edge overlay`, its objects applied, its patch laid on Contour's DaemonSet.

use std::fs;
use std::path::Path;

use e2e::api::Answer;
use e2e::cluster::{NAMESPACE, documents};
use e2e::controller::{self, Addresses};
use e2e::{Cluster, contour};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The placeholder Service, which routes name.
pub(crate) const PLACEHOLDER: &str = "hookgate";

/// Contour's DaemonSet of Envoys under another name, with the gate in it; the object as it is in the cluster.
pub(crate) fn pinned(
    cluster: &Cluster,
    name: &str,
    controller: Addresses,
    flags: &[String],
) -> Value {
    let _ = unpinned(cluster, name);
    let patched = lay_on(cluster, name, controller, flags);
    assert_eq!(patched.status, 200, "{}", patched.body);
    patched.body
}

/// Applies what is rendered, and lays its patch on the DaemonSet that is there.
pub(crate) fn lay_on(
    cluster: &Cluster,
    name: &str,
    controller: Addresses,
    flags: &[String],
) -> Answer {
    let dir = TempDir::new().expect("a folder can be made");
    render(dir.path(), name, controller, flags);
    for file in ["contour/overlay.yaml", "hookgate/service.yaml"] {
        for object in read(dir.path(), file) {
            cluster.admin().apply(&object);
        }
    }
    let operations = read(dir.path(), "contour/envoy-patch.yaml").remove(0);
    let path = format!(
        "/apis/apps/v1/namespaces/{}/daemonsets/{name}",
        contour::NAMESPACE
    );
    cluster.admin().json_patch(&path, &operations)
}

/// The same without the gate.
pub(crate) fn unpinned(cluster: &Cluster, name: &str) -> Value {
    let mut daemon_set = contour::daemon_set();
    daemon_set["metadata"]["name"] = json!(name);
    // As the manifest has it, whatever an earlier patch made of it.
    cluster.admin().delete(&daemon_set);
    cluster.admin().apply(&daemon_set)
}

fn render(dir: &Path, name: &str, controller: Addresses, flags: &[String]) {
    let (hooks, xds) = (controller.receiver.to_string(), controller.xds.to_string());
    let folder = dir.display().to_string();
    let mut arguments = vec![
        "edge",
        "overlay",
        "--format",
        "kustomize",
        "--output",
        &folder,
    ];
    arguments.extend(["--namespace", NAMESPACE, "--service", PLACEHOLDER]);
    arguments.extend(["--envoy-name", name, "--controller-addr", &hooks]);
    arguments.extend(["--xds-addr", &xds]);
    arguments.extend(flags.iter().map(String::as_str));
    let _ = controller::hookgate(&arguments).expect("the overlay is rendered");
}

fn read(dir: &Path, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(dir.join(file)).expect("the renderer wrote it");
    documents(&text).expect("it is YAML")
}
