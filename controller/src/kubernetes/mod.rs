//! Kubernetes: where Receivers, Alerts, Providers and Secrets come from, and where reconcile requests,
//! statuses and Events go.
//!
//! ```text
//!  API server ── watches ──► watch ──► world (pure) ──► Snapshot ──► publish
//!      ▲                                 │ Lives
//!      ├── PATCH requestedAt ◄── requester          ▼
//!      ├── status, Events ◄───── receiver::reconcile (the leader only)
//!      ├── finalizers ◄───────── finalizers (the leader only)
//!      ├── Secrets, Events ◄───► alerting ◄── notify (whoever sends)
//!      └── Lease ◄────────────── elect ◄── lease (pure)
//! ```
//!
//! # Guarantees
//! - Nothing is published before the lists of Receivers and Secrets are complete and every Secret that a
//!   Receiver names has been read, or has been found missing. Events wait for those of Alerts and Providers, too.
//! - What was known stays in use while the API server is away.
//! - No hook causes a read.

mod alerting;
mod api;
mod client;
mod convert;
mod elect;
mod events;
mod feed;
mod finalizers;
mod kinds;
mod lease;
mod live;
mod requester;
#[cfg(test)]
pub(crate) mod script;
mod sources;
mod watch;
mod world;

pub use self::alerting::{KubernetesSecrets, KubernetesWarnings};
pub use self::api::{Api, ApiError, path as object_path};
pub use self::client::{ConnectError, connect};
pub use self::convert::live_of;
pub use self::elect::{Election, elect};
pub use self::events::{Involved, Recorder};
pub use self::finalizers::{Relic, finalize};
pub use self::lease::Terms;
pub use self::live::{Condition, Key, Live, LiveStatus, Lives};
pub use self::requester::KubernetesRequester;
pub use self::watch::{WatchSettings, Watched, snapshot, watch};
