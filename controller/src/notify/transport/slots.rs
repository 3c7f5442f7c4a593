//! How many Requests are on their way to one Provider.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::provider::Target;

/// Requests on their way to one Provider. A connection returns to its pool a moment after the reply
/// was read, and the next Request does not wait for that: twice as many connections at most.
pub(super) const IN_FLIGHT: usize = 16;
/// Providers that are remembered, before those with nothing on its way are forgotten.
const REMEMBERED: usize = 1_024;

/// The slots of all Providers.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<HashMap<String, Arc<Semaphore>>>);

impl Slots {
    /// Waits for a slot; it is free again when what is returned is dropped.
    pub(super) async fn take(&self, target: &Target) -> Option<OwnedSemaphorePermit> {
        let semaphore = self.of(format!("{}/{}", target.namespace, target.name));
        // It is never closed.
        semaphore.acquire_owned().await.ok()
    }

    fn of(&self, name: String) -> Arc<Semaphore> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= REMEMBERED {
            slots.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        slots
            .entry(name)
            .or_insert_with(|| Arc::new(Semaphore::new(IN_FLIGHT)))
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn target(name: &str) -> Target {
        Target {
            name: name.to_owned(),
            ..Target::default()
        }
    }

    #[test]
    fn each_provider_has_its_own_slots_and_gets_them_back() {
        let slots = Slots::default();
        let (a, b) = (target("a"), target("b"));
        let take = |target: &Target| slots.take(target).now_or_never();
        let mut held: Vec<_> = (0..IN_FLIGHT).map(|_| take(&a).unwrap()).collect();
        assert!(take(&a).is_none());
        assert!(take(&b).is_some());
        held.pop();
        assert!(take(&a).is_some());
    }

    #[test]
    fn providers_with_nothing_on_its_way_are_forgotten() {
        let slots = Slots::default();
        let _held = slots.take(&target("held")).now_or_never().unwrap();
        for n in 0..REMEMBERED {
            let _ = slots.take(&target(&n.to_string())).now_or_never();
        }
        let slots = slots.0.lock().unwrap();
        assert_eq!(slots.len(), 2);
        assert!(slots.contains_key("/held"));
    }
}
