//! Sends what is in the spool, each delivery until it is taken, refused for good, or too old.
//!
//! # Flow of one attempt
//! 1. The spool says which delivery is next.
//! 2. Alert and Provider are looked up as they are now, the event is read back, its metadata merged.
//! 3. The Provider's Secrets are read: a [`Target`](crate::provider::Target).
//! 4. The provider type makes an Exchange of them, which is driven over the Transport.
//! 5. Delivered, or tried again later, or a dead letter; what is said of it holds no secret.

mod drive;
#[cfg(test)]
mod tests;
mod tokens;
mod words;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::drive::Driver;
pub use self::tokens::TokenLimits;
use self::tokens::Tokens;
use super::commit_status;
use super::delivery::{Backoff, Name, State};
use super::digest;
use super::identity::{self, AccountReader, Identities};
use super::metadata;
use super::select::{Warning, reason};
use super::spool::{Spool, Taken};
use super::target::{self, SecretReader};
use super::template::{self, Templates};
use super::transport::Transport;
use super::warn::Warn;
use crate::api::alert::Alert;
use crate::api::event::Event;
use crate::api::provider::Provider;
use crate::clock;
use crate::mask::Mask;
use crate::metrics::Metrics;
use crate::objects::Snapshot;
use crate::provider::{self, AlertId, Context, ProviderError, Takes};

/// How often the spool is tended.
const TEND: Duration = Duration::from_secs(60);
/// The longest sleep: a clock that was set back must not make it longer.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// How long a stop waits for what is being sent. What is not done by then is sent again.
const DRAIN: Duration = Duration::from_secs(8);

/// What sends.
#[derive(Debug)]
pub struct Dispatcher<T, S, W> {
    shared: Arc<Shared<T, S, W>>,
}

#[derive(Debug)]
struct Shared<T, S, W> {
    spool: Arc<Spool>,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    secrets: S,
    warn: W,
    metrics: Arc<Metrics>,
    backoff: Backoff,
    driver: Driver<T>,
    templates: Templates,
}

/// A delivery in flight: if its task ends without an outcome, it is tried again.
struct Unsettled<'a, T: Transport, S: SecretReader + AccountReader, W: Warn> {
    shared: &'a Shared<T, S, W>,
    taken: Option<&'a Taken>,
}

impl<T: Transport, S: SecretReader + AccountReader, W: Warn> Drop for Unsettled<'_, T, S, W> {
    fn drop(&mut self) {
        if let Some(Taken { id, delivery, .. }) = self.taken {
            let error = "the attempt was broken off".to_owned();
            let now_ms = clock::now_ms();
            let backoff = &self.shared.backoff;
            let state = backoff.failed(&delivery.state, error, None, now_ms, id.entry);
            self.shared.spool.settle(*id, state);
        }
    }
}

/// An attempt that was made.
#[derive(Debug)]
struct Sent {
    /// What it was about.
    object: String,
    /// What went with it.
    with: Vec<Taken>,
    outcome: Result<(), Failed>,
}

/// When an attempt failed: nc words that differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before the event was looked at.
    Setup,
    /// The event can't be sent there.
    Event,
    /// Something was sent, or meant to be.
    Sent,
}

/// Why an attempt failed.
#[derive(Debug)]
struct Failed {
    /// A metric's label.
    category: &'static str,
    /// Without secrets.
    message: String,
    is_permanent: bool,
    retry_after: Option<Duration>,
    stage: Stage,
    /// Whether nobody answered.
    is_silence: bool,
}

impl<T: Transport, S: SecretReader + AccountReader, W: Warn> Dispatcher<T, S, W> {
    /// A dispatcher of what is in the spool.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of its own, given once"
    )]
    pub fn new(
        spool: Arc<Spool>,
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        secrets: S,
        warn: W,
        metrics: Arc<Metrics>,
        backoff: Backoff,
        transport: T,
        tokens: TokenLimits,
        identities: Identities,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                spool,
                snapshots,
                secrets,
                warn,
                backoff,
                driver: Driver {
                    transport,
                    tokens: Tokens::new(tokens),
                    metrics: metrics.clone(),
                    identities,
                },
                templates: Templates::default(),
                metrics,
            }),
        }
    }

    /// Sends from the first complete list on, until `stop` turns true, then waits a little for what
    /// is on its way.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut snapshots = self.shared.snapshots.clone();
        tokio::select! {
            // An Alert that is not listed yet is not gone.
            _ = snapshots.wait_for(Option::is_some) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let mut sending = JoinSet::new();
        let mut tended = tokio::time::Instant::now();
        loop {
            let now = clock::now_ms();
            while let Some(taken) = self.shared.spool.take(now) {
                let shared = self.shared.clone();
                sending.spawn(async move { shared.send(taken).await });
            }
            if tended.elapsed() >= TEND {
                tended = tokio::time::Instant::now();
                self.tend(now);
            }
            let pause = self.shared.spool.wake_at(now).map_or(LONGEST_SLEEP, |at| {
                Duration::from_millis(at.saturating_sub(now)).min(LONGEST_SLEEP)
            });
            tokio::select! {
                () = self.shared.spool.changed() => {}
                () = sleep(pause) => {}
                Some(_) = sending.join_next() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        let rest = async { while sending.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, rest).await.is_err() {
            tracing::info!("stopped while alerts were being sent; they will be sent again");
        }
    }

    fn tend(&self, now_ms: u64) {
        let expired = self.shared.spool.tend(now_ms);
        if expired > 0 {
            tracing::error!(
                deliveries = expired,
                "alerts grew too old and were given up"
            );
        }
    }
}

impl<T: Transport, S: SecretReader + AccountReader, W: Warn> Shared<T, S, W> {
    async fn send(&self, taken: Taken) {
        let mut guard = Unsettled {
            shared: self,
            taken: Some(&taken),
        };
        let rest = if digest::is_digest(&taken.chain) {
            self.spool.rest(taken.id, digest::MAX_EVENTS - 1)
        } else {
            Vec::new()
        };
        let result = self.attempt(&taken, rest).await;
        guard.taken = None;
        let now_ms = clock::now_ms();
        let Sent {
            object,
            with,
            outcome,
        } = result;
        let word = outcome
            .as_ref()
            .map_or_else(|failed| failed.category, |()| "delivered");
        self.metrics
            .alerts
            .attempted(&taken.delivery.provider, word);
        // What failed before anything was sent says nothing of the provider.
        let is_sent = |failed: &Failed| failed.stage == Stage::Sent;
        if outcome.as_ref().err().is_none_or(is_sent) {
            let is_answer = outcome
                .as_ref()
                .err()
                .is_none_or(|failed| !failed.is_silence);
            self.spool
                .heard(&taken.delivery.provider, is_answer, now_ms);
        }
        match &outcome {
            Ok(()) => {
                let Taken { id, delivery, .. } = &taken;
                tracing::debug!(delivery = %id, object, provider = %delivery.provider, "alert delivered");
            }
            Err(failed) => self.tell(&taken, &object, failed, now_ms),
        }
        // The head last: its chain goes on with whoever is next then.
        for one in with.iter().chain([&taken]) {
            self.settle(one, outcome.as_ref().err(), now_ms);
        }
    }

    /// Records what became of a delivery.
    fn settle(&self, taken: &Taken, failed: Option<&Failed>, now_ms: u64) {
        let state = failed.map_or(State::Delivered, |failed| self.after(taken, failed, now_ms));
        if !state.is_pending() {
            let end = if state.is_dead() { "dead" } else { "delivered" };
            let took = now_ms.saturating_sub(taken.at_ms);
            self.metrics
                .alerts
                .ended(&taken.delivery.provider, end, took);
        }
        if state.is_dead() {
            tracing::error!(delivery = %taken.id, "an alert was given up: it is a dead letter now");
        }
        self.spool.settle(taken.id, state);
    }

    /// Tells the Alert's owner of a failed attempt, and holds the provider if it asked for that.
    fn tell(&self, taken: &Taken, object: &str, failed: &Failed, now_ms: u64) {
        if let Some(pause) = failed.retry_after {
            let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            // The wish is for all that goes there, within reason.
            let until = now_ms.saturating_add(pause.min(3_600_000));
            self.spool.hold(&taken.delivery.provider, until);
        }
        let verb = match failed.stage {
            Stage::Setup => "dispatch",
            Stage::Event | Stage::Sent => "send",
        };
        let warning = Warning {
            reason: reason::DISPATCH_FAILED,
            message: format!(
                "failed to {verb} notification for {object}: {}",
                failed.message
            ),
        };
        self.warn.warn(&taken.delivery.alert, &warning);
    }

    /// What a failed attempt makes of a delivery.
    fn after(&self, taken: &Taken, failed: &Failed, now_ms: u64) -> State {
        let Taken { id, delivery, .. } = taken;
        let attempts = match delivery.state {
            State::Pending { attempts, .. } => attempts,
            State::Delivered | State::Dead { .. } | State::Dropped => 0,
        };
        if failed.is_permanent {
            return State::Dead {
                attempts: attempts.saturating_add(1),
                at_ms: now_ms,
                reason: failed.message.clone(),
            };
        }
        let jitter = id.entry ^ (u64::from(id.n) << 48) ^ (u64::from(attempts) << 32) ^ now_ms;
        let error = failed.message.clone();
        self.backoff
            .failed(&delivery.state, error, failed.retry_after, now_ms, jitter)
    }

    /// One attempt, for a delivery and those that go with it.
    async fn attempt(&self, taken: &Taken, rest: Vec<Taken>) -> Sent {
        let mut sent = Sent {
            object: "an event".to_owned(),
            with: Vec::new(),
            outcome: Ok(()),
        };
        let mut events = match self.event(taken).await {
            Ok(event) => vec![event],
            Err(failed) => {
                sent.outcome = Err(failed);
                return sent;
            }
        };
        for one in rest {
            // What can't be read now has its own turn later.
            if let Ok(event) = self.event(&one).await {
                events.push(event);
                sent.with.push(one);
            }
        }
        if let Some(event) = events.first() {
            sent.object = event.involved_object.to_string();
        }
        sent.outcome = self.deliver(taken, events).await;
        sent
    }

    async fn event(&self, taken: &Taken) -> Result<Event, Failed> {
        let (spool, id) = (self.spool.clone(), taken.id);
        let read = tokio::task::spawn_blocking(move || spool.event(id)).await;
        let bytes = read
            .map_err(|error| setup("spool", error.to_string(), false))?
            .map_err(|error| setup("spool", error.to_string(), false))?;
        Event::parse(&bytes).map_err(|error| setup("spool", error.to_string(), true))
    }

    /// Delivers one event, or several as a digest.
    async fn deliver(&self, taken: &Taken, mut events: Vec<Event>) -> Result<(), Failed> {
        let snapshot = self.snapshots.borrow().clone();
        let snapshot = snapshot
            .ok_or_else(|| setup("no_list", "the Alerts are not known yet".to_owned(), false))?;
        let (alert, provider) = find(&snapshot, &taken.delivery.alert, &taken.delivery.provider)?;
        for event in &mut events {
            let (merged, conflicts) = metadata::merged(event, &alert.spec);
            event.metadata = merged;
            if !conflicts.is_empty() {
                let keys = metadata::keys(&conflicts);
                let warning = Warning {
                    reason: reason::METADATA,
                    message: format!("{}: {keys}", metadata::CONFLICT),
                };
                self.warn.warn(&taken.delivery.alert, &warning);
            }
        }
        let event = digest::merged(&taken.delivery.alert, &events);
        let mut target = target::read(provider, &self.secrets)
            .await
            .map_err(|error| {
                setup(
                    "secret",
                    words::unready(provider, &error.to_string()),
                    false,
                )
            })?;
        if target.service_account.is_some() && !self.driver.identities.of_objects {
            return Err(setup("config", identity::GATE_IS_OFF.to_owned(), true));
        }
        let mut mask = Mask::of(&target);
        let found = provider::of(provider).map_err(|text| setup("config", text, true))?;
        if found.takes() == Takes::CommitStatuses {
            target.commit_status = commit_status::evaluate(&event, provider, alert)
                .map_err(|error| setup("config", mask.apply(&error.to_string()), true))?;
        }
        let id = AlertId {
            namespace: alert.metadata.namespace.clone(),
            name: alert.metadata.name.clone(),
            uid: alert.metadata.uid.clone().unwrap_or_default(),
        };
        let now = clock::now_ms() / 1000;
        // Of the event as it came: another wording is no other incident.
        let context = Context::new(now, &event, &id, &target);
        let mut event = event.clone();
        if found.takes() != Takes::CommitStatuses {
            self.word(taken, alert, &mut event);
        }
        let exchange = found
            .exchange(&event, &target, &context)
            .map_err(|error| Failed {
                stage: if matches!(error, ProviderError::Event(_)) {
                    Stage::Event
                } else {
                    Stage::Setup
                },
                ..setup(
                    error.category(),
                    mask.apply(&words::unsent(provider, &error)),
                    true,
                )
            })?;
        let driven = self
            .driver
            .drive(exchange, &target, &self.secrets, &mut mask)
            .await;
        driven.map_err(|broken| Failed {
            message: mask.apply(&words::broken(provider, found.name(), &broken)),
            is_silence: broken.failure.is_silence(),
            category: broken.failure.category(),
            is_permanent: broken.is_permanent,
            retry_after: broken.failure.retry_after(now),
            // Certificates that can't be read: nothing was sent.
            stage: if words::is_of_setup(&broken.failure) {
                Stage::Setup
            } else {
                Stage::Sent
            },
        })
    }
}

impl<T: Transport, S: SecretReader + AccountReader, W: Warn> Shared<T, S, W> {
    /// Gives an event the message that the Alert's template makes, if that works.
    fn word(&self, taken: &Taken, alert: &Alert, event: &mut Event) {
        match self.templates.message(alert, event) {
            Ok(None) => {}
            Ok(Some(message)) => event.message = message,
            Err(error) => {
                self.metrics.alerts.unworded(&taken.delivery.provider);
                let warning = Warning {
                    reason: reason::INVALID_CONFIG,
                    message: format!(
                        "annotation {} failed, and the message of {} is sent as it came: {error}",
                        template::ANNOTATION,
                        event.involved_object
                    ),
                };
                self.warn.warn(&taken.delivery.alert, &warning);
            }
        }
    }
}

/// The Alert and the Provider as they are now.
fn find<'s>(
    snapshot: &'s Snapshot,
    alert: &Name,
    provider: &Name,
) -> Result<(&'s Alert, &'s Provider), Failed> {
    let is = |name: &Name, metadata: &crate::api::meta::ObjectMeta| {
        name.split_once('/') == Some((&metadata.namespace, &metadata.name))
    };
    let found_alert = snapshot.alerts.iter().find(|a| is(alert, &a.metadata));
    let found_alert =
        found_alert.ok_or_else(|| setup("gone", "the Alert is gone".to_owned(), true))?;
    let found = snapshot
        .providers
        .iter()
        .find(|p| is(provider, &p.metadata));
    let found = found.ok_or_else(|| {
        let text = format!("failed to read provider: '{provider}' not found");
        setup("no_provider", text, false)
    })?;
    if found.spec.suspend {
        let text = format!("provider '{provider}' is suspended");
        return Err(setup("suspended", text, false));
    }
    Ok((found_alert, found))
}

fn setup(category: &'static str, message: String, is_permanent: bool) -> Failed {
    Failed {
        category,
        message,
        is_permanent,
        retry_after: None,
        stage: Stage::Setup,
        is_silence: false,
    }
}
