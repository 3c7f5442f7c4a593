//! The Receiver reconciler.

pub mod jwks;
