//! Everything that is known of the cluster, and what has to be read or watched to know more.
//! Pure: steps go in; wants, a Snapshot and Lives come out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::api::ApiError;
use super::feed::{Listing, Step};
use super::finalizers::Relic;
use super::live::{Key, Live, Lives};
use super::sources;
use crate::api::alert::Alert;
use crate::api::provider::Provider;
use crate::api::receiver::Receiver;
use crate::api::reference::ResourceRef;
use crate::api::secret::Secret;
use crate::objects::{LiveObjects, ObjectRecord, Objects, Pending, Problem, Scope, Snapshot};
use crate::trigger::select::{self, Reach};

/// Watches at once. Each is a connection to the API server.
const MAX_SCOPES: usize = 500;
/// A Secret that could not be read is tried again after this long at most, in milliseconds.
const MAX_RETRY_MS: u64 = 30_000;

/// A Receiver as the watch has it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) receiver: Arc<Receiver>,
    pub(super) live: Arc<Live>,
    pub(super) problem: Option<String>,
}

/// An Alert or a Provider as the watch has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held<T> {
    pub(super) key: Key,
    /// Or why it can't be used.
    pub(super) object: Result<Arc<T>, String>,
    pub(super) relic: Option<Arc<Relic>>,
}

/// A Secret as the metadata watch has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretVersion {
    pub(super) version: String,
    /// Whether its label says that its changes reconcile Receivers.
    pub(super) is_watched: bool,
}

/// What is known of a Secret that a Receiver names; by default, that there is none.
#[derive(Debug, Default)]
struct Known {
    /// The version that was read; empty if there was none.
    asked: String,
    /// Whether the watch has shown it, so that the watch will show it go.
    is_watched: bool,
    value: Value,
    failures: u32,
    /// When it is to be read again whatever the watch says, in milliseconds.
    again_at: Option<u64>,
}

#[derive(Debug, Default)]
enum Value {
    #[default]
    Missing,
    Read(Secret),
    Failed(String),
}

/// Objects of one scope.
#[derive(Debug)]
struct Watched {
    id: u64,
    listing: Listing<Arc<ObjectRecord>>,
}

/// What has changed since the last flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dirty {
    /// What Receivers, Alerts or Providers ask for, or a Secret's value.
    pub(super) snapshot: bool,
    /// How Receivers stand, and finalizers.
    pub(super) lives: bool,
    /// What wildcards and filters look at.
    pub(super) objects: bool,
}

/// What has to be looked through again. Each costs a look at every Receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// [`World::reads`].
    pub(super) reads: bool,
    /// [`World::scope_changes`].
    pub(super) scopes: bool,
}

/// Watches to be started and stopped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ScopeChanges {
    pub(super) start: Vec<(Scope, u64)>,
    pub(super) stop: Vec<u64>,
}

/// The cluster.
#[derive(Debug, Default)]
pub(super) struct World {
    reach: Reach,
    receivers: Listing<Seen>,
    alerts: Listing<Held<Alert>>,
    providers: Listing<Held<Provider>>,
    secrets: Listing<SecretVersion>,
    known: BTreeMap<Key, Known>,
    reading: BTreeSet<Key>,
    scopes: BTreeMap<Scope, Watched>,
    refused: BTreeSet<Scope>,
    last_id: u64,
    objects: LiveObjects,
    pub(super) dirty: Dirty,
    pub(super) due: Due,
}

impl World {
    pub(super) fn new(reach: Reach) -> Self {
        Self {
            reach,
            ..Self::default()
        }
    }

    /// A step of the watch of Receivers.
    pub(super) fn receivers(&mut self, step: Step<Seen>) {
        let before = |world: &Self, key: &Key| {
            let current = world.receivers.current()?;
            current
                .get(key)
                .map(|seen| (seen.receiver.clone(), seen.problem.clone()))
        };
        let is_material = match &step {
            Step::Set(seen) => {
                before(self, &seen.live.key) != Some((seen.receiver.clone(), seen.problem.clone()))
            }
            Step::Complete | Step::Gone(_) => true,
            Step::Begin | Step::Listed(_) | Step::Trouble(_) => false,
        };
        self.dirty.snapshot |= is_material;
        self.due.reads |= is_material;
        self.due.scopes |= is_material;
        self.dirty.lives |= is_material || matches!(step, Step::Set(_));
        self.receivers
            .apply(step.map(|seen| (seen.live.key.clone(), seen)));
    }

    /// A step of the watch of Alerts.
    pub(super) fn alerts(&mut self, step: Step<Held<Alert>>) {
        let is_material = hold(&mut self.alerts, step);
        self.dirty.snapshot |= is_material;
        self.due.scopes |= is_material;
    }

    /// A step of the watch of Providers.
    pub(super) fn providers(&mut self, step: Step<Held<Provider>>) {
        self.dirty.snapshot |= hold(&mut self.providers, step);
    }

    /// A step of the metadata watch of Secrets.
    pub(super) fn secrets(&mut self, step: Step<(Key, SecretVersion)>) {
        match &step {
            Step::Complete => {
                self.due.reads = true;
                self.dirty.lives = true;
                // What a complete list does not show is gone.
                for known in self.known.values_mut() {
                    known.is_watched = true;
                }
            }
            Step::Set((key, _)) | Step::Gone((key, _)) => {
                let is_named = self.known.contains_key(key);
                self.due.reads |= is_named;
                self.dirty.lives |= is_named;
            }
            Step::Begin | Step::Listed(_) | Step::Trouble(_) => {}
        }
        self.secrets.apply(step);
    }

    /// A step of the watch of a scope. One from a watch that was stopped counts no more.
    pub(super) fn objects(&mut self, scope: &Scope, id: u64, step: Step<(Key, Arc<ObjectRecord>)>) {
        if let Some(watched) = self
            .scopes
            .get_mut(scope)
            .filter(|watched| watched.id == id)
        {
            self.dirty.objects |= !matches!(step, Step::Begin | Step::Listed(_));
            watched.listing.apply(step);
        }
    }

    /// The Secrets to be read now, each with what [`Self::secret_read`] wants back.
    pub(super) fn reads(&mut self, now_ms: u64) -> Vec<(Key, String)> {
        self.due.reads = false;
        let (Some(receivers), Some(secrets)) = (self.receivers.current(), self.secrets.current())
        else {
            return Vec::new();
        };
        let named: BTreeSet<Key> = receivers.values().filter_map(named_secret).collect();
        self.known.retain(|key, _| named.contains(key));
        let mut wanted = Vec::new();
        for key in named.difference(&self.reading) {
            let version = secrets.get(key).map(|meta| meta.version.clone());
            let version = version.unwrap_or_default();
            let is_due = |known: &Known| known.again_at.is_some_and(|at| at <= now_ms);
            match self.known.get_mut(key) {
                Some(known) if version.is_empty() && known.is_watched => {
                    // The watch has seen it go.
                    self.dirty.snapshot = true;
                    *known = Known::default();
                }
                Some(known) if version.is_empty() && !is_due(known) => {}
                Some(known) if known.asked == version && !is_due(known) => {
                    known.is_watched = !version.is_empty();
                }
                Some(_) | None => wanted.push((key.clone(), version)),
            }
        }
        self.reading
            .extend(wanted.iter().map(|(key, _)| key.clone()));
        wanted
    }

    /// A Secret was read, in the version `asked`, or could not be. What was known stays where the API server is away; where
    /// we may not read it any more, it is not to be believed any more.
    pub(super) fn secret_read(
        &mut self,
        key: &Key,
        asked: String,
        read: Result<Secret, ApiError>,
        now_ms: u64,
    ) {
        self.reading.remove(key);
        self.due.reads = true;
        self.dirty.snapshot = true;
        let before = self.known.remove(key);
        let failures = before.as_ref().map_or(0, |known| known.failures);
        let again_at = |failures: u32| {
            let wait = 1_000_u64 << failures.min(5);
            Some(now_ms.saturating_add(wait.min(MAX_RETRY_MS)))
        };
        let (value, is_failed) = match (read, before.map(|known| known.value)) {
            (Ok(secret), _) => (Value::Read(secret), false),
            (Err(ApiError::NotFound(_)), _) => (Value::Missing, false),
            (Err(ApiError::Unavailable(_) | ApiError::Timeout), Some(Value::Read(secret))) => {
                (Value::Read(secret), true)
            }
            (Err(error), _) => (Value::Failed(error.to_string()), true),
        };
        let shown = self.secrets.current().and_then(|secrets| secrets.get(key));
        let known = Known {
            is_watched: shown.is_some(),
            asked,
            value,
            failures: if is_failed { failures + 1 } else { 0 },
            again_at: is_failed.then(|| again_at(failures)).flatten(),
        };
        self.known.insert(key.clone(), known);
    }

    /// Which watches wildcards and filters need now, as changes.
    pub(super) fn scope_changes(&mut self) -> ScopeChanges {
        self.due.scopes = false;
        let Some(receivers) = self.receivers.current() else {
            return ScopeChanges::default();
        };
        let alerts = self.alerts.current().into_iter().flatten();
        let mut wanted: BTreeSet<Scope> = BTreeSet::new();
        for alert in alerts.filter_map(|(_, held)| held.object.as_ref().ok()) {
            wanted.extend(sources::scopes(alert, &self.reach));
        }
        for seen in receivers.values() {
            wanted.extend(scopes(&seen.receiver, &self.reach));
        }
        let mut changes = ScopeChanges::default();
        self.scopes.retain(|scope, watched| {
            let stays = wanted.contains(scope);
            if !stays {
                changes.stop.push(watched.id);
            }
            stays
        });
        self.refused.clear();
        for scope in wanted {
            if self.scopes.contains_key(&scope) {
                continue;
            }
            if self.scopes.len() >= MAX_SCOPES {
                self.refused.insert(scope);
                continue;
            }
            self.last_id += 1;
            let (id, listing) = (self.last_id, Listing::default());
            self.scopes.insert(scope.clone(), Watched { id, listing });
            changes.start.push((scope, id));
        }
        self.dirty.objects |= changes != ScopeChanges::default();
        changes
    }

    /// Whether anything waits to be told.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty != Dirty::default()
    }

    /// Whether there is a complete picture for hooks to be told. Alerts and Providers are no part of it: a cluster may be
    /// without them, or may not let us list them.
    pub(super) fn is_complete(&self) -> bool {
        let Some(receivers) = self.receivers.current() else {
            return false;
        };
        let mut named = receivers.values().filter_map(named_secret);
        self.secrets.current().is_some() && named.all(|key| self.known.contains_key(&key))
    }

    /// Brings the objects up to date.
    pub(super) fn store_objects(&self) {
        let mut objects = Objects::default();
        for (scope, watched) in &self.scopes {
            match watched.listing.current() {
                Some(records) => {
                    let records = records.iter();
                    objects
                        .records
                        .extend(records.map(|((namespace, name), record)| {
                            let namespace = namespace.clone();
                            let resource = ResourceRef {
                                namespace,
                                ..scope.resource(name)
                            };
                            (resource, record.clone())
                        }));
                }
                None => {
                    let pending = pending(watched.listing.trouble());
                    objects.pending.insert(scope.clone(), pending);
                }
            }
        }
        for scope in &self.refused {
            let pending = Pending {
                message: format!("more than {MAX_SCOPES} lists would have to be watched"),
                is_temporary: false,
            };
            objects.pending.insert(scope.clone(), pending);
        }
        self.objects.store(objects);
    }

    /// The Receivers whose Secrets have been looked at, and those Secrets; all Alerts and Providers.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            objects: self.objects.clone(),
            has_alerts: self.alerts.current().is_some() && self.providers.current().is_some(),
            ..Snapshot::default()
        };
        for seen in self.served() {
            if let Some(message) = &seen.problem {
                let (namespace, name) = &seen.live.key;
                snapshot.problems.push(Problem {
                    file: format!("Receiver {namespace}/{name}"),
                    document: 0,
                    message: message.clone(),
                });
            }
            snapshot.receivers.push(seen.receiver.clone());
        }
        snapshot.alerts = held("Alert", &self.alerts, &mut snapshot.problems);
        snapshot.providers = held("Provider", &self.providers, &mut snapshot.problems);
        for (key, known) in &self.known {
            match &known.value {
                Value::Missing => {}
                Value::Read(secret) => {
                    snapshot.secrets.insert(key.clone(), secret.clone());
                }
                Value::Failed(message) => {
                    snapshot.secret_errors.insert(key.clone(), message.clone());
                }
            }
        }
        snapshot
    }

    /// How the same Receivers stand.
    pub(super) fn lives(&self) -> Lives {
        let receivers = self
            .served()
            .map(|seen| (seen.live.key.clone(), seen.live.clone()))
            .collect();
        let secrets = self.secrets.current().into_iter().flatten();
        let watched_secrets = secrets
            .filter(|(key, meta)| meta.is_watched && self.known.contains_key(*key))
            .map(|(key, meta)| (key.clone(), meta.version.clone()))
            .collect();
        let alerts = relics(&self.alerts);
        Lives {
            receivers,
            watched_secrets,
            relics: alerts.chain(relics(&self.providers)).collect(),
        }
    }

    /// A Receiver whose Secret has not been looked at yet is as one that has not come yet: whether
    /// it is ready can't be told.
    fn served(&self) -> impl Iterator<Item = &Seen> {
        let receivers = self.receivers.current().into_iter().flatten();
        receivers
            .map(|(_, seen)| seen)
            .filter(|seen| named_secret(seen).is_none_or(|key| self.known.contains_key(&key)))
    }
}

/// Takes a step, and says whether it tells anything.
fn hold<T: PartialEq>(listing: &mut Listing<Held<T>>, step: Step<Held<T>>) -> bool {
    let is_material = match &step {
        Step::Set(held) => {
            let current = listing.current();
            current.and_then(|current| current.get(&held.key)) != Some(held)
        }
        Step::Complete | Step::Gone(_) => true,
        Step::Begin | Step::Listed(_) | Step::Trouble(_) => false,
    };
    listing.apply(step.map(|held| (held.key.clone(), held)));
    is_material
}

/// The objects of a list; of those that can't be used, why.
fn held<T>(kind: &str, listing: &Listing<Held<T>>, problems: &mut Vec<Problem>) -> Vec<Arc<T>> {
    let mut objects = Vec::new();
    for ((namespace, name), held) in listing.current().into_iter().flatten() {
        match &held.object {
            Ok(object) => objects.push(object.clone()),
            Err(message) => problems.push(Problem {
                file: format!("{kind} {namespace}/{name}"),
                document: 0,
                message: message.clone(),
            }),
        }
    }
    objects
}

fn relics<T>(listing: &Listing<Held<T>>) -> impl Iterator<Item = Arc<Relic>> {
    let held = listing.current().into_iter().flatten();
    held.filter_map(|(_, held)| held.relic.clone())
}

fn named_secret(seen: &Seen) -> Option<Key> {
    let name = seen.live.secret.clone()?;
    Some((seen.live.key.0.clone(), name))
}

/// The lists that a Receiver's wildcards and filters look at.
fn scopes(receiver: &Receiver, reach: &Reach) -> Vec<Scope> {
    // What is not valid is never selected from, and may not get into a URL.
    if receiver.validate(true).is_err() {
        return Vec::new();
    }
    let namespace = &receiver.metadata.namespace;
    let is_set = |filter: &Option<String>| filter.as_ref().is_some_and(|text| !text.is_empty());
    let has_filter = is_set(&receiver.spec.resource_filter);
    let entries = receiver.spec.resources.iter();
    entries
        .filter(|entry| entry.name == "*" || has_filter || is_set(&entry.filter))
        .filter(|entry| select::static_error(entry, namespace, reach).is_none())
        .map(|entry| select::scope(entry, namespace))
        .collect()
}

fn pending(trouble: Option<&ApiError>) -> Pending {
    let (message, is_temporary) = match trouble {
        None => ("the list is being read".to_owned(), true),
        Some(error @ (ApiError::Unavailable(_) | ApiError::Timeout | ApiError::Conflict(_))) => {
            (error.to_string(), true)
        }
        Some(
            error @ (ApiError::NotFound(_)
            | ApiError::NotServed(_)
            | ApiError::Forbidden(_)
            | ApiError::Refused(_)),
        ) => (error.to_string(), false),
    };
    Pending {
        message,
        is_temporary,
    }
}

#[cfg(test)]
mod tests;
