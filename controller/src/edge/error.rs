//! Why no configuration can be rendered: which flag, what is wrong with it, and what to write instead.

use std::net::SocketAddr;

use thiserror::Error;

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
    /// Not a name that a rate-limit service's domain has.
    #[error(
        "{value:?} is not a domain of limits: use 1 to 63 letters, digits, dots, dashes or underscores, for example hookgate"
    )]
    LimitDomain {
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
    /// What was given as a CA is none.
    #[error(
        "--xds-ca holds no PEM certificate: give the CA of the controller's xDS port, ca.crt of its Secret"
    )]
    Authority,
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

/// The start of a refused text: a message stays one line.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(120).collect()
}
