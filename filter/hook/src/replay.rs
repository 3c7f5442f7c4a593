//! Which hooks were taken lately, so that a replayed one can be told. Used by the controller.

use alloc::collections::{BTreeMap, VecDeque};

use sha2::{Digest as _, Sha256};

/// Hooks remembered for all Receivers together. 40 bytes each, twice.
const MAX_ENTRIES: usize = 65_536;

/// What makes two hooks the same: the Receiver, and the signed id, or where none is signed the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplayKey([u8; 32]);

impl ReplayKey {
    /// The key of a hook. `hook` is `namespace/name`.
    pub fn of(hook: &str, signed_id: Option<&[u8]>, body: &[u8]) -> Self {
        let (kind, what) = match signed_id {
            Some(id) => (b"i", id),
            None => (b"b", body),
        };
        let hash = Sha256::new()
            .chain_update(hook)
            .chain_update([0])
            .chain_update(kind)
            .chain_update(what)
            .finalize();
        Self(hash.into())
    }
}

/// Remembers hooks until their window ends, the oldest giving way when there are too many.
///
/// ```
/// use hook::replay::{ReplayKey, ReplayMemory};
///
/// let mut memory = ReplayMemory::default();
/// let key = ReplayKey::of("ns/name", None, b"{}");
/// assert!(!memory.seen(key, 0));
/// memory.record(key, 60_000, 0); // for a minute
/// assert!(memory.seen(key, 59_999));
/// assert!(!memory.seen(key, 60_000));
/// ```
#[derive(Debug, Default)]
pub struct ReplayMemory {
    until: BTreeMap<ReplayKey, u64>,
    order: VecDeque<(ReplayKey, u64)>,
}

impl ReplayMemory {
    /// Whether the hook was recorded and its window has not ended.
    pub fn seen(&self, key: ReplayKey, now_ms: u64) -> bool {
        self.until.get(&key).is_some_and(|until| *until > now_ms)
    }

    /// Records a hook that was answered with success, for `window_ms` milliseconds.
    pub fn record(&mut self, key: ReplayKey, window_ms: u64, now_ms: u64) {
        self.forget(now_ms);
        let until = now_ms.saturating_add(window_ms);
        self.until.insert(key, until);
        self.order.push_back((key, until));
    }

    fn forget(&mut self, now_ms: u64) {
        // In the order of recording: a short window behind a long one is dropped a little later.
        while let Some((key, until)) = self.order.front().copied() {
            if until > now_ms && self.order.len() < MAX_ENTRIES {
                return;
            }
            self.order.pop_front();
            if self.until.get(&key) == Some(&until) {
                self.until.remove(&key);
            }
        }
    }

    /// What is remembered, for tests and metrics.
    pub fn len(&self) -> usize {
        self.until.len()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.until.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn hooks_of_two_receivers_are_never_the_same() {
        let key = ReplayKey::of("ns/a", None, b"x");
        assert_ne!(key, ReplayKey::of("ns/b", None, b"x"));
        assert_ne!(key, ReplayKey::of("ns/a", Some(b"x"), b"x"));
        assert_eq!(
            ReplayKey::of("ns/a", Some(b"id"), b"x"),
            ReplayKey::of("ns/a", Some(b"id"), b"y")
        );
    }

    #[test]
    fn memory_is_bounded_in_entries_and_time() {
        let mut memory = ReplayMemory::default();
        let keys: Vec<_> = (0..70_000u32)
            .map(|n| ReplayKey::of("ns/a", Some(&n.to_be_bytes()), b""))
            .collect();
        for key in &keys {
            memory.record(*key, 1_000, 0);
        }
        assert_eq!(memory.len(), MAX_ENTRIES);
        assert!(memory.seen(keys[69_999], 1) && !memory.seen(keys[0], 1));
        memory.record(keys[0], 1_000, 2_000);
        assert_eq!(memory.len(), 1);
    }

    #[test]
    fn recording_again_moves_the_window() {
        let mut memory = ReplayMemory::default();
        let key = ReplayKey::of("ns/a", None, b"");
        memory.record(key, 1_000, 0);
        memory.record(key, 1_000, 900);
        assert!(memory.seen(key, 1_500));
    }
}
