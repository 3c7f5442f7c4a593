//! Why no configuration can be rendered: which flag, what is wrong with it, and what to write instead.

use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// A name that Kubernetes would refuse, or that is not safe here.
    #[error("{flag} {value:?} {problem}")]
    Name {
        /// The flag at fault.
        flag: &'static str,
        /// Its value, shortened.
        value: String,
        /// What is wrong with it, and what to do.
        problem: &'static str,
    },
    /// The placeholder would lead to the controller itself.
    #[error(
        "--controller-addr {address} is the placeholder Service itself: where the overlay is missing, Contour would send hooks around the gate; give the placeholder another --service, or hooks another Service"
    )]
    Loop {
        /// The address.
        address: String,
    },
    /// The gate would send hooks to itself.
    #[error(
        "--controller-addr {address} leads to the gate itself, for ever: give the controller's own Service, such as hookgate-controller.flux-system.svc:9292"
    )]
    Circle {
        /// The address.
        address: String,
    },
    /// Nobody said how the table is protected on its way.
    #[error("the table lets its reader forge hooks: {cure}, or take the risk with --xds-insecure")]
    Unprotected {
        /// What to give.
        cure: &'static str,
    },
    /// More than one argument of a process may hold.
    #[error(
        "the overlay has {bytes} bytes, and an argument of a process holds {most}: give --xds-ca the one CA that signs the controller's certificate, not a bundle"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// A file that was named cannot be read or written.
    #[error("failed to read or write {path:?}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Several files, and no folder for them.
    #[error("--format {format} writes several files: name a folder with --output DIR")]
    NoFolder {
        /// The form.
        format: &'static str,
    },
    /// An Envoy could not be run.
    #[error("failed to run {program:?}: give the path of an Envoy with --envoy")]
    Envoy {
        /// What was run.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What was run is no Envoy.
    #[error("{program:?} is no Envoy: --version does not say so; give its path with --envoy")]
    NoEnvoy {
        /// What was run.
        program: PathBuf,
    },
    /// An Envoy that this configuration was never tried with.
    #[error(
        "Envoy {version} is too old for this configuration: use 1.38 or newer, which Contour 1.33.6 and later come with"
    )]
    OldEnvoy {
        /// Its version.
        version: String,
    },
    /// Envoy would not start with it.
    #[error("Envoy {version} refuses the configuration, so it is not printed: {message}")]
    Refused {
        /// Its version.
        version: String,
        /// What it says.
        message: String,
    },
    /// The text could not be handed on.
    #[error("failed to write the configuration")]
    Write(#[source] std::io::Error),
}

/// The start of a refused text: a message stays one line.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(120).collect()
}
