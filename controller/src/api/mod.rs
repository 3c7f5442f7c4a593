//! The Kubernetes objects that we read, as far as we read them.

pub mod alert;
pub mod condition;
pub mod crds;
pub mod duration;
pub mod event;
pub mod meta;
pub mod provider;
pub mod receiver;
pub mod reference;
pub mod secret;
