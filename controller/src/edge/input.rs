//! What the renderer needs to know, parsed and checked once: addresses, files, limits.
//!
//! Every value ends up inside YAML that a proxy at the edge obeys, so each has a narrow form and a
//! message that says what to write instead.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

/// The largest `--max-hook-bytes`: 25 MiB, GitHub's largest payload.
pub const MAX_HOOK_BYTES_CEILING: u64 = 26_214_400;

/// Above this many proxies in front, the number is a typing mistake.
const HOPS_CEILING: u8 = 16;

/// Longest path that Linux takes (`PATH_MAX`), in bytes.
const PATH_CEILING: usize = 4096;

/// Requests per minute and address above which a limit limits nothing.
const ADDRESS_CEILING: u32 = 10_000_000;

/// Smallest heap in which Envoy, the filter's VMs and a few bodies have room: 256 MiB.
const HEAP_FLOOR: u64 = 268_435_456;

/// Everything that differs from one edge to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Where Envoy listens for hooks, with TLS.
    pub listener: SocketAddr,
    /// PEM file of the certificate chain, as a path on Envoy's machine.
    pub tls_cert: PathBuf,
    /// PEM file of the private key, as a path on Envoy's machine.
    pub tls_key: PathBuf,
    /// The controller's ECDS server: filter code, table, edge reports.
    pub xds: HostPort,
    /// Mutual TLS with [`Edge::xds`]; plain text without.
    pub xds_tls: Option<XdsClientTls>,
    /// The controller's hook port: where admitted hooks go.
    pub controller: HostPort,
    /// Envoy's admin interface. Loopback only: it shows the table and can stop Envoy.
    pub admin: SocketAddr,
    /// Where the address of a sender is read.
    pub client_address: ClientAddress,
    /// Largest body of a hook, in bytes.
    pub max_hook_bytes: u64,
    /// Requests per minute that one address may send in the long run.
    pub address_rate: u32,
    /// Requests that one address may send at once.
    pub address_burst: u32,
    /// Client connections that Envoy keeps open at once.
    pub max_connections: u32,
    /// Heap above which Envoy refuses new requests and drops the largest held bodies, in bytes.
    pub max_heap_bytes: u64,
}

impl Default for Edge {
    /// Controller and Envoy on one machine, certificate under `/etc/hookgate`.
    fn default() -> Self {
        Self {
            listener: SocketAddr::from(([0, 0, 0, 0], 8443)),
            tls_cert: PathBuf::from("/etc/hookgate/tls.crt"),
            tls_key: PathBuf::from("/etc/hookgate/tls.key"),
            xds: HostPort::from(SocketAddr::from(([127, 0, 0, 1], 18000))),
            xds_tls: None,
            controller: HostPort::from(SocketAddr::from(([127, 0, 0, 1], 9292))),
            admin: SocketAddr::from(([127, 0, 0, 1], 9901)),
            client_address: ClientAddress::Peer,
            max_hook_bytes: 3_145_728,
            address_rate: 12_000,
            address_burst: 6_000,
            max_connections: 4_096,
            max_heap_bytes: 1_073_741_824,
        }
    }
}

impl Edge {
    /// Refuses what would render, but not run or not be safe.
    ///
    /// # Errors
    /// The first input that is out of its limits.
    pub fn check(&self) -> Result<(), EdgeError> {
        for (flag, port) in [
            ("--listener-addr", self.listener.port()),
            ("--admin-addr", self.admin.port()),
            ("--xds-addr", self.xds.port),
            ("--controller-addr", self.controller.port),
        ] {
            if port == 0 {
                return Err(EdgeError::PortZero { flag });
            }
        }
        if !self.admin.ip().is_loopback() {
            return Err(EdgeError::PublicAdmin {
                address: self.admin,
            });
        }
        check_path("--tls-cert", &self.tls_cert)?;
        check_path("--tls-key", &self.tls_key)?;
        if let Some(tls) = &self.xds_tls {
            check_path("--xds-client-cert", &tls.cert)?;
            check_path("--xds-client-key", &tls.key)?;
            check_path("--xds-ca", &tls.ca)?;
        }
        if let ClientAddress::ForwardedFor { hops } = self.client_address {
            check_hops(hops)?;
        }
        let limits = [
            (
                "--max-hook-bytes",
                self.max_hook_bytes,
                1,
                MAX_HOOK_BYTES_CEILING,
            ),
            (
                "--address-rate",
                self.address_rate.into(),
                1,
                ADDRESS_CEILING.into(),
            ),
            (
                "--address-burst",
                self.address_burst.into(),
                1,
                ADDRESS_CEILING.into(),
            ),
            (
                "--max-connections",
                self.max_connections.into(),
                1,
                1_000_000,
            ),
            ("--max-heap-bytes", self.max_heap_bytes, HEAP_FLOOR, 1 << 40),
        ];
        for (flag, value, least, most) in limits {
            if !(least..=most).contains(&value) {
                return Err(EdgeError::OutOfRange {
                    flag,
                    value,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }
}

/// What Envoy shows to the controller's xDS port, and what it wants to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdsClientTls {
    /// PEM file of Envoy's certificate chain, as a path on Envoy's machine.
    pub cert: PathBuf,
    /// PEM file of its private key, as a path on Envoy's machine.
    pub key: PathBuf,
    /// PEM file of the CAs that sign the controller's certificate, as a path on Envoy's machine.
    pub ca: PathBuf,
    /// The name that the controller's certificate must have; the host of [`Edge::xds`] if `None`.
    pub server_name: Option<DnsName>,
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

/// Where Envoy reads a sender's address, the key of the limit per address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAddress {
    /// The other end of the connection: nothing stands in front of Envoy.
    Peer,
    /// Contour's Envoy stands in front and says it in `x-envoy-external-address`; plain HTTP and
    /// requests without that header are refused.
    ContourHeader,
    /// This many proxies stand in front; each appends to `X-Forwarded-For`.
    ForwardedFor {
        /// How many proxies, 1 to 16.
        hops: u8,
    },
}

impl FromStr for ClientAddress {
    type Err = EdgeError;

    fn from_str(text: &str) -> Result<Self, EdgeError> {
        match text {
            "peer" => Ok(Self::Peer),
            "contour" => Ok(Self::ContourHeader),
            other => {
                let hops = other
                    .strip_prefix("xff:")
                    .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                    .and_then(|digits| digits.parse().ok())
                    .ok_or_else(|| EdgeError::ClientAddress {
                        value: shorten(other),
                    })?;
                check_hops(hops)?;
                Ok(Self::ForwardedFor { hops })
            }
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer => f.write_str("peer"),
            Self::ContourHeader => f.write_str("contour"),
            Self::ForwardedFor { hops } => write!(f, "xff:{hops}"),
        }
    }
}

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

/// Why no configuration can be rendered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EdgeError {
    /// Envoy would choose a port that nobody knows.
    #[error("{flag} has port 0: name the port, 1 to 65535")]
    PortZero {
        /// The flag at fault.
        flag: &'static str,
    },
    /// The admin interface has no authentication.
    #[error(
        "--admin-addr {address} is not loopback: Envoy's admin interface shows the table and can stop Envoy, use 127.0.0.1:{} or [::1]:{}",
        address.port(), address.port()
    )]
    PublicAdmin {
        /// The refused address.
        address: SocketAddr,
    },
    /// A file name that cannot be what was meant.
    #[error(
        "{flag} {value:?} {problem}: give the absolute path of a PEM file as Envoy sees it, for example /etc/hookgate/tls.crt"
    )]
    Path {
        /// The flag at fault.
        flag: &'static str,
        /// Its value, shortened.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Neither an IP address nor a DNS name with a port.
    #[error(
        "{value:?} is not HOST:PORT: give a DNS name or an IP address with a port from 1 to 65535, for example hookgate.flux-system:18000, 10.0.0.5:18000 or [::1]:18000"
    )]
    HostPort {
        /// The refused text, shortened.
        value: String,
    },
    /// Not a name that a certificate can have.
    #[error(
        "{value:?} is not a DNS name: give the name in the controller's certificate, for example hookgate.flux-system.svc"
    )]
    ServerName {
        /// The refused text, shortened.
        value: String,
    },
    /// An unknown place to read the client's address.
    #[error(
        "{value:?} is not a place to read the client's address: use peer, contour, or xff:N with N the number of proxies in front of Envoy"
    )]
    ClientAddress {
        /// The refused text, shortened.
        value: String,
    },
    /// A number of proxies that trusts everybody, or cannot be meant.
    #[error("xff:{hops} is out of range: use 1 to 16 proxies, or peer where none stands in front")]
    Hops {
        /// The refused number.
        hops: u8,
    },
    /// A number outside its limits.
    #[error("{flag} {value} is out of range: use {least} to {most}")]
    OutOfRange {
        /// The flag at fault.
        flag: &'static str,
        /// Its value.
        value: u64,
        /// The smallest value.
        least: u64,
        /// The largest value.
        most: u64,
    },
    /// The text could not be handed on.
    #[error("failed to write the configuration")]
    Write(#[source] std::io::Error),
}

fn check_hops(hops: u8) -> Result<(), EdgeError> {
    if (1..=HOPS_CEILING).contains(&hops) {
        Ok(())
    } else {
        Err(EdgeError::Hops { hops })
    }
}

fn check_path(flag: &'static str, path: &Path) -> Result<(), EdgeError> {
    let refuse = |value: &str, problem| {
        Err(EdgeError::Path {
            flag,
            value: shorten(value),
            problem,
        })
    };
    let Some(text) = path.to_str() else {
        return refuse(&path.to_string_lossy(), "is not UTF-8");
    };
    if text.len() > PATH_CEILING {
        return refuse(text, "is longer than 4096 bytes");
    }
    if !text.starts_with('/') {
        return refuse(text, "is not absolute");
    }
    if text.ends_with('/') {
        return refuse(text, "is a folder");
    }
    if text
        .chars()
        .any(|c| c.is_control() || matches!(c, '"' | '\'' | '\\' | '\u{2028}' | '\u{2029}'))
    {
        return refuse(
            text,
            "holds a quote, a backslash, a line break or a control character",
        );
    }
    Ok(())
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

/// The start of a refused text: a message stays one line.
fn shorten(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests;
