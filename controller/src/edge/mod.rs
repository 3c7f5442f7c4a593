//! The edge: Envoy's configuration, rendered from a few checked inputs.
//!
//! [`chain`] renders what every way of running the filter shares (the HTTP connection manager with its
//! filter chain, and the clusters); [`bootstrap()`] puts it behind a TLS listener of a stand-alone
//! Envoy. The text carries comments, so that an operator can read what a line is for. Equal inputs
//! give equal text.

mod bootstrap;
mod chain;
mod input;
mod yaml;

pub use bootstrap::{BootstrapArgs, bootstrap, run};

pub use input::{
    ClientAddress, DnsName, Edge, EdgeError, HostPort, MAX_HOOK_BYTES_CEILING, XdsClientTls,
};
