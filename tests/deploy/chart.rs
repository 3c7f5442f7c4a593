//! `envoy/chart`: the objects of the bases, by Helm.

use std::collections::BTreeMap;
use std::process::Command;

use e2e::cluster::NAMESPACE;
use e2e::kustomize::Kustomization;
use e2e::trials::Trials;
use e2e::{Cluster, binaries, servers};
use serde_json::{Value, json};

use crate::{find, list, strings, workload};

pub(crate) fn trials(trials: Trials<Cluster>) -> Trials<Cluster> {
    trials
        .alone("the_chart_comes_to_the_objects_of_the_bases", same_objects)
        .alone("helm_finds_nothing_wrong_with_the_chart", lint)
        .alone("values_that_there_are_not_are_refused", refused)
        .alone("every_value_of_the_chart_has_an_effect", effects)
}

/// Runs helm on the chart; whether it is content, and what it says.
fn helm(command: &[&str], flags: &[&str]) -> (bool, String, String) {
    let helm = servers::helm().unwrap_or_else(|error| panic!("{error}"));
    let output = Command::new(helm)
        .args(command)
        .arg(binaries::workspace().join("envoy/chart"))
        // Without a cluster helm takes the version that it was built for, which our build does not know.
        .args(["--namespace", NAMESPACE, "--kube-version", "1.27.0"])
        .args(flags)
        .output()
        .expect("helm runs");
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// What the chart comes to with these values.
fn chart(values: &[&str]) -> Vec<Value> {
    let flags: Vec<&str> = values
        .iter()
        .flat_map(|value| ["--set-json", value])
        .collect();
    let (is_content, text, said) = helm(&["template", "hookgate"], &flags);
    assert!(is_content, "{values:?}: {said}");
    let objects: Result<Vec<Value>, _> = serde_saphyr::from_multiple(&text);
    objects.unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Objects by kind and name.
fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let mut named = BTreeMap::new();
    for object in objects {
        let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
        assert!(
            named.insert(name.clone(), object).is_none(),
            "two of {name}"
        );
    }
    named
}

fn same_objects() {
    let base = Kustomization::of("controller");
    for (values, form) in [
        (&[][..], base.clone()),
        (&["replicas=3"], base.clone().with("controller/replicas")),
        (
            &["xds.insecure=true"],
            base.clone().with("controller/plain-xds"),
        ),
        (
            &["xds.clientCaSecretName=\"hookgate-xds-client-ca\""],
            base.clone().with("controller/contour-ca"),
        ),
        (
            &["monitoring.enabled=true"],
            base.clone().with("controller/monitoring"),
        ),
        (
            &["fluxServices=true", "replicas=3", "xds.insecure=true"],
            base.with("controller/replicas")
                .with("controller/plain-xds")
                .with("controller/services"),
        ),
    ] {
        let (held, wanted) = (by_name(chart(values)), by_name(form.objects()));
        let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&held), names(&wanted), "{values:?}");
        for (name, wanted) in &wanted {
            assert_eq!(&held[name], wanted, "{values:?}: {name}");
        }
    }
}

fn lint() {
    for values in [&[][..], &["--set", "replicas=3,monitoring.enabled=true"]] {
        let mut flags = vec!["--strict"];
        flags.extend(values);
        let (is_content, said, errors) = helm(&["lint"], &flags);
        assert!(is_content, "{said}{errors}");
        assert!(
            !said.contains("[WARNING]") && !said.contains("[ERROR]"),
            "{said}"
        );
    }
}

fn refused() {
    for (value, what) in [
        ("replica=3", "replica"),
        ("replicas=0", "replicas"),
        ("spool.size=\"3\"", "size"),
        ("image.digest=\"sha256:1\"", "digest"),
        ("extraArgs=[\"run\"]", "extraArgs"),
        ("xds.insecure=\"yes\"", "insecure"),
    ] {
        let (is_content, _, said) = helm(&["template", "hookgate"], &["--set-json", value]);
        assert!(!is_content && said.contains(what), "{value}: {said}");
    }
}

fn effects() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let image_digest = format!("image.digest=\"{digest}\"");
    let objects = chart(&[
        "image.repository=\"registry.example.com/hookgate\"",
        &image_digest,
        "image.pullPolicy=\"Always\"",
        "imagePullSecrets=[{\"name\":\"pull\"}]",
        "extraArgs=[\"--deny-sha1\"]",
        "spool.size=\"9Gi\"",
        "spool.storageClassName=\"fast\"",
        "xds.secretName=\"other\"",
        "rbac.workloadIdentity=true",
        "monitoring={\"enabled\":true,\"labels\":{\"release\":\"prometheus\"}}",
        "resources={\"limits\":{\"memory\":\"1Gi\"}}",
        "priorityClassName=\"\"",
        "nodeSelector={\"a\":\"b\"}",
        "tolerations=[{\"key\":\"a\"}]",
        "affinity={\"nodeAffinity\":{}}",
        "podAnnotations={\"c\":\"d\"}",
    ]);
    let template = &workload(&objects)["spec"]["template"];
    let pod = &template["spec"];
    let container = &pod["containers"][0];
    assert_eq!(
        container["image"],
        format!("registry.example.com/hookgate@{digest}")
    );
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(strings(&container["args"]).last(), Some(&"--deny-sha1"));
    assert_eq!(container["resources"], json!({"limits": {"memory": "1Gi"}}));
    let at = |pointer: &str| pod.pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(at("/imagePullSecrets"), json!([{"name": "pull"}]));
    assert_eq!(at("/priorityClassName"), Value::Null);
    assert_eq!(
        at("/nodeSelector"),
        json!({"kubernetes.io/os": "linux", "a": "b"})
    );
    assert_eq!(at("/tolerations"), json!([{"key": "a"}]));
    assert_eq!(at("/affinity"), json!({"nodeAffinity": {}}));
    assert_eq!(template["metadata"]["annotations"]["c"], "d");
    let secrets = list(&pod["volumes"]).iter();
    let secrets: Vec<&str> = secrets
        .filter_map(|volume| volume["secret"]["secretName"].as_str())
        .collect();
    assert_eq!(secrets, ["other"]);
    let claim = &find(&objects, "PersistentVolumeClaim", "hookgate-spool")["spec"];
    assert_eq!(
        (
            &claim["resources"]["requests"]["storage"],
            &claim["storageClassName"]
        ),
        (&json!("9Gi"), &json!("fast"))
    );
    find(&objects, "ClusterRoleBinding", "hookgate-workload-identity");
    for kind in ["ServiceMonitor", "PrometheusRule"] {
        let labels = &find(&objects, kind, "hookgate")["metadata"]["labels"];
        assert_eq!(labels, &json!({"app": "hookgate", "release": "prometheus"}));
    }
    let beside_flux = chart(&["rbac.serviceAccount=false"]);
    find(&beside_flux, "ClusterRole", "hookgate");
    assert!(
        !beside_flux
            .iter()
            .any(|object| object["kind"] == "ServiceAccount")
    );
    let fewer = chart(&[
        "networkPolicy.enabled=false",
        "rbac.create=false",
        "image.tag=\"v9\"",
    ]);
    let gone = ["NetworkPolicy", "ClusterRole", "Role", "ServiceAccount"];
    assert!(
        !fewer
            .iter()
            .any(|object| gone.iter().any(|kind| object["kind"] == *kind))
    );
    assert_eq!(
        workload(&fewer)["spec"]["template"]["spec"]["containers"][0]["image"],
        "hookgate:v9"
    );
}
