//! What happened to each Receiver's hooks lately, seen by this process or reported by Envoy. The one
//! place where hooks are counted by Receiver: metrics, `explain` and Kubernetes Events read it.

mod standing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hook::rejection::{ADMITTED, IGNORED};
use hook::report::Report;
use serde::{Serialize, Serializer};
use tokio::sync::mpsc;

use self::standing::Standing;
pub use self::standing::Trouble;
use crate::clock;

/// Deliveries of a Receiver that are remembered.
const REMEMBERED: usize = 8;
/// Troubles that wait to be told; more are dropped.
const BACKLOG: usize = 256;

/// What happened to the hooks of one Receiver. Times are Unix milliseconds, written as RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// `spec.type` when it happened: another type begins anew.
    #[serde(skip)]
    pub receiver_type: String,
    /// When the last hook was admitted.
    #[serde(serialize_with = "at")]
    pub admitted_at: Option<u64>,
    /// Why the last refused hook was refused, as a reason word.
    pub refused: Option<String>,
    /// When that was.
    #[serde(serialize_with = "at")]
    pub refused_at: Option<u64>,
    /// What became of the last admitted hooks, the last one last.
    pub deliveries: VecDeque<Delivery>,
    /// Admitted hooks by what became of them, as a word of [`Triggered::word`].
    pub triggers: BTreeMap<&'static str, u64>,
    /// Admitted hooks that were signed with SHA-1, which is weak.
    pub weak_signatures: u64,
    /// Admitted hooks by the key of the Secret that they used: for `path` and for `proof`.
    pub keys_used: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    /// Hooks that the controller decided on, by reason word.
    pub counts: BTreeMap<String, u64>,
    /// Hooks that Envoy decided on, by reason word.
    pub edge_counts: BTreeMap<String, u64>,
    #[serde(skip)]
    standing: Standing,
}

/// What became of an admitted hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// When, Unix milliseconds.
    #[serde(serialize_with = "some_at")]
    pub at: u64,
    /// A word of [`Triggered::word`].
    pub outcome: &'static str,
    /// How many resources were asked to reconcile, and what kept the others from it.
    pub resources: String,
}

/// What became of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triggered {
    /// All resources were asked.
    Done,
    /// It was a replay: none was asked.
    Replayed,
    /// A resource or a filter failed.
    Failed,
    /// It could not be done in time.
    Later,
}

impl Triggered {
    /// A word for metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Replayed => "replayed",
            Self::Failed => "failed",
            Self::Later => "later",
        }
    }
}

/// Which keys of the Secret an admitted hook used.
#[derive(Clone, Copy, Debug)]
pub struct KeysUsed {
    /// The one that made the path.
    pub path: &'static str,
    /// The one that made the proof.
    pub proof: &'static str,
    /// Whether the proof was made with SHA-1.
    pub is_weak: bool,
}

/// The activity of all Receivers: of those that there are, and no others.
#[derive(Debug, Default)]
pub struct Activities {
    all: Mutex<BTreeMap<String, Activity>>,
    troubles: Option<mpsc::Sender<Trouble>>,
}

impl Activities {
    /// Activities that say when the hooks of a Receiver begin to fail.
    pub fn telling() -> (Self, mpsc::Receiver<Trouble>) {
        let (troubles, told) = mpsc::channel(BACKLOG);
        let activities = Self {
            troubles: Some(troubles),
            ..Self::default()
        };
        (activities, told)
    }

    /// These Receivers there are, by `namespace/name`, with their types. What is known of others, or of
    /// one that had another type, is forgotten.
    pub fn settle<'a>(&self, receivers: impl Iterator<Item = (&'a str, &'a str)>) {
        let mut all = self.lock();
        let mut before = std::mem::take(&mut *all);
        for (name, receiver_type) in receivers {
            let kept = before
                .remove(name)
                .filter(|activity| activity.receiver_type == receiver_type);
            let activity = kept.unwrap_or_else(|| Activity {
                receiver_type: receiver_type.to_owned(),
                ..Activity::default()
            });
            all.insert(name.to_owned(), activity);
        }
    }

    /// A hook was decided on here.
    pub fn decided(&self, receiver: &str, reason: &str, now_ms: u64) {
        let trouble = self.change(receiver, |activity| {
            add(&mut activity.counts, reason, 1);
            match reason {
                ADMITTED => activity.admitted_at = Some(now_ms),
                // Genuine, and there is nothing to do.
                IGNORED => {}
                _ => {
                    activity.refused = Some(reason.to_owned());
                    activity.refused_at = Some(now_ms);
                    return activity.standing.refused(now_ms, now_ms);
                }
            }
            false
        });
        if trouble {
            self.tell(receiver, "HookRefused", format!("hook refused: {reason}"));
        }
    }

    /// An admitted hook used these keys.
    pub fn admitted(&self, receiver: &str, keys: KeysUsed) {
        self.change(receiver, |activity| {
            for (what, key) in [("path", keys.path), ("proof", keys.proof)] {
                let by_key = activity.keys_used.entry(what).or_default();
                *by_key.entry(key).or_default() += 1;
            }
            activity.weak_signatures += u64::from(keys.is_weak);
            false
        });
    }

    /// A hook's resources were asked to reconcile, or not.
    pub fn triggered(&self, receiver: &str, outcome: Triggered, resources: String, now_ms: u64) {
        let message = format!("hook accepted, but not done: {resources}");
        let trouble = self.change(receiver, |activity| {
            *activity.triggers.entry(outcome.word()).or_default() += 1;
            if activity.deliveries.len() >= REMEMBERED {
                activity.deliveries.pop_front();
            }
            activity.deliveries.push_back(Delivery {
                at: now_ms,
                outcome: outcome.word(),
                resources,
            });
            match outcome {
                Triggered::Done | Triggered::Replayed => {
                    activity.standing.succeeded(now_ms);
                    false
                }
                Triggered::Failed | Triggered::Later => activity.standing.refused(now_ms, now_ms),
            }
        });
        if trouble {
            self.tell(receiver, "TriggerFailed", message);
        }
    }

    /// Envoy reported. Its clock is not believed where it is ahead of ours.
    pub fn reported(&self, report: &Report, now_ms: u64) {
        for (receiver, counts) in &report.hooks {
            let admitted_at = counts.admitted_at.map(|at| at.min(now_ms));
            let refused = counts
                .refused
                .as_ref()
                .filter(|(reason, _)| reason != IGNORED);
            let refused = refused.map(|(reason, at)| (reason, (*at).min(now_ms)));
            let trouble = self.change(receiver, |activity| {
                for (reason, n) in &counts.reasons {
                    add(&mut activity.edge_counts, reason, *n);
                }
                activity.admitted_at = activity.admitted_at.max(admitted_at);
                if let Some((reason, at)) = refused
                    && activity.refused_at < Some(at)
                {
                    activity.refused = Some(reason.clone());
                    activity.refused_at = Some(at);
                }
                activity
                    .standing
                    .reported(admitted_at, refused.map(|(_, at)| at), now_ms)
            });
            if let Some((reason, _)) = refused.filter(|_| trouble) {
                self.tell(receiver, "HookRefused", format!("hook refused: {reason}"));
            }
        }
    }

    /// What is known of one Receiver.
    pub fn of(&self, receiver: &str) -> Activity {
        self.lock().get(receiver).cloned().unwrap_or_default()
    }

    /// What is known of each Receiver that hooks came for, by `namespace/name`.
    pub fn seen(&self) -> Vec<(String, Activity)> {
        let is_seen =
            |activity: &Activity| !activity.counts.is_empty() || !activity.edge_counts.is_empty();
        let names: Vec<_> = {
            let all = self.lock();
            let seen = all.iter().filter(|(_, activity)| is_seen(activity));
            seen.map(|(name, _)| name.clone()).collect()
        };
        // One after the other: hooks are counted meanwhile.
        let activities = names.into_iter().map(|name| {
            let activity = self.of(&name);
            (name, activity)
        });
        activities
            .filter(|(_, activity)| is_seen(activity))
            .collect()
    }

    fn change(&self, receiver: &str, change: impl FnOnce(&mut Activity) -> bool) -> bool {
        self.lock().get_mut(receiver).is_some_and(change)
    }

    fn tell(&self, receiver: &str, reason: &'static str, message: String) {
        tracing::warn!(receiver, message, "hooks begin to fail");
        if let Some(troubles) = &self.troubles {
            // Where so many wait, one more is not worth a thing: `explain` says the same.
            let _ = troubles.try_send(Trouble {
                receiver: receiver.to_owned(),
                reason,
                message,
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Activity>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(counts: &mut BTreeMap<String, u64>, reason: &str, n: u64) {
    match counts.get_mut(reason) {
        Some(sum) => *sum = sum.saturating_add(n),
        None => {
            counts.insert(reason.to_owned(), n);
        }
    }
}

#[expect(clippy::ref_option, reason = "serde gives it so")]
fn at<S: Serializer>(at: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(clock::rfc3339_seconds).serialize(serializer)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives it so")]
fn some_at<S: Serializer>(at: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    clock::rfc3339_seconds(*at).serialize(serializer)
}

#[cfg(test)]
mod tests;
