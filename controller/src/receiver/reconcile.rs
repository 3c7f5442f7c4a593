//! Reconciles Receivers: a pass for each that has changed, that asks for it, or whose time has come.
//!
//! What a Receiver means has been decided before, where the table was compiled; a pass writes it
//! down. So the status never says of a path that it is served before it is.
//!
//! # Guarantees
//! - Only the leader writes.
//! - One pass at a time for a Receiver, `--concurrent` for all.
//! - A pass that changes nothing writes nothing but its Event.
//! - Somebody else's change of a status is undone, but not more than once a minute.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::clock;
use crate::kubernetes::{Api, ApiError, Key, Live, Lives, Recorder};
use crate::metrics::Metrics;
use crate::publish::{Compiled, Status};
use crate::receiver::apply::apply;
use crate::receiver::status::{self, Notice};

/// How often a status that somebody else changed is mended.
const MEND: Duration = Duration::from_secs(60);
/// Nothing is due for longer than this.
const IDLE: Duration = Duration::from_secs(3_600);

/// How Receivers are reconciled.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Passes at once.
    pub concurrent: usize,
    /// The wait after the first failure.
    pub min_retry: Duration,
    /// The longest wait after failures.
    pub max_retry: Duration,
}

/// What the reconciler follows.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// How Receivers stand.
    pub lives: watch::Receiver<Arc<Lives>>,
    /// What was decided about them.
    pub compiled: watch::Receiver<Arc<Compiled>>,
    /// Whether this process leads.
    pub leads: watch::Receiver<bool>,
    /// Turns true at the end.
    pub stop: watch::Receiver<bool>,
}

/// Reconciles until it is told to stop.
pub async fn run(api: Api, metrics: Arc<Metrics>, mut inputs: Inputs, settings: Settings) {
    let recorder = Recorder::new(api.clone());
    let mut reconciler = Reconciler {
        api,
        metrics,
        settings,
        recorder,
        entries: BTreeMap::new(),
        due: BTreeSet::new(),
        queue: VecDeque::new(),
        passes: JoinSet::new(),
    };
    let mut follows = *inputs.leads.borrow_and_update();
    reconciler.metrics.leads(follows);
    loop {
        let at = reconciler.next_due();
        let is_news = tokio::select! {
            changed = inputs.lives.changed() => if changed.is_err() { break } else { true },
            changed = inputs.compiled.changed() => if changed.is_err() { break } else { true },
            changed = inputs.leads.changed() => if changed.is_err() { break } else { true },
            Some(done) = reconciler.passes.join_next() => {
                if let Ok(done) = done {
                    reconciler.finished(done);
                }
                false
            }
            () = sleep_until(at) => false,
            _ = inputs.stop.wait_for(|stop| *stop) => break,
        };
        let leads = *inputs.leads.borrow_and_update();
        if leads && !follows {
            // A new leader looks at every Receiver once.
            reconciler.forget();
        }
        follows = leads;
        reconciler.metrics.leads(leads);
        if !leads {
            continue;
        }
        let lives = inputs.lives.borrow_and_update().clone();
        let compiled = inputs.compiled.borrow_and_update().clone();
        if is_news {
            reconciler.scan(&lives, &compiled);
        }
        reconciler.queue_due(&lives);
        reconciler.start(&lives, &compiled);
    }
    // What has begun is finished: it takes seconds at most.
    while reconciler.passes.join_next().await.is_some() {}
}

struct Reconciler {
    api: Api,
    metrics: Arc<Metrics>,
    settings: Settings,
    recorder: Recorder,
    entries: BTreeMap<Key, Entry>,
    due: BTreeSet<(Instant, Key)>,
    queue: VecDeque<Key>,
    passes: JoinSet<Done>,
}

/// What is remembered of a Receiver.
#[derive(Default)]
struct Entry {
    /// What the last pass was about.
    handled: Option<Trigger>,
    /// The Receiver as the last pass left it: the watch may be behind.
    left: Option<Arc<Live>>,
    last_pass: Option<Instant>,
    due: Option<Instant>,
    failures: u32,
    is_queued: bool,
    /// What the pass that is running is about.
    running: Option<Trigger>,
}

/// What causes a pass when it changes.
#[derive(Clone, Debug, PartialEq)]
struct Trigger {
    requested_at: Option<String>,
    is_deleting: bool,
    secret: Option<String>,
    verdict: Option<Status>,
}

struct Done {
    key: Key,
    took: Duration,
    trigger: Trigger,
    result: Result<Option<Arc<Live>>, ApiError>,
}

impl Reconciler {
    fn forget(&mut self) {
        self.due.clear();
        self.queue.clear();
        for entry in self.entries.values_mut() {
            *entry = Entry {
                running: entry.running.take(),
                ..Entry::default()
            };
        }
    }

    fn next_due(&self) -> Instant {
        let first = self.due.first().map(|(at, _)| *at);
        first.unwrap_or_else(|| Instant::now() + IDLE)
    }

    /// Queues the Receivers that have changed, and forgets those that are gone.
    fn scan(&mut self, lives: &Lives, compiled: &Compiled) {
        let (due, metrics) = (&mut self.due, &self.metrics);
        self.entries.retain(|key, entry| {
            let stays = lives.receivers.contains_key(key) || entry.running.is_some();
            if let Some(at) = entry.due.take_if(|_| !stays) {
                due.remove(&(at, key.clone()));
            }
            if !stays {
                metrics.reconciled_no_more(&key.0, &key.1);
            }
            stays
        });
        for (key, live) in &lives.receivers {
            let trigger = trigger(live, lives, compiled);
            let entry = self.entries.entry(key.clone()).or_default();
            // Once the watch has caught up, what the pass left says nothing more.
            entry.left.take_if(|left| !is_newer(left, live));
            let is_known = trigger.verdict.is_some() || live.is_deleting;
            if !is_known || entry.running.as_ref() == Some(&trigger) {
                continue;
            }
            if entry.handled.as_ref() != Some(&trigger) {
                entry.failures = 0;
                enqueue(&mut self.queue, entry, key);
            } else if let Some(verdict) = &trigger.verdict
                && entry.running.is_none()
                && !live.is_deleting
                && needs_mending(entry, live, verdict)
            {
                let at = entry
                    .last_pass
                    .map_or_else(Instant::now, |last| last + MEND);
                if entry.due.is_none_or(|due| due > at) {
                    set_due(&mut self.due, entry, key, Some(at));
                }
            }
        }
    }

    fn queue_due(&mut self, lives: &Lives) {
        let now = Instant::now();
        while let Some((at, key)) = self.due.pop_first() {
            if at > now {
                self.due.insert((at, key));
                return;
            }
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.due = None;
                if lives.receivers.contains_key(&key) {
                    enqueue(&mut self.queue, entry, &key);
                }
            }
        }
    }

    fn start(&mut self, lives: &Lives, compiled: &Compiled) {
        let mut busy = Vec::new();
        while self.passes.len() < self.settings.concurrent.max(1) {
            let Some(key) = self.queue.pop_front() else {
                break;
            };
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            if entry.running.is_some() {
                busy.push(key);
                continue;
            }
            entry.is_queued = false;
            let Some(live) = lives.receivers.get(&key) else {
                continue;
            };
            let trigger = trigger(live, lives, compiled);
            if trigger.verdict.is_none() && !live.is_deleting {
                continue;
            }
            entry.running = Some(trigger.clone());
            let live = newer(live, entry.left.as_ref());
            let pass = pass(self.api.clone(), self.recorder.clone(), live, trigger);
            self.passes.spawn(pass);
        }
        self.queue.extend(busy);
    }

    fn finished(&mut self, done: Done) {
        let Done {
            key,
            took,
            trigger,
            result,
        } = done;
        let seconds = took.as_secs_f64();
        self.metrics.reconciled(&key.0, &key.1, seconds);
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let Settings {
            min_retry,
            max_retry,
            ..
        } = self.settings;
        let now = Instant::now();
        entry.running = None;
        entry.last_pass = Some(now);
        let wait = match (&result, &trigger.verdict) {
            (Err(_), _) => Some(status::backoff(entry.failures, min_retry, max_retry)),
            (Ok(_), Some(verdict)) if !trigger.is_deleting => {
                status::next_pass(verdict, entry.failures, min_retry, max_retry)
            }
            (Ok(_), _) => None,
        };
        let has_failed = trigger
            .verdict
            .as_ref()
            .is_some_and(|v| v.failure.is_some());
        entry.failures = if result.is_err() || has_failed {
            entry.failures.saturating_add(1)
        } else {
            0
        };
        match result {
            Ok(left) => entry.left = left,
            Err(error) => {
                let (namespace, name) = &key;
                tracing::error!(namespace, name, %error, "failed to write a Receiver's status");
            }
        }
        entry.handled = Some(trigger);
        set_due(&mut self.due, entry, &key, wait.map(|wait| now + wait));
    }
}

/// One pass, and what it tells.
async fn pass(api: Api, recorder: Recorder, live: Arc<Live>, trigger: Trigger) -> Done {
    let key = live.key.clone();
    let began = Instant::now();
    let result = apply(&api, live.clone(), trigger.verdict.as_ref()).await;
    match &result {
        Ok(Some(left)) if !left.is_deleting => {
            for notice in trigger.verdict.iter().flat_map(status::notices) {
                recorder.record(left.as_ref().into(), notice);
            }
        }
        Ok(_) => {}
        Err(error) => recorder.record(
            live.as_ref().into(),
            Notice {
                is_warning: true,
                reason: "Failed",
                message: error.to_string(),
            },
        ),
    }
    Done {
        key,
        took: began.elapsed(),
        trigger,
        result,
    }
}

/// What was decided about the generation that is there now; nothing yet for a newer one.
fn trigger(live: &Live, lives: &Lives, compiled: &Compiled) -> Trigger {
    let (namespace, name) = &live.key;
    let verdict = compiled.statuses.get(&format!("{namespace}/{name}"));
    let secret = live.secret.clone().and_then(|secret| {
        let key = (namespace.clone(), secret);
        lives.watched_secrets.get(&key).cloned()
    });
    Trigger {
        requested_at: live.requested_at.clone(),
        is_deleting: live.is_deleting,
        secret,
        verdict: verdict
            .filter(|verdict| verdict.generation == Some(live.generation))
            .cloned(),
    }
}

fn needs_mending(entry: &Entry, live: &Arc<Live>, verdict: &Status) -> bool {
    let live = newer(live, entry.left.as_ref());
    let now = clock::rfc3339_seconds(clock::now_ms());
    status::finalizers(&live).is_some() || status::desired(&live, verdict, &now) != live.status
}

/// The newer of two states of an object.
fn newer(seen: &Arc<Live>, left: Option<&Arc<Live>>) -> Arc<Live> {
    left.filter(|left| is_newer(left, seen))
        .unwrap_or(seen)
        .clone()
}

/// Whether a pass left a newer state than the watch has seen. Versions are compared as numbers, as
/// API servers count them; where one is not, the watch is believed.
fn is_newer(left: &Live, seen: &Live) -> bool {
    let version = |live: &Live| live.resource_version.parse::<u64>().ok();
    left.uid == seen.uid && version(left) > version(seen)
}

fn enqueue(queue: &mut VecDeque<Key>, entry: &mut Entry, key: &Key) {
    if !entry.is_queued {
        entry.is_queued = true;
        queue.push_back(key.clone());
    }
}

fn set_due(due: &mut BTreeSet<(Instant, Key)>, entry: &mut Entry, key: &Key, at: Option<Instant>) {
    if let Some(before) = std::mem::replace(&mut entry.due, at) {
        due.remove(&(before, key.clone()));
    }
    if let Some(at) = at {
        due.insert((at, key.clone()));
    }
}

#[cfg(test)]
mod tests;
