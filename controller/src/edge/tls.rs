//! Mutual TLS between Envoy and the controller's xDS port: the transport socket of that cluster.

use super::host::HostPort;
use super::input::{Authority, Discovered, Identity, XdsClientTls};
use super::yaml::{indent, quoted};

/// A cluster's transport socket: mutual TLS with the controller, whose name is verified. Where it is
/// reached by IP address, that is what its certificate must name, unless a name is given.
pub(super) fn client_tls(tls: &XdsClientTls, at: &HostPort) -> String {
    let name = tls
        .server_name
        .as_ref()
        .map(ToString::to_string)
        .or_else(|| at.name());
    let (sni, san_type, expected) = match name {
        Some(name) => (format!("    sni: {}\n", quoted(&name)), "DNS", name),
        None => (String::new(), "IP_ADDRESS", at.host()),
    };
    let names = format!(
        "match_typed_subject_alt_names:\n- san_type: {san_type}\n  matcher: {{exact: {}}}\n",
        quoted(&expected)
    );
    format!(
        r#"# The table lets its reader forge hooks: the controller is asked for its certificate, and wants ours.
{reading}
transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
{sni}    common_tls_context:
      alpn_protocols: [h2]
      tls_params:
        tls_minimum_protocol_version: TLSv1_2
{identity}{authority}"#,
        reading = match tls.identity {
            Identity::Files { .. } => "# Read at start: restart Envoy after a renewal.",
            Identity::Discovered(_) => "# Read again after a renewal, without a restart.",
        },
        identity = indent(&identity(&tls.identity), 6),
        authority = indent(&authority(&tls.authority, &names), 6),
    )
}

fn identity(identity: &Identity) -> String {
    match identity {
        Identity::Files { cert, key } => format!(
            "tls_certificates:\n- certificate_chain: {{filename: {cert}}}\n  private_key: {{filename: {key}}}\n",
            cert = quoted(&cert.to_string_lossy()),
            key = quoted(&key.to_string_lossy()),
        ),
        Identity::Discovered(secret) => format!(
            "tls_certificate_sds_secret_configs:\n- {}",
            indent(&discovered(secret), 2).trim_start()
        ),
    }
}

fn authority(authority: &Authority, names: &str) -> String {
    match authority {
        Authority::File(file) => format!(
            "validation_context:\n  trusted_ca: {{filename: {file}}}\n{names}",
            file = quoted(&file.to_string_lossy()),
            names = indent(names, 2),
        ),
        Authority::Inline(pem) => format!(
            "validation_context:\n  trusted_ca:\n    inline_string: |\n{pem}{names}",
            pem = indent(&format!("{}\n", pem.trim()), 6),
            names = indent(names, 2),
        ),
        Authority::Discovered(secret) => format!(
            "combined_validation_context:\n  default_validation_context:\n{names}  validation_context_sds_secret_config:\n{secret}",
            names = indent(names, 4),
            secret = indent(&discovered(secret), 4),
        ),
    }
}

fn discovered(secret: &Discovered) -> String {
    format!(
        "name: {name}\nsds_config:\n  resource_api_version: V3\n  path_config_source: {{path: {file}}}\n",
        name = secret.name,
        file = quoted(&secret.file.to_string_lossy()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controllers_certificate_must_name_what_is_asked_for() {
        for (at, server_name, want) in [
            (
                "hookgate.flux-system.svc.:18000",
                None,
                [
                    Some(r#"sni: "hookgate.flux-system.svc""#),
                    Some(r#"matcher: {exact: "hookgate.flux-system.svc"}"#),
                    Some("san_type: DNS"),
                ],
            ),
            (
                "10.0.0.5:18000",
                Some("hookgate.example"),
                [
                    Some(r#"sni: "hookgate.example""#),
                    Some(r#"matcher: {exact: "hookgate.example"}"#),
                    Some("san_type: DNS"),
                ],
            ),
            (
                "[::1]:18000",
                None,
                [
                    None,
                    Some(r#"matcher: {exact: "::1"}"#),
                    Some("san_type: IP_ADDRESS"),
                ],
            ),
        ] {
            let tls = XdsClientTls {
                identity: Identity::Files {
                    cert: "/tls/tls.crt".into(),
                    key: "/tls/tls.key".into(),
                },
                authority: Authority::File("/tls/ca.crt".into()),
                server_name: server_name.map(|name| name.parse().unwrap()),
            };
            let text = client_tls(&tls, &at.parse().unwrap());
            let line = |start: &str| {
                text.lines()
                    .map(str::trim_start)
                    .find(|l| l.starts_with(start))
            };
            let got = ["sni: ", "matcher: ", "- san_type: "].map(line);
            let got = got.map(|line| line.map(|line| line.trim_start_matches("- ")));
            assert_eq!(got, want, "{at}");
        }
    }
}
