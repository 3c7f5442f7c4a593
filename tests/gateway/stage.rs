//! An Envoy as Envoy Gateway configures one for the objects of `envoy/envoy-gateway`.
//!
//! The listener and the route are Envoy Gateway's own test data, with what our objects say in the places that they go to. Code and
//! table come from the real controller, the table by mutual TLS. TLS towards senders is Envoy Gateway's affair, and left out.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use e2e::cluster::shipped;
use e2e::definitions::ENVOY_GATEWAY_LISTENER;
use e2e::envoy::Envoy;
use e2e::tls::Tls;
use e2e::trials::{self, options, statuses};
use e2e::wait::{self, PATIENCE};
use e2e::world::Options;
use e2e::{Client, Request, Response, World, ports};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The name in the controller's certificate for its xDS port.
const XDS: &str = "hookgate-xds.flux-system.svc";

/// A World, and an Envoy of the Gateway beside its own. Fields are dropped from top to bottom.
pub(crate) struct Gateway {
    envoy: Option<Envoy>,
    pub(crate) world: World,
    listener: SocketAddr,
    has_code: bool,
    pki: TempDir,
    dir: TempDir,
}

impl trials::Stage for Gateway {
    fn keep_files(&mut self) {
        self.world.keep_files();
    }
}

impl Gateway {
    /// With an Envoy of this version, which has a certificate of the controller's client CA.
    pub(crate) fn start(version: &str, change: impl FnOnce(&mut Options)) -> Self {
        let mut gateway = Self::without_envoy(change);
        let pki = gateway.pki.path().to_owned();
        gateway.start_envoy(version, &pki);
        gateway
    }

    /// The World alone.
    pub(crate) fn without_envoy(change: impl FnOnce(&mut Options)) -> Self {
        let pki = TempDir::new().expect("a folder can be made");
        let _tls = Tls::create_for(pki.path(), &[XDS]);
        let file = |name: &str| pki.path().join(name).display().to_string();
        let mut options = options();
        options.controller_flags.extend([
            format!("--xds-cert={}", file("tls.crt")),
            format!("--xds-key={}", file("tls.key")),
            format!("--xds-client-ca={}", file("ca.pem")),
        ]);
        options.edge_flags.extend([
            format!("--xds-client-cert={}", file("client.crt")),
            format!("--xds-client-key={}", file("client.key")),
            format!("--xds-ca={}", file("ca.pem")),
            format!("--xds-server-name={XDS}"),
        ]);
        change(&mut options);
        Self {
            envoy: None,
            world: World::start(options),
            listener: ports::address(),
            has_code: false,
            pki,
            dir: TempDir::new().expect("a folder can be made"),
        }
    }

    /// Envoy Gateway has fetched the code before: Envoys that are started from now on need no controller for it.
    pub(crate) fn has_code(&mut self) {
        self.has_code = true;
    }

    /// Starts its Envoy with the client certificate of this folder.
    pub(crate) fn start_envoy(&mut self, version: &str, identity: &Path) {
        self.mount(identity);
        let bootstrap = self.bootstrap().to_string();
        let started = Envoy::start(version, &bootstrap, self.dir.path());
        self.envoy = Some(started.unwrap_or_else(|error| panic!("{error}")));
    }

    /// What the Pod mounts: the ConfigMap, and the Secret.
    fn mount(&self, identity: &Path) {
        let copy = |from: &Path, to: &str| {
            fs::copy(from, self.dir.path().join(to)).expect("a file can be copied");
        };
        copy(&identity.join("client.crt"), "tls.crt");
        copy(&identity.join("client.key"), "tls.key");
        copy(&self.pki.path().join("ca.pem"), "ca.crt");
        let map = object("ConfigMap");
        for (name, text) in map["data"].as_object().into_iter().flatten() {
            let text = self.here(text.as_str().expect("it is text"));
            fs::write(self.dir.path().join(name), text).expect("a file can be written");
        }
    }

    /// The paths of the Pod and the address of the Service, as they are here.
    fn here(&self, text: &str) -> String {
        let folder = self.dir.path().display().to_string();
        let xds = self.world.controller_options().addresses.xds;
        text.replace("/etc/hookgate/xds", &folder)
            .replace("/etc/envoy", &folder)
            .replace(
                &format!("address: \"{XDS}\", port_value: 18000"),
                &format!("address: \"{}\", port_value: {}", xds.ip(), xds.port()),
            )
    }

    fn bootstrap(&self) -> Value {
        let addresses = self.world.controller_options().addresses;
        let merged = object("EnvoyProxy")["spec"]["bootstrap"].clone();
        assert_eq!(merged["type"], "Merge");
        let merged = self.here(merged["value"].as_str().expect("it is text"));
        let merged: Value = serde_saphyr::from_str(&merged).expect("it is YAML");
        let mut clusters = merged["static_resources"]["clusters"].clone();
        let list = clusters.as_array_mut().expect("it has clusters");
        list.push(cluster("hooks", addresses.receiver));
        list.push(cluster("wasm_cluster", addresses.metrics));
        json!({
            "node": {"id": "gateway", "cluster": "gateway"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "static_resources": {"listeners": [self.listener()], "clusters": clusters},
        })
    }

    fn listener(&self) -> Value {
        let objects = ENVOY_GATEWAY_LISTENER.objects();
        let objects = objects.unwrap_or_else(|error| panic!("{error}"));
        let [listeners, routes] = objects.as_slice() else {
            panic!("{objects:?}");
        };
        let mut listener = listeners[0].clone();
        listener["address"] = json!({"socketAddress": {
            "address": "127.0.0.1", "portValue": self.listener.port(),
        }});
        let policy = object("ClientTrafficPolicy")["spec"].clone();
        listener["perConnectionBufferLimitBytes"] = bytes(&policy["connection"]["bufferLimit"]);
        let manager = &mut listener["defaultFilterChain"]["filters"][0]["typedConfig"];
        manager["http2ProtocolOptions"]["initialStreamWindowSize"] =
            bytes(&policy["http2"]["initialStreamWindowSize"]);
        let mut route = routes[0]["virtualHosts"][0]["routes"][0].clone();
        route["match"] = json!({"pathSeparatedPrefix": "/hook"});
        route["route"] = json!({"cluster": "hooks", "timeout": "15s"});
        manager
            .as_object_mut()
            .expect("it is an object")
            .remove("rds");
        manager["routeConfig"] = json!({
            "virtualHosts": [{"name": "hooks", "domains": ["*"], "routes": [route]}],
        });
        let filters = manager["httpFilters"].as_array().expect("it has filters");
        let is_on = |filter: &&Value| {
            let name = filter["name"].as_str().unwrap_or_default();
            name.ends_with(".router") || route["typedPerFilterConfig"].get(name).is_some()
        };
        let mut filters: Vec<Value> = filters.iter().filter(is_on).cloned().collect();
        assert_eq!(filters.len(), 2, "the filter and the router: {filters:?}");
        self.configure(&mut filters[0]["typedConfig"]["config"]);
        manager["httpFilters"] = json!(filters);
        listener
    }

    /// What the EnvoyExtensionPolicy says of the filter.
    fn configure(&self, plugin: &mut Value) {
        let policy = &object("EnvoyExtensionPolicy")["spec"]["wasm"][0];
        assert_eq!(policy["failOpen"], false);
        plugin
            .as_object_mut()
            .expect("it is an object")
            .remove("failOpen");
        plugin["name"] = policy["name"].clone();
        plugin["rootId"] = policy["rootID"].clone();
        plugin["configuration"]["value"] = json!(policy["config"].to_string());
        let url = policy["code"]["http"]["url"]
            .as_str()
            .expect("it has a URL");
        let (_, path) = url.rsplit_once('/').expect("it has a path");
        if self.has_code {
            plugin["vmConfig"]["code"] = json!({"local": {"filename": self.world.filter()}});
            return;
        }
        let code = fs::read(self.world.filter()).expect("the filter can be read");
        let hash: String = digest(&SHA256, &code)
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let remote = &mut plugin["vmConfig"]["code"]["remote"];
        remote["httpUri"]["uri"] = json!(format!("http://envoy-gateway/{path}"));
        remote["sha256"] = json!(hash);
    }

    pub(crate) fn client(&self) -> Client {
        Client::plain(self.listener)
    }

    pub(crate) fn send(&self, request: impl Into<Request>) -> Response {
        let answer = self.client().send(request);
        answer.unwrap_or_else(|error| panic!("Envoy gave no answer: {error:?}"))
    }

    /// Waits until every worker answers so.
    pub(crate) fn await_status<T: Into<Request> + Clone>(&self, request: &T, status: u16) {
        let mut seen = Vec::new();
        let waited = wait::until(&format!("status {status}"), PATIENCE, || {
            seen = statuses(&self.client(), vec![request.clone().into(); 16], 2);
            seen.iter().all(|held| *held == status).then_some(())
        });
        let log = self.envoy.as_ref().map(Envoy::log).unwrap_or_default();
        waited.unwrap_or_else(|error| panic!("{error}: {seen:?}\n{log}"));
    }

    /// The folder of the client certificate that the controller takes.
    pub(crate) fn identity(&self) -> PathBuf {
        self.pki.path().to_owned()
    }

    /// How often its Envoy has asked for the table in vain.
    pub(crate) fn refusals(&self) -> u64 {
        let envoy = self.envoy.as_ref().expect("it runs");
        let stats = envoy.stats("cluster.hookgate_ecds.upstream_rq_5xx");
        stats.iter().map(|(_, count)| count).sum()
    }
}

/// A shipped object.
fn object(kind: &str) -> Value {
    let files = ["proxy", "policy"].map(|name| format!("envoy/envoy-gateway/{name}.yaml"));
    let objects = files
        .iter()
        .flat_map(|file| shipped(file).expect("the file is YAML"));
    let mut objects = objects.filter(|object| object["kind"] == kind);
    objects
        .next()
        .unwrap_or_else(|| panic!("no {kind} is shipped"))
}

/// A quantity as it stands in our objects, in bytes.
fn bytes(quantity: &Value) -> Value {
    let number = quantity.as_str().and_then(|text| text.strip_suffix("Ki"));
    let number = number.and_then(|text| text.parse::<u64>().ok());
    json!(number.expect("it is in Ki") << 10)
}

fn cluster(name: &str, at: SocketAddr) -> Value {
    let address =
        json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}});
    json!({
        "name": name,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    })
}
