//! Hookgate's controller.
//!
//! ```text
//!  manifests, or kubernetes ──────────────► receiver::reconcile (the leader): statuses, Events
//!     │ objects::Snapshot
//!     ▼
//!  publish ◄── receiver::plan ◄── annotations, cel, receiver::jwks       pure, but for the fetching of keys
//!     │ Compiled: Gate, Plans, table
//!     ├──► xds ──► Envoy                         the table and the filter's code; reports come back
//!     ▼
//!  authz ──► Envoy, where it does not run the filter
//!
//!  trigger::server ──► trigger::deliver ──► trigger::select (pure) ──► trigger::annotate ──► a Requester
//!
//!  notify::server ──► notify::select (pure) ──► notify::spool ──► notify::dispatch ──► notify::transport
//!                                                                      │ api::event, Target
//!                                                                      └──► provider (pure) ──► Exchange
//! ```
//!
//! What talks to the cluster stands behind small interfaces: a [`objects::Snapshot`] comes in, a
//! [`trigger::annotate::Requester`] goes out; Secrets come by a [`notify::target::SecretReader`],
//! and what an Alert's owner has to know goes to a [`notify::warn::Warn`].

pub mod activity;
pub mod address;
pub mod annotations;
pub mod api;
pub mod args;
pub mod authz;
pub mod cel;
pub mod clock;
pub mod commands;
pub mod control;
pub mod edge;
pub mod flux_recv;
pub mod health;
mod inbound;
pub mod kubernetes;
pub mod manifests;
pub mod mask;
pub mod metrics;
pub mod migrate;
pub mod notify;
pub mod objects;
mod outbound;
pub mod provider;
pub mod publish;
pub mod receiver;
pub mod signature;
pub mod telemetry;
pub mod trigger;
pub mod xds;

mod run;

pub use self::run::{RunError, run};
