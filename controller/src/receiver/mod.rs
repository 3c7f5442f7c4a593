//! Receivers: what each means once its Secret has been read, or why it can't be served; and how that
//! is written down in the cluster.

pub mod apply;
pub mod jwks;
pub mod labels;
pub mod oidc;
pub mod plan;
pub mod reconcile;
pub mod status;
pub mod trouble;
