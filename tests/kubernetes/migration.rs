//! From notification-controller to Hookgate and back, as the README has it.

use std::fs;
use std::process::Command;

use e2e::manifests::Receiver;
use e2e::trials::Trials;
use e2e::wait::{self, PATIENCE};
use e2e::{Cluster, Forge, Shell, binaries, flux, readme};
use serde_json::{Value, json};

use crate::hookgate::{
    API_VERSION, Hookgate, Stand, apply, apply_again, await_ready, condition, get, patch,
    requested_at,
};

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/flux-system/deployments/notification-controller";
const SERVICE: &str = "/api/v1/namespaces/flux-system/services/webhook-receiver";
const EVENTS: &str = "/api/v1/namespaces/flux-system/services/notification-controller";
const POLICY: &str =
    "/apis/networking.k8s.io/v1/namespaces/flux-system/networkpolicies/allow-webhooks";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/flux-system/leases/notification-controller-leader-election";

/// Of notification-controller's Deployment.
const ARGUMENTS: [&str; 2] = ["--watch-all-namespaces", "--enable-leader-election"];

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .alone(
            "the_readme_followed_word_for_word_leads_from_notification_controller_and_back",
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

/// An Alert whose Provider is not there.
fn alert() -> Value {
    json!({
        "apiVersion": "notification.toolkit.fluxcd.io/v1beta3", "kind": "Alert",
        "metadata": {"name": "on-call", "namespace": "apps"},
        "spec": {
            "providerRef": {"name": "chat"},
            "eventSources": [{"kind": "GitRepository", "name": "*"}],
        },
    })
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

/// The commands of the README's section, each on a line of its own, without what an operator reads only.
fn commands() -> Vec<String> {
    let section = readme::section("From notification-controller");
    let lines = readme::blocks(&section, "text").concat();
    lines.lines().map(str::to_owned).collect()
}

/// Flux's folder as `flux bootstrap` leaves it, with the README's kustomization.yaml, or with one without patches.
fn write_folder(shell: &Shell, with_patches: bool) {
    let folder = shell.dir().join("flux-system");
    fs::create_dir_all(&folder).expect("a folder can be made");
    let write = |name: &str, text: String| {
        fs::write(folder.join(name), text).expect("a file can be written");
    };
    let components = flux::components().map(|object| object.to_string());
    write("gotk-components.yaml", components.join("\n---\n"));
    write(
        "gotk-sync.yaml",
        flux::object("GitRepository", "flux-system", "flux-system").to_string(),
    );
    let section = readme::section("From notification-controller");
    let blocks = readme::blocks(&section, "yaml");
    let found = blocks.iter().filter_map(|block| readme::named(block));
    let mut found = found.filter(|(name, _)| *name == "flux-system/kustomization.yaml");
    let (_, text) = found.next().expect("README.md has it");
    let end = text.find("patches:").expect("it has patches");
    let text = if with_patches { text } else { &text[..end] };
    write("kustomization.yaml", text.to_owned());
}

fn holder(cluster: &Cluster) -> String {
    let lease = cluster.admin().get(LEASE).body;
    let holder = lease["spec"]["holderIdentity"].as_str();
    holder.unwrap_or_default().to_owned()
}

fn there_and_back() {
    let cluster = Cluster::start();
    let shell = Shell::on(&cluster);
    let receiver = in_apps(&cluster);
    cluster.admin().apply(&alert());
    write_folder(&shell, false);
    let _ = shell.succeed("kubectl apply -k flux-system");
    let status = left_by_notification_controller(&cluster, &receiver);
    let commands = commands();
    let [
        check,
        allow,
        receivers,
        lease,
        cluster_wide,
        namespaced,
        let_go,
    ] = commands.as_slice()
    else {
        panic!("README.md has other commands than this trial follows: {commands:#?}");
    };

    let checked = shell.run(check);
    assert_eq!(checked.code, Some(1), "{}", checked.stderr);
    finds_what_to_do(&checked.stdout, &receiver);
    let _ = shell.succeed(allow);
    let hookgate = Hookgate::start(&cluster, "hookgate", &ARGUMENTS);
    write_folder(&shell, true);
    let _ = shell.succeed("kubectl apply -k flux-system");
    leads_to(&cluster, 0, "hookgate");
    wait::until("hookgate holds the Lease", PATIENCE, || {
        (!holder(&cluster).is_empty()).then_some(())
    })
    .expect("it is taken");
    await_ready(&cluster, &receiver);
    let shown = shell.succeed(receivers);
    assert!(shown.contains("Receiver initialized for path"), "{shown}");
    let shown = shell.succeed(lease);
    assert!(shown.contains(&holder(&cluster)), "{shown}");
    let answer = hookgate.client().send(Forge::new().hook(&receiver));
    assert_eq!(answer.expect("it answers").status, 200);
    assert!(requested_at(&cluster, "GitRepository", "apps", "web").is_some());
    // Nothing was written: the status still has the time that notification-controller gave it.
    assert_eq!(get(&cluster, &receiver)["status"], status);

    write_folder(&shell, false);
    let _ = shell.succeed("kubectl apply -k flux-system");
    leads_to(&cluster, 1, "notification-controller");
    let stopped = hookgate.process.stop();
    assert!(stopped.is_some_and(|status| status.success()));
    let _ = shell.succeed(cluster_wide);
    let _ = shell.succeed(namespaced);
    assert_eq!(holder(&cluster), "");
    let object = get(&cluster, &receiver);
    assert_eq!(object["status"], status);
    assert_eq!(
        object["metadata"]["finalizers"],
        json!(["finalizers.fluxcd.io"])
    );
    stays_until_it_is_let_go(&cluster, &receiver, &object, || {
        let _ = shell.succeed(let_go);
    });
}

/// The README's own Receiver.
fn in_apps(cluster: &Cluster) -> Receiver {
    let mut receiver = Receiver::new("github", "web").event("push");
    receiver.namespace = "apps".to_owned();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}});
    cluster.admin().apply(&namespace);
    cluster
        .admin()
        .apply(&flux::object("GitRepository", "apps", "web"));
    apply_again(cluster, &receiver);
    receiver
}

fn finds_what_to_do(said: &str, receiver: &Receiver) {
    let start = "Receiver apps/web (github)
  note a genuine hook whose event is not in spec.events gets 200, not 400; --filtered-hook-status or the annotation hookgate.dev/filtered-hook-status change that
  note it takes signatures with SHA-1, which are weak: they are counted
Alert apps/on-call
  note alerts are tried for hours where they were tried for seconds, and may arrive twice
  ACT  its Provider \"chat\" is not there
Every Receiver
";
    assert!(said.starts_with(start), "{said}");
    assert!(said.ends_with("1 object needs attention.\n"), "{said}");
    assert!(!said.contains(&receiver.path()));
}

/// How many notification-controllers run, and whose Pods the Services and the NetworkPolicy name.
fn leads_to(cluster: &Cluster, replicas: u32, app: &str) {
    let admin = cluster.admin();
    assert_eq!(admin.get(DEPLOYMENT).body["spec"]["replicas"], replicas);
    let labels = json!({"app": app});
    for service in [SERVICE, EVENTS] {
        assert_eq!(admin.get(service).body["spec"]["selector"], labels);
    }
    let policy = admin.get(POLICY).body;
    assert_eq!(policy["spec"]["podSelector"]["matchLabels"], labels);
    let everybody = json!([{"from": [{"namespaceSelector": {}}]}]);
    assert_eq!(policy["spec"]["ingress"] == everybody, replicas == 1);
}

/// Where neither runs.
fn stays_until_it_is_let_go(
    cluster: &Cluster,
    receiver: &Receiver,
    object: &Value,
    let_go: impl Fn(),
) {
    let admin = cluster.admin();
    admin.delete(object);
    let held = get(cluster, receiver);
    assert!(held["metadata"]["deletionTimestamp"].is_string(), "{held}");
    assert_eq!(condition(&held["status"], "Ready")["status"], "True");
    let_go();
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
