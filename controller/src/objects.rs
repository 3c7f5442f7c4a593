//! A complete list of the objects that Hookgate reads, wherever they come from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::api::alert::Alert;
use crate::api::meta::ObjectMeta;
use crate::api::provider::Provider;
use crate::api::receiver::Receiver;
use crate::api::reference::ResourceRef;
use crate::api::secret::Secret;

/// All objects at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The Receivers.
    pub receivers: Vec<Receiver>,
    /// The Alerts.
    pub alerts: Vec<Arc<Alert>>,
    /// The Providers.
    pub providers: Vec<Arc<Provider>>,
    /// The Secrets, by namespace and name.
    pub secrets: BTreeMap<(String, String), Secret>,
    /// Every other object, as far as its metadata.
    pub objects: BTreeMap<ResourceRef, ObjectRecord>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// The metadata of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectRecord {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What filters see as `res`: apiVersion, kind, metadata.
    pub json: Value,
}

/// Something in the manifests that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, relative to the folder.
    pub file: String,
    /// Which document of the file, from 1; 0 for the file.
    pub document: usize,
    /// What is wrong, and where.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.document {
            0 => write!(f, "{}: {}", self.file, self.message),
            n => write!(f, "{}, document {n}: {}", self.file, self.message),
        }
    }
}
