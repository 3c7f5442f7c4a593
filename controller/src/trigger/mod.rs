//! A verified hook → the resources that it names → reconcile requests.
//!
//! ```text
//!  server.rs ──► hook::gate ──► deliver.rs ──► select.rs (pure) ──► annotate.rs ──► Requester
//! ```

pub mod annotate;
pub mod bodies;
pub mod deliver;
pub mod select;
pub mod server;
#[cfg(test)]
mod tests;
