//! The scenarios: a listener each, the request that is sent to it, and the status it must answer.

use e2e::ports;
use e2e::{Hook, Request};
use serde_json::{Value, json};

use crate::chain::{Parts, bare};
use crate::server::Servers;

/// The body of a usual push.
const BODY: usize = 8 << 10;

/// A scenario.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) listener: Value,
    pub(crate) port: u16,
    /// The whole request, as it goes over the wire.
    pub(crate) request: Vec<u8>,
    pub(crate) status: u16,
}

/// Names that the report compares.
pub(crate) mod name {
    pub(crate) const DIRECT: &str = "direct_response";
    pub(crate) const LOCAL: &str = "local_ratelimit, 429";
    pub(crate) const LUA: &str = "Lua, 404";
    pub(crate) const ROUTE: &str = "bare route, 8 KB";
    pub(crate) const ABORT: &str = "chain with a native abort";
    pub(crate) const UNKNOWN: &str = "unknown path";
    pub(crate) const UNKNOWN_MORE: &str = "unknown path, larger table";
    pub(crate) const UNKNOWN_MOST: &str = "unknown path, largest table";
    pub(crate) const FORGED: &str = "forged 8 KB";
    pub(crate) const AUTHZ_FORGED: &str = "ext_authz, forged 8 KB";
    pub(crate) const GENUINE: &str = "genuine 8 KB";
    pub(crate) const AUTHZ_GENUINE: &str = "ext_authz, genuine 8 KB";
    pub(crate) const CHAIN: &str = "chain without the filter, 8 KB";
}

impl Scenario {
    /// All of them, in the order in which each round plays them: what is compared stands close together.
    pub(crate) fn all(parts: &Parts, servers: &Servers, tables: [usize; 3]) -> Vec<Self> {
        let unknown = wire(&Request::new("POST", &format!("/hook/{}", "0".repeat(64))).body(""));
        let genuine = hook_wire(&parts.hook(BODY));
        let forged = hook_wire(&parts.hook(BODY).forged());
        let chain = |name, place: Option<Value>, request: &Vec<u8>, status| {
            let port = ports::reserve();
            let listener = parts.chain(name, port, place.as_ref());
            Self {
                name,
                listener,
                port,
                request: request.clone(),
                status,
            }
        };
        let simple = |name, route: Value, filters: &[Value], request: &Vec<u8>, status| {
            let port = ports::reserve();
            let listener = bare(name, port, &route, filters);
            Self {
                name,
                listener,
                port,
                request: request.clone(),
                status,
            }
        };
        let gone = json!({"direct_response": {"status": 404}});
        let onward = json!({"route": {"cluster": parts.upstream_cluster()}});
        let [few, more, most] = tables.map(|hooks| Some(parts.filter(hooks)));
        let authz = || Some(ext_authz(servers));
        vec![
            simple(name::DIRECT, gone.clone(), &[], &unknown, 404),
            simple(
                name::LOCAL,
                gone.clone(),
                &[local_ratelimit()],
                &unknown,
                429,
            ),
            simple(name::LUA, gone, &[lua()], &unknown, 404),
            chain(name::ABORT, Some(abort()), &unknown, 404),
            chain(name::UNKNOWN, few.clone(), &unknown, 404),
            chain(name::UNKNOWN_MORE, more, &unknown, 404),
            chain(name::UNKNOWN_MOST, most, &unknown, 404),
            chain(name::FORGED, few.clone(), &forged, 400),
            chain(name::AUTHZ_FORGED, authz(), &forged, 400),
            chain(name::GENUINE, few, &genuine, 200),
            chain(name::AUTHZ_GENUINE, authz(), &genuine, 200),
            chain(name::CHAIN, None, &genuine, 200),
            simple(name::ROUTE, onward, &[], &genuine, 200),
        ]
    }
}

/// A hook as it goes over the wire.
pub(crate) fn hook_wire(hook: &Hook) -> Vec<u8> {
    wire(&Request::from(hook))
}

fn wire(request: &Request) -> Vec<u8> {
    request.http1_bytes()
}

fn abort() -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
        "abort": {"http_status": 404, "percentage": {"numerator": 100}},
    })
}

fn local_ratelimit() -> Value {
    json!({"name": "limit", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "bench",
        // One token an hour: everything is refused, but for the first request of a run, which warming up takes.
        "token_bucket": {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"},
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
    }})
}

fn lua() -> Value {
    let code =
        "function envoy_on_request(handle)\n  handle:respond({[':status'] = '404'}, '')\nend\n";
    json!({"name": "lua", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": code},
    }})
}

fn ext_authz(servers: &Servers) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "http_service": {
            "server_uri": {"uri": format!("http://{}", servers.authz), "cluster": "bench_authz", "timeout": "5s"},
        },
        "allowed_headers": {"patterns": [{"exact": "x-hub-signature-256"}]},
        "with_request_body": {"max_request_bytes": 1 << 20, "allow_partial_message": false},
    })
}
