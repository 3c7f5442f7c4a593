//! Hosts that Envoy connects to, and the names that certificates have.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::error::{EdgeError, shorten};

/// An address that Envoy connects to: an IP address or a DNS name, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

impl HostPort {
    /// The host as Envoy's `socket_address` takes it: no brackets around IPv6.
    pub(super) fn host(&self) -> String {
        match &self.host {
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.clone(),
        }
    }

    /// The name as certificates have it: without the root's dot. `None` for an IP address.
    pub(super) fn name(&self) -> Option<String> {
        match &self.host {
            Host::Ip(_) => None,
            Host::Name(name) => Some(name.strip_suffix('.').unwrap_or(name).to_owned()),
        }
    }

    /// The port, never 0 when parsed.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether there is nothing to resolve.
    pub(super) fn is_ip(&self) -> bool {
        matches!(self.host, Host::Ip(_))
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: Host::Ip(address.ip()),
            port: address.port(),
        }
    }
}

impl FromStr for HostPort {
    type Err = EdgeError;

    fn from_str(text: &str) -> Result<Self, EdgeError> {
        let bad = || EdgeError::HostPort {
            value: shorten(text),
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        let port: u16 = port.parse().map_err(|_| bad())?;
        if port == 0 {
            return Err(bad());
        }
        let host = if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Host::Ip(inner.parse::<Ipv6Addr>().map_err(|_| bad())?.into())
        } else if let Ok(ip) = host.parse::<std::net::Ipv4Addr>() {
            Host::Ip(ip.into())
        } else if is_dns_name(host) {
            Host::Name(host.to_ascii_lowercase())
        } else {
            return Err(bad());
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => SocketAddr::from((*ip, self.port)).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// A DNS name, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsName(String);

impl FromStr for DnsName {
    type Err = EdgeError;

    fn from_str(text: &str) -> Result<Self, EdgeError> {
        // Certificates hold names without the root's dot.
        let name = text.strip_suffix('.').unwrap_or(text);
        if !is_dns_name(name) {
            return Err(EdgeError::ServerName {
                value: shorten(text),
            });
        }
        Ok(Self(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 1123 labels. A name of digits and dots only is an IPv4 address with a mistake in it.
fn is_dns_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    host.len() <= 253
        && host.split('.').all(label)
        && !host
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}
