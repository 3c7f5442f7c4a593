//! Keeps a [`World`] current: runs its watches and reads, and tells what it comes to.
//!
//! Changes come in bursts, so they are told when it has been quiet for a moment, and at the latest
//! after a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::api::{Api, ApiError, path};
use super::convert;
use super::feed::{Step, follow};
use super::finalizers::Relic;
use super::kinds::Kinds;
use super::live::{Key, Lives};
use super::world::{Dirty, Held, SecretVersion, Seen, World};
use crate::api::alert::Alert;
use crate::api::provider::Provider;
use crate::api::secret::Secret;
use crate::clock;
use crate::objects::{ObjectRecord, Scope, Snapshot};
use crate::receiver::labels::Selector;
use crate::trigger::select::Reach;

/// How long it must be quiet.
const QUIET: Duration = Duration::from_millis(50);
/// How long a change waits at most.
const LATEST: Duration = Duration::from_secs(1);
/// Secrets that are read at once.
const READS: usize = 16;
/// Steps that wait to be taken.
const BACKLOG: usize = 1_024;
/// How often what failed is looked at again.
const TICK: Duration = Duration::from_secs(1);

/// What is watched.
#[derive(Clone, Debug)]
pub struct WatchSettings {
    /// Where resources may be; `only_namespace` bounds every watch.
    pub reach: Reach,
    /// The Secrets whose changes reconcile Receivers.
    pub configs: Selector,
}

/// What comes of it.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What Receivers ask for, from the first complete list on.
    pub snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// How they stand.
    pub lives: watch::Receiver<Arc<Lives>>,
}

/// Watches until `stop` turns true.
pub fn watch(api: Api, settings: WatchSettings, stop: watch::Receiver<bool>) -> Watched {
    let (snapshots, watched_snapshots) = watch::channel(None);
    let (lives, watched_lives) = watch::channel(Arc::default());
    let (messages, inbox) = mpsc::channel(BACKLOG);
    let watcher = Watcher {
        world: World::new(settings.reach.clone()),
        kinds: Kinds::new(api.clone()),
        api,
        settings,
        reads: Arc::new(Semaphore::new(READS)),
        messages,
        scopes: HashMap::new(),
        snapshots,
        lives,
    };
    tokio::spawn(watcher.run(inbox, stop));
    Watched {
        snapshots: watched_snapshots,
        lives: watched_lives,
    }
}

/// Reads everything once, waiting for lists that are still being read for `patience` at most; `None`
/// if there is no complete picture by then. `with_alerts` says whether Alerts and Providers belong to it.
pub async fn snapshot(
    api: Api,
    settings: WatchSettings,
    with_alerts: bool,
    patience: Duration,
) -> Option<Arc<Snapshot>> {
    let (stop, stopped) = watch::channel(false);
    let mut watched = watch(api, settings, stopped);
    let deadline = Instant::now() + patience;
    let first = watched.snapshots.wait_for(|snapshot| {
        let snapshot = snapshot.as_ref();
        snapshot.is_some_and(|snapshot| snapshot.has_alerts || !with_alerts)
    });
    let snapshot = timeout_at(deadline, first).await.ok()?.ok()?.clone()?;
    let is_listing = || {
        let objects = snapshot.objects.load();
        objects.pending.values().any(|pending| pending.is_temporary)
    };
    while is_listing() && Instant::now() < deadline {
        sleep(QUIET).await;
    }
    let _ = stop.send(true);
    Some(snapshot)
}

/// What happens to the World.
enum Message {
    Receivers(Step<Seen>),
    Alerts(Step<Held<Alert>>),
    Providers(Step<Held<Provider>>),
    Secrets(Step<(Key, SecretVersion)>),
    Objects(Scope, u64, Step<(Key, Arc<ObjectRecord>)>),
    Read(Key, String, Result<Secret, ApiError>),
}

struct Watcher {
    world: World,
    kinds: Kinds,
    api: Api,
    settings: WatchSettings,
    reads: Arc<Semaphore>,
    messages: mpsc::Sender<Message>,
    scopes: HashMap<u64, AbortHandle>,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    lives: watch::Sender<Arc<Lives>>,
}

impl Watcher {
    async fn run(mut self, mut inbox: mpsc::Receiver<Message>, mut stop: watch::Receiver<bool>) {
        let receivers = tokio::spawn(self.receivers()).abort_handle();
        let alerts = tokio::spawn(self.alerts()).abort_handle();
        let providers = tokio::spawn(self.providers()).abort_handle();
        let secrets = tokio::spawn(self.secrets()).abort_handle();
        let mut flush = Flush::default();
        loop {
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.take(message),
                    None => break,
                },
                // Reads that failed are tried again.
                () = sleep_until(flush.at()) => self.world.due.reads = true,
                _ = stop.wait_for(|stop| *stop) => break,
            }
            while let Ok(message) = inbox.try_recv() {
                self.take(message);
            }
            self.follow_world();
            if flush.is_due(self.world.is_dirty(), Instant::now()) {
                self.tell();
            }
        }
        let tasks = [&receivers, &alerts, &providers, &secrets];
        for task in self.scopes.values().chain(tasks) {
            task.abort();
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Receivers(step) => self.world.receivers(step),
            Message::Alerts(step) => self.world.alerts(step),
            Message::Providers(step) => self.world.providers(step),
            Message::Secrets(step) => self.world.secrets(step),
            Message::Objects(scope, id, step) => self.world.objects(&scope, id, step),
            Message::Read(key, asked, read) => {
                if let Err(error) = &read
                    && !matches!(error, ApiError::NotFound(_))
                {
                    let (namespace, name) = &key;
                    tracing::error!(namespace, name, %error, "failed to read a Secret");
                }
                self.world.secret_read(&key, asked, read, clock::now_ms());
            }
        }
    }

    /// Starts the reads and watches that the World wants now, and stops those that it does not want
    /// any more. While it looks through all Receivers, changes add up, so that many cost one look.
    fn follow_world(&mut self) {
        let due = self.world.due;
        let reads = if due.reads {
            self.world.reads(clock::now_ms())
        } else {
            Vec::new()
        };
        for (key, asked) in reads {
            tokio::spawn(read(
                self.api.clone(),
                self.reads.clone(),
                key,
                asked,
                self.messages.clone(),
            ));
        }
        if !due.scopes {
            return;
        }
        let changes = self.world.scope_changes();
        for id in changes.stop {
            if let Some(task) = self.scopes.remove(&id) {
                task.abort();
            }
        }
        for (scope, id) in changes.start {
            let task = tokio::spawn(objects(
                self.api.clone(),
                self.kinds.clone(),
                scope,
                id,
                self.messages.clone(),
            ));
            self.scopes.insert(id, task.abort_handle());
        }
    }

    /// Objects first: a Receiver must not be served before its lists are known to be pending.
    fn tell(&mut self) {
        let dirty = std::mem::take(&mut self.world.dirty);
        if dirty.objects || dirty.snapshot {
            self.world.store_objects();
        }
        if !self.world.is_complete() && self.snapshots.borrow().is_none() {
            self.world.dirty = Dirty {
                objects: false,
                ..dirty
            };
            return;
        }
        if dirty.snapshot {
            let snapshot = Arc::new(self.world.snapshot());
            for problem in &snapshot.problems {
                tracing::error!(%problem, "an object can't be used");
            }
            self.snapshots.send_replace(Some(snapshot));
        }
        if dirty.lives || dirty.snapshot {
            self.lives.send_replace(Arc::new(self.world.lives()));
        }
    }

    fn receivers(&self) -> impl Future<Output = ()> + Send + use<> {
        let api = self.notification("v1", "Receiver", "receivers");
        let messages = self.messages.clone();
        let mut complaint = Complaint::new("Receivers");
        follow(api, move |step| {
            complaint.hear(&step);
            let step = step.map(|object: DynamicObject| {
                let metadata = serde_json::to_value(&object.metadata).unwrap_or_default();
                let (receiver, live, problem) = convert::receiver(&metadata, object.data);
                Seen {
                    receiver: Arc::new(receiver),
                    live: Arc::new(live),
                    problem,
                }
            });
            send(messages.clone(), Message::Receivers(step))
        })
    }

    fn alerts(&self) -> impl Future<Output = ()> + Send + use<> {
        let api = self.notification("v1beta3", "Alert", "alerts");
        let messages = self.messages.clone();
        let mut complaint = Complaint::new("Alerts");
        follow(api, move |step| {
            complaint.hear(&step);
            let step = step.map(|object: DynamicObject| {
                let metadata = serde_json::to_value(&object.metadata).unwrap_or_default();
                let object = convert::alert(&metadata, object.data);
                let is_suspended = object.as_ref().is_ok_and(|alert| alert.spec.suspend);
                let relic = Relic::of_alert(&metadata, is_suspended);
                held(&metadata, object, relic)
            });
            send(messages.clone(), Message::Alerts(step))
        })
    }

    fn providers(&self) -> impl Future<Output = ()> + Send + use<> {
        let api = self.notification("v1beta3", "Provider", "providers");
        let messages = self.messages.clone();
        let mut complaint = Complaint::new("Providers");
        follow(api, move |step| {
            complaint.hear(&step);
            let step = step.map(|object: DynamicObject| {
                let metadata = serde_json::to_value(&object.metadata).unwrap_or_default();
                let object = convert::provider(&metadata, object.data);
                held(&metadata, object, Relic::of_provider(&metadata))
            });
            send(messages.clone(), Message::Providers(step))
        })
    }

    fn notification(&self, version: &str, kind: &str, plural: &str) -> kube::Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("notification.toolkit.fluxcd.io", version, kind);
        self.scoped(&ApiResource::from_gvk_with_plural(&kind, plural))
    }

    fn secrets(&self) -> impl Future<Output = ()> + Send + use<> {
        let resource = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk("", "v1", "Secret"),
            "secrets",
        );
        let api: kube::Api<PartialObjectMeta<DynamicObject>> = self.scoped(&resource);
        let messages = self.messages.clone();
        let selector = self.settings.configs.clone();
        let mut complaint = Complaint::new("Secrets");
        follow(api, move |step| {
            complaint.hear(&step);
            let step = step.map(|object: PartialObjectMeta<DynamicObject>| {
                let metadata = object.metadata;
                let labels = metadata.labels.unwrap_or_default();
                let key = (
                    metadata.namespace.unwrap_or_default(),
                    metadata.name.unwrap_or_default(),
                );
                let version = SecretVersion {
                    version: metadata.resource_version.unwrap_or_default(),
                    is_watched: selector.matches(&labels),
                };
                (key, version)
            });
            send(messages.clone(), Message::Secrets(step))
        })
    }

    fn scoped<K>(&self, resource: &ApiResource) -> kube::Api<K>
    where
        K: kube::Resource<DynamicType = ApiResource, Scope = kube::core::DynamicResourceScope>,
    {
        match &self.settings.reach.only_namespace {
            Some(namespace) => kube::Api::namespaced_with(self.api.client(), namespace, resource),
            None => kube::Api::all_with(self.api.client(), resource),
        }
    }
}

fn held<T>(metadata: &Value, object: Result<T, String>, relic: Option<Relic>) -> Held<T> {
    let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
    Held {
        key: (text("namespace"), text("name")),
        object: object.map(Arc::new),
        relic: relic.map(Arc::new),
    }
}

/// When to tell what has changed.
#[derive(Debug, Default)]
struct Flush {
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Flush {
    fn at(&self) -> Instant {
        let now = Instant::now();
        match (self.first, self.last) {
            (Some(first), Some(last)) => (last + QUIET).min(first + LATEST),
            _ => now + TICK,
        }
    }

    /// Whether it is time. Called after every change, and when the time has come.
    fn is_due(&mut self, is_dirty: bool, now: Instant) -> bool {
        if !is_dirty {
            *self = Self::default();
            return false;
        }
        let is_due = self.first.is_some() && self.at() <= now;
        if is_due {
            *self = Self::default();
        } else {
            self.first.get_or_insert(now);
            self.last = Some(now);
        }
        is_due
    }
}

async fn send(messages: mpsc::Sender<Message>, message: Message) -> bool {
    messages.send(message).await.is_ok()
}

async fn read(
    api: Api,
    reads: Arc<Semaphore>,
    key: Key,
    asked: String,
    messages: mpsc::Sender<Message>,
) {
    // The semaphore is never closed.
    let Ok(_permit) = reads.acquire().await else {
        return;
    };
    let (asked, read) = match read_secret(&api, &key).await {
        // The watch had not shown it, but will.
        Ok((secret, version)) if asked.is_empty() => (version, Ok(secret)),
        Ok((secret, _)) => (asked, Ok(secret)),
        Err(error) => (asked, Err(error)),
    };
    send(messages, Message::Read(key, asked, read)).await;
}

/// A Secret and its version.
async fn read_secret(api: &Api, (namespace, name): &Key) -> Result<(Secret, String), ApiError> {
    let path = path("v1", namespace, "secrets", name)
        .filter(|_| !name.is_empty())
        .ok_or_else(|| ApiError::NotFound(format!("{name:?} is not the name of a Secret")))?;
    let object = api.get(&path).await?;
    let version = object["metadata"]["resourceVersion"].as_str();
    let version = version.unwrap_or_default().to_owned();
    let secret = convert::secret(object).map_err(ApiError::Refused)?;
    Ok((secret, version))
}

/// Watches the objects of a scope.
async fn objects(api: Api, kinds: Kinds, scope: Scope, id: u64, messages: mpsc::Sender<Message>) {
    let mut complaint = Complaint::new("resources");
    let plural = loop {
        match kinds.plural(&scope.api_version, &scope.kind).await {
            Ok(plural) => break plural,
            Err(error) => {
                let step = Step::Trouble(error);
                complaint.hear(&step);
                let message = Message::Objects(scope.clone(), id, step);
                if !send(messages.clone(), message).await {
                    return;
                }
                sleep(Duration::from_secs(5)).await;
            }
        }
    };
    let (group, version) = scope
        .api_version
        .split_once('/')
        .unwrap_or(("", &scope.api_version));
    let kind = GroupVersionKind::gvk(group, version, &scope.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, &plural);
    let api: kube::Api<PartialObjectMeta<DynamicObject>> = match scope.namespace.as_str() {
        "" => kube::Api::all_with(api.client(), &resource),
        namespace => kube::Api::namespaced_with(api.client(), namespace, &resource),
    };
    follow(api, |step| {
        complaint.hear(&step);
        let step = step.map(|object: PartialObjectMeta<DynamicObject>| {
            let metadata = serde_json::to_value(object.metadata).unwrap_or(Value::Null);
            let (name, record) = convert::record(&scope, &metadata);
            let namespace = record.metadata.namespace.clone();
            ((namespace, name), Arc::new(record))
        });
        send(messages.clone(), Message::Objects(scope.clone(), id, step))
    })
    .await;
}

/// Says what can't be watched, once until it can be again.
struct Complaint {
    what: &'static str,
    said: Option<ApiError>,
}

impl Complaint {
    fn new(what: &'static str) -> Self {
        Self { what, said: None }
    }

    fn hear<T>(&mut self, step: &Step<T>) {
        match step {
            Step::Trouble(error) if self.said.as_ref() == Some(error) => {}
            Step::Trouble(error) => {
                tracing::warn!(what = self.what, %error, "failed to watch; what was known stays in use");
                self.said = Some(error.clone());
            }
            Step::Complete | Step::Set(_) | Step::Gone(_) if self.said.take().is_some() => {
                tracing::info!(what = self.what, "watching again");
            }
            Step::Begin | Step::Listed(_) | Step::Complete | Step::Set(_) | Step::Gone(_) => {}
        }
    }
}
