//! One event on its way to one Provider: its name, its state, and what a failed attempt makes of it. Pure.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `namespace/name`, shared: many entries name few Alerts and Providers.
pub type Name = Arc<str>;

/// Names one delivery: the `n`-th of an entry. Printed and parsed as `12.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct DeliveryId {
    /// The entry: an accepted event. Later events have larger numbers.
    pub entry: u64,
    /// Which of its deliveries, from 0.
    pub n: u16,
}

/// Not the name of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a delivery such as 12.0; `hookgate alerts list` shows them")]
pub struct NotADelivery;

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.entry, self.n)
    }
}

impl FromStr for DeliveryId {
    type Err = NotADelivery;

    fn from_str(text: &str) -> Result<Self, NotADelivery> {
        let (entry, n) = text.split_once('.').ok_or(NotADelivery)?;
        Ok(Self {
            entry: entry.parse().map_err(|_| NotADelivery)?,
            n: n.parse().map_err(|_| NotADelivery)?,
        })
    }
}

impl From<DeliveryId> for String {
    fn from(id: DeliveryId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for DeliveryId {
    type Error = NotADelivery;

    fn try_from(text: String) -> Result<Self, NotADelivery> {
        text.parse()
    }
}

/// What is known of one delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The Alert that took the event.
    pub alert: Name,
    /// The Provider that it goes to.
    pub provider: Name,
    /// How far it has come.
    pub state: State,
}

/// How far a delivery has come. Times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum State {
    /// The provider took it.
    Delivered,
    /// Given up; kept until it is retried, dropped or too old.
    Dead {
        /// Failed attempts.
        attempts: u32,
        /// When it was given up.
        at_ms: u64,
        /// Why, without secrets.
        reason: String,
    },
    /// Somebody dropped it, or it grew too old.
    Dropped,
    /// To be sent.
    Pending {
        /// Failed attempts.
        attempts: u32,
        /// Not before this.
        next_ms: u64,
        /// Since when it is tried: accepted, or last retried by hand.
        since_ms: u64,
        /// Why the last attempt failed, without secrets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
}

impl State {
    /// To be sent at once.
    pub const fn new(now_ms: u64) -> Self {
        Self::Pending {
            attempts: 0,
            next_ms: now_ms,
            since_ms: now_ms,
            error: None,
        }
    }

    /// Whether nothing more will happen to it.
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Delivered | Self::Dropped)
    }

    /// Whether it waits to be sent.
    pub const fn is_pending(&self) -> bool {
        matches!(self, Self::Pending { .. })
    }

    /// Whether it is a dead letter.
    pub const fn is_dead(&self) -> bool {
        matches!(self, Self::Dead { .. })
    }

    /// The word for it in lists and metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Dead { .. } => "dead",
            Self::Dropped => "dropped",
            Self::Pending { .. } => "pending",
        }
    }
}

/// When a failed delivery is tried again, and when no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause; each next one is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// How long a delivery is tried.
    pub give_up_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(2),
            longest: Duration::from_secs(3600),
            give_up_after: Duration::from_secs(24 * 3600),
        }
    }
}

impl Backoff {
    /// What a failed attempt makes of a pending delivery. `retry_after` is the provider's wish: it
    /// is honoured as a lower bound. `jitter` is any number; equal ones give equal pauses.
    pub fn failed(
        &self,
        state: &State,
        error: String,
        retry_after: Option<Duration>,
        now_ms: u64,
        jitter: u64,
    ) -> State {
        let State::Pending {
            attempts, since_ms, ..
        } = state
        else {
            return state.clone();
        };
        let attempts = attempts.saturating_add(1);
        let pause = self.pause(attempts, jitter);
        let pause = retry_after.map_or(pause, |wish| pause.max(millis(wish)));
        let next_ms = now_ms.saturating_add(pause);
        if next_ms > since_ms.saturating_add(millis(self.give_up_after)) {
            return State::Dead {
                attempts,
                at_ms: now_ms,
                reason: error,
            };
        }
        State::Pending {
            attempts,
            next_ms,
            since_ms: *since_ms,
            error: Some(error),
        }
    }

    /// The pause after the `attempts`-th failure, in milliseconds: exponential, the upper half of
    /// it by chance, so that what failed together does not come back together.
    fn pause(&self, attempts: u32, jitter: u64) -> u64 {
        let doublings = attempts.saturating_sub(1).min(40);
        let full = millis(self.first)
            .saturating_mul(1_u64 << doublings)
            .min(millis(self.longest))
            .max(2);
        let half = full / 2;
        half + mixed(jitter) % (full - half + 1)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// splitmix64: neighbouring numbers become unlike.
fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_delivery_prints_and_parses_its_name() {
        let id = DeliveryId { entry: 12, n: 3 };
        assert_eq!(id.to_string(), "12.3");
        assert_eq!("12.3".parse(), Ok(id));
        for bad in ["", "12", "12.", ".3", "a.b", "12.70000", "-1.0", "1.0.0"] {
            assert_eq!(bad.parse::<DeliveryId>(), Err(NotADelivery), "{bad:?}");
        }
    }

    #[test]
    fn pauses_grow_from_seconds_to_an_hour() {
        let backoff = Backoff::default();
        for (attempts, low, high) in [
            (1, 1_000, 2_000),
            (2, 2_000, 4_000),
            (5, 16_000, 32_000),
            (11, 1_024_000, 2_048_000),
            (12, 1_800_000, 3_600_000),
            (u32::MAX, 1_800_000, 3_600_000),
        ] {
            for jitter in 0..100 {
                let pause = backoff.pause(attempts, jitter);
                assert!((low..=high).contains(&pause), "{attempts}: {pause}");
            }
        }
    }

    #[test]
    fn what_failed_together_does_not_come_back_together() {
        let backoff = Backoff::default();
        let pauses: std::collections::BTreeSet<_> =
            (0..100).map(|jitter| backoff.pause(8, jitter)).collect();
        assert!(pauses.len() > 90, "{}", pauses.len());
    }

    #[test]
    fn retry_after_is_honoured_and_may_end_the_tries() {
        let backoff = Backoff::default();
        let state = State::new(0);
        let after = |seconds| {
            let wish = Some(Duration::from_secs(seconds));
            backoff.failed(&state, "busy".to_owned(), wish, 1_000, 1)
        };
        assert_eq!(
            after(600),
            State::Pending {
                attempts: 1,
                next_ms: 601_000,
                since_ms: 0,
                error: Some("busy".to_owned())
            }
        );
        assert_eq!(
            after(25 * 3600),
            State::Dead {
                attempts: 1,
                at_ms: 1_000,
                reason: "busy".to_owned()
            }
        );
    }

    proptest! {
        #[test]
        fn every_delivery_that_keeps_failing_is_given_up_in_time(jitter: u64, start in 0_u64..1 << 50) {
            let backoff = Backoff::default();
            let mut state = State::new(start);
            let mut now = start;
            let mut tries = 0_u64;
            while let State::Pending { next_ms, .. } = state {
                prop_assert!(next_ms >= now);
                now = next_ms;
                tries += 1;
                prop_assert!(tries < 100);
                state = backoff.failed(&state, "down".to_owned(), None, now, jitter.wrapping_add(tries));
            }
            prop_assert!(state.is_dead());
            prop_assert!(now <= start + 24 * 3_600_000);
            prop_assert!(now >= start + 22 * 3_600_000);
        }
    }
}
