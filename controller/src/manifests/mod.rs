//! Objects from a folder of YAML files: for trying, testing, and any Envoy without Kubernetes.

mod read;
pub mod requester;
mod watch;

pub use self::read::{ManifestsError, objects, read};
pub use self::watch::watch;
