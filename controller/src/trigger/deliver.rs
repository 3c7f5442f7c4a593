//! What follows the verdict: payload, claims, replays, filters, and the reconcile requests.

use std::sync::{Arc, Mutex, PoisonError};

use hook::gate::{Admission, Decision};
use hook::receiver;
use hook::rejection::Rejection;
use hook::replay::{ReplayKey, ReplayMemory};
use hook::request::Request;
use serde_json::Value;
use tokio::time::Instant;

use crate::activity::Activities;
use crate::api::reference::ResourceRef;
use crate::cel::{self, Scope};
use crate::clock;
use crate::metrics::Metrics;
use crate::objects::ObjectRecord;
use crate::publish::Compiled;
use crate::receiver::plan::Plan;
use crate::trigger::annotate::{Annotator, Requester};
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
        self.count(decision, decision.reason(), false);
    }

    fn count(&self, decision: &Decision, reason: &'static str, admitted: bool) {
        let receiver = decision.hook.as_ref().map(|hook| hook.name.as_str());
        self.metrics
            .decided(receiver, decision.receiver_type(), reason);
        if let Some(receiver) = receiver {
            self.activities
                .decided(receiver, reason, admitted, clock::now_ms());
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
                self.count(decision, rejection.reason(), false);
                return Outcome::Refused(rejection);
            }
        };
        self.count(decision, "admitted", true);
        let pass = &admission.pass;
        self.metrics.admitted(
            &plan.name,
            admission.path.name(),
            pass.slot.name(),
            pass.weak,
        );
        if pass.weak {
            self.activities.weak(&plan.name);
        }
        let replay = (!plan.settings.replay_window.is_zero())
            .then(|| ReplayKey::of(&plan.name, pass.signed_id.as_deref(), body));
        if replay.is_some_and(|key| self.replays().seen(key, clock::now_ms())) {
            self.activities
                .triggered(&plan.name, "replayed".to_owned(), clock::now_ms());
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
        let unselected = selected.errors.len() + selected.later.len();
        let text = describe(&outcomes, unselected);
        self.activities.triggered(&plan.name, text, clock::now_ms());
        match (failed, later) {
            (true, _) => Outcome::Failed,
            (false, true) => Outcome::Later,
            (false, false) => Outcome::Done,
        }
    }

    fn replays(&self) -> std::sync::MutexGuard<'_, ReplayMemory> {
        self.replays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn describe(outcomes: &[crate::trigger::annotate::Outcome], unselected: usize) -> String {
    let done = outcomes.iter().filter(|outcome| outcome.is_done()).count();
    format!("{done} of {} requested", outcomes.len() + unselected)
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
        selected.resources.extend(found.resources);
        selected.errors.extend(found.errors);
        selected.later.extend(found.later);
    }
    selected.resources.sort();
    selected.resources.dedup();
    selected
}
