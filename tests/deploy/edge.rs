//! `envoy/pinned` and `envoy/gate`: what `hookgate edge` prints for the names of `envoy/controller`, and how they fit together.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use e2e::cluster::{NAMESPACE, shipped};
use e2e::definitions::{CONTOUR_ENVOY, ENVOY_GATEWAY};
use e2e::kustomize::Kustomization;
use e2e::trials::Trials;
use e2e::{Cluster, Shell, binaries, controller};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::base::flux_policies;
use crate::{find, has_labels, list};

/// A way behind Contour: its folder below `envoy`, and what makes it.
struct Way {
    folder: &'static str,
    /// The files that `hookgate edge` does not write.
    own: &'static [&'static str],
    arguments: &'static [&'static str],
}

/// The addresses are given, so that the Services of `envoy/controller` are not printed once more.
const WAYS: [Way; 2] = [
    Way {
        folder: "pinned",
        own: &["example-ca.crt"],
        arguments: &[
            "edge",
            "overlay",
            "--controller-addr=hookgate-controller.flux-system.svc:9292",
            "--xds-addr=hookgate-xds.flux-system.svc:18000",
            "--xds-ca=example-ca.crt",
        ],
    },
    Way {
        folder: "gate",
        own: &[],
        arguments: &[
            "edge",
            "gate",
            "--controller-addr=hookgate-controller.flux-system.svc:9292",
            "--xds-addr=hookgate-xds.flux-system.svc:18000",
            "--xds-secret=hookgate-xds-client",
        ],
    },
];

pub(crate) fn trials(trials: Trials<Cluster>) -> Trials<Cluster> {
    trials
        .alone("the_bases_of_the_edge_are_what_hookgate_prints", printed)
        .shared("the_filter_gets_into_contours_own_envoy", pinned)
        .shared("an_envoy_of_our_own_stands_behind_webhook_receiver", gate)
        .shared("envoy_gateway_takes_its_objects", envoy_gateway)
        .alone(
            "the_gateways_envoy_asks_for_the_table_as_the_gate_does",
            same_cluster,
        )
        .alone(
            "the_edge_and_the_controller_have_nothing_twice",
            nothing_twice,
        )
}

/// The files below a folder, by their paths.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = fs::read_dir(&next).expect("the folder can be read");
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).expect("it is below").display();
            let text = fs::read_to_string(&path).expect("it is text");
            found.insert(name.to_string(), text);
        }
    }
    found
}

fn printed() {
    let envoy = binaries::envoy(binaries::ENVOY).unwrap_or_else(|error| panic!("{error}"));
    for way in &WAYS {
        let folder = binaries::workspace().join("envoy").join(way.folder);
        let dir = TempDir::new().expect("a folder can be made");
        let mut arguments: Vec<String> = way
            .arguments
            .iter()
            // The file is in the folder.
            .map(|word| match word.strip_prefix("--xds-ca=") {
                Some(file) => format!("--xds-ca={}", folder.join(file).display()),
                None => (*word).to_owned(),
            })
            .collect();
        arguments.push("--format=kustomize".to_owned());
        arguments.push(format!("--envoy={}", envoy.display()));
        arguments.push(format!("--output={}", dir.path().display()));
        controller::hookgate(&arguments).unwrap_or_else(|error| panic!("{error}"));
        let wanted = files(dir.path());
        // A variable of the test, not of the program.
        if std::env::var_os("UPDATE").is_some() {
            for (name, text) in &wanted {
                let file = folder.join(name);
                fs::create_dir_all(file.parent().expect("it has a folder"))
                    .expect("it can be made");
                fs::write(file, text).expect("a file can be written");
            }
        }
        let mut held = files(&folder);
        for name in way.own {
            assert!(held.remove(*name).is_some(), "{name}");
        }
        assert!(
            held == wanted,
            "envoy/{} is not what `hookgate {}` prints: run this test with UPDATE=1",
            way.folder,
            way.arguments.join(" ")
        );
    }
}

/// Contour's own Envoy, as its manifests have it.
fn contours_envoy() -> Vec<Value> {
    let objects = CONTOUR_ENVOY.objects();
    objects.unwrap_or_else(|error| panic!("{error}"))
}

fn pinned(cluster: &Cluster) {
    let mut form = Kustomization::default().with("pinned/contour");
    form.given = contours_envoy();
    let shell = Shell::on(cluster);
    fs::write(shell.dir().join("form.yaml"), form.text()).expect("a file can be written");
    shell.dry_run("-f form.yaml");
    // Two arguments and their variable, and nothing else is different.
    let objects = form.objects();
    let container = "/spec/template/spec/containers/1";
    let mut patched = find(&objects, "DaemonSet", "envoy").clone();
    let mut list = |part: &str| {
        let list = patched.pointer_mut(&format!("{container}/{part}"));
        let list = list.and_then(Value::as_array_mut).expect("it is a list");
        std::mem::take(list)
    };
    let (mut variables, mut arguments) = (list("env"), list("args"));
    let variable = variables.pop().expect("it has something");
    let (flag, value) = (arguments.remove(0), arguments.remove(0));
    patched["spec"]["template"]["spec"]["containers"][1]["env"] = json!(variables);
    patched["spec"]["template"]["spec"]["containers"][1]["args"] = json!(arguments);
    assert_eq!(
        (flag.as_str(), value.as_str()),
        (Some("--config-yaml"), Some("$(HOOKGATE_OVERLAY)"))
    );
    assert_eq!(variable["name"], "HOOKGATE_OVERLAY");
    let map = variable["valueFrom"]["configMapKeyRef"]["name"].as_str();
    find(&objects, "ConfigMap", map.expect("it names one"));
    assert_eq!(&patched, find(&form.given, "DaemonSet", "envoy"));
}

/// What goes with the filter in Contour's Envoy, likewise.
pub(crate) fn pinned_form() -> Kustomization {
    let mut form = Kustomization::of("controller").with("pinned/hookgate");
    form.given = flux_policies(false);
    form
}

/// The gate beside the controller and what Flux installs, in one kustomization.
pub(crate) fn gate_form() -> Kustomization {
    let mut form = Kustomization::of("controller").with("gate");
    form.given = flux_policies(false);
    form.given.push(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "webhook-receiver", "namespace": NAMESPACE},
        "spec": {
            "selector": {"app": "notification-controller"},
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http-webhook"}],
        },
    }));
    form
}

fn gate(cluster: &Cluster) {
    let form = gate_form();
    let shell = Shell::on(cluster);
    fs::write(shell.dir().join("form.yaml"), form.text()).expect("a file can be written");
    shell.dry_run("-f form.yaml");
    let objects = form.objects();
    let template = &find(&objects, "Deployment", "hookgate-gate")["spec"]["template"];
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
        "metadata": {"name": "x", "namespace": NAMESPACE},
    });
    let answer = cluster.admin().dry_run(&pod);
    assert_eq!(answer.status, 201, "{}", answer.body);
    // Routes to webhook-receiver stay, and lead to a port that the gate's Pods have.
    let service = &find(&objects, "Service", "webhook-receiver")["spec"];
    assert!(has_labels(
        &template["metadata"]["labels"],
        &service["selector"]
    ));
    let ports = list(&template["spec"]["containers"][0]["ports"]);
    let wanted = &service["ports"][0]["targetPort"];
    assert!(ports.iter().any(|port| port["name"] == *wanted), "{wanted}");
    // Its certificate is the one that cert-manager makes for it.
    let certificates = shipped("envoy/certificates/xds.yaml").expect("the file is YAML");
    let certificate = find(&certificates, "Certificate", "hookgate-xds-client");
    let secret = certificate["spec"]["secretName"].as_str();
    assert!(
        template
            .to_string()
            .contains(secret.expect("it has a name"))
    );
}

fn nothing_twice() {
    let _ = gate_form().objects();
    // One kustomization takes all of it: kustomize refuses two objects of one name.
    let objects = pinned_form().objects();
    // Flux's policy becomes the same, whichever of the two narrows it.
    let narrowed = flux_policies(true);
    let (kind, name) = ("NetworkPolicy", "allow-webhooks");
    assert_eq!(
        find(&objects, kind, name)["spec"],
        find(&narrowed, kind, name)["spec"]
    );
    // What the examples lead to has no Pods.
    let placeholder = find(&objects, "Service", "hookgate");
    assert_eq!(placeholder["spec"]["selector"], Value::Null);
    assert_eq!(placeholder["spec"]["ports"][0]["port"], 80);
}

fn envoy_gateway(cluster: &Cluster) {
    let definitions = ENVOY_GATEWAY.objects();
    let mut definitions = definitions.unwrap_or_else(|error| panic!("{error}"));
    let groups = ["gateway.networking.k8s.io", "gateway.envoyproxy.io"];
    definitions.retain(|object| {
        object["kind"] == "CustomResourceDefinition"
            && groups.iter().any(|group| object["spec"]["group"] == *group)
    });
    cluster
        .define(&definitions)
        .unwrap_or_else(|error| panic!("{error}"));
    let shell = Shell::on(cluster);
    shell.dry_run("-k envoy/envoy-gateway");
    let objects = Kustomization::of("envoy-gateway").objects();
    let given = Kustomization::of("controller").objects();
    let route = find(&objects, "HTTPRoute", "hooks");
    let backend = &route["spec"]["rules"][0]["backendRefs"][0];
    let service = find(&given, "Service", backend["name"].as_str().expect("a name"));
    let ports = list(&service["spec"]["ports"]);
    assert!(ports.iter().any(|port| port["port"] == backend["port"]));
}

/// The cluster of the bootstrap, and the files that it names, are those of the gate's.
fn same_cluster() {
    let objects = Kustomization::of("envoy-gateway").objects();
    let yaml = |value: &Value| -> Value {
        let text = value.as_str().expect("it is text");
        serde_saphyr::from_str(text).expect("it is YAML")
    };
    let proxy = find(&objects, "EnvoyProxy", "hookgate");
    let merged = yaml(&proxy["spec"]["bootstrap"]["value"]);
    let gate = shipped("envoy/gate/gate.yaml").expect("the file is YAML");
    let map = gate.iter().find(|object| object["kind"] == "ConfigMap");
    let map = &map.expect("the gate has one")["data"];
    let bootstrap = yaml(&map["envoy.yaml"]);
    let of_gate: Vec<&Value> = list(&bootstrap["static_resources"]["clusters"])
        .iter()
        .filter(|cluster| cluster["name"] == "hookgate_ecds")
        .collect();
    let here: Vec<&Value> = list(&merged["static_resources"]["clusters"])
        .iter()
        .collect();
    assert_eq!(here, of_gate);
    let files = &find(&objects, "ConfigMap", "hookgate-sds")["data"];
    for (name, text) in files.as_object().expect("it has files") {
        assert_eq!(text, &map[name], "{name}");
    }
}
