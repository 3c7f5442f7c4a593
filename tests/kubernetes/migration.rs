//! From notification-controller to Hookgate and back, as the README has it.

use std::fs;
use std::process::Command;

use e2e::manifests::Receiver;
use e2e::trials::Trials;
use e2e::wait::{self, PATIENCE};
use e2e::{Cluster, Forge, binaries};
use serde_json::{Value, json};

use crate::hookgate::{
    API_VERSION, Hookgate, Stand, apply, await_ready, condition, get, patch, requested_at,
};

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/flux-system/deployments/notification-controller";
const SERVICE: &str = "/api/v1/namespaces/flux-system/services/webhook-receiver";
const POLICY: &str =
    "/apis/networking.k8s.io/v1/namespaces/flux-system/networkpolicies/allow-webhooks";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/flux-system/leases/notification-controller-leader-election";

/// Of notification-controller's Deployment.
const ARGUMENTS: [&str; 2] = ["--watch-all-namespaces", "--enable-leader-election"];

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .alone(
            "hookgate_takes_over_from_notification_controller_and_gives_back",
            there_and_back,
        )
        .alone(
            "a_check_finds_nothing_to_do_where_nothing_has_to_be_done",
            nothing_to_do,
        )
}

/// What notification-controller leaves on a Receiver.
fn left_by_notification_controller(cluster: &Cluster, receiver: &Receiver) -> Value {
    patch(
        cluster,
        receiver,
        &json!({"metadata": {"finalizers": ["finalizers.fluxcd.io"]}}),
    );
    let status = json!({
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Succeeded", "observedGeneration": 1,
            "message": format!("Receiver initialized for path: {}", receiver.path()),
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
        "observedGeneration": 1,
        "webhookPath": receiver.path(),
    });
    let path = format!("{}/status", path_of(receiver));
    let answer = cluster
        .admin()
        .send("PATCH", &path, Some(&json!({"status": status})));
    assert_eq!(answer.status, 200, "{}", answer.body);
    status
}

fn path_of(receiver: &Receiver) -> String {
    let Receiver {
        namespace, name, ..
    } = receiver;
    format!("/apis/{API_VERSION}/namespaces/{namespace}/receivers/{name}")
}

/// What Flux installs, as far as the README's patches touch it, and an Alert.
fn install(cluster: &Cluster, namespace: &str) {
    let labels = json!({"app": "notification-controller"});
    for object in [
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "notification-controller", "namespace": "flux-system"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "manager", "image": "none"}]},
                },
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "webhook-receiver", "namespace": "flux-system"},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": "http-webhook"}]},
        }),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "allow-webhooks", "namespace": "flux-system"},
            "spec": {
                "podSelector": {"matchLabels": labels},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"namespaceSelector": {}}]}],
            },
        }),
        json!({
            "apiVersion": "notification.toolkit.fluxcd.io/v1beta3", "kind": "Alert",
            "metadata": {"name": "on-call", "namespace": namespace},
            "spec": {
                "providerRef": {"name": "chat"},
                "eventSources": [{"kind": "GitRepository", "name": "*"}],
            },
        }),
    ] {
        cluster.admin().apply(&object);
    }
}

/// `hookgate migrate --check`: its exit code and what it says.
fn check(cluster: &Cluster) -> (Option<i32>, String) {
    let output = Command::new(binaries::hookgate().expect("hookgate can be built"))
        .args(["migrate", "--check", "--kubeconfig"])
        .arg(cluster.kubeconfig())
        .arg("--")
        .args(ARGUMENTS)
        .output()
        .expect("hookgate runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mistakes = String::from_utf8_lossy(&output.stderr);
    assert_eq!(mistakes, "", "{said}");
    (output.status.code(), said)
}

/// The patches of the README's kustomization: kind, name, JSON patch.
fn patches() -> Vec<(String, String, Value)> {
    let readme = fs::read_to_string(binaries::workspace().join("README.md"));
    let readme = readme.expect("README.md can be read");
    let block = readme
        .split("```yaml\n")
        .find(|block| block.contains("# flux-system/kustomization.yaml"));
    let block = block.and_then(|block| block.split("```").next());
    let kustomization: Value =
        serde_saphyr::from_str(block.expect("README.md has it")).expect("it is YAML");
    let patches = kustomization["patches"].as_array().expect("patches");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    patches
        .iter()
        .map(|entry| {
            let target = &entry["target"];
            let operations = serde_saphyr::from_str(&text(&entry["patch"])).expect("YAML");
            (text(&target["kind"]), text(&target["name"]), operations)
        })
        .collect()
}

fn holder(cluster: &Cluster) -> String {
    let lease = cluster.admin().get(LEASE).body;
    let holder = lease["spec"]["holderIdentity"].as_str();
    holder.unwrap_or_default().to_owned()
}

fn there_and_back() {
    let cluster = Cluster::start();
    let receiver = apply(&cluster, Receiver::new("github", "web").event("push"));
    install(&cluster, &receiver.namespace);
    let status = left_by_notification_controller(&cluster, &receiver);
    let (code, said) = check(&cluster);
    let namespace = &receiver.namespace;
    let start = format!(
        "Receiver {namespace}/web (github)
  note a genuine hook whose event is not in spec.events gets 200, not 400; --filtered-hook-status or the annotation hookgate.dev/filtered-hook-status change that
  note it takes signatures with SHA-1, which are weak: they are counted
Alert {namespace}/on-call
  ACT  this hookgate sends no alerts: keep notification-controller for them
Every Receiver
"
    );
    assert!(said.starts_with(&start), "{said}");
    assert!(said.ends_with("1 object needs attention.\n"), "{said}");
    assert_eq!(code, Some(1));
    assert!(!said.contains(&receiver.path()));

    let hookgate = Hookgate::start(&cluster, "hookgate", &ARGUMENTS);
    for (kind, name, operations) in patches() {
        let target = match kind.as_str() {
            "Deployment" => DEPLOYMENT,
            "NetworkPolicy" => POLICY,
            _ => SERVICE,
        };
        assert!(target.ends_with(&name), "{target}");
        let answer = cluster.admin().json_patch(target, &operations);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let admin = cluster.admin();
    assert_eq!(admin.get(DEPLOYMENT).body["spec"]["replicas"], 0);
    assert_eq!(
        admin.get(SERVICE).body["spec"]["selector"],
        json!({"app": "hookgate"})
    );
    assert_eq!(
        admin.get(POLICY).body["spec"]["podSelector"]["matchLabels"],
        json!({"app": "hookgate"})
    );
    wait::until("hookgate holds the Lease", PATIENCE, || {
        (!holder(&cluster).is_empty()).then_some(())
    })
    .expect("it is taken");
    await_ready(&cluster, &receiver);
    let answer = hookgate.client().send(Forge::new().hook(&receiver));
    assert_eq!(answer.expect("it answers").status, 200);
    assert!(requested_at(&cluster, "GitRepository", namespace, "web").is_some());
    // Nothing was written: the status still has the time that notification-controller gave it.
    assert_eq!(get(&cluster, &receiver)["status"], status);

    assert!(
        hookgate
            .process
            .stop()
            .is_some_and(|status| status.success())
    );
    assert_eq!(holder(&cluster), "");
    let object = get(&cluster, &receiver);
    assert_eq!(object["status"], status);
    assert_eq!(
        object["metadata"]["finalizers"],
        json!(["finalizers.fluxcd.io"])
    );
    stays_until_it_is_let_go(&cluster, &receiver, &object);
}

/// Where neither runs.
fn stays_until_it_is_let_go(cluster: &Cluster, receiver: &Receiver, object: &Value) {
    let admin = cluster.admin();
    admin.delete(object);
    let held = get(cluster, receiver);
    assert!(held["metadata"]["deletionTimestamp"].is_string(), "{held}");
    assert_eq!(condition(&held["status"], "Ready")["status"], "True");
    patch(
        cluster,
        receiver,
        &json!({"metadata": {"finalizers": null}}),
    );
    assert_eq!(admin.get(&path_of(receiver)).status, 404);
}

fn nothing_to_do() {
    let cluster = Cluster::start();
    let receiver = apply(&cluster, Receiver::new("gitlab", "web"));
    left_by_notification_controller(&cluster, &receiver);
    let (code, said) = check(&cluster);
    let start = format!(
        "Receiver {}/web (gitlab)\n  no change\nEvery Receiver\n",
        receiver.namespace
    );
    assert!(said.starts_with(&start), "{said}");
    assert!(said.ends_with("Nothing has to be done.\n"), "{said}");
    assert_eq!(code, Some(0));
}
