//! The gate's way as an operator goes it: `hookgate edge gate`, its objects applied, its patch laid on Flux's Service.
//!
//! There is no kubelet: the Deployment's Envoy is started here, on an address that is not loopback, since the API server refuses
//! that of an endpoint.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use e2e::controller::{self, Addresses};
use e2e::envoy::Envoy;
use e2e::network::own_address;
use e2e::{Cluster, cluster, ports};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Flux's Service, which routes name already.
pub(crate) const SERVICE: &str = "webhook-receiver";

/// The gate's Envoy, and what it is started with again.
pub(crate) struct Gate {
    envoy: Option<Envoy>,
    version: &'static str,
    bootstrap: String,
    dir: TempDir,
}

impl Gate {
    /// Brings the gate into this namespace, between its Service `webhook-receiver` and the controller.
    pub(crate) fn start(
        cluster: &Cluster,
        namespace: &str,
        controller: Addresses,
        version: &'static str,
    ) -> Self {
        let dir = TempDir::new().expect("a folder can be made");
        let admin = cluster.admin();
        let service = admin.apply(&flux_service(namespace));
        render(dir.path(), namespace, controller);
        let objects = read(dir.path(), "gate.yaml");
        for object in objects
            .iter()
            .chain(&read(dir.path(), "network-policy.yaml"))
        {
            admin.apply(object);
        }
        let patch = read(dir.path(), "webhook-receiver-patch.yaml").remove(0);
        let patched = admin.json_patch(&e2e::api::path_of(&service), &patch);
        assert_eq!(patched.status, 200, "{}", patched.body);
        let deployment = object(&objects, "Deployment");
        assert!(
            leads_to(&patched.body, deployment),
            "{} leads elsewhere",
            patched.body
        );
        let (address, port) = (own_address(), ports::reserve());
        let bootstrap = in_a_pod(bootstrap(&objects, deployment), address, port);
        admin.apply(&endpoint(namespace, address, port));
        let mut gate = Self {
            envoy: None,
            version,
            bootstrap,
            dir,
        };
        gate.start_again();
        gate
    }

    /// Stops its Envoy. The Service keeps its endpoint, as it does for a moment where a node is lost.
    pub(crate) fn stop(&mut self) {
        self.envoy = None;
    }

    pub(crate) fn start_again(&mut self) {
        self.stop();
        let started = Envoy::start(self.version, &self.bootstrap, self.dir.path());
        self.envoy = Some(started.unwrap_or_else(|error| panic!("{error}")));
    }
}

/// As Flux installs it.
pub(crate) fn flux_service(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": namespace},
        "spec": {
            "selector": {"app": "notification-controller"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http-webhook"}],
        },
    })
}

fn render(dir: &Path, namespace: &str, controller: Addresses) {
    let (hooks, xds) = (controller.receiver.to_string(), controller.xds.to_string());
    let folder = dir.display().to_string();
    let arguments = [
        "edge",
        "gate",
        "--format",
        "kustomize",
        "--output",
        &folder,
        "--namespace",
        namespace,
        "--controller-addr",
        &hooks,
        "--xds-addr",
        &xds,
        "--xds-insecure",
    ];
    let _ = controller::hookgate(&arguments).expect("the gate is rendered");
}

fn read(dir: &Path, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(dir.join(file)).expect("the renderer wrote it");
    cluster::documents(&text).expect("it is YAML")
}

fn object<'o>(objects: &'o [Value], kind: &str) -> &'o Value {
    let found = objects.iter().find(|object| object["kind"] == kind);
    found.unwrap_or_else(|| panic!("the gate has no {kind}"))
}

/// Whether a Service selects a Deployment's Pods, and finds its port there.
fn leads_to(service: &Value, deployment: &Value) -> bool {
    let pod = &deployment["spec"]["template"];
    let mut selector = service["spec"]["selector"]
        .as_object()
        .into_iter()
        .flatten();
    let selects = selector.all(|(label, value)| pod["metadata"]["labels"][label] == *value);
    let target = &service["spec"]["ports"][0]["targetPort"];
    let ports = pod["spec"]["containers"][0]["ports"].as_array();
    selects
        && ports
            .into_iter()
            .flatten()
            .any(|port| port["name"] == *target)
}

/// The file that the Deployment's Envoy reads, from the ConfigMap that it mounts.
fn bootstrap<'o>(objects: &'o [Value], deployment: &Value) -> &'o str {
    let map = object(objects, "ConfigMap");
    let volumes = deployment["spec"]["template"]["spec"]["volumes"].as_array();
    let mounted = volumes
        .into_iter()
        .flatten()
        .any(|volume| volume["configMap"]["name"] == map["metadata"]["name"]);
    assert!(mounted, "the Deployment mounts the ConfigMap");
    map["data"]["envoy.yaml"]
        .as_str()
        .expect("it holds a bootstrap")
}

/// A Pod has a network of its own, where all ports are free; here they are others.
pub(crate) fn in_a_pod(bootstrap: &str, address: IpAddr, port: u16) -> String {
    let own = |port: u16| format!("address: \"127.0.0.1\", port_value: {port}");
    let (health, admin) = (own(ports::reserve()), own(ports::reserve()));
    let changes = [
        (
            "address: \"::\", port_value: 10080, ipv4_compat: true",
            format!("address: \"{address}\", port_value: {port}"),
        ),
        (
            "address: \"::\", port_value: 8080, ipv4_compat: true",
            health,
        ),
        ("address: \"127.0.0.1\", port_value: 9901", admin),
    ];
    let mut text = bootstrap.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "the gate's bootstrap has no {from:?}");
        text = text.replace(from, &to);
    }
    text
}

/// What a controller-manager makes of the Service and the Pod.
pub(crate) fn endpoint(namespace: &str, address: IpAddr, port: u16) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{SERVICE}-0"), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": SERVICE},
        },
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    })
}
