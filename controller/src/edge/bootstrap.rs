//! A stand-alone Envoy with TLS: `hookgate edge bootstrap`, and `envoy/bootstrap.yaml` in the repository.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::chain::{STATS_CONFIG, clusters, http_connection_manager, overload_manager};
use super::error::EdgeError;
use super::host::{DnsName, HostPort};
use super::input::{Authority, Chain, ClientAddress, Identity, StandAlone, XdsClientTls};
use super::limits::{BoundArgs, LimitArgs};
use super::yaml::{indent, quoted};

/// Arguments of `hookgate edge bootstrap`.
#[derive(Debug, Clone, clap::Args)]
pub struct BootstrapArgs {
    /// Where Envoy listens for hooks, with TLS
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:8443")]
    pub listener_addr: SocketAddr,
    /// Certificate chain, a PEM file on Envoy's machine
    #[arg(long, value_name = "FILE", default_value = "/etc/hookgate/tls.crt")]
    pub tls_cert: PathBuf,
    /// Private key of the certificate, a PEM file on Envoy's machine
    #[arg(long, value_name = "FILE", default_value = "/etc/hookgate/tls.key")]
    pub tls_key: PathBuf,
    /// The controller's xDS port, where filter and table come from
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:18000")]
    pub xds_addr: HostPort,
    /// Certificate that Envoy shows to the xDS port, a PEM file on Envoy's machine; plain text without
    #[arg(
        long,
        value_name = "FILE",
        requires = "xds_client_key",
        requires = "xds_ca"
    )]
    pub xds_client_cert: Option<PathBuf>,
    /// Private key of --xds-client-cert, a PEM file on Envoy's machine
    #[arg(long, value_name = "FILE", requires = "xds_client_cert")]
    pub xds_client_key: Option<PathBuf>,
    /// CA of the xDS port's certificate, a PEM file on Envoy's machine
    #[arg(long, value_name = "FILE", requires = "xds_client_cert")]
    pub xds_ca: Option<PathBuf>,
    /// DNS name in the xDS port's certificate [default: the host of --xds-addr]
    #[arg(long, value_name = "NAME", requires = "xds_client_cert")]
    pub xds_server_name: Option<DnsName>,
    /// The controller's hook port, where admitted hooks go
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9292")]
    pub controller_addr: HostPort,
    /// Envoy's admin interface, on loopback
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9901")]
    pub admin_addr: SocketAddr,
    /// Where a sender's address is read: peer, contour, or xff:N behind N proxies
    #[arg(long, value_name = "peer|contour|xff:N", default_value = "peer")]
    pub client_address: ClientAddress,
    /// Take connections that begin with a PROXY protocol header only, and believe what it says of the sender's address: for
    /// TLS that is passed through. Whoever else reaches the listener can choose an address
    #[arg(long)]
    pub proxy_protocol: bool,
    /// How much a sender may send.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// What Envoy may take.
    #[command(flatten)]
    pub bounds: BoundArgs,
}

impl From<BootstrapArgs> for StandAlone {
    fn from(args: BootstrapArgs) -> Self {
        let chain = Chain {
            xds_tls: xds_tls(&args),
            xds: args.xds_addr,
            controller: args.controller_addr,
            client_address: args.client_address,
            max_hook_bytes: args.limits.max_hook_bytes,
            address_rate: args.limits.address_rate,
            address_burst: args.limits.address_burst,
            shared_limit: args.limits.shared(),
        };
        Self {
            listener: args.listener_addr,
            tls_cert: args.tls_cert,
            tls_key: args.tls_key,
            admin: args.admin_addr,
            proxy_protocol: args.proxy_protocol,
            chain,
            bounds: args.bounds.into(),
        }
    }
}

/// All three files, or none: the parser sees to it.
fn xds_tls(args: &BootstrapArgs) -> Option<XdsClientTls> {
    Some(XdsClientTls {
        identity: Identity::Files {
            cert: args.xds_client_cert.clone()?,
            key: args.xds_client_key.clone()?,
        },
        authority: Authority::File(args.xds_ca.clone()?),
        server_name: args.xds_server_name.clone(),
    })
}

/// `hookgate edge bootstrap`: writes the configuration to `out`.
///
/// # Errors
/// An input out of its limits, or a failed write.
pub fn run(args: BootstrapArgs, out: &mut impl Write) -> Result<(), EdgeError> {
    let text = bootstrap(&args.into())?;
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(EdgeError::Write)
}

/// The configuration of a complete Envoy for hooks, as YAML with comments.
///
/// # Errors
/// An input out of its limits ([`StandAlone::check`]).
pub fn bootstrap(edge: &StandAlone) -> Result<String, EdgeError> {
    edge.check()?;
    Ok(format!(
        r#"# Envoy as the edge of Hookgate: TLS ends here, and only genuine hooks go on to the controller.
# Printed by `hookgate edge bootstrap`; change its flags rather than this text.
#   envoy -c bootstrap.yaml

# Replicas may share these names; the controller tells Envoys apart by name and address.
node:
  id: "hookgate-edge"
  cluster: "hookgate"

# Loopback only: it shows the table and can stop Envoy.
admin:
  address:
    {admin}
  ignore_global_conn_limit: true

{overload_manager}
{STATS_CONFIG}
static_resources:
  listeners:
  - name: hookgate
    address:
      {listener}
    # Small, so that bodies are hashed in small pieces and no request waits for another's.
    per_connection_buffer_limit_bytes: 65536
{proxy_protocol}    filter_chains:
    - transport_socket_connect_timeout: 5s
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_params:
              tls_minimum_protocol_version: TLSv1_2
            # Read at start: restart Envoy after a renewal.
            tls_certificates:
            - certificate_chain: {{filename: {cert}}}
              private_key: {{filename: {key}}}
      filters:
{hcm}
  clusters:
{clusters}"#,
        admin = socket_address(edge.admin),
        overload_manager = overload_manager(&edge.bounds),
        listener = socket_address(edge.listener),
        proxy_protocol = if edge.proxy_protocol {
            PROXY_PROTOCOL
        } else {
            ""
        },
        cert = quoted(&edge.tls_cert.to_string_lossy()),
        key = quoted(&edge.tls_key.to_string_lossy()),
        hcm = indent(&http_connection_manager(&edge.chain), 6),
        clusters = indent(&clusters(&edge.chain), 2),
    ))
}

/// In front of TLS; without the header the connection is closed.
const PROXY_PROTOCOL: &str = r#"    # Whoever passes TLS through says who is at the other end (--proxy-protocol); without that: closed.
    listener_filters_timeout: 5s
    listener_filters:
    - name: envoy.filters.listener.proxy_protocol
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol
"#;

/// A `socket_address` in flow style. `[::]` takes IPv4 too, as everywhere else.
fn socket_address(address: SocketAddr) -> String {
    let compatible = match address.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() => ", ipv4_compat: true",
        IpAddr::V4(_) | IpAddr::V6(_) => "",
    };
    format!(
        "socket_address: {{address: {ip}, port_value: {port}{compatible}}}",
        ip = quoted(&address.ip().to_string()),
        port = address.port(),
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        bootstrap: BootstrapArgs,
    }

    fn printed(flags: &[&str]) -> String {
        let args = Cli::try_parse_from([&["hookgate"], flags].concat())
            .unwrap()
            .bootstrap;
        let mut text = Vec::new();
        run(args, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_file_in_the_repository_is_what_the_command_prints() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy/bootstrap.yaml");
        let want = printed(&[]);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(file, &want).unwrap();
        }
        let found = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            found == want,
            "envoy/bootstrap.yaml is out of date, renew it: UPDATE=1 cargo test -p controller edge"
        );
    }

    #[test]
    fn flags_and_inputs_have_the_same_defaults() {
        let args = Cli::try_parse_from(["hookgate"]).unwrap().bootstrap;
        assert_eq!(StandAlone::from(args), StandAlone::default());
    }

    #[test]
    fn every_flag_reaches_the_configuration() {
        let text = printed(&[
            "--listener-addr=[::]:443",
            "--tls-cert=/tls/a b.crt",
            "--tls-key=/tls/a b.key",
            "--xds-addr=xds.example:18001",
            "--xds-client-cert=/xds/tls.crt",
            "--xds-client-key=/xds/tls.key",
            "--xds-ca=/xds/ca.crt",
            "--xds-server-name=Other.example",
            "--controller-addr=10.0.0.5:9293",
            "--admin-addr=[::1]:9902",
            "--client-address=xff:2",
            "--max-hook-bytes=26214400",
            "--address-rate=90",
            "--address-burst=1234",
            "--max-connections=77",
            "--max-heap-bytes=300000000",
            "--rate-limit-addr=limits.example:8081",
            "--rate-limit-domain=hooks.example",
            "--proxy-protocol",
        ]);
        for piece in [
            r#"socket_address: {address: "::", port_value: 443, ipv4_compat: true}"#,
            r#"certificate_chain: {filename: "/tls/a b.crt"}"#,
            r#"private_key: {filename: "/tls/a b.key"}"#,
            r#"{address: "xds.example", port_value: 18001}"#,
            r#"certificate_chain: {filename: "/xds/tls.crt"}"#,
            r#"private_key: {filename: "/xds/tls.key"}"#,
            r#"trusted_ca: {filename: "/xds/ca.crt"}"#,
            r#"sni: "other.example""#,
            r#"{address: "10.0.0.5", port_value: 9293}"#,
            r#"socket_address: {address: "::1", port_value: 9902}"#,
            "xff_num_trusted_hops: 2\n",
            "request_body_buffer_limit: 26279936\n",
            "token_bucket: {max_tokens: 1234, tokens_per_fill: 3, fill_interval: 2s}\n",
            "max_active_downstream_connections: 77\n",
            "max_heap_size_bytes: 300000000\n",
            r#"{address: "limits.example", port_value: 8081}"#,
            "domain: \"hooks.example\"\n",
            "listener_filters:\n    - name: envoy.filters.listener.proxy_protocol\n",
        ] {
            assert!(text.contains(piece), "{piece}");
        }
    }

    #[test]
    fn mutual_tls_with_the_xds_port_takes_all_files_or_none() {
        for flags in [
            &["--xds-client-cert=/c"][..],
            &["--xds-client-cert=/c", "--xds-client-key=/k"],
            &["--xds-client-cert=/c", "--xds-ca=/a"],
            &["--xds-client-key=/k", "--xds-ca=/a"],
            &["--xds-ca=/a"],
            &["--xds-server-name=a"],
        ] {
            let got = Cli::try_parse_from([&["hookgate"], flags].concat());
            assert!(got.is_err(), "{flags:?}");
        }
        let text = printed(&["--xds-client-cert=/c", "--xds-client-key=/k", "--xds-ca=/a"]);
        let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let socket = value.pointer("/static_resources/clusters/1/transport_socket/typed_config");
        assert_eq!(
            socket.unwrap(),
            &serde_json::json!({
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": {
                    "alpn_protocols": ["h2"],
                    "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                    "tls_certificates": [
                        {"certificate_chain": {"filename": "/c"}, "private_key": {"filename": "/k"}}
                    ],
                    "validation_context": {
                        "trusted_ca": {"filename": "/a"},
                        "match_typed_subject_alt_names":
                            [{"san_type": "IP_ADDRESS", "matcher": {"exact": "127.0.0.1"}}],
                    },
                },
            })
        );
    }

    #[test]
    fn the_text_is_yaml_for_every_source_of_the_client_address() {
        for source in ["peer", "contour", "xff:1"] {
            let shared = "--rate-limit-addr=127.0.0.1:8081";
            let text = printed(&["--client-address", source, shared]);
            let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
            let chain =
                "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";
            let names: Vec<_> = value
                .pointer(chain)
                .unwrap()
                .as_array()
                .unwrap()
                .iter()
                .map(|filter| filter["name"].as_str().unwrap())
                .filter(|name| *name != "hookgate.https")
                .collect();
            assert_eq!(
                names,
                [
                    "hookgate.strip",
                    "hookgate.address",
                    "hookgate.shared",
                    "hookgate",
                    "hookgate.guard",
                    "envoy.filters.http.router"
                ],
                "{source}"
            );
        }
    }

    #[test]
    fn a_bad_flag_is_refused_before_anything_is_printed() {
        let args = Cli::try_parse_from(["hookgate", "--tls-key=/a\nb"])
            .unwrap()
            .bootstrap;
        let mut text = Vec::new();
        assert_eq!(
            run(args, &mut text).unwrap_err().to_string(),
            "--tls-key \"/a\\nb\" holds a quote, a backslash, a line break or a control character: give the absolute path of a PEM file as Envoy sees it, for example /etc/hookgate/tls.crt",
        );
        assert!(text.is_empty());
    }
}
