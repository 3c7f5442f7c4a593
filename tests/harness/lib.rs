//! The harness of the end-to-end tests: Hookgate as a user runs it.
//!
//! One idea: **a process is a value**. It owns its child, its log and its folder; dropping it stops the
//! child and waits for it. [`World`] holds everything in start order and drops it in reverse, [`Cluster`] a real API server:
//!
//! ```text
//!  Forge ── hook ──► Client ── TLS ──► Envoy ── filter ──► Controller ──► GET /debug/requests
//!  signs as senders do               (real)   (ECDS)      (real binary)   what was asked of Flux
//! ```
//!
//! **Invariant:** nothing here uses the crates it checks. Paths, signatures and tokens are computed by code of
//! its own, from the published schemes; the product is reached through its binaries, files and ports only.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a harness fails the test by panicking, tells progress on stderr, and owns clocks and deadlines"
)]

pub mod alertmanager;
pub mod api;
pub mod apiserver;
pub mod binaries;
pub mod client;
pub mod cluster;
pub mod contour;
pub mod controller;
pub mod debian;
pub mod definitions;
pub mod envoy;
pub mod etcd;
pub mod events;
pub mod flux;
pub mod forge;
mod go;
pub mod hookgate;
pub mod issuer;
pub mod kustomize;
pub mod mail;
pub mod manifests;
pub mod matrix;
pub mod module;
pub mod nats;
pub mod network;
pub mod otel;
pub mod pod;
pub mod ports;
pub mod process;
pub mod python;
pub mod rabbitmq;
pub mod ratelimit;
pub mod readme;
pub mod redis;
pub mod servers;
pub mod shell;
pub mod sink;
pub mod tls;
pub mod trials;
pub mod tunnel;
pub mod wait;
pub mod world;

pub use api::Api;
pub use client::{Client, Request, Response};
pub use cluster::Cluster;
pub use contour::Contour;
pub use forge::{Forge, Hook};
pub use manifests::Receiver;
pub use network::Network;
pub use pod::Pod;
pub use shell::Shell;
pub use sink::Sink;
pub use tunnel::Tunnel;
pub use world::World;
