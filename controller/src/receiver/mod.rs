//! Receivers: what each means once its Secret has been read, or why it can't be served.

pub mod jwks;
pub mod oidc;
pub mod plan;
