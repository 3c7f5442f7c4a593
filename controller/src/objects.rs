//! A complete list of the objects that Hookgate reads, wherever they come from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;

use crate::api::alert::Alert;
use crate::api::meta::ObjectMeta;
use crate::api::provider::Provider;
use crate::api::receiver::Receiver;
use crate::api::reference::{ResourceRef, group};
use crate::api::secret::Secret;

/// All Receivers and their Secrets at one moment, and a view of what they name.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The Receivers.
    pub receivers: Vec<Arc<Receiver>>,
    /// Whether the lists of Alerts and Providers are complete. Hooks do not wait for them, events do.
    pub has_alerts: bool,
    /// The Alerts.
    pub alerts: Vec<Arc<Alert>>,
    /// The Providers.
    pub providers: Vec<Arc<Provider>>,
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

/// The objects of one kind in one namespace, or in all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// `group/version`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for all of them.
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

impl Objects {
    /// The object that a reference means: in the version that it names, else in another of its group,
    /// since an API server shows an object in every version that it serves.
    pub fn object(&self, reference: &ResourceRef) -> Option<&Arc<ObjectRecord>> {
        self.records.get(reference).or_else(|| {
            self.versions(reference.group()).find_map(|api_version| {
                self.records.get(&ResourceRef {
                    api_version: api_version.to_owned(),
                    ..reference.clone()
                })
            })
        })
    }

    /// Whether the list in which an object would stand is still being read.
    pub fn is_awaited(&self, reference: &ResourceRef) -> bool {
        self.pending.iter().any(|(scope, pending)| {
            pending.is_temporary
                && scope.kind == reference.kind
                && group(&scope.api_version) == reference.group()
                && (scope.namespace.is_empty() || scope.namespace == reference.namespace)
        })
    }

    /// The versions of a group that objects have, as `group/version`. The core group has one.
    fn versions<'s>(&'s self, group: &'s str) -> impl Iterator<Item = &'s str> + 's {
        let mut from = ResourceRef {
            api_version: format!("{group}/"),
            kind: String::new(),
            namespace: String::new(),
            name: String::new(),
        };
        std::iter::from_fn(move || {
            let (found, _) = self.records.range(&from..).next()?;
            // Right behind every object of this version.
            from.api_version = format!("{}\0", found.api_version);
            (found.group() == group && !group.is_empty()).then_some(found.api_version.as_str())
        })
    }
}

/// The metadata of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectRecord {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What filters see as `res`: apiVersion, kind, metadata.
    pub json: Value,
}

impl ObjectRecord {
    /// The object as it is seen in this version.
    pub fn in_version(&self, api_version: &str) -> Self {
        let mut seen = self.clone();
        if let Some(version) = seen.json.get_mut("apiVersion") {
            *version = api_version.into();
        }
        seen
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(api_version: &str, kind: &str, name: &str) -> ResourceRef {
        ResourceRef {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: "ns".to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn an_object_is_found_in_every_version_of_its_group_and_in_no_other_group() {
        let objects = [
            reference("a.example/v1", "Bucket", "x"),
            reference("a.example/v1beta1", "Bucket", "y"),
            reference("a.example/v2", "Bucket", "z"),
            reference("a.exampler/v1", "Bucket", "w"),
            reference("v1", "Bucket", "core"),
        ];
        let record = || ObjectRecord {
            metadata: ObjectMeta::default(),
            json: Value::Null,
        };
        let records = objects.iter().cloned();
        let objects = Objects {
            records: records.map(|o| (o, Arc::new(record()))).collect(),
            ..Objects::default()
        };
        for (api_version, kind, name, want) in [
            ("a.example/v1", "Bucket", "x", true),
            ("a.example/v1", "Bucket", "y", true),
            ("a.example/v3", "Bucket", "z", true),
            ("a.example/v1", "GitRepository", "x", false),
            ("a.example/v1", "Bucket", "w", false),
            ("a.example/v1", "Bucket", "core", false),
            ("v1", "Bucket", "core", true),
            ("v2", "Bucket", "core", false),
            ("b.example/v1", "Bucket", "x", false),
            ("/v1", "Bucket", "x", false),
            ("", "Bucket", "x", false),
        ] {
            let found = objects.object(&reference(api_version, kind, name));
            assert_eq!(found.is_some(), want, "{api_version} {kind} {name}");
        }
    }
}
