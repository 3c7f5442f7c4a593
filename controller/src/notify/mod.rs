//! An event → its Alerts → their Providers, at least once.
//!
//! ```text
//!  server.rs ──► select.rs (pure) ──► spool ──► dispatch.rs ──► target.rs, provider (pure) ──► a Transport
//!      limit.rs (pure)                  queue.rs (pure)   delivery.rs (pure)
//! ```

pub mod delivery;
pub mod go_regex;
pub mod limit;
pub mod metadata;
pub mod queue;
pub mod spool;
