//! The README's section Install, followed word for word.

use std::os::unix::fs::symlink;

use e2e::cluster::{NAMESPACE, shipped};
use e2e::definitions::{CERT_MANAGER, PROMETHEUS};
use e2e::trials::Trials;
use e2e::{Cluster, Shell, readme, servers};
use serde_json::{Value, json};

/// Where the controller is, once it is installed.
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/flux-system/deployments/hookgate";

pub(crate) fn trials(trials: Trials<Cluster>) -> Trials<Cluster> {
    trials
        .alone("the_readme_followed_word_for_word_installs_it", kustomize)
        .alone("the_readmes_line_for_helm_installs_it_beside_flux", helm)
}

/// A cluster with what the section takes as given, and a shell on it.
fn stage() -> (Cluster, Shell) {
    let cluster = Cluster::start();
    for definitions in [CERT_MANAGER, PROMETHEUS] {
        let objects = definitions
            .objects()
            .unwrap_or_else(|error| panic!("{error}"));
        cluster
            .define(&objects)
            .unwrap_or_else(|error| panic!("{error}"));
    }
    let shell = Shell::on(&cluster);
    let helm = servers::helm().unwrap_or_else(|error| panic!("{error}"));
    symlink(helm, shell.dir().join("bin/helm")).expect("a link can be made");
    (cluster, shell)
}

/// The section's commands of this program.
fn commands(program: &str) -> Vec<String> {
    let section = readme::section("Install");
    for line in readme::blocks(&section, "text").concat().lines() {
        let first = line.split(' ').next().unwrap_or_default();
        let known = ["podman", "kubectl", "helm"];
        assert!(known.contains(&first), "who runs {line:?}?");
    }
    readme::commands(&section, program)
}

/// The image that the README's commands install.
fn image(cluster: &Cluster) -> Value {
    let deployment = cluster.admin().get(DEPLOYMENT).body;
    deployment["spec"]["template"]["spec"]["containers"][0]["image"].clone()
}

fn kustomize() {
    let (cluster, shell) = stage();
    let section = readme::section("Install");
    readme::write_files(&section, shell.dir());
    let commands = commands("kubectl");
    assert_eq!(commands.len(), 2);
    for command in &commands {
        let _ = shell.succeed(command);
    }
    // The image that the README builds.
    let built = self::commands("podman");
    let tag = built[0]
        .split(' ')
        .find(|word| word.starts_with("registry."));
    assert_eq!(image(&cluster), json!(tag));
    let admin = cluster.admin();
    for object in [
        "/apis/cert-manager.io/v1/namespaces/flux-system/certificates/hookgate-xds",
        "/apis/monitoring.coreos.com/v1/namespaces/flux-system/prometheusrules/hookgate",
        "/apis/networking.k8s.io/v1/namespaces/flux-system/networkpolicies/hookgate",
        "/api/v1/namespaces/flux-system/services/hookgate-xds",
    ] {
        assert_eq!(admin.get(object).status, 200, "{object}");
    }
    // And once more: nothing is changed by what is there already.
    let _ = shell.succeed(&commands[1]);
    let deployment = admin.get(DEPLOYMENT).body;
    assert_eq!(deployment["metadata"]["generation"], 1, "{deployment}");
}

fn helm() {
    let (cluster, shell) = stage();
    // Of what is there in this cluster Flux would have made the ServiceAccount only.
    for object in shipped("envoy/controller/rbac.yaml").expect("the file is YAML") {
        if object["kind"] != "ServiceAccount" {
            cluster.admin().delete(&object);
        }
    }
    let commands = commands("helm");
    assert_eq!(commands.len(), 1);
    let _ = shell.succeed(&commands[0]);
    assert_eq!(image(&cluster), "registry.example.com/hookgate:v0.1.0");
    let _ = shell.succeed(&format!(
        "helm uninstall hookgate --namespace {NAMESPACE} --wait=false"
    ));
    assert_eq!(cluster.admin().get(DEPLOYMENT).status, 404);
    let account = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/notification-controller");
    assert_eq!(cluster.admin().get(&account).status, 200);
}
