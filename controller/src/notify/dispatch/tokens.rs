//! Tokens that conversations need, kept until they expire. The caller brings the time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::SecretString;

use crate::metrics::TokenCounts;
use crate::provider::Token;

/// nc's bounds: `--token-cache-max-size` and `--token-cache-max-duration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLimits {
    /// Tokens that are kept; 0 for none.
    pub max: usize,
    /// How long one is kept at most.
    pub longest: Duration,
}

impl Default for TokenLimits {
    fn default() -> Self {
        Self {
            max: 100,
            longest: Duration::from_secs(3600),
        }
    }
}

/// The tokens at hand. Whoever holds a key's slot fetches its token; others wait for it.
#[derive(Debug)]
pub(super) struct Tokens {
    limits: TokenLimits,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    slots: HashMap<String, Slot>,
    /// Tokens that made room so far.
    evictions: u64,
}

#[derive(Clone, Debug)]
struct Slot {
    held: Arc<tokio::sync::Mutex<Option<Kept>>>,
    used: u64,
    /// Whether a token was put in, good or expired by now.
    is_full: bool,
}

/// A token, and until when it is used, in Unix seconds.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) value: SecretString,
    until: u64,
}

impl Kept {
    pub(super) fn is_good(&self, now: u64) -> bool {
        now < self.until
    }
}

impl Tokens {
    pub(super) fn new(limits: TokenLimits) -> Self {
        Self {
            limits,
            held: Mutex::default(),
        }
    }

    /// The slot of a key.
    pub(super) fn slot(&self, key: &str, now: u64) -> Arc<tokio::sync::Mutex<Option<Kept>>> {
        let mut held = self.lock();
        if !held.slots.contains_key(key) && held.slots.len() >= self.limits.max.max(1) {
            let oldest = held.slots.iter().min_by_key(|(_, slot)| slot.used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                let gone = held.slots.remove(&oldest);
                held.evictions += u64::from(gone.is_some_and(|slot| slot.is_full));
            }
        }
        let slot = held.slots.entry(key.to_owned()).or_insert_with(|| Slot {
            held: Arc::default(),
            used: now,
            is_full: false,
        });
        slot.used = now;
        slot.held.clone()
    }

    /// Whether any are kept.
    pub(super) fn are_kept(&self) -> bool {
        self.limits.max > 0
    }

    /// What is kept of the token that was fetched for a key: it is used for four fifths of its life, as in nc.
    pub(super) fn keep(&self, key: &str, token: &Token, now: u64) -> Kept {
        if let Some(slot) = self.lock().slots.get_mut(key) {
            slot.is_full = self.are_kept();
        }
        let life = token.expires.saturating_sub(now) / 5 * 4;
        let life = if self.are_kept() {
            life.min(self.limits.longest.as_secs())
        } else {
            0
        };
        Kept {
            value: token.value.clone(),
            until: now.saturating_add(life),
        }
    }

    /// Forgets a token that was refused.
    pub(super) fn forget(&self, key: &str) {
        self.lock().slots.remove(key);
    }

    /// How many there are.
    pub(super) fn counts(&self) -> TokenCounts {
        let held = self.lock();
        TokenCounts {
            items: held.slots.values().filter(|slot| slot.is_full).count(),
            evictions: held.evictions,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(expires: u64) -> Token {
        Token {
            value: "t".to_owned().into(),
            expires,
        }
    }

    #[test]
    fn a_token_is_used_for_four_fifths_of_its_life_and_an_hour_at_most() {
        let tokens = Tokens::new(TokenLimits::default());
        for (expires, until) in [(2_000, 1_800), (1_000, 1_000), (0, 1_000), (1 << 40, 4_600)] {
            let kept = tokens.keep("k", &token(expires), 1_000);
            assert_eq!(kept.until, until, "{expires}");
            assert!(!kept.is_good(until));
        }
        let none = Tokens::new(TokenLimits {
            max: 0,
            ..TokenLimits::default()
        });
        none.slot("k", 1_000);
        assert!(!none.keep("k", &token(9_000), 1_000).is_good(1_000));
        assert_eq!(none.counts(), TokenCounts::default());
    }

    #[test]
    fn the_token_that_was_not_used_for_longest_makes_room() {
        let tokens = Tokens::new(TokenLimits {
            max: 2,
            ..TokenLimits::default()
        });
        for (key, now) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            tokens.slot(key, now);
            tokens.keep(key, &token(9_000), now);
        }
        let mut keys: Vec<_> = tokens.lock().slots.keys().cloned().collect();
        keys.sort();
        assert_eq!(keys, ["a", "c"]);
        let counts = |items, evictions| TokenCounts { items, evictions };
        assert_eq!(tokens.counts(), counts(2, 1));
        tokens.forget("a");
        assert_eq!(tokens.counts(), counts(1, 1));
        // Somebody else's turn to fetch: nothing is kept yet, and nothing is lost.
        tokens.slot("d", 5);
        assert_eq!(tokens.counts(), counts(1, 1));
    }
}
