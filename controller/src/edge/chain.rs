//! What every edge shares, however it is run: the HTTP connection manager with the filter chain, the
//! clusters, the protection of Envoy's memory, and how statistics become labels.
//!
//! ```text
//! request ─► strip ─► [https] ─► limit per address ─► [shared limit] ─► filter (ECDS; native 503) ─► guard ─► router
//! ```
//!
//! Each function gives a YAML fragment at column 0 that ends in a line break; who embeds it indents.

use std::time::Duration;

use super::host::HostPort;
use super::input::{Bounds, Chain, ClientAddress, SharedLimit};
use super::tls::client_tls;
use super::yaml::{indent, quoted};

/// Room above the hook limit, so that the filter's own 413 comes before Envoy's.
const BUFFER_SLACK: u64 = 65_536;

/// The `http_connection_manager` network filter (a list item of `filters`).
pub(super) fn http_connection_manager(chain: &Chain) -> String {
    format!(
        r#"- name: envoy.filters.network.http_connection_manager
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
    stat_prefix: hookgate
{client_address}
    # Paths reach the filter as they were sent: it knows exactly one form, and everything else is 404.
    normalize_path: false
    merge_slashes: false
    path_with_escaped_slashes_action: KEEP_UNCHANGED
    # A slow sender is cut off (408): whole request, silence within it, header block, idle connection.
    request_timeout: 30s
    stream_idle_timeout: 15s
    request_headers_timeout: 5s
    common_http_protocol_options:
      idle_timeout: 60s
    # HTTP/1.1 trailers are dropped. HTTP/2 ones arrive, and the filter verifies there too.
    # A target in absolute form stays as it came, which is no hook's path.
    http_protocol_options:
      enable_trailers: false
      allow_absolute_url: false
    # The stream window bounds what an HTTP/2 stream may send before anybody has looked at it.
    http2_protocol_options:
      max_concurrent_streams: 100
      initial_stream_window_size: 65536
      initial_connection_window_size: 1048576
    server_header_transformation: PASS_THROUGH
{local_reply}
{access_log}
    route_config:
      name: hookgate
      virtual_hosts:
      - name: hooks
        domains: ["*"]
        routes:
        - match: {{prefix: /}}
          # --max-hook-bytes {max} and some slack: a body is held here until its signature is verified.
          request_body_buffer_limit: {buffer}
          route:
            cluster: hookgate_controller
            # The controller answers within 9 s; the sender gives up at 10 s.
            timeout: 15s
{shared_key}    http_filters:
{http_filters}"#,
        client_address = indent(&client_address(chain.client_address), 4).trim_end(),
        local_reply = indent(&local_reply(chain), 4).trim_end(),
        access_log = indent(ACCESS_LOG, 4).trim_end(),
        max = chain.max_hook_bytes,
        buffer = chain.max_hook_bytes.saturating_add(BUFFER_SLACK),
        shared_key = if chain.shared_limit.is_some() {
            SHARED_KEY
        } else {
            ""
        },
        http_filters = indent(&http_filters(chain), 4),
    )
}

/// The clusters (list items of `clusters`): where hooks go, and where filter and table come from.
pub(super) fn clusters(chain: &Chain) -> String {
    format!(
        r#"# Where admitted hooks go.
- name: hookgate_controller
  connect_timeout: 2s
{controller}
  # Each waiting hook holds one connection and waits up to 9 s. Above these: 503 with Retry-After.
  circuit_breakers:
    thresholds:
    - max_connections: 4096
      max_pending_requests: 4096
      max_requests: 4096
      max_retries: 0
  typed_extension_protocol_options:
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
      # Closed before the controller closes it: no hook is sent into a connection that is going away.
      common_http_protocol_options:
        # Below the 10 s for which the controller keeps an idle connection.
        idle_timeout: 5s
      explicit_http_config:
        http_protocol_options: {{}}
# Where the filter and its table come from (gRPC), and where the filter posts its edge reports.
- name: hookgate_ecds
  connect_timeout: 2s
{xds}{xds_tls}
  typed_extension_protocol_options:
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
      explicit_http_config:
        http2_protocol_options:
          # A controller that is gone without a word is noticed.
          connection_keepalive:
            interval: 30s
            timeout: 10s
{limits}"#,
        controller = indent(&endpoint("hookgate_controller", &chain.controller), 2).trim_end(),
        xds = indent(&endpoint("hookgate_ecds", &chain.xds), 2).trim_end(),
        xds_tls = chain.xds_tls.as_ref().map_or_else(String::new, |tls| {
            format!("\n{}", indent(&client_tls(tls, &chain.xds), 2).trim_end())
        }),
        limits = chain
            .shared_limit
            .as_ref()
            .map_or_else(String::new, limits_cluster),
    )
}

/// The bootstrap's `overload_manager`: what bounds the bodies held at once.
pub(super) fn overload_manager(bounds: &Bounds) -> String {
    format!(
        r#"# The number of bodies held at once is bounded by what they take: connections, streams per connection
# and bytes per body each have a limit, but their product is far above any machine. So, as the heap
# fills up to max_heap_size_bytes: free caches, answer new requests with 503, reset the largest streams.
overload_manager:
  refresh_interval: 0.25s
  buffer_factory_config:
    minimum_account_to_track_power_of_two: 20
  resource_monitors:
  - name: envoy.resource_monitors.fixed_heap
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig
      max_heap_size_bytes: {heap}
  # Connections of clients at once, over all listeners; the admin interface is exempt.
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: {connections}
  actions:
  - name: envoy.overload_actions.shrink_heap
    triggers:
    - name: envoy.resource_monitors.fixed_heap
      threshold: {{value: 0.8}}
  - name: envoy.overload_actions.stop_accepting_requests
    triggers:
    - name: envoy.resource_monitors.fixed_heap
      threshold: {{value: 0.9}}
  - name: envoy.overload_actions.reset_high_memory_stream
    triggers:
    - name: envoy.resource_monitors.fixed_heap
      scaled: {{scaling_threshold: 0.92, saturation_threshold: 0.98}}
"#,
        heap = bounds.max_heap_bytes,
        connections = bounds.max_connections,
    )
}

/// The bootstrap's `stats_config`.
///
/// The filter names its counters `hookgate.hooks.outcome.<word>.type.<receiver type>` and
/// `hookgate.hook.<namespace>/<name>.outcome.<word>`. Prometheus shows them as
/// `hookgate_hooks{outcome,type}` and `hookgate_hook{hook,outcome}`. The name of a Receiver may hold
/// dots, so expressions are anchored at both ends.
pub(super) const STATS_CONFIG: &str = r#"# The filter's counters become two metrics with labels: hookgate_hooks{outcome,type} and
# hookgate_hook{hook,outcome}. The second group is the label's value, the first is cut from the name.
stats_config:
  stats_tags:
  - tag_name: type
    regex: "^wasmcustom\\.hookgate\\.hooks\\.outcome\\.[a-z0-9_-]+(\\.type\\.([a-z0-9_-]+))$"
  - tag_name: hook
    regex: "^wasmcustom\\.hookgate\\.hook(\\.([^/]+/.+))\\.outcome\\.[a-z0-9_-]+$"
  - tag_name: outcome
    regex: "^wasmcustom\\.hookgate\\.(?:hooks|hook\\.[^/]+/.+)(\\.outcome\\.([a-z0-9_-]+))(?:\\.type\\.[a-z0-9_-]+)?$"
"#;

/// One line a request on standard output. A hook's path is a secret: neither path nor query, and no
/// header that repeats them, may ever be named here.
const ACCESS_LOG: &str = r#"# One JSON line a request. The path of a hook is a secret and is never logged.
access_log:
- name: envoy.access_loggers.stdout
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
    log_format:
      json_format:
        time: "%START_TIME%"
        request_id: "%REQ(X-REQUEST-ID):36%"
        client: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
        method: "%REQ(:METHOD):16%"
        protocol: "%PROTOCOL%"
        status: "%RESPONSE_CODE%"
        # What the filter decided and why, and what Envoy itself has to say.
        reason: "%FILTER_STATE(wasm.hookgate_reason:PLAIN):64%"
        details: "%RESPONSE_CODE_DETAILS%"
        flags: "%RESPONSE_FLAGS%"
        bytes_received: "%BYTES_RECEIVED%"
        duration_ms: "%DURATION%"
        upstream_ms: "%RESPONSE_DURATION%"
"#;

fn client_address(source: ClientAddress) -> String {
    match source {
        ClientAddress::Peer => "# The sender is the other end of the connection; what X-Forwarded-For says is not believed.
use_remote_address: true
xff_num_trusted_hops: 0
"
        .to_owned(),
        ClientAddress::ForwardedFor { hops } => format!(
            "# {hops} trusted in front (--client-address xff:{hops}): the sender is number {hops} from the right in
# X-Forwarded-For. Too large a number lets a sender choose its address.
use_remote_address: true
xff_num_trusted_hops: {hops}
"
        ),
        ClientAddress::ContourHeader => r#"# Contour's Envoy says who the sender is, and overwrites a forged header; without it: 403. Whoever
# else can reach this listener can choose an address: let only Contour's Envoy in.
use_remote_address: false
original_ip_detection_extensions:
- name: envoy.http.original_ip_detection.custom_header
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig
    header_name: x-envoy-external-address
    allow_extension_to_set_address_as_trusted: true
    reject_with_status: {code: Forbidden}
"#
        .to_owned(),
    }
}

fn local_reply(chain: &Chain) -> String {
    let (_, refill) = refill(chain.address_rate);
    let mapper = |status: u16, seconds: u64| {
        format!(
            r#"  - filter:
      status_code_filter:
        comparison:
          op: EQ
          value: {{default_value: {status}, runtime_key: hookgate.local_reply.{status}}}
    headers_to_add:
    - header: {{key: retry-after, value: "{seconds}"}}
      append_action: ADD_IF_ABSENT
"#
        )
    };
    format!(
        r#"# Answers that Envoy gives itself have no body, and say when to come back where that helps.
local_reply_config:
  body_format:
    text_format_source: {{inline_string: ""}}
  mappers:
{too_many}{unavailable}{timed_out}"#,
        too_many = mapper(429, refill.as_secs()),
        unavailable = mapper(503, 5),
        timed_out = mapper(504, 5),
    )
}

fn http_filters(chain: &Chain) -> String {
    let https = match chain.client_address {
        ClientAddress::ContourHeader => HTTPS_ONLY,
        ClientAddress::Peer | ClientAddress::ForwardedFor { .. } => "",
    };
    format!(
        "{STRIP}{https}{limit}{shared}{FILTER}{GUARD}{ROUTER}",
        limit = address_limit(chain),
        shared = chain
            .shared_limit
            .as_ref()
            .map_or_else(String::new, shared_limit),
    )
}

const STRIP: &str = r#"# 1. Nobody outside speaks in our name: every x-hookgate-* header of the request is dropped.
- name: hookgate.strip
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
    mutations:
      request_mutations:
      - remove: x-hookgate-verified
      - remove_on_match:
          key_matcher: {prefix: x-hookgate-}
"#;

const HTTPS_ONLY: &str = r#"# Contour may serve the same host on plain port 80: such requests never reach the filter.
- name: hookgate.https
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    rules:
      action: ALLOW
      policies:
        https:
          permissions:
          - header: {name: x-forwarded-proto, string_match: {exact: https}}
          principals:
          - any: true
"#;

fn address_limit(chain: &Chain) -> String {
    let (tokens, every) = refill(chain.address_rate);
    let bucket = format!(
        "token_bucket: {{max_tokens: {burst}, tokens_per_fill: {tokens}, fill_interval: {every}s}}",
        burst = chain.address_burst.max(tokens),
        every = every.as_secs(),
    );
    format!(
        r#"# 2. At most {rate} requests a minute from one address ({burst} at once), else 429; IPv6 counts by /64,
# the smallest network that one customer has. Envoy remembers the last 16384 addresses, over all workers.
- name: hookgate.address
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
    stat_prefix: hookgate_address
    status: {{code: TooManyRequests}}
    # Requests without an address share this one bucket; those with one do not draw from it.
    {bucket}
    always_consume_default_token_bucket: false
    filter_enabled: {{default_value: {{numerator: 100}}}}
    filter_enforced: {{default_value: {{numerator: 100}}}}
    max_dynamic_descriptors: 16384
    rate_limits:
    - actions:
      - masked_remote_address: {{v4_prefix_mask_len: 32, v6_prefix_mask_len: 64}}
    descriptors:
    - entries:
      - key: masked_remote_address
      {bucket}
"#,
        rate = chain.address_rate,
        burst = chain.address_burst.max(tokens),
    )
}

/// What the shared limit counts by: the same as the limit of this Envoy.
const SHARED_KEY: &str = r#"            rate_limits:
            - actions:
              - masked_remote_address: {v4_prefix_mask_len: 32, v6_prefix_mask_len: 64}
"#;

/// Behind the limit of this Envoy, which thereby limits how often the service is asked; in front of the filter, so that
/// forged hooks count.
fn shared_limit(limit: &SharedLimit) -> String {
    format!(
        r#"# The same for all Envoys together, as the rate-limit service says. It is asked for 100 ms at most; while it is
# away the limits of each Envoy hold, and no hook is lost.
- name: hookgate.shared
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
    domain: {domain}
    timeout: 0.1s
    failure_mode_deny: false
    disable_x_envoy_ratelimited_header: true
    rate_limit_service:
      transport_api_version: V3
      grpc_service:
        envoy_grpc: {{cluster_name: hookgate_ratelimit}}
"#,
        domain = quoted(&limit.domain.to_string()),
    )
}

const FILTER: &str = r#"# 3. The filter, with code and table from the controller. Until the first push, and in an Envoy without
# a Wasm engine, a native 503 stands in its place. A push that is refused leaves the last good one.
- name: hookgate
  config_discovery:
    type_urls:
    - type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
    - type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
    apply_default_config_without_warming: true
    default_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
      abort:
        http_status: 503
        percentage: {numerator: 100}
    config_source:
      resource_api_version: V3
      initial_fetch_timeout: 5s
      api_config_source:
        api_type: GRPC
        transport_api_version: V3
        set_node_on_first_message_only: true
        grpc_services:
        - envoy_grpc: {cluster_name: hookgate_ecds}
"#;

const GUARD: &str = r#"# 4. Only what the filter marked goes on, whatever became of the filter; else 403.
- name: hookgate.guard
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    rules:
      action: ALLOW
      policies:
        verified:
          permissions:
          - header: {name: x-hookgate-verified, present_match: true}
          principals:
          - any: true
"#;

const ROUTER: &str = r#"- name: envoy.filters.http.router
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
    suppress_envoy_headers: true
"#;

fn limits_cluster(limit: &SharedLimit) -> String {
    format!(
        r#"# Who counts for all Envoys (gRPC).
- name: hookgate_ratelimit
  connect_timeout: 1s
{service}
  typed_extension_protocol_options:
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
      explicit_http_config:
        http2_protocol_options:
          connection_keepalive:
            interval: 30s
            timeout: 10s
"#,
        service = indent(&endpoint("hookgate_ratelimit", &limit.service), 2).trim_end(),
    )
}

/// A cluster's type and its one endpoint: an IP address as it is, a name resolved again and again.
fn endpoint(cluster: &str, at: &HostPort) -> String {
    let discovery = if at.is_ip() {
        "type: STATIC\n"
    } else {
        "type: STRICT_DNS\ndns_lookup_family: V4_PREFERRED\n"
    };
    format!(
        r#"{discovery}load_assignment:
  cluster_name: {cluster}
  endpoints:
  - lb_endpoints:
    - endpoint:
        address:
          socket_address: {{address: {host}, port_value: {port}}}
"#,
        host = quoted(&at.host()),
        port = at.port(),
    )
}

/// Tokens and the shortest whole number of seconds that add up to exactly `per_minute`.
fn refill(per_minute: u32) -> (u32, Duration) {
    let mut step = 60;
    let mut rest = per_minute;
    while rest > 0 {
        (step, rest) = (rest, step % rest);
    }
    let step = step.max(1);
    (
        per_minute / step,
        Duration::from_secs(u64::from((60 / step).max(1))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_per_minute_is_refilled_exactly() {
        for (per_minute, tokens, seconds) in [
            (1, 1, 60),
            (7, 7, 60),
            (30, 1, 2),
            (60, 1, 1),
            (90, 3, 2),
            (600, 10, 1),
            (12_000, 200, 1),
        ] {
            assert_eq!(
                refill(per_minute),
                (tokens, Duration::from_secs(seconds)),
                "{per_minute}"
            );
        }
    }

    #[test]
    fn the_access_log_names_nothing_that_holds_the_path() {
        for secret in [
            ":path",
            "original-path",
            "referer",
            "path%",
            "query",
            "req_without",
        ] {
            assert!(
                !ACCESS_LOG.to_ascii_lowercase().contains(secret),
                "{secret}"
            );
        }
    }

    #[test]
    fn only_behind_contour_the_header_of_contour_is_believed_and_plain_http_refused() {
        for (source, want) in [
            (ClientAddress::Peer, [false, false]),
            (ClientAddress::ForwardedFor { hops: 2 }, [false, false]),
            (ClientAddress::ContourHeader, [true, true]),
        ] {
            let chain = Chain {
                client_address: source,
                ..Chain::default()
            };
            let text = http_connection_manager(&chain);
            let got =
                ["x-envoy-external-address", "hookgate.https"].map(|word| text.contains(word));
            assert_eq!(got, want, "{source}");
        }
    }

    #[test]
    fn the_buffer_limit_follows_the_largest_hook() {
        let chain = Chain {
            max_hook_bytes: 26_214_400,
            ..Chain::default()
        };
        assert!(http_connection_manager(&chain).contains("request_body_buffer_limit: 26279936\n"));
    }

    #[test]
    fn names_are_resolved_and_addresses_are_not() {
        let chain = Chain {
            controller: "hookgate.flux-system:9292".parse().unwrap(),
            xds: "[::1]:18000".parse().unwrap(),
            ..Chain::default()
        };
        let text = clusters(&chain);
        assert_eq!(text.matches("type: STRICT_DNS").count(), 1);
        assert!(text.contains(r#"{address: "hookgate.flux-system", port_value: 9292}"#));
        assert!(text.contains(r#"{address: "::1", port_value: 18000}"#));
    }
}
