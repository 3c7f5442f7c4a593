//! What is rendered, in which form, and what is refused.

use std::path::Path;

use clap::Parser;
use serde_json::{Value, json};

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    overlay: OverlayArgs,
}

/// No Envoy on the `PATH` takes part: the real ones do in the end-to-end tests.
fn print(flags: &[&str]) -> Result<String, EdgeError> {
    let args = Cli::try_parse_from([&["hookgate"], flags].concat())
        .unwrap_or_else(|error| panic!("{error}"))
        .overlay;
    let overlay = args.overlay()?;
    overlay.check()?;
    let mut text = Vec::new();
    let files = render::files(&overlay, args.output.format);
    args.output.check(&files)?;
    args.output.deliver(&files, &mut text)?;
    Ok(String::from_utf8(text).unwrap())
}

fn printed(flags: &[&str]) -> String {
    print(&[&["--xds-insecure"], flags].concat()).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(flags: &[&str]) -> String {
    print(&[&["--xds-insecure"], flags].concat())
        .unwrap_err()
        .to_string()
}

fn objects(text: &str) -> Vec<Value> {
    text.split("\n---\n")
        .map(|object| serde_saphyr::from_str(object).unwrap())
        .collect()
}

fn names(objects: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    objects
        .iter()
        .map(|object| {
            let metadata = &object["metadata"];
            let name = text(&metadata["name"]);
            let name = match name.strip_prefix("hookgate-overlay-") {
                Some(_) => "hookgate-overlay-*".to_owned(),
                None => name,
            };
            format!(
                "{} {}/{name}",
                text(&object["kind"]),
                text(&metadata["namespace"])
            )
        })
        .collect()
}

fn overlay_in(config_map: &Value) -> Value {
    serde_saphyr::from_str(config_map["data"]["overlay.yaml"].as_str().unwrap()).unwrap()
}

#[test]
fn the_objects_are_those_that_the_pinned_way_needs() {
    let objects = objects(&printed(&[]));
    assert_eq!(
        names(&objects),
        [
            "ConfigMap projectcontour/hookgate-overlay-*",
            "Service flux-system/hookgate",
            "Service flux-system/hookgate-controller",
            "Service flux-system/hookgate-xds",
            "NetworkPolicy flux-system/hookgate-edge",
        ]
    );
    assert_eq!(
        objects[1]["spec"],
        json!({"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}),
        "the placeholder has no selector"
    );
    assert_eq!(
        objects[4]["spec"],
        json!({
            "podSelector": {"matchLabels": {"app": "hookgate"}},
            "policyTypes": ["Ingress"],
            "ingress": [{
                "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "projectcontour"}}}],
                "ports": [{"protocol": "TCP", "port": 9292}, {"protocol": "TCP", "port": 18000}],
            }],
        })
    );
}

#[test]
fn the_overlay_pins_contours_cluster_to_the_chain_and_drains() {
    let overlay = overlay_in(&objects(&printed(&[]))[0]);
    let pin = &overlay["static_resources"]["clusters"][0];
    assert_eq!(pin["name"], "flux-system/hookgate/80/da39a3ee5e");
    assert_eq!(pin["alt_stat_name"], "flux-system_hookgate_80");
    assert_eq!(pin["circuit_breakers"]["thresholds"][0]["max_retries"], 0);
    let options = &pin["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    assert_eq!(
        options["common_http_protocol_options"],
        json!({"idle_timeout": "1s"})
    );
    let listener = &overlay["static_resources"]["listeners"][0];
    assert_eq!(listener["internal_listener"], json!({}));
    let manager = &listener["filter_chains"][0]["filters"][0]["typed_config"];
    let detection = &manager["original_ip_detection_extensions"][0]["typed_config"];
    assert_eq!(detection["header_name"], "x-envoy-external-address");
    let filters = manager["http_filters"].as_array().unwrap();
    let names: Vec<_> = filters
        .iter()
        .map(|filter| filter["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "hookgate.strip",
            "hookgate.https",
            "hookgate.address",
            "hookgate",
            "hookgate.guard",
            "envoy.filters.http.router"
        ]
    );
    // What is Contour's stays Contour's.
    for section in [
        "admin",
        "dynamic_resources",
        "layered_runtime",
        "overload_manager",
        "node",
    ] {
        assert_eq!(overlay.get(section), None, "{section}");
    }
}

#[test]
fn the_patch_tests_the_container_first_and_names_the_config_map() {
    let text = printed(&["--container-index=0", "--container=proxy"]);
    let command = text.lines().find(|line| line.contains("kubectl")).unwrap();
    let (head, patch) = command.split_once(" -p '").unwrap();
    assert_eq!(
        head,
        "#   kubectl -n projectcontour patch daemonset envoy --type=json"
    );
    let patch: Value = serde_json::from_str(patch.strip_suffix('\'').unwrap()).unwrap();
    let name = &objects(&text)[0]["metadata"]["name"];
    let at = |rest: &str| format!("/spec/template/spec/containers/0/{rest}");
    assert_eq!(
        patch,
        json!([
            {"op": "test", "path": at("name"), "value": "proxy"},
            {"op": "test", "path": at("args/0"), "value": "-c"},
            {"op": "add", "path": at("args/0"), "value": "$(HOOKGATE_OVERLAY)"},
            {"op": "add", "path": at("args/0"), "value": "--config-yaml"},
            {"op": "add", "path": at("env/-"), "value": {
                "name": "HOOKGATE_OVERLAY",
                "valueFrom": {"configMapKeyRef": {"name": name, "key": "overlay.yaml"}},
            }},
        ])
    );
}

#[test]
fn a_changed_overlay_has_another_config_map() {
    let name = |flags: &[&str]| objects(&printed(flags))[0]["metadata"]["name"].clone();
    assert_eq!(name(&[]), name(&[]));
    assert_ne!(name(&[]), name(&["--address-rate=60"]));
}

#[test]
fn helm_values_hold_the_same_objects() {
    let values: Value = serde_saphyr::from_str(&printed(&["--format=helm"])).unwrap();
    let held: Vec<Value> = values["extraDeploy"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| serde_saphyr::from_str(object.as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(held, objects(&printed(&[])));
    assert_eq!(
        values["envoy"]["extraArgs"],
        json!(["--config-yaml", "$(HOOKGATE_OVERLAY)"])
    );
    assert_eq!(
        values["envoy"]["extraEnvVars"][0]["valueFrom"]["configMapKeyRef"]["name"],
        held[0]["metadata"]["name"]
    );
    // The chart renders them as templates.
    assert!(!printed(&["--format=helm"]).contains("{{"));
}

#[test]
fn kustomize_files_hold_the_same_objects() {
    let folder = tempfile::TempDir::new().unwrap();
    let text = folder.path().to_str().unwrap();
    assert_eq!(printed(&["--format=kustomize", "--output", text]), "");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let parts = [
        "contour/overlay.yaml",
        "hookgate/service.yaml",
        "hookgate/network-policy.yaml",
    ];
    let held: Vec<Value> = parts.iter().flat_map(|name| objects(&read(name))).collect();
    assert_eq!(held, objects(&printed(&[])));
    for part in ["contour", "hookgate"] {
        let kustomization: Value =
            serde_saphyr::from_str(&read(&format!("{part}/kustomization.yaml"))).unwrap();
        assert_eq!(kustomization["kind"], "Component");
        let resources = kustomization["resources"].as_array().unwrap().iter();
        let patches = kustomization["patches"].as_array().unwrap().iter();
        for file in resources.chain(patches.map(|patch| &patch["path"])) {
            let file = Path::new(part).join(file.as_str().unwrap());
            assert!(folder.path().join(&file).is_file(), "{file:?}");
        }
    }
    assert_eq!(
        refusal(&["--format=kustomize"]),
        "--format kustomize writes several files: name a folder with --output DIR"
    );
}

#[test]
fn the_table_is_protected_unless_that_is_refused_by_a_flag() {
    assert_eq!(
        print(&[]).unwrap_err().to_string(),
        "the table lets its reader forge hooks: give the CA of the xDS port's certificate with --xds-ca FILE, or take the risk with --xds-insecure"
    );
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("ca.crt");
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(&file, pem).unwrap();
    let text = print(&["--xds-ca", file.to_str().unwrap()]).unwrap();
    let overlay = overlay_in(&objects(&text)[0]);
    let clusters = overlay["static_resources"]["clusters"].as_array().unwrap();
    assert_eq!(
        clusters[2]["transport_socket"]["typed_config"],
        json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "hookgate-xds.flux-system.svc",
            "common_tls_context": {
                "alpn_protocols": ["h2"],
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "tls_certificate_sds_secret_configs": [{
                    "name": "contour_xds_tls_certificate",
                    "sds_config": {
                        "resource_api_version": "V3",
                        "path_config_source": {"path": "/config/resources/sds/xds-tls-certificate.json"},
                    },
                }],
                "validation_context": {
                    "trusted_ca": {"inline_string": pem},
                    "match_typed_subject_alt_names":
                        [{"san_type": "DNS", "matcher": {"exact": "hookgate-xds.flux-system.svc"}}],
                },
            },
        })
    );
    let values: Value = serde_saphyr::from_str(
        &print(&["--xds-ca", file.to_str().unwrap(), "--format=helm"]).unwrap(),
    )
    .unwrap();
    assert_eq!(
        values["extraDeploy"].as_array().map(Vec::len),
        Some(objects(&text).len()),
        "a certificate's last line is no border between objects"
    );
    fs::write(&file, "no certificate").unwrap();
    assert_eq!(
        print(&["--xds-ca", file.to_str().unwrap()])
            .unwrap_err()
            .to_string(),
        "--xds-ca holds no PEM certificate: give the CA of the controller's xDS port, ca.crt of its Secret"
    );
}

#[test]
fn an_overlay_that_no_argument_can_hold_is_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("ca.crt");
    fs::write(
        &file,
        format!("-----BEGIN CERTIFICATE-----\n{}\n", "A".repeat(131_072)),
    )
    .unwrap();
    let flags = ["hookgate", "--xds-ca", file.to_str().unwrap()];
    let args = Cli::try_parse_from(flags).unwrap().overlay;
    let error = overlay(&args, &mut Vec::new(), &mut Vec::new()).unwrap_err();
    assert!(
        matches!(error, EdgeError::TooLarge { bytes, most: 131_072 } if bytes > 131_072),
        "{error}"
    );
}

#[test]
fn what_would_fail_open_is_refused() {
    for service in ["webhook-receiver", "hookgate-controller", "hookgate-xds"] {
        assert_eq!(
            refusal(&["--service", service]),
            format!(
                "--service {service:?} has Pods behind it, so that hooks would pass where the gate is missing: give a name of its own, such as hookgate"
            )
        );
    }
    for address in [
        "hookgate.flux-system:9292",
        "hookgate.flux-system.svc.cluster.local:80",
    ] {
        assert_eq!(
            refusal(&["--controller-addr", address]),
            format!(
                "--controller-addr {address} is the placeholder Service itself: where the overlay is missing, Contour would send hooks around the gate; give the placeholder another --service, or hooks another Service"
            )
        );
    }
}

#[test]
fn a_name_over_its_limit_is_refused_by_its_flag() {
    let long = "n".repeat(64);
    for flag in [
        "--namespace",
        "--service",
        "--contour-namespace",
        "--envoy-name",
        "--container",
    ] {
        assert_eq!(
            refusal(&[flag, &long]),
            format!("{flag} {long:?} is longer than 63 characters: give a shorter name")
        );
    }
}
