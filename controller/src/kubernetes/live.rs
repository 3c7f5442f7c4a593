//! A Receiver as the API server has it: what its status says, and what the reconciler needs besides.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::finalizers::Relic;

/// Namespace and name.
pub type Key = (String, String);

/// A Receiver as the API server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Namespace and name.
    pub key: Key,
    /// UID.
    pub uid: String,
    /// Which state of the object this is.
    pub resource_version: String,
    /// Counts changes of the spec.
    pub generation: i64,
    /// Whether it is being deleted.
    pub is_deleting: bool,
    /// What has to be done before it can go.
    pub finalizers: Vec<String>,
    /// The annotation `reconcile.fluxcd.io/requestedAt`.
    pub requested_at: Option<String>,
    /// The Secret that it names.
    pub secret: Option<String>,
    /// Its status.
    pub status: LiveStatus,
}

/// `status`. Its message and path are secret: `Debug` prints neither.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LiveStatus {
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// `/hook/<digest>`.
    pub webhook_path: Option<String>,
    /// The generation that was last reconciled.
    pub observed_generation: Option<i64>,
    /// The last annotation that was seen.
    pub last_handled_reconcile_at: Option<String>,
}

/// A condition.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// Which one.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The generation that it is about.
    pub observed_generation: Option<i64>,
    /// When it last changed, RFC 3339.
    pub last_transition_time: String,
    /// A word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

impl LiveStatus {
    /// A condition by its type.
    pub fn condition(&self, r#type: &str) -> Option<&Condition> {
        self.conditions
            .iter()
            .find(|condition| condition.r#type == r#type)
    }

    /// Whether `Ready` is `True`.
    pub fn is_ready(&self) -> bool {
        self.condition("Ready")
            .is_some_and(|ready| ready.status == "True")
    }
}

impl fmt::Debug for LiveStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveStatus(..)")
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({}={})", self.r#type, self.status)
    }
}

/// All Receivers at one moment, and what else is to be written.
#[derive(Clone, Debug, Default)]
pub struct Lives {
    /// Each by its name.
    pub receivers: BTreeMap<Key, Arc<Live>>,
    /// The resourceVersions of the Secrets whose changes reconcile Receivers.
    pub watched_secrets: BTreeMap<Key, String>,
    /// Alerts and Providers with a finalizer that is to be taken off.
    pub relics: Vec<Arc<Relic>>,
}
