//! `envoy/certificates`: what is asked of cert-manager and KCert, as an API server with the real definitions takes it.

use std::collections::BTreeSet;
use std::fs;

use e2e::cluster::shipped;
use e2e::kustomize::Kustomization;
use e2e::trials::Trials;
use e2e::{Cluster, Shell, binaries};
use serde_json::{Value, json};

use crate::{find, list, strings, workload};

/// What each file has, by kind and name.
const FILES: [(&str, &[&str]); 6] = [
    (
        "cert-manager-httpproxy",
        &["Certificate hooks", "HTTPProxy hooks"],
    ),
    (
        "cert-manager-ingress",
        &["ClusterIssuer letsencrypt", "Ingress hooks"],
    ),
    (
        "kcert-httpproxy",
        &["ConfigMap hooks-tls", "HTTPProxy hooks"],
    ),
    ("kcert-ingress", &["Ingress hooks"]),
    ("kcert-settings", &["ConfigMap kcert-settings"]),
    (
        "xds",
        &[
            "Issuer hookgate-xds-root",
            "Certificate hookgate-xds-ca",
            "Issuer hookgate-xds",
            "Certificate hookgate-xds",
            "Certificate hookgate-xds-client",
        ],
    ),
];

pub(crate) fn trials(trials: Trials<Cluster>) -> Trials<Cluster> {
    trials
        .shared("every_example_is_taken_by_an_api_server", taken)
        .alone("ingress_and_proxy_lead_to_one_place_by_tls_only", routes)
        .alone(
            "what_cert_manager_writes_is_what_the_controller_reads",
            table_secret,
        )
        .alone("kcert_is_told_what_contour_looks_at", kcert)
}

fn objects(file: &str) -> Vec<Value> {
    let path = format!("envoy/certificates/{file}.yaml");
    shipped(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn taken(cluster: &Cluster) {
    let shell = Shell::on(cluster);
    let _ = shell.succeed("kubectl create namespace kcert");
    let folder = binaries::workspace().join("envoy/certificates");
    let there: BTreeSet<String> = fs::read_dir(folder)
        .expect("the folder can be read")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let known: BTreeSet<String> = FILES
        .iter()
        .map(|(file, _)| format!("{file}.yaml"))
        .collect();
    assert_eq!(there, known);
    for (file, wanted) in FILES {
        shell.dry_run(&format!("-f envoy/certificates/{file}.yaml"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let held: Vec<String> = objects(file)
            .iter()
            .map(|object| {
                format!(
                    "{} {}",
                    text(&object["kind"]),
                    text(&object["metadata"]["name"])
                )
            })
            .collect();
        assert_eq!(held, wanted, "{file}");
    }
}

fn routes() {
    for file in ["cert-manager-ingress", "kcert-ingress"] {
        let objects = objects(file);
        let ingress = find(&objects, "Ingress", "hooks");
        let spec = &ingress["spec"];
        let redirect =
            &ingress["metadata"]["annotations"]["ingress.kubernetes.io/force-ssl-redirect"];
        assert_eq!(
            (redirect, &spec["ingressClassName"]),
            (&json!("true"), &json!("contour"))
        );
        assert_eq!(spec["tls"][0]["hosts"][0], spec["rules"][0]["host"]);
        assert_eq!(
            spec["rules"][0]["http"]["paths"],
            json!([{
                "path": "/hook/", "pathType": "Prefix",
                "backend": {"service": {"name": "hookgate", "port": {"number": 80}}},
            }])
        );
    }
    for file in ["cert-manager-httpproxy", "kcert-httpproxy"] {
        let objects = objects(file);
        let spec = &find(&objects, "HTTPProxy", "hooks")["spec"];
        assert_eq!(spec["virtualhost"]["tls"]["secretName"], "hooks-tls");
        // Nothing else: what else a route may have changes the name of Contour's cluster, or multiplies hooks.
        assert_eq!(
            spec["routes"],
            json!([{
                "conditions": [{"prefix": "/hook/"}],
                "services": [{"name": "hookgate", "port": 80}],
            }])
        );
    }
}

fn table_secret() {
    let examples = objects("xds");
    let base = Kustomization::of("controller").objects();
    let service = find(&base, "Service", "hookgate-xds");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let host = format!(
        "{}.{}.svc",
        text(&service["metadata"]["name"]),
        text(&service["metadata"]["namespace"])
    );
    let certificate = find(&examples, "Certificate", "hookgate-xds");
    assert_eq!(strings(&certificate["spec"]["dnsNames"]), [host]);
    let volumes = list(&workload(&base)["spec"]["template"]["spec"]["volumes"]);
    let of_pod = volumes.iter().find(|volume| volume["name"] == "xds");
    assert_eq!(
        of_pod.expect("it has one")["secret"]["secretName"],
        certificate["spec"]["secretName"]
    );
    // One who has the server's key is no Envoy, and the other way round.
    let usages = ["hookgate-xds", "hookgate-xds-client"].map(|name| {
        let spec = &find(&examples, "Certificate", name)["spec"];
        strings(&spec["usages"]).join(", ")
    });
    assert_eq!(
        usages,
        [
            "digital signature, server auth",
            "digital signature, client auth"
        ]
    );
}

fn kcert() {
    let settings = objects("kcert-settings");
    let text = settings[0]["data"]["appsettings.json"].as_str();
    let parsed: Value = serde_json::from_str(text.expect("it is there")).expect("it is JSON");
    assert_eq!(
        parsed["ChallengeIngress"],
        json!({"ClassName": "contour", "Annotations": {}, "SkipIngressPropagationCheck": false})
    );
    let ingress = objects("kcert-ingress");
    assert_eq!(
        ingress[0]["metadata"]["labels"],
        json!({"kcert.dev/ingress": "managed"})
    );
    let request = objects("kcert-httpproxy");
    let (map, proxy) = (&request[0], &request[1]["spec"]["virtualhost"]);
    assert_eq!(
        (
            &map["metadata"]["labels"],
            &map["metadata"]["name"],
            &map["data"]["hosts"]
        ),
        (
            &json!({"kcert.dev/cert-request": "request"}),
            &proxy["tls"]["secretName"],
            &proxy["fqdn"]
        )
    );
}
