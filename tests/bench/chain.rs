//! The chain as it is deployed: rendered by the controller, taken by an Envoy, read back from its config dump.

use std::fs;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use e2e::manifests::Receiver;
use e2e::world::Options;
use e2e::{Forge, Hook, World, binaries};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

/// The largest body that is measured: GitHub's largest.
pub(crate) const LARGEST: usize = 25 << 20;

/// What the scenarios are made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The listener, without TLS.
    listener: Value,
    /// The clusters of the bootstrap.
    pub(crate) clusters: Vec<Value>,
    /// The filter's configuration, with code and a table of one hook.
    wasm: Value,
    /// Where the controller listened: the upstream takes its place.
    pub(crate) upstream: SocketAddr,
    /// The hook that is in every table.
    pub(crate) receiver: Receiver,
    /// The size of the filter.
    pub(crate) filter_bytes: u64,
}

impl Parts {
    /// Starts a Hookgate once and takes it apart.
    pub(crate) fn collect(release: bool) -> Result<Self, String> {
        let receiver = Receiver::new("github", "bench")
            .annotation("hookgate.dev/rate", "1000000")
            .annotation("hookgate.dev/burst", "1000000");
        let words = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect();
        let world = World::try_start(Options {
            release,
            receivers: Some(vec![receiver.clone()]),
            controller_flags: words(&[
                "--max-hook-rate=1000000",
                "--max-hook-burst=1000000",
                "--max-hook-bytes=26214400",
            ]),
            edge_flags: words(&["--max-hook-bytes", "26214400"]),
            ..Options::default()
        })
        .map_err(|error| error.to_string())?;
        let filter = binaries::filter_wasm().map_err(|error| error.to_string())?;
        let filter_bytes = fs::metadata(filter).map_or(0, |metadata| metadata.len());
        let dump = world.envoy().config_dump();
        let port = world.listener().port();
        let listener = find(&dump, &|value| {
            value.get("filter_chains").is_some() && has_port(value, port)
        });
        let wasm = find(&dump, &|value| {
            let kind = value.get("@type").and_then(Value::as_str);
            kind.is_some_and(|kind| kind.ends_with("http.wasm.v3.Wasm"))
                && value.pointer("/config/configuration").is_some()
        });
        let clusters = dump["configs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|config| config.get("static_clusters")?.as_array())
            .flatten()
            .filter_map(|cluster| cluster.get("cluster").cloned())
            .map(untyped)
            .collect();
        let missing = |what| format!("Envoy's config dump has no {what}");
        let mut parts = Self {
            listener: untyped(listener.ok_or_else(|| missing("listener"))?.clone()),
            clusters,
            wasm: wasm.ok_or_else(|| missing("filter"))?.clone(),
            upstream: world.controller().addresses().receiver,
            receiver,
            filter_bytes,
        };
        strip(&mut parts.listener);
        Ok(parts)
    }

    /// The filter's configuration with a table of this many hooks, in a VM of its own.
    pub(crate) fn filter(&self, hooks: usize) -> Value {
        let mut wasm = self.wasm.clone();
        let configuration = &mut wasm["config"]["configuration"]["value"];
        let table = configuration.as_str().unwrap_or_default();
        *configuration = Value::from(grown(table, hooks));
        wasm["config"]["vm_config"]["vm_id"] = Value::from(format!("bench-{hooks}"));
        wasm
    }

    /// [`Parts::shipped`] with limits that nobody reaches.
    pub(crate) fn chain(&self, name: &str, port: u16, place: Option<&Value>) -> Value {
        let mut listener = self.shipped(name, port, place);
        unlimited(&mut listener);
        listener
    }

    /// The chain on this port, with `place` where the filter is, or nothing there. Without the real filter nothing marks a
    /// request for the guard: it then lets everything through, at the same cost.
    pub(crate) fn shipped(&self, name: &str, port: u16, place: Option<&Value>) -> Value {
        let is_filter = place.is_some_and(|place| {
            place["@type"]
                .as_str()
                .is_some_and(|kind| kind.ends_with("Wasm"))
        });
        let mut listener = self.listener.clone();
        listener["name"] = Value::from(name);
        listener["address"] = address(port);
        for chain in items(&mut listener["filter_chains"]) {
            for network in items(&mut chain["filters"]) {
                let manager = &mut network["typed_config"];
                manager["stat_prefix"] = Value::from(name);
                let Some(filters) = manager["http_filters"].as_array_mut() else {
                    continue;
                };
                let held = filters
                    .iter()
                    .position(|filter| filter.get("config_discovery").is_some());
                if let Some(at) = held {
                    match place {
                        Some(place) => {
                            filters[at] =
                                json!({"name": filters[at]["name"], "typed_config": place});
                        }
                        None => {
                            filters.remove(at);
                        }
                    }
                }
                if !is_filter {
                    filters.iter_mut().for_each(open_guard);
                }
            }
        }
        listener
    }

    /// The name of the cluster that hooks go to.
    pub(crate) fn upstream_cluster(&self) -> String {
        let found = self
            .clusters
            .iter()
            .find(|cluster| has_port(cluster, self.upstream.port()));
        let name = found.and_then(|cluster| cluster["name"].as_str());
        name.unwrap_or_default().to_owned()
    }

    /// A genuine hook with a body of this size.
    pub(crate) fn hook(&self, bytes: usize) -> Hook {
        let mut body = b"{\"ref\":\"refs/heads/main\",\"padding\":\"".to_vec();
        body.resize(bytes.saturating_sub(2), b'x');
        body.extend_from_slice(b"\"}");
        Forge::new().github(&self.receiver, "push", &body)
    }
}

/// `socket_address` on loopback.
pub(crate) fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

/// A listener that is nothing but a route, behind these filters.
pub(crate) fn bare(name: &str, port: u16, route: &Value, filters: &[Value]) -> Value {
    let mut filters = filters.to_vec();
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    filters.push(json!({"name": "router", "typed_config": {"@type": router}}));
    let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let mut entry = route.clone();
    entry["match"] = json!({"prefix": "/"});
    json!({
        "name": name,
        "address": address(port),
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
            "@type": manager,
            "stat_prefix": name,
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [entry]}]},
            "http_filters": filters,
        }}]}],
    })
}

/// A dumped object says its type where a bootstrap has none.
fn untyped(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("@type");
    }
    object
}

/// Without TLS and what looks for it.
fn strip(listener: &mut Value) {
    if let Some(fields) = listener.as_object_mut() {
        fields.remove("listener_filters");
        // The bootstrap's own; each copy is another listener.
        fields.remove("additional_addresses");
    }
    for chain in items(&mut listener["filter_chains"]) {
        if let Some(fields) = chain.as_object_mut() {
            fields.remove("transport_socket");
            fields.remove("filter_chain_match");
        }
    }
}

/// Every token bucket is full for ever.
fn unlimited(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(bucket) = fields.get_mut("token_bucket") {
                bucket["max_tokens"] = Value::from(1_000_000_000);
                bucket["tokens_per_fill"] = Value::from(1_000_000_000);
            }
            fields.values_mut().for_each(unlimited);
        }
        Value::Array(held) => held.iter_mut().for_each(unlimited),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn open_guard(filter: &mut Value) {
    let config = &mut filter["typed_config"];
    let is_rbac = config["@type"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("RBAC"));
    let policies = config
        .pointer_mut("/rules/policies")
        .and_then(Value::as_object_mut);
    for policy in policies
        .filter(|_| is_rbac)
        .into_iter()
        .flat_map(|held| held.values_mut())
    {
        policy["permissions"] = json!([{"any": true}]);
    }
}

/// The table with copies of its hook under other names and paths, sorted by name as the controller writes it.
fn grown(table: &str, hooks: usize) -> String {
    let mut table: Value = serde_json::from_str(table).unwrap_or_default();
    let Some(held) = table["hooks"].as_array_mut() else {
        return table.to_string();
    };
    let model = held.first().cloned().unwrap_or_default();
    for number in held.len()..hooks {
        let mut copy = model.clone();
        let name = format!("copies/hook-{number:06}");
        let id = digest(&SHA256, name.as_bytes());
        for path in items(&mut copy["paths"]) {
            path["id"] = Value::from(STANDARD_NO_PAD.encode(id.as_ref()));
        }
        copy["name"] = Value::from(name);
        held.push(copy);
    }
    held.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    table.to_string()
}

fn items(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_array_mut().into_iter().flatten()
}

/// The first value, from the outside in, that is wanted.
fn find<'v>(value: &'v Value, wanted: &dyn Fn(&Value) -> bool) -> Option<&'v Value> {
    if wanted(value) {
        return Some(value);
    }
    match value {
        Value::Object(fields) => fields.values().find_map(|held| find(held, wanted)),
        Value::Array(held) => held.iter().find_map(|held| find(held, wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn has_port(value: &Value, port: u16) -> bool {
    find(value, &|held| {
        held.get("port_value").and_then(Value::as_u64) == Some(port.into())
    })
    .is_some()
}
