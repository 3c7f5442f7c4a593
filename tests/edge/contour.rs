//! A real Envoy that starts as Contour's does, with its HTTPS listener in the bootstrap in place of what xDS would bring.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use e2e::client::{Client, Request, Response};
use e2e::envoy::Envoy;
use e2e::wait::{self, PATIENCE};
use e2e::{World, binaries, controller, ports};
use serde_json::Value;
use tempfile::TempDir;

/// The host whose hooks go to the placeholder Service.
pub(crate) const HOOKS: &str = "hooks.example.com";

/// Another host of the same Contour.
pub(crate) const OTHERS: &str = "others.example.com";

/// Envoy writes its own address for a client on 127.0.0.1.
const SENDER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));

pub(crate) struct Contour {
    envoy: Envoy,
    client: Client,
    plain: Client,
    _dir: TempDir,
}

impl Contour {
    /// With the overlay for the World's controller, or without one.
    pub(crate) fn start(world: &World, version: &str, with_overlay: bool) -> Self {
        let dir = TempDir::new().expect("a folder");
        let (https, http) = (ports::address(), ports::address());
        let bootstrap = bootstrap(world, https, http);
        let overlay = overlay(world, version);
        let mut arguments = vec![
            "--service-node",
            "envoy",
            "--service-cluster",
            "projectcontour",
        ];
        if with_overlay {
            arguments.extend(["--config-yaml", &overlay]);
        }
        let envoy = Envoy::start_with(version, &bootstrap, dir.path(), &arguments)
            .unwrap_or_else(|error| panic!("{error}"));
        Self {
            envoy,
            client: Client::tls(https, &world.tls).from(SENDER),
            plain: Client::plain(http).from(SENDER),
            _dir: dir,
        }
    }

    pub(crate) fn send(&self, request: impl Into<Request>, host: &str) -> Response {
        let request = request.into().authority(host);
        self.client.send(request).expect("Envoy answers")
    }

    pub(crate) fn send_plain(&self, request: impl Into<Request>) -> Response {
        let request = request.into().authority(HOOKS);
        self.plain.send(request).expect("Envoy answers")
    }

    /// Waits until both workers answer so.
    pub(crate) fn await_status<T: Into<Request> + Clone>(&self, hook: &T, status: u16) {
        let waited = wait::until("the status everywhere", PATIENCE, || {
            let mut answers = (0..16).map(|_| self.send(hook.clone(), HOOKS).status);
            answers.all(|held| held == status).then_some(())
        });
        waited.unwrap_or_else(|error| panic!("{status}: {error}"));
    }

    /// Requests that went on to the controller.
    pub(crate) fn passed(&self) -> u64 {
        let name = "cluster.hookgate_controller.upstream_rq_total";
        self.envoy.stat(name).unwrap_or_default()
    }

    /// Requests that came to the internal listener.
    pub(crate) fn came_in(&self) -> u64 {
        let name = "http.hookgate.downstream_rq_total";
        self.envoy.stat(name).unwrap_or_default()
    }

    pub(crate) fn config_dump(&self) -> Value {
        self.envoy.config_dump()
    }

    /// What `edge check` says of this Envoy.
    pub(crate) fn check(&self, flags: &[&str]) -> (i32, String) {
        let admin = self.envoy.admin_address().to_string();
        let here = ["--admin-addr", &admin, "--no-cluster"];
        check(&[&here, flags].concat())
    }
}

/// The code and the output of `hookgate edge check`.
pub(crate) fn check(flags: &[&str]) -> (i32, String) {
    let output = Command::new(binaries::hookgate().expect("hookgate is built"))
        .args(["edge", "check"])
        .args(flags)
        .env_remove("KUBECONFIG")
        .stdin(Stdio::null())
        .output()
        .expect("hookgate runs");
    let code = output.status.code().expect("it ends by itself");
    (code, String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The overlay, as the ConfigMap holds it; the same Envoy has accepted it.
fn overlay(world: &World, version: &str) -> String {
    let addresses = world.controller_options().addresses;
    let envoy = binaries::envoy(version).expect("an Envoy");
    let text = controller::hookgate(&[
        "edge",
        "overlay",
        "--xds-insecure",
        "--controller-addr",
        &addresses.receiver.to_string(),
        "--xds-addr",
        &addresses.xds.to_string(),
        "--envoy",
        &envoy.display().to_string(),
    ])
    .unwrap_or_else(|error| panic!("{error}"));
    let first = text.split("\n---\n").next().expect("an object");
    let config_map: Value = serde_saphyr::from_str(first).expect("the ConfigMap is YAML");
    config_map["data"]["overlay.yaml"]
        .as_str()
        .expect("the overlay is text")
        .to_owned()
}

/// What Contour's bootstrap and xDS come to: its two listeners, with a route to the placeholder's cluster.
fn bootstrap(world: &World, https: SocketAddr, http: SocketAddr) -> String {
    let (cert, key) = (world.tls.cert_file(), world.tls.key_file());
    let manager = |name: &str| {
        format!(
            r#"
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          use_remote_address: true
          normalize_path: true
          merge_slashes: true
          route_config:
            name: {name}
            # Contour's routes come by RDS, which does not ask whether their clusters are there.
            validate_clusters: false
            virtual_hosts:
            - name: hooks
              domains: ["{HOOKS}"]
              routes:
              - match: {{prefix: /}}
                route:
                  cluster: flux-system/hookgate/80/da39a3ee5e
                  retry_policy: {{retry_on: 5xx, num_retries: 2}}
            - name: others
              domains: ["{OTHERS}"]
              routes:
              - match: {{prefix: /}}
                direct_response: {{status: 200}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
"#
        )
    };
    format!(
        r#"
admin:
  address:
    socket_address: {{address: 127.0.0.1, port_value: 0}}
layered_runtime:
  layers:
  - name: admin
    admin_layer: {{}}
static_resources:
  listeners:
  - name: ingress_https
    address:
      socket_address: {{address: 127.0.0.1, port_value: {https}}}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - certificate_chain: {{filename: "{cert}"}}
              private_key: {{filename: "{key}"}}
      filters:{secure}
  - name: ingress_http
    address:
      socket_address: {{address: 127.0.0.1, port_value: {http}}}
    filter_chains:
    - filters:{plain}
  clusters:
  - name: contour
    type: STATIC
    connect_timeout: 1s
"#,
        https = https.port(),
        http = http.port(),
        cert = cert.display(),
        key = key.display(),
        secure = manager("ingress_https"),
        plain = manager("ingress_http"),
    )
}
