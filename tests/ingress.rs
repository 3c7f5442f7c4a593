//! The gate behind another ingress, which a second Envoy stands for: TLS passed through to it, or ended in front of it.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a trial fails by panicking"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use e2e::binaries::ENVOY;
use e2e::client::Version;
use e2e::envoy::Envoy;
use e2e::trials::{Trials, expect, options};
use e2e::wait::{self, PATIENCE};
use e2e::world::Options;
use e2e::{Client, Receiver, Request, World, ports};
use tempfile::TempDir;

/// Who may send to the Receiver `here`.
const ALLOWED: u8 = 61;

/// What both stand-ins share; `{…}` is filled in.
const HEAD: &str = r#"node: {id: ingress, cluster: ingress}
admin:
  address: {socket_address: {address: "127.0.0.1", port_value: 0}}
static_resources:
  clusters:
  - name: gate
    load_assignment:
      cluster_name: gate
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: "127.0.0.1", port_value: {GATE}}}}}]}]
{SOCKET}
  listeners:
  - name: https
    address: {socket_address: {address: "127.0.0.1", port_value: {LISTENER}}}
    filter_chains:
"#;

/// Passes TLS through.
const PASSTHROUGH: &str = r#"    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: gate
          cluster: gate
"#;

/// Says who is at the other end, as PROXY protocol version 2.
const PROXY_V2: &str = r#"    transport_socket:
      name: envoy.transport_sockets.upstream_proxy_protocol
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport
        config: {version: V2}
        transport_socket:
          name: envoy.transport_sockets.raw_buffer
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer
"#;

/// Ends TLS, and says who is at the other end in `X-Forwarded-For`.
const TERMINATING: &str = r#"    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - certificate_chain: {filename: "{CERT}"}
              private_key: {filename: "{KEY}"}
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          use_remote_address: true
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /}
                route: {cluster: gate}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
"#;

/// TLS again on the way to the gate.
const UPSTREAM_TLS: &str = r#"    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context:
          validation_context:
            trusted_ca: {filename: "{CA}"}
"#;

fn main() -> ExitCode {
    Trials::on(options())
        .alone(
            "behind_tls_passthrough_the_sender_is_who_proxy_protocol_says",
            passed_through,
        )
        .alone(
            "a_connection_without_a_proxy_protocol_header_is_closed",
            without_header,
        )
        .alone(
            "behind_an_ingress_that_ends_tls_the_sender_is_who_it_says",
            ended_before,
        )
        .run()
}

/// A gate with these flags of `edge bootstrap`, not yet waited for.
fn gate(flag: &str) -> World {
    let here = Receiver::new("generic", "here")
        .annotation("hookgate.dev/allowed-addresses", &from(ALLOWED).to_string());
    World::start(Options {
        edge_flags: vec![flag.to_owned()],
        receivers: Some(vec![Receiver::new("github", "github"), here]),
        await_table: false,
        ..options()
    })
}

fn from(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// The second Envoy, and a client of it.
struct Ingress {
    client: Client,
    _envoy: Envoy,
    _dir: TempDir,
}

impl Ingress {
    fn start(world: &World, chain: &str, socket: &str) -> Self {
        let listener = ports::address();
        let mut bootstrap = format!("{HEAD}{chain}").replace("{SOCKET}", socket);
        for (name, value) in [
            ("{GATE}", world.listener().port().to_string()),
            ("{LISTENER}", listener.port().to_string()),
            ("{CERT}", world.tls.cert_file().display().to_string()),
            ("{KEY}", world.tls.key_file().display().to_string()),
            ("{CA}", world.tls.ca_file().display().to_string()),
        ] {
            bootstrap = bootstrap.replace(name, &value);
        }
        let dir = TempDir::new().expect("a folder");
        Self {
            _envoy: Envoy::start(ENVOY, &bootstrap, dir.path()).expect("Envoy starts"),
            client: Client::tls(listener, &world.tls),
            _dir: dir,
        }
    }

    fn status(&self, last: u8, request: impl Into<Request>) -> u16 {
        let answer = self.client.clone().from(from(last)).send(request);
        answer.expect("an answer").status
    }
}

/// Genuine hooks pass, forged ones do not, and who sends is who is connected to the ingress.
fn check(world: &World, ingress: &Ingress) {
    let hook = world.hook("github");
    let mut last = String::new();
    let waited = wait::until("the table", PATIENCE, || {
        let answer = ingress.client.send(&hook);
        last = format!("{answer:?}");
        answer
            .is_ok_and(|answer| answer.status == 200)
            .then_some(())
    });
    waited.unwrap_or_else(|error| panic!("{error}; last: {last}"));
    let here = world.hook("here");
    let lying = here
        .clone()
        .also("x-forwarded-for", from(ALLOWED).to_string());
    for version in [Version::Http1, Version::Http2] {
        let request = |hook: &e2e::Hook| Request::from(hook).version(version);
        let answer = ingress.client.send(request(&hook.clone().forged()));
        expect("forged", &answer.expect("an answer"), 400);
        assert_eq!(ingress.status(ALLOWED, request(&here)), 200);
        assert_eq!(ingress.status(ALLOWED + 1, request(&here)), 403);
        assert_eq!(ingress.status(ALLOWED + 1, request(&lying)), 403);
    }
    world.expect_requested("GitRepository/apps/github");
}

fn passed_through() {
    let world = gate("--proxy-protocol");
    check(&world, &Ingress::start(&world, PASSTHROUGH, PROXY_V2));
}

fn without_header() {
    let world = gate("--proxy-protocol");
    let silent = Ingress::start(&world, PASSTHROUGH, "");
    let hook = world.hook("github");
    for client in [&silent.client, &world.client()] {
        for version in [Version::Http1, Version::Http2] {
            let answer = client.send(Request::from(&hook).version(version));
            assert!(answer.is_err(), "{answer:?}");
        }
    }
    assert_eq!(world.requested("GitRepository/apps/github"), 0);
}

fn ended_before() {
    let world = gate("--client-address=xff:1");
    check(&world, &Ingress::start(&world, TERMINATING, UPSTREAM_TLS));
}
