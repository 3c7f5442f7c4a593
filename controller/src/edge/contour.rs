//! Contour as the edge sees it: the name that it gives to a Service's cluster, and what its Envoy starts with.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Longest cluster name plus one, as Contour has it.
const NAME_LIMIT: usize = 60;

/// Hex digits of the hash that ends a truncated part.
const SHORT_HASH: usize = 6;

/// The last part of a cluster's name where every setting that Contour hashes is at its default: the first five
/// bytes of the SHA-1 of nothing.
pub const DEFAULT_SETTINGS: &str = "da39a3ee5e";

/// The name of Contour's cluster for a Service's port, all settings at their defaults.
///
/// As `Clustername` in Contour v1.33.6, `internal/envoy/cluster.go`: HTTPProxy, Ingress and HTTPRoute alike.
#[must_use]
pub fn cluster_name(namespace: &str, service: &str, port: u16) -> String {
    hash_name(
        NAME_LIMIT,
        &[namespace, service, &port.to_string(), DEFAULT_SETTINGS],
    )
}

/// The name under which Contour counts that cluster, in statistics and access logs.
#[must_use]
pub fn stat_name(namespace: &str, service: &str, port: u16) -> String {
    format!("{namespace}_{service}_{port}")
}

/// Contour's `Hashname`: the parts joined, or truncated from the last to the first until they are shorter than `limit`.
fn hash_name(limit: usize, parts: &[&str]) -> String {
    let whole = parts.join("/");
    if whole.len() < limit {
        return whole;
    }
    let mut hash = String::new();
    for byte in Sha256::digest(whole.as_bytes()) {
        let _infallible = write!(hash, "{byte:02x}");
    }
    let suffix: String = hash.chars().take(SHORT_HASH).collect();
    let share = limit.checked_div(parts.len()).unwrap_or(limit);
    let mut parts: Vec<String> = parts.iter().map(|&part| part.to_owned()).collect();
    for at in (0..parts.len()).rev() {
        if let Some(part) = parts.get_mut(at) {
            *part = truncate(share, part, &suffix);
        }
        let name = parts.join("/");
        if name.len() < limit {
            return name;
        }
    }
    hash.chars().take(limit).collect()
}

/// Contour's `truncate`: the end of `text` gives way to `-suffix`.
fn truncate(limit: usize, text: &str, suffix: &str) -> String {
    if limit >= text.len() {
        return text.to_owned();
    }
    match limit.checked_sub(suffix.len().saturating_add(1)) {
        None => suffix.chars().take(limit).collect(),
        Some(kept) => {
            let start: String = text.chars().take(kept).collect();
            format!("{start}-{suffix}")
        }
    }
}

/// What `contour bootstrap` writes, as far as it matters to an overlay: an overlay is validated on top of it.
///
/// Contour's own files for mutual TLS are left out, since they are in the Pod only.
pub(super) const BOOTSTRAP: &str = r#"{
  "static_resources": {
    "clusters": [
      {
        "name": "contour", "alt_stat_name": "projectcontour_contour_8001", "type": "STRICT_DNS", "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "contour", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "contour", "port_value": 8001}}}}]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}}
      },
      {
        "name": "envoy-admin", "alt_stat_name": "projectcontour_envoy-admin_9001", "type": "STATIC", "connect_timeout": "0.250s",
        "load_assignment": {"cluster_name": "envoy-admin", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": "/admin/admin.sock", "mode": 420}}}}]}]}
      }
    ]
  },
  "default_regex_engine": {"name": "envoy.regex_engines.google_re2", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.regex_engines.v3.GoogleRE2"}},
  "dynamic_resources": {
    "lds_config": {"api_config_source": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "contour", "authority": "contour"}}]}, "resource_api_version": "V3"},
    "cds_config": {"api_config_source": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "contour", "authority": "contour"}}]}, "resource_api_version": "V3"}
  },
  "layered_runtime": {"layers": [
    {"name": "dynamic", "rtds_layer": {"name": "dynamic", "rtds_config": {"api_config_source": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "contour", "authority": "contour"}}]}, "resource_api_version": "V3"}}},
    {"name": "admin", "admin_layer": {}}
  ]},
  "admin": {"address": {"pipe": {"path": "/tmp/hookgate-validate.sock", "mode": 420}}}
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_as_contours_own_tests_have_it() {
        // TestHashname, cluster_test.go of Contour v1.33.6.
        for (limit, parts, want) in [
            (99, &["alpha"][..], "alpha"),
            (12, &["gammagammagamma"], "0d350ea5c204"),
            (4, &["alpha"], "8ed3"),
            (19, &["gammagamma", "betabeta"], "ga-edf159/betabeta"),
            (99, &["alpha", "beta", "gamma"], "alpha/beta/gamma"),
            (
                60,
                &[
                    "default",
                    "my-service-name",
                    "my-very-very-long-service-host-name.my.domainname",
                ],
                "default/my-service-name/my-very-very--c4d2d4",
            ),
        ] {
            assert_eq!(hash_name(limit, parts), want, "{parts:?}");
        }
        assert_eq!(hash_name(99, &[]), "");
    }

    #[test]
    fn a_part_is_cut_as_contours_own_tests_have_it() {
        // TestTruncate, likewise.
        for (limit, text, suffix, want) in [
            (10, "quijibo", "a8c5e6", "quijibo"),
            (7, "quijibo", "a8c5e6", "quijibo"),
            (6, "quijibo", "a8c5", "q-a8c5"),
            (4, "quijibo", "a8c5", "a8c5"),
            (3, "quijibo", "a8c5", "a8c"),
            (9, "gammagamma", "0d350e", "ga-0d350e"),
            (12, "gammagammagamma", "0d350e", "gamma-0d350e"),
        ] {
            assert_eq!(truncate(limit, text, suffix), want, "{text} {limit}");
        }
    }

    #[test]
    fn a_cluster_is_named_after_namespace_service_and_port_number() {
        assert_eq!(
            cluster_name("flux-system", "hookgate", 80),
            "flux-system/hookgate/80/da39a3ee5e"
        );
        assert_eq!(
            stat_name("flux-system", "hookgate", 80),
            "flux-system_hookgate_80"
        );
        // 59 characters stay as they are, 60 do not.
        let service = "s".repeat(33);
        let whole = format!("flux-system/{service}/80/da39a3ee5e");
        assert_eq!(
            (whole.len(), cluster_name("flux-system", &service, 80)),
            (59, whole)
        );
        assert_eq!(
            cluster_name("flux-system", &"s".repeat(34), 80),
            "flux-system/ssssssss-b3e358/80/da39a3ee5e"
        );
        assert_eq!(
            cluster_name(&"a".repeat(63), &"b".repeat(63), 65535),
            "aaaaaaaa-167fc4/bbbbbbbb-167fc4/65535/da39a3ee5e"
        );
    }
}
