//! What is rendered, in which form, and what is refused.

use clap::Parser;
use serde_json::{Value, json};

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    gate: GateArgs,
}

/// No Envoy on the `PATH` takes part: the real ones do in the end-to-end tests.
fn print(flags: &[&str]) -> Result<String, EdgeError> {
    let args = Cli::try_parse_from([&["hookgate"], flags].concat())
        .unwrap_or_else(|error| panic!("{error}"))
        .gate;
    let gate = args.gate()?;
    gate.check()?;
    let files = render::files(&gate, args.output.format);
    args.output.check(&files)?;
    let mut text = Vec::new();
    args.output.deliver(&files, &mut text)?;
    Ok(String::from_utf8(text).unwrap())
}

fn objects(text: &str) -> Vec<Value> {
    text.split("\n---\n")
        .map(|object| serde_saphyr::from_str(object).unwrap())
        .collect()
}

fn rendered(flags: &[&str]) -> Vec<Value> {
    objects(&print(flags).unwrap_or_else(|error| panic!("{error}")))
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .collect()
}

#[test]
fn the_objects_are_those_that_the_gate_needs() {
    let objects = rendered(&["--xds-insecure"]);
    let kinds: Vec<_> = objects
        .iter()
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "ConfigMap",
            "Deployment",
            "Service",
            "PodDisruptionBudget",
            "Service",
            "Service",
            "NetworkPolicy",
            "NetworkPolicy"
        ]
    );
    assert!(
        objects
            .iter()
            .all(|object| object["metadata"]["namespace"] == "flux-system")
    );
    let deployment = &objects[1]["spec"];
    let pod = &deployment["template"]["spec"];
    let volume = &pod["volumes"][0]["configMap"]["name"];
    assert_eq!(volume, &objects[0]["metadata"]["name"]);
    assert_eq!(
        (
            &pod["securityContext"]["runAsNonRoot"],
            &pod["automountServiceAccountToken"]
        ),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        pod["containers"][0]["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        })
    );
    assert_eq!(
        pod["containers"][0]["resources"]["limits"]["memory"],
        "1610612736"
    );
}

#[test]
fn only_contour_reaches_the_gate_and_only_the_gate_the_controller() {
    let objects = rendered(&["--xds-insecure", "--contour-namespace=edge"]);
    let policies: Vec<_> = of_kind(&objects, "NetworkPolicy")
        .into_iter()
        .map(|policy| policy["spec"].clone())
        .collect();
    assert_eq!(
        policies,
        [
            json!({
                "podSelector": {"matchLabels": {"app": "hookgate-gate"}},
                "policyTypes": ["Ingress"],
                "ingress": [{
                    "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}}}],
                    "ports": [{"protocol": "TCP", "port": 10080}],
                }],
            }),
            json!({
                "podSelector": {"matchLabels": {"app": "hookgate"}},
                "policyTypes": ["Ingress"],
                "ingress": [{
                    "from": [{"podSelector": {"matchLabels": {"app": "hookgate-gate"}}}],
                    "ports": [{"protocol": "TCP", "port": 9292}, {"protocol": "TCP", "port": 18000}],
                }],
            }),
        ]
    );
}

#[test]
fn the_patches_lead_webhook_receiver_to_the_gate_and_narrow_flux() {
    let folder = tempfile::TempDir::new().unwrap();
    let text = folder.path().to_str().unwrap();
    print(&["--xds-insecure", "--format=kustomize", "--output", text]).unwrap();
    let read = |name: &str| -> Value {
        serde_saphyr::from_str(&std::fs::read_to_string(folder.path().join(name)).unwrap()).unwrap()
    };
    assert_eq!(
        read("webhook-receiver-patch.yaml"),
        json!([{"op": "replace", "path": "/spec/selector/app", "value": "hookgate-gate"}])
    );
    assert_eq!(
        read("allow-webhooks-patch.yaml"),
        json!([
            {"op": "replace", "path": "/spec/podSelector/matchLabels/app", "value": "hookgate-gate"},
            {"op": "replace", "path": "/spec/ingress", "value": [{
                "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "projectcontour"}}}],
                "ports": [{"protocol": "TCP", "port": 10080}],
            }]},
        ])
    );
    let kustomization = read("kustomization.yaml");
    let named = kustomization["resources"].as_array().unwrap().iter();
    let patches = kustomization["patches"].as_array().unwrap().iter();
    for file in named.chain(patches.map(|patch| &patch["path"])) {
        let file = file.as_str().unwrap();
        assert!(folder.path().join(file).is_file(), "{file}");
    }
}

#[test]
fn a_chart_holds_the_same_objects_and_no_template() {
    let folder = tempfile::TempDir::new().unwrap();
    let text = folder.path().to_str().unwrap();
    print(&["--xds-insecure", "--format=helm", "--output", text]).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let parts = ["templates/gate.yaml", "templates/network-policy.yaml"];
    let held: Vec<Value> = parts.iter().flat_map(|name| objects(&read(name))).collect();
    assert_eq!(held, rendered(&["--xds-insecure"]));
    assert!(parts.iter().all(|name| !read(name).contains("{{")));
    assert_eq!(
        print(&["--xds-insecure", "--format=helm"])
            .unwrap_err()
            .to_string(),
        "--format helm writes several files: name a folder with --output DIR"
    );
}

#[test]
fn the_certificate_of_the_xds_port_comes_from_a_secret_and_is_read_again() {
    let objects = rendered(&["--xds-secret=hookgate-xds-client"]);
    let pod = &objects[1]["spec"]["template"]["spec"];
    assert_eq!(
        pod["volumes"][1],
        json!({"name": "xds", "secret": {"secretName": "hookgate-xds-client"}})
    );
    let file = |name: &str| -> Value {
        serde_saphyr::from_str(objects[0]["data"][name].as_str().unwrap()).unwrap()
    };
    let clusters = file("envoy.yaml")["static_resources"]["clusters"].clone();
    let tls = &clusters[2]["transport_socket"]["typed_config"]["common_tls_context"];
    let source = |name: &str, file: &str| {
        json!({
            "name": name,
            "sds_config": {"resource_api_version": "V3", "path_config_source": {"path": file}},
        })
    };
    assert_eq!(
        tls["tls_certificate_sds_secret_configs"],
        json!([source(
            "hookgate_xds_certificate",
            "/etc/envoy/xds-certificate.yaml"
        )])
    );
    assert_eq!(
        tls["combined_validation_context"],
        json!({
            "default_validation_context": {
                "match_typed_subject_alt_names":
                    [{"san_type": "DNS", "matcher": {"exact": "hookgate-xds.flux-system.svc"}}],
            },
            "validation_context_sds_secret_config":
                source("hookgate_xds_authority", "/etc/envoy/xds-authority.yaml"),
        })
    );
    assert_eq!(
        file("xds-certificate.yaml")["resources"][0]["name"],
        "hookgate_xds_certificate"
    );
    assert_eq!(
        file("xds-authority.yaml")["resources"][0]["name"],
        "hookgate_xds_authority"
    );
}

#[test]
fn what_is_not_safe_is_refused_with_what_to_change() {
    for (flags, want) in [
        (
            &[][..],
            "the table lets its reader forge hooks: give the Secret with tls.crt, tls.key and ca.crt for the xDS port with --xds-secret NAME, or take the risk with --xds-insecure",
        ),
        (
            &["--xds-insecure", "--image=a b"],
            "--image \"a b\" is no image: give it as REGISTRY/NAME:TAG",
        ),
        (
            &[
                "--xds-insecure",
                "--controller-addr=webhook-receiver.flux-system:80",
            ],
            "--controller-addr webhook-receiver.flux-system:80 leads to the gate itself, for ever: give the controller's own Service, such as hookgate-controller.flux-system.svc:9292",
        ),
        (
            &["--xds-secret=A"],
            "--xds-secret \"A\" is no Kubernetes name: use lower-case letters, digits and inner dashes",
        ),
        (
            &["--xds-insecure", "--max-heap-bytes=1"],
            "--max-heap-bytes 1 is out of range: use 268435456 to 1099511627776",
        ),
    ] {
        assert_eq!(print(flags).unwrap_err().to_string(), want, "{flags:?}");
    }
}
