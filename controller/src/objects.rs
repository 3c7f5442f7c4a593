//! A complete list of the objects that Hookgate reads, wherever they come from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;

use crate::api::meta::ObjectMeta;
use crate::api::receiver::Receiver;
use crate::api::reference::ResourceRef;
use crate::api::secret::Secret;

/// All Receivers and their Secrets at one moment, and a view of what they name.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The Receivers.
    pub receivers: Vec<Arc<Receiver>>,
    /// The Secrets, by namespace and name.
    pub secrets: BTreeMap<(String, String), Secret>,
    /// Why a Secret could not be read, where it is more than that there is none.
    pub secret_errors: BTreeMap<(String, String), String>,
    /// Every other object that is known, as far as its metadata.
    pub objects: LiveObjects,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// The objects as they are now: they change too often to make a Snapshot of each change.
#[derive(Clone, Debug, Default)]
pub struct LiveObjects(Arc<ArcSwap<Objects>>);

impl LiveObjects {
    /// The objects at this moment.
    pub fn load(&self) -> Arc<Objects> {
        self.0.load_full()
    }

    /// Replaces them all.
    pub fn store(&self, objects: Objects) {
        self.0.store(Arc::new(objects));
    }
}

/// Objects at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    /// What is known of each.
    pub records: BTreeMap<ResourceRef, Arc<ObjectRecord>>,
    /// Where the list is not complete, and why: nothing can be selected there.
    pub pending: BTreeMap<Scope, Pending>,
}

/// The objects of one kind in one namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// `group/version`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
}

impl Scope {
    /// The object of this name in it.
    pub fn resource(&self, name: &str) -> ResourceRef {
        ResourceRef {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.namespace)
    }
}

/// Why a list is not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// What stands in the way.
    pub message: String,
    /// Whether it is likely to go away by itself.
    pub is_temporary: bool,
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
