//! Addresses that nothing a user configures may reach: the metadata services of clouds, which hand
//! credentials to whoever asks, and link-local addresses, where they live.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names of metadata services, for clients whose proxy resolves names.
const NAMES: [&str; 2] = ["metadata.google.internal", "metadata.goog"];

/// Outside the link-local ranges: Alibaba Cloud, Azure's host agent, Oracle Cloud.
const V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// AWS, Google Cloud.
const V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Whether `address` is link-local or a metadata service, in whatever notation carries it.
#[must_use]
pub fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || V4.contains(&v4),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || V6.contains(&v6)
                || embedded_v4(v6).is_some_and(|v4| is_metadata(v4.into()))
        }
    }
}

/// Whether the host of a URL, a name or an address, is a metadata service.
#[must_use]
pub fn is_metadata_host(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    match literal.parse() {
        Ok(address) => is_metadata(address),
        Err(_) => NAMES.iter().any(|name| name.eq_ignore_ascii_case(host)),
    }
}

/// The IPv4 address that an IPv6 address leads to: mapped, compatible, NAT64 (RFC 6052), 6to4.
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => from(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => from(high, low),
        [0x2002, high, low, ..] => from(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_known_in_every_notation() {
        for host in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "fd20:ce::254",
            "[::ffff:169.254.169.254]",
            "[::a9fe:a9fe]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:a9fe:a9fe::1]",
            "169.254.169.254.",
            "metadata.google.internal",
            "Metadata.Google.Internal.",
            "metadata.goog",
        ] {
            assert!(is_metadata_host(host), "{host}");
        }
    }

    #[test]
    fn other_addresses_are_not_metadata_services() {
        for host in [
            "127.0.0.1",
            "10.0.0.1",
            "100.100.100.201",
            "169.253.169.254",
            "[::1]",
            "[fd00:ec2::253]",
            "[64:ff9b::808:808]",
            "accounts.google.com",
            "metadata.example",
            "",
        ] {
            assert!(!is_metadata_host(host), "{host}");
        }
    }
}
