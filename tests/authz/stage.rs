//! An Envoy that asks the controller as Contour's would, by HTTPProxy's `authorization`.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use e2e::binaries::ENVOY;
use e2e::controller::{Addresses, control_socket};
use e2e::envoy::Envoy;
use e2e::process::Process;
use e2e::tls::Tls;
use e2e::trials::{self, options};
use e2e::wait::{self, PATIENCE};
use e2e::{Client, Request, Response, World, binaries, ports};
use serde_json::Value;
use tempfile::TempDir;

/// Listener, filter and clusters as Contour 1.33.6 renders them for an HTTPProxy with `authorization` and an
/// ExtensionService; `{…}` is filled in.
const BOOTSTRAP: &str = r#"node: {id: asking, cluster: asking}
admin:
  address: {socket_address: {address: "127.0.0.1", port_value: 0}}
static_resources:
  listeners:
  - name: ingress_https
    address: {socket_address: {address: "127.0.0.1", port_value: {LISTENER}}}
    filter_chains:
    - transport_socket:
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
          stat_prefix: ingress_https
          use_remote_address: true
          xff_num_trusted_hops: 0
          normalize_path: true
          merge_slashes: true
          preserve_external_request_id: true
          route_config:
            name: https
            virtual_hosts:
            - name: hooks
              domains: ["*"]
              routes:
              - match: {prefix: /}
                route: {cluster: hooks}
          http_filters:
          - name: envoy.filters.http.ext_authz
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              transport_api_version: V3
              grpc_service:
                envoy_grpc: {cluster_name: extension, authority: extension.flux-system.hookgate}
                timeout: 5s
              with_request_body: {max_request_bytes: 27000000, allow_partial_message: false, pack_as_bytes: true}
              clear_route_cache: true
              failure_mode_allow: false
              status_on_error: {code: 403}
              include_peer_certificate: true
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: hooks
    load_assignment:
      cluster_name: hooks
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: "127.0.0.1", port_value: {HOOKS}}}}}]}]
  - name: extension
    load_assignment:
      cluster_name: extension
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: "127.0.0.1", port_value: {AUTHZ}}}}}]}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
"#;

/// The cluster with TLS, as Contour renders it for an ExtensionService of protocol h2; `{…}` is filled in.
const UPSTREAM_TLS: &str = r#"    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost
        common_tls_context:
          alpn_protocols: [h2]
          validation_context:
            trusted_ca: {filename: "{PKI}/ca.pem"}
"#;
const IDENTITY: &str = r#"          tls_certificates:
          - certificate_chain: {filename: "{PKI}/client.crt"}
            private_key: {filename: "{PKI}/client.key"}
"#;

/// The settings of the filter.
pub(crate) fn ext_authz() -> Value {
    let bootstrap: Value = serde_saphyr::from_str(BOOTSTRAP).expect("the bootstrap is YAML");
    let filters = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config";
    bootstrap
        .pointer(filters)
        .expect("the filter is there")
        .clone()
}

/// An Envoy, and a client of it.
pub(crate) struct Edge {
    pub(crate) client: Client,
    _envoy: Envoy,
    _dir: TempDir,
}

impl Edge {
    /// With these replacements in its bootstrap; each must be there.
    fn start(
        version: &str,
        tls: &Tls,
        [hooks, authz]: [SocketAddr; 2],
        edits: &[(&str, &str)],
    ) -> Self {
        let listener = ports::address();
        let mut bootstrap = BOOTSTRAP.to_owned();
        for (from, to) in edits {
            assert!(bootstrap.contains(from), "{from:?} is not there");
            bootstrap = bootstrap.replace(from, to);
        }
        let file = |path: &std::path::Path| path.display().to_string();
        for (name, value) in [
            ("{LISTENER}", listener.port().to_string()),
            ("{CERT}", file(tls.cert_file())),
            ("{KEY}", file(tls.key_file())),
            ("{HOOKS}", hooks.port().to_string()),
            ("{AUTHZ}", authz.port().to_string()),
        ] {
            bootstrap = bootstrap.replace(name, &value);
        }
        let dir = TempDir::new().expect("a folder");
        Self {
            _envoy: Envoy::start(version, &bootstrap, dir.path()).expect("Envoy starts"),
            client: Client::tls(listener, tls),
            _dir: dir,
        }
    }
}

/// Where the cluster with TLS differs from the one without.
const H2: &str = "        explicit_http_config: {http2_protocol_options: {}}\n";

/// A World whose controller serves `ext_authz`, and an Envoy that asks it. Dropped in that order, the Envoy first.
pub(crate) struct Asking {
    edge: Edge,
    pub(crate) world: World,
    authz: SocketAddr,
    pki: TempDir,
}

impl trials::Stage for Asking {
    fn keep_files(&mut self) {
        self.world.keep_files();
    }
}

impl Asking {
    /// An Envoy of this version, with these flags of the controller and these replacements in its bootstrap.
    pub(crate) fn start(version: &str, flags: &[&str], edits: &[(&str, &str)]) -> Self {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let pki = TempDir::new().expect("a folder");
        Self::start_on(version, flags, Vec::new(), pki, edits)
    }

    /// With mutual TLS on the ports of the controller that Envoys ask.
    pub(crate) fn start_with_tls() -> Self {
        let pki = TempDir::new().expect("a folder");
        let _tls = Tls::create(pki.path());
        let flags = |names: [(&str, &str); 3]| {
            let flag = |(name, file): (&str, &str)| {
                format!("--{name}={}", pki.path().join(file).display())
            };
            names.map(flag).to_vec()
        };
        let controller = flags([
            ("xds-cert", "tls.crt"),
            ("xds-key", "tls.key"),
            ("xds-client-ca", "ca.pem"),
        ]);
        let edge = flags([
            ("xds-client-cert", "client.crt"),
            ("xds-client-key", "client.key"),
            ("xds-ca", "ca.pem"),
        ]);
        let cluster = format!("{H2}{}", upstream_tls(&pki, IDENTITY));
        Self::start_on(ENVOY, controller, edge, pki, &[(H2, &cluster)])
    }

    fn start_on(
        version: &str,
        flags: Vec<String>,
        edge_flags: Vec<String>,
        pki: TempDir,
        edits: &[(&str, &str)],
    ) -> Self {
        let authz = ports::address();
        let mut options = options();
        options.edge_flags = edge_flags;
        options.controller_flags.extend(flags);
        options
            .controller_flags
            .push(format!("--ext-authz-addr={authz}"));
        let world = World::start(options);
        let hooks = world.controller().addresses().receiver;
        Self {
            edge: Edge::start(version, &world.tls, [hooks, authz], edits),
            world,
            authz,
            pki,
        }
    }

    /// Another Envoy, which trusts the controller but has no certificate to show.
    pub(crate) fn envoy_without_certificate(&self) -> Edge {
        let cluster = format!("{H2}{}", upstream_tls(&self.pki, ""));
        let hooks = self.world.controller().addresses().receiver;
        Edge::start(
            ENVOY,
            &self.world.tls,
            [hooks, self.authz],
            &[(H2, &cluster)],
        )
    }

    pub(crate) fn client(&self) -> Client {
        self.edge.client.clone()
    }

    pub(crate) fn send(&self, request: impl Into<Request>) -> Response {
        let answer = self.edge.client.send(request);
        answer.unwrap_or_else(|error| panic!("Envoy gave no answer: {error:?}"))
    }

    /// Envoy waits before it opens another connection to a controller that was away.
    pub(crate) fn await_status<T: Into<Request> + Clone>(&self, request: &T, status: u16) {
        let mut last = 0;
        let waited = wait::until(&format!("status {status}"), PATIENCE, || {
            last = self.send(request.clone()).status;
            (last == status).then_some(())
        });
        waited.unwrap_or_else(|error| panic!("{error}; last: {last}"));
    }
}

fn upstream_tls(pki: &TempDir, identity: &str) -> String {
    format!("{UPSTREAM_TLS}{identity}").replace("{PKI}", &pki.path().display().to_string())
}

/// A controller that has never read its lists, as its API server is away, and an Envoy that asks it.
pub(crate) struct Unready {
    pub(crate) client: Client,
    _edge: Edge,
    _controller: Process,
    _dir: TempDir,
}

impl Unready {
    pub(crate) fn start() -> Self {
        let dir = TempDir::new().expect("a folder");
        let tls = Tls::create(dir.path());
        let kubeconfig = dir.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: away\nclusters: [{{name: away, cluster: {{server: \"http://{}\"}}}}]\ncontexts: [{{name: away, context: {{cluster: away, user: nobody}}}}]\nusers: [{{name: nobody, user: {{}}}}]\n",
            ports::address()
        );
        fs::write(&kubeconfig, text).expect("a file is written");
        let (at, authz) = (Addresses::reserve(), ports::address());
        let mut command = Command::new(binaries::hookgate().expect("hookgate is built"));
        command
            .arg("run")
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .args(["--runtime-namespace", "flux-system"])
            .arg("--filter")
            .arg(binaries::filter_wasm().expect("the filter is built"))
            .arg("--control-socket")
            .arg(control_socket(dir.path()))
            .arg(format!("--receiverAddr={}", at.receiver))
            .arg(format!("--events-addr={}", at.events))
            .arg(format!("--xds-addr={}", at.xds))
            .arg(format!("--metrics-addr={}", at.metrics))
            .arg(format!("--health-addr={}", at.health))
            .arg(format!("--ext-authz-addr={authz}"));
        let health = Client::plain(at.health);
        let alive = || {
            health
                .get("/healthz")
                .is_ok_and(|answer| answer.status == 200)
        };
        let controller =
            Process::start(command, "controller", dir.path(), alive).expect("hookgate starts");
        let ready = health.get("/readyz").expect("an answer").status;
        assert_eq!(ready, 503);
        let edge = Edge::start(ENVOY, &tls, [at.receiver, authz], &[]);
        Self {
            client: edge.client.clone(),
            _edge: edge,
            _controller: controller,
            _dir: dir,
        }
    }
}
