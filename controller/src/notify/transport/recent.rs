//! Values that are dear to make, kept under a hash of what they are made from: the last few used.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

/// How many are kept.
const MOST: usize = 64;

/// A hash of what a value is made from; no part of it can be read back.
pub(super) type Key = [u8; 32];

/// The key of parts, which may be secrets.
pub(super) fn key(parts: &[&[u8]]) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Values that were used recently.
pub(super) struct Recent<V>(Mutex<Kept<V>>);

struct Kept<V> {
    values: HashMap<Key, (u64, V)>,
    /// Counts uses, for want of a clock.
    uses: u64,
}

impl<V: Clone> Recent<V> {
    /// The value of a key, made if need be. Two that ask at once may both make it; one is kept.
    pub(super) fn get_or<E>(&self, key: Key, make: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        if let Some(value) = self.used(&key) {
            return Ok(value);
        }
        let value = make()?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.values.len() >= MOST {
            let oldest = kept.values.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                kept.values.remove(&oldest);
            }
        }
        kept.uses += 1;
        let used = kept.uses;
        let (_, value) = kept.values.entry(key).or_insert((used, value));
        Ok(value.clone())
    }

    fn used(&self, key: &Key) -> Option<V> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let now = kept.uses;
        let (used, value) = kept.values.get_mut(key)?;
        *used = now;
        Some(value.clone())
    }
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self(Mutex::new(Kept {
            values: HashMap::new(),
            uses: 0,
        }))
    }
}

impl<V> fmt::Debug for Recent<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn a_value_is_made_once_and_a_failure_is_not_kept() {
        let recent = Recent::default();
        let key = key(&[b"a"]);
        assert_eq!(recent.get_or(key, || Err("no")), Err("no"));
        assert_eq!(recent.get_or(key, || Ok::<_, Infallible>(1)), Ok(1));
        assert_eq!(recent.get_or(key, || Ok::<_, Infallible>(2)), Ok(1));
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let recent = Recent::default();
        let keyed = |n: usize| key(&[&n.to_be_bytes()]);
        let put = |n, value| recent.get_or(keyed(n), || Ok::<_, Infallible>(value));
        for n in 0..MOST {
            put(n, n).unwrap();
        }
        put(0, 0).unwrap();
        put(MOST, MOST).unwrap();
        assert_eq!(put(0, 1_000), Ok(0));
        assert_eq!(put(1, 1_000), Ok(1_000));
        assert_eq!(recent.0.lock().unwrap().values.len(), MOST);
    }

    #[test]
    fn a_key_tells_parts_apart() {
        assert_ne!(key(&[b"ab", b""]), key(&[b"a", b"b"]));
    }
}
