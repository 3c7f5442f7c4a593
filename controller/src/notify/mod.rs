//! An event → its Alerts → their Providers, at least once.
//!
//! ```text
//!  server ──► select (pure) ──► spool ──────► dispatch ──► target, provider (pure) ──► a Transport
//!     limit (pure)              queue, delivery (pure)
//! ```
//!
//! An event is answered with 202 when it is in the spool, and leaves the spool when its provider has
//! taken it. Secrets are read when they are needed, and never kept.

pub mod ask;
pub mod commit_status;
mod converse;
pub mod current;
pub mod delivery;
pub mod digest;
pub mod dispatch;
pub mod go_regex;
pub mod identity;
pub mod limit;
pub mod metadata;
pub mod preview;
pub mod queue;
pub mod select;
pub mod server;
pub mod service;
pub mod spool;
pub mod target;
pub mod template;
pub mod transport;
pub mod warn;
