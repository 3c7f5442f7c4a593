//! nc's duplicate window: one event a Fingerprint and interval. Pure; the caller brings the time.
//!
//! The window is fixed, and begins when the Fingerprint was first seen. It is spent only when the
//! event is kept: [`Window::begin`] before, [`Window::end`] after.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::api::event::Event;

/// Fingerprints that are remembered; beyond that the oldest are forgotten first.
const MAX: usize = 100_000;
/// nc's library takes a second where the interval is not positive.
const FALLBACK: Duration = Duration::from_secs(1);

/// The key under which repeated Events are limited: what nc hashes, in nc's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The Fingerprint of an event whose metadata has been cleaned, but is not merged.
    pub fn of(event: &Event) -> Self {
        let object = &event.involved_object;
        let mut hash = Sha256::new();
        hash.update("event");
        for (name, value) in [
            ("name", &object.name),
            ("namespace", &object.namespace),
            ("kind", &object.kind),
            ("message", &event.message),
        ] {
            hash.update(format!("/{name}="));
            hash.update(value);
        }
        for name in ["originRevision", "revision", "token"] {
            let key = format!("{}/{name}", event.api_group());
            if let Some(value) = event.metadata.get(&key) {
                hash.update(format!("/{name}="));
                hash.update(value);
            }
        }
        Self(hash.finalize().into())
    }
}

/// What the window says of an event. Times are Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It may be kept; whoever asked must call [`Window::end`].
    New {
        /// When the window ends.
        reset_ms: u64,
    },
    /// It was kept in this window already.
    Duplicate {
        /// When the window ends.
        reset_ms: u64,
    },
    /// The same event is being kept at this moment.
    Busy,
}

/// The windows of all Fingerprints.
#[derive(Debug)]
pub struct Window {
    interval_ms: u64,
    seen: HashMap<Fingerprint, Seen>,
    /// The order in which they were first seen.
    order: VecDeque<Fingerprint>,
    swept_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    start_ms: u64,
    /// The last window that was spent, counted from the start.
    spent: Option<u64>,
    is_busy: bool,
}

impl Window {
    /// Windows of this length; of a second if it is zero.
    pub fn new(interval: Duration) -> Self {
        let interval = if interval.is_zero() {
            FALLBACK
        } else {
            interval
        };
        Self {
            interval_ms: u64::try_from(interval.as_millis())
                .unwrap_or(u64::MAX)
                .max(1),
            seen: HashMap::new(),
            order: VecDeque::new(),
            swept_ms: 0,
        }
    }

    /// Asks for an event.
    pub fn begin(&mut self, fingerprint: Fingerprint, now_ms: u64) -> Pass {
        self.sweep(now_ms);
        let interval = self.interval_ms;
        let seen = self.seen.entry(fingerprint).or_insert_with(|| {
            self.order.push_back(fingerprint);
            Seen {
                start_ms: now_ms,
                spent: None,
                is_busy: false,
            }
        });
        let tick = now_ms.saturating_sub(seen.start_ms) / interval;
        let reset_ms = seen
            .start_ms
            .saturating_add((tick + 1).saturating_mul(interval));
        if seen.spent.is_some_and(|spent| spent >= tick) {
            return Pass::Duplicate { reset_ms };
        }
        if seen.is_busy {
            return Pass::Busy;
        }
        seen.is_busy = true;
        self.bound();
        Pass::New { reset_ms }
    }

    /// Tells whether the event was kept; only then its window is spent.
    pub fn end(&mut self, fingerprint: Fingerprint, kept: bool, now_ms: u64) {
        let interval = self.interval_ms;
        if let Some(seen) = self.seen.get_mut(&fingerprint) {
            seen.is_busy = false;
            if kept {
                seen.spent = Some(now_ms.saturating_sub(seen.start_ms) / interval);
            }
        }
    }

    /// Forgets what was idle for two intervals, as nc does, once an interval.
    fn sweep(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.swept_ms) < self.interval_ms {
            return;
        }
        self.swept_ms = now_ms;
        let interval = self.interval_ms;
        self.seen.retain(|_, seen| {
            let tick = now_ms.saturating_sub(seen.start_ms) / interval;
            seen.is_busy || tick.saturating_sub(seen.spent.unwrap_or(0)) <= 2
        });
        self.order.retain(|key| self.seen.contains_key(key));
    }

    fn bound(&mut self) {
        while self.seen.len() > MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTES: u64 = 60_000;

    fn event(change: impl FnOnce(&mut Event)) -> Event {
        let mut event = Event {
            message: "validation failed: <Ingress> & more\nsecond line".to_owned(),
            severity: "error".to_owned(),
            ..Event::default()
        };
        event.involved_object.kind = "Kustomization".to_owned();
        event.involved_object.namespace = "apps".to_owned();
        event.involved_object.name = "webapp".to_owned();
        event.involved_object.api_version = "kustomize.toolkit.fluxcd.io/v1".to_owned();
        for (key, value) in [
            (
                "revision",
                "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
            ),
            ("token", "t1"),
        ] {
            let key = format!("kustomize.toolkit.fluxcd.io/{key}");
            event.metadata.insert(key, value.to_owned());
        }
        change(&mut event);
        event
    }

    fn of(change: impl FnOnce(&mut Event)) -> Fingerprint {
        Fingerprint::of(&event(change))
    }

    #[test]
    fn a_fingerprint_is_the_hash_that_nc_computes() {
        assert_eq!(
            hex::encode(of(|_| {}).0),
            "a6d9ab0c206d1689afe5ba564bad904db52c61ed8a171b44c8cc3d16816b4c3f"
        );
    }

    #[test]
    fn what_nc_does_not_compare_makes_no_difference() {
        let same = of(|_| {});
        assert_eq!(of(|e| e.severity = "info".to_owned()), same);
        assert_eq!(of(|e| e.reason = "other".to_owned()), same);
        assert_eq!(of(|e| e.involved_object.uid = "1".to_owned()), same);
        for key in [
            "event.toolkit.fluxcd.io/x",
            "kustomize.toolkit.fluxcd.io/commit",
        ] {
            let other = of(|e| _ = e.metadata.insert(key.to_owned(), "1".to_owned()));
            assert_eq!(other, same, "{key}");
        }
        for key in ["revision", "originRevision", "token"] {
            let key = format!("kustomize.toolkit.fluxcd.io/{key}");
            let other = of(|e| _ = e.metadata.insert(key.clone(), "1".to_owned()));
            assert_ne!(other, same, "{key}");
        }
        assert_ne!(of(|e| e.message = "x".to_owned()), same);
        assert_ne!(of(|e| e.involved_object.name = "x".to_owned()), same);
    }

    #[test]
    fn the_window_is_fixed_from_when_the_event_was_first_seen() {
        let mut window = Window::new(Duration::from_secs(300));
        let (key, start) = (of(|_| {}), 1_000_000);
        let end_of = |n: u64| start + n * 5 * MINUTES;
        let mut at = |now| {
            let pass = window.begin(key, now);
            window.end(key, matches!(pass, Pass::New { .. }), now);
            pass
        };
        let new = |reset_ms| Pass::New { reset_ms };
        let duplicate = |reset_ms| Pass::Duplicate { reset_ms };
        assert_eq!(at(start), new(end_of(1)));
        assert_eq!(at(end_of(1) - 1), duplicate(end_of(1)));
        assert_eq!(at(end_of(2) - 1_000), new(end_of(2)));
        assert_eq!(at(end_of(2)), new(end_of(3)));
        assert_eq!(at(end_of(2) + 1), duplicate(end_of(3)));
    }

    #[test]
    fn an_event_that_was_not_kept_spends_nothing() {
        let mut window = Window::new(Duration::from_secs(300));
        let key = of(|_| {});
        assert!(matches!(window.begin(key, 1), Pass::New { .. }));
        assert_eq!(window.begin(key, 1), Pass::Busy);
        window.end(key, false, 2);
        assert!(matches!(window.begin(key, 3), Pass::New { .. }));
        window.end(key, true, 4);
        assert!(matches!(window.begin(key, 5), Pass::Duplicate { .. }));
    }

    #[test]
    fn an_interval_of_zero_is_a_second() {
        let mut window = Window::new(Duration::ZERO);
        assert_eq!(window.begin(of(|_| {}), 0), Pass::New { reset_ms: 1_000 });
    }

    #[test]
    fn memory_is_bounded_and_what_was_idle_is_forgotten() {
        let mut window = Window::new(Duration::from_secs(300));
        for n in 0..MAX + 10 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            let key = Fingerprint(key);
            window.begin(key, 5 * MINUTES);
            window.end(key, true, 5 * MINUTES);
        }
        assert_eq!((window.seen.len(), window.order.len()), (MAX, MAX));
        window.begin(of(|_| {}), 21 * MINUTES);
        assert_eq!((window.seen.len(), window.order.len()), (1, 1));
    }
}
