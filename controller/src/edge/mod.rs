//! The edge: Envoy's configuration, rendered from a few checked inputs.
//!
//! [`chain`] renders what every way of running the filter shares (the HTTP connection manager with its
//! filter chain, and the clusters); [`bootstrap()`] puts it behind a TLS listener of a stand-alone
//! Envoy, [`overlay()`] into Contour's own Envoy, [`gate()`]
//! into one behind it. The text carries comments, so that an operator can read what a line is for. Equal inputs
//! give equal text.

mod bootstrap;
mod chain;
mod check;
mod contour;
mod error;
mod gate;
mod host;
mod input;
mod limits;
mod objects;
mod output;
mod overlay;
mod tls;
mod validate;
mod yaml;

pub use bootstrap::{BootstrapArgs, bootstrap, run};

pub use check::{Objects, Point, Way, Wiring, cluster_points, envoy_points};
pub use contour::{DEFAULT_SETTINGS, cluster_name, stat_name};
pub use error::EdgeError;
pub use gate::{GATE, GATE_PORT, Gate, GateArgs, gate};
pub use host::{DnsName, HostPort};
pub use input::{
    Authority, Bounds, Chain, ClientAddress, Discovered, Identity, MAX_HOOK_BYTES_CEILING,
    SharedLimit, StandAlone, XdsClientTls,
};
pub use limits::{BoundArgs, LimitArgs, LimitDomain};
pub use objects::{CONTROLLER_APP, CONTROLLER_SERVICE, HOOKS_PORT, XDS_PORT, XDS_SERVICE};
pub use output::{Files, Format, OutputArgs};
pub use overlay::{Overlay, OverlayArgs, Workload, overlay};
pub use validate::EnvoyArgs;
