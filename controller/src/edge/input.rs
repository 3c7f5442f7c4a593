//! What the renderer needs to know, parsed and checked once: addresses, files, limits.
//!
//! Every value ends up inside YAML that a proxy at the edge obeys, so each has a narrow form and a
//! message that says what to write instead.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::error::{EdgeError, shorten};
use super::host::{DnsName, HostPort};
use super::limits::LimitDomain;

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

/// What every way of running the filter shares: where the controller is, who the sender is, how much it may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The controller's ECDS server: filter code, table, edge reports.
    pub xds: HostPort,
    /// Mutual TLS with [`Chain::xds`]; plain text without.
    pub xds_tls: Option<XdsClientTls>,
    /// The controller's hook port: where admitted hooks go.
    pub controller: HostPort,
    /// Where the address of a sender is read.
    pub client_address: ClientAddress,
    /// Largest body of a hook, in bytes.
    pub max_hook_bytes: u64,
    /// Requests per minute that one address may send in the long run.
    pub address_rate: u32,
    /// Requests that one address may send at once.
    pub address_burst: u32,
    /// The limit that all Envoys share, if there is one.
    pub shared_limit: Option<SharedLimit>,
}

/// A limit that all Envoys share, by Envoy's rate-limit protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedLimit {
    /// The service that counts.
    pub service: HostPort,
    /// Under which name it looks for the limits.
    pub domain: LimitDomain,
}

impl Default for Chain {
    /// Controller and Envoy on one machine.
    fn default() -> Self {
        Self {
            xds: HostPort::from(SocketAddr::from(([127, 0, 0, 1], 18000))),
            xds_tls: None,
            controller: HostPort::from(SocketAddr::from(([127, 0, 0, 1], 9292))),
            client_address: ClientAddress::Peer,
            max_hook_bytes: 3_145_728,
            address_rate: 12_000,
            address_burst: 6_000,
            shared_limit: None,
        }
    }
}

impl Chain {
    /// Refuses what would render, but not run or not be safe.
    ///
    /// # Errors
    /// The first input that is out of its limits.
    pub fn check(&self) -> Result<(), EdgeError> {
        check_port("--xds-addr", self.xds.port())?;
        check_port("--controller-addr", self.controller.port())?;
        if let Some(limit) = &self.shared_limit {
            check_port("--rate-limit-addr", limit.service.port())?;
        }
        if let Some(tls) = &self.xds_tls {
            tls.check()?;
        }
        if let ClientAddress::ForwardedFor { hops } = self.client_address {
            check_hops(hops)?;
        }
        check_range(
            "--max-hook-bytes",
            self.max_hook_bytes,
            1,
            MAX_HOOK_BYTES_CEILING,
        )?;
        let most = ADDRESS_CEILING.into();
        check_range("--address-rate", self.address_rate.into(), 1, most)?;
        check_range("--address-burst", self.address_burst.into(), 1, most)
    }
}

/// What a whole Envoy may take, where it is ours alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Client connections that Envoy keeps open at once.
    pub max_connections: u32,
    /// Heap above which Envoy refuses new requests and drops the largest held bodies, in bytes.
    pub max_heap_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_connections: 4_096,
            max_heap_bytes: 1_073_741_824,
        }
    }
}

impl Bounds {
    /// Refuses numbers that bound nothing, or leave no room.
    ///
    /// # Errors
    /// The first input that is out of its limits.
    pub fn check(&self) -> Result<(), EdgeError> {
        check_range(
            "--max-connections",
            self.max_connections.into(),
            1,
            1_000_000,
        )?;
        check_range("--max-heap-bytes", self.max_heap_bytes, HEAP_FLOOR, 1 << 40)
    }
}

/// An Envoy of our own with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandAlone {
    /// Where Envoy listens for hooks, with TLS.
    pub listener: SocketAddr,
    /// PEM file of the certificate chain, as a path on Envoy's machine.
    pub tls_cert: PathBuf,
    /// PEM file of the private key, as a path on Envoy's machine.
    pub tls_key: PathBuf,
    /// Envoy's admin interface. Loopback only: it shows the table and can stop Envoy.
    pub admin: SocketAddr,
    /// Whether every connection begins with who is at its other end, in PROXY protocol.
    pub proxy_protocol: bool,
    /// The chain of filters, and what it needs.
    pub chain: Chain,
    /// What Envoy may take.
    pub bounds: Bounds,
}

impl Default for StandAlone {
    /// Controller and Envoy on one machine, certificate under `/etc/hookgate`.
    fn default() -> Self {
        Self {
            listener: SocketAddr::from(([0, 0, 0, 0], 8443)),
            tls_cert: PathBuf::from("/etc/hookgate/tls.crt"),
            tls_key: PathBuf::from("/etc/hookgate/tls.key"),
            admin: SocketAddr::from(([127, 0, 0, 1], 9901)),
            proxy_protocol: false,
            chain: Chain::default(),
            bounds: Bounds::default(),
        }
    }
}

impl StandAlone {
    /// Refuses what would render, but not run or not be safe.
    ///
    /// # Errors
    /// The first input that is out of its limits.
    pub fn check(&self) -> Result<(), EdgeError> {
        check_port("--listener-addr", self.listener.port())?;
        check_port("--admin-addr", self.admin.port())?;
        if !self.admin.ip().is_loopback() {
            return Err(EdgeError::PublicAdmin {
                address: self.admin,
            });
        }
        check_path("--tls-cert", &self.tls_cert)?;
        check_path("--tls-key", &self.tls_key)?;
        self.chain.check()?;
        self.bounds.check()
    }
}

/// What Envoy shows to the controller's xDS port, and what it wants to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdsClientTls {
    /// Envoy's certificate and key.
    pub identity: Identity,
    /// The CAs that sign the controller's certificate.
    pub authority: Authority,
    /// The name that the controller's certificate must have; the host of [`Chain::xds`] if `None`.
    pub server_name: Option<DnsName>,
}

/// Where Envoy finds its certificate and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Two PEM files, as paths on Envoy's machine, read when Envoy starts.
    Files {
        /// Certificate chain.
        cert: PathBuf,
        /// Private key.
        key: PathBuf,
    },
    /// A file of Envoy's secret discovery service: a renewal is taken without a restart.
    Discovered(Discovered),
}

/// Where Envoy finds the CAs of the controller's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// A PEM file, as a path on Envoy's machine, read when Envoy starts.
    File(PathBuf),
    /// PEM certificates, in the configuration itself.
    Inline(String),
    /// A file of Envoy's secret discovery service.
    Discovered(Discovered),
}

/// A secret of Envoy's secret discovery service, in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// The secret's name in the file.
    pub name: &'static str,
    /// The file, as a path on Envoy's machine.
    pub file: PathBuf,
}

impl XdsClientTls {
    fn check(&self) -> Result<(), EdgeError> {
        match &self.identity {
            Identity::Files { cert, key } => {
                check_path("--xds-client-cert", cert)?;
                check_path("--xds-client-key", key)?;
            }
            Identity::Discovered(Discovered { file, .. }) => {
                check_path("--xds-client-sds", file)?;
            }
        }
        match &self.authority {
            Authority::File(file) | Authority::Discovered(Discovered { file, .. }) => {
                check_path("--xds-ca", file)
            }
            Authority::Inline(pem) if pem.contains("-----BEGIN CERTIFICATE-----") => Ok(()),
            Authority::Inline(_) => Err(EdgeError::Authority),
        }
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

fn check_port(flag: &'static str, port: u16) -> Result<(), EdgeError> {
    match port {
        0 => Err(EdgeError::PortZero { flag }),
        _ => Ok(()),
    }
}

fn check_range(flag: &'static str, value: u64, least: u64, most: u64) -> Result<(), EdgeError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(EdgeError::OutOfRange {
            flag,
            value,
            least,
            most,
        })
    }
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

#[cfg(test)]
mod tests;
