//! What follows the verdict: payload, claims, replays, filters, and the reconcile requests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use hook::gate::{Admission, Decision};
use hook::receiver;
use hook::rejection::{ADMITTED, Rejection};
use hook::replay::{ReplayKey, ReplayMemory};
use hook::request::Request;
use serde_json::Value;
use tokio::time::Instant;

use crate::activity::{Activities, KeysUsed, Triggered};
use crate::api::reference::ResourceRef;
use crate::cel::{self, Scope};
use crate::clock;
use crate::metrics::Metrics;
use crate::objects::ObjectRecord;
use crate::publish::Compiled;
use crate::receiver::plan::Plan;
use crate::trigger::annotate::{self, Annotator, Requester};
use crate::trigger::select::{self, Reach};

/// Delivers admitted hooks.
#[derive(Debug)]
pub struct Deliverer<R> {
    annotator: Annotator<R>,
    metrics: Arc<Metrics>,
    activities: Arc<Activities>,
    replays: Mutex<ReplayMemory>,
    reach: Reach,
}

/// What the sender is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is done, or there was nothing to do: 200.
    Done,
    /// The hook is refused after all.
    Refused(Rejection),
    /// A resource failed, or a filter did: 500.
    Failed,
    /// It could not be done in time: 503.
    Later,
}

impl<R: Requester> Deliverer<R> {
    /// A deliverer that asks through `annotator`.
    pub fn new(
        annotator: Annotator<R>,
        metrics: Arc<Metrics>,
        activities: Arc<Activities>,
        reach: Reach,
    ) -> Self {
        Self {
            annotator,
            metrics,
            activities,
            replays: Mutex::default(),
            reach,
        }
    }

    /// The metrics that hooks are counted in.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Flushes what is pending.
    pub async fn drain(&self) {
        self.annotator.drain().await;
    }

    /// Counts a hook that was not admitted.
    pub fn refused(&self, decision: &Decision) {
        self.count(decision, decision.reason());
    }

    fn count(&self, decision: &Decision, reason: &'static str) {
        self.metrics.decided(decision.receiver_type(), reason);
        if let Some(hook) = &decision.hook {
            self.activities.decided(&hook.name, reason, clock::now_ms());
        }
    }

    /// Delivers an admitted hook.
    pub async fn deliver(
        &self,
        current: &Compiled,
        decision: &Decision,
        admission: &Admission,
        request: &Request<'_>,
        body: &[u8],
        arrived: Instant,
    ) -> Outcome {
        let plan = decision
            .hook
            .as_ref()
            .and_then(|hook| current.plans.get(&hook.name));
        // Table and plans are compiled together.
        let Some(plan) = plan else {
            return Outcome::Later;
        };
        let prepared = match prepare(plan, admission, request, body) {
            Ok(prepared) => prepared,
            Err(rejection) => {
                self.count(decision, rejection.reason());
                return Outcome::Refused(rejection);
            }
        };
        self.count(decision, ADMITTED);
        let pass = &admission.pass;
        let keys = KeysUsed {
            path: admission.path.name(),
            proof: pass.slot.name(),
            is_weak: pass.weak,
        };
        self.activities.admitted(&plan.name, keys);
        let replay = (!plan.settings.replay_window.is_zero())
            .then(|| ReplayKey::of(&plan.name, pass.signed_id.as_deref(), body));
        if replay.is_some_and(|key| self.replays().seen(key, clock::now_ms())) {
            let text = "none, as it is a replay".to_owned();
            self.told(plan, Triggered::Replayed, text);
            return Outcome::Done;
        }
        let outcome = self.trigger(plan, current, &prepared, arrived).await;
        if let (Some(key), Outcome::Done) = (replay, &outcome) {
            let window = u64::try_from(plan.settings.replay_window.as_millis()).unwrap_or(u64::MAX);
            self.replays().record(key, window, clock::now_ms());
        }
        outcome
    }

    async fn trigger(
        &self,
        plan: &Plan,
        current: &Compiled,
        prepared: &Prepared,
        arrived: Instant,
    ) -> Outcome {
        // Filters may take milliseconds over large lists: the other hooks go on meanwhile.
        let selected = if plan.has_filters() {
            tokio::task::block_in_place(|| selected(plan, current, prepared, &self.reach))
        } else {
            selected(plan, current, prepared, &self.reach)
        };
        for error in &selected.errors {
            self.metrics.requested("not_selected");
            tracing::error!(receiver = plan.name, error, "failed to select resources");
        }
        for error in &selected.later {
            self.metrics.requested("not_listed");
            tracing::error!(
                receiver = plan.name,
                error,
                "resources can't be selected yet"
            );
        }
        let interval = plan.settings.trigger_interval;
        let outcomes = self
            .annotator
            .trigger(&selected.resources, interval, arrived)
            .await;
        let mut failed = !selected.errors.is_empty();
        let mut later = !selected.later.is_empty();
        for (resource, outcome) in selected.resources.iter().zip(&outcomes) {
            self.metrics.requested(outcome.category());
            if !outcome.is_done() {
                tracing::error!(receiver = plan.name, %resource, outcome = outcome.category(), error = %outcome, "failed to request reconciliation");
                later |= outcome.is_temporary();
                failed |= !outcome.is_temporary();
            }
        }
        let (triggered, outcome) = match (failed, later) {
            (true, _) => (Triggered::Failed, Outcome::Failed),
            (false, true) => (Triggered::Later, Outcome::Later),
            (false, false) => (Triggered::Done, Outcome::Done),
        };
        self.told(plan, triggered, describe(&selected, &outcomes));
        outcome
    }

    fn told(&self, plan: &Plan, triggered: Triggered, resources: String) {
        self.activities
            .triggered(&plan.name, triggered, resources, clock::now_ms());
    }

    fn replays(&self) -> std::sync::MutexGuard<'_, ReplayMemory> {
        self.replays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many were asked, and what kept the others from it: words that are few.
fn describe(selected: &Selected, outcomes: &[annotate::Outcome]) -> String {
    let mut missed = BTreeMap::<&str, usize>::new();
    for outcome in outcomes.iter().filter(|outcome| !outcome.is_done()) {
        *missed.entry(outcome.category()).or_default() += 1;
    }
    for (word, errors) in [
        ("not_selected", &selected.errors),
        ("not_listed", &selected.later),
    ] {
        if !errors.is_empty() {
            missed.insert(word, errors.len());
        }
    }
    let all = outcomes.len() + selected.errors.len() + selected.later.len();
    let done = all - missed.values().sum::<usize>();
    let mut text = format!("{done} of {all} requested");
    for (word, n) in missed {
        // Writing to a String does not fail.
        let _ = write!(text, ", {word}: {n}");
    }
    text
}

/// What filters see of a hook.
#[derive(Debug)]
pub struct Prepared {
    /// `req`, or why there is none.
    pub request: Result<Value, String>,
    /// `claims`.
    pub claims: Option<Value>,
}

/// Checks payload and claims of an admitted hook, and makes ready what filters see.
///
/// # Errors
/// The [`Rejection`], if either is refused.
pub fn prepare(
    plan: &Plan,
    admission: &Admission,
    request: &Request<'_>,
    body: &[u8],
) -> Result<Prepared, Rejection> {
    let payload = plan.receiver_type.payload(body)?;
    let claims = claims(plan, admission.pass.issuer, request)?;
    let request = if plan.has_filters() {
        let content_type = request.one("content-type")?;
        cel::request_object(content_type, &payload).map_err(|error| error.to_string())
    } else {
        Ok(Value::Null)
    };
    Ok(Prepared { request, claims })
}

/// What the token says that the Gate has verified as one of this issuer's.
fn claims(
    plan: &Plan,
    issuer: Option<usize>,
    request: &Request<'_>,
) -> Result<Option<Value>, Rejection> {
    if plan.claims.is_empty() {
        return Ok(None);
    }
    let rules = issuer.and_then(|index| plan.claims.get(index));
    let rules = rules.ok_or(Rejection::Claims)?;
    let token = receiver::bearer(request, true)?;
    let claims = serde_json::from_str(token.payload())
        .map_err(|_| Rejection::Jwt(hook::jwt::JwtError::Malformed))?;
    if let Err(error) = rules.check(&claims) {
        tracing::info!(receiver = plan.name, %error, "token refused");
        return Err(Rejection::Claims);
    }
    Ok(Some(claims))
}

/// The resources of a hook, and what stood in the way of others.
#[derive(Debug, Default)]
pub struct Selected {
    /// To be asked.
    pub resources: Vec<ResourceRef>,
    /// One for each entry or object that failed.
    pub errors: Vec<String>,
    /// One for each entry whose objects have not been listed yet.
    pub later: Vec<String>,
}

impl Selected {
    fn add(&mut self, found: select::Selection) {
        self.resources.extend(found.resources);
        self.errors.extend(found.errors);
        self.later.extend(found.later);
    }

    fn sorted(mut self) -> Self {
        self.resources.sort();
        self.resources.dedup();
        self
    }
}

/// The resources that hooks of this Receiver can name at all: its filters need a hook.
pub fn candidates(plan: &Plan, current: &Compiled, reach: &Reach) -> Selected {
    let objects = current.snapshot.objects.load();
    let mut selected = Selected::default();
    for (entry, _) in &plan.resources {
        selected.add(select::select(
            entry,
            &plan.namespace,
            reach,
            &objects,
            None,
        ));
    }
    selected.sorted()
}

/// Selects the resources of a hook.
pub fn selected(plan: &Plan, current: &Compiled, prepared: &Prepared, reach: &Reach) -> Selected {
    let request = match &prepared.request {
        Ok(request) => request,
        Err(error) => {
            return Selected {
                errors: vec![error.clone()],
                ..Selected::default()
            };
        }
    };
    let objects = current.snapshot.objects.load();
    let mut selected = Selected::default();
    for (entry, filter) in &plan.resources {
        let filters: Vec<_> = plan.resource_filter.iter().chain(filter).collect();
        let matches = |object: &ObjectRecord| {
            let scope = Scope {
                res: Some(&object.json),
                req: Some(request),
                claims: prepared.claims.as_ref(),
                ..Scope::default()
            };
            for filter in &filters {
                if !filter.matches(&scope).map_err(|error| error.to_string())? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let matches: Option<&select::Filter<'_>> = if filters.is_empty() {
            None
        } else {
            Some(&matches)
        };
        let found = select::select(entry, &plan.namespace, reach, &objects, matches);
        selected.add(found);
    }
    selected.sorted()
}
