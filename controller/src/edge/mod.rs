//! The edge: Envoy's configuration, rendered from a few checked inputs.
//!
//! [`chain`] renders what every way of running the filter shares (the HTTP connection manager with its
//! filter chain, and the clusters); [`bootstrap()`] puts it behind a TLS listener of a stand-alone
//! Envoy. The text carries comments, so that an operator can read what a line is for. Equal inputs
//! give equal text.

mod bootstrap;
mod chain;
mod error;
mod host;
mod input;
mod limits;
mod tls;
mod yaml;

pub use bootstrap::{BootstrapArgs, bootstrap, run};

pub use error::EdgeError;
pub use host::{DnsName, HostPort};
pub use input::{
    Authority, Bounds, Chain, ClientAddress, Discovered, Identity, MAX_HOOK_BYTES_CEILING,
    StandAlone, XdsClientTls,
};
pub use limits::{BoundArgs, LimitArgs};
