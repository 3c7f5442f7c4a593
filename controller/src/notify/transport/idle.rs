//! Connections that wait for their next use, not for long.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::recent::Key;

/// How long a connection waits.
const LONGEST: Duration = Duration::from_secs(30);
/// How many wait, of all Providers together.
const MOST: usize = 64;

/// Connections that wait.
pub(super) struct Idle<C>(Arc<Mutex<Waiting<C>>>);

struct Waiting<C> {
    /// The oldest first.
    connections: Vec<(Key, Instant, C)>,
    /// Whether somebody closes what has waited too long.
    is_watched: bool,
}

impl<C: Send + 'static> Idle<C> {
    /// The connection that came last.
    pub(super) fn take(&self, key: &Key) -> Option<C> {
        let mut waiting = lock(&self.0);
        waiting.expire();
        let found = waiting.connections.iter().rposition(|(k, ..)| k == key)?;
        let (_, _, connection) = waiting.connections.remove(found);
        Some(connection)
    }

    /// Lets a connection wait.
    pub(super) fn put(&self, key: Key, connection: C) {
        let mut waiting = lock(&self.0);
        if waiting.connections.len() >= MOST {
            waiting.connections.remove(0);
        }
        waiting.connections.push((key, Instant::now(), connection));
        if !waiting.is_watched {
            waiting.is_watched = true;
            drop(waiting);
            self.watch();
        }
    }

    /// Closes what has waited too long, until nothing waits.
    fn watch(&self) {
        let waiting = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            loop {
                sleep(LONGEST).await;
                let Some(waiting) = waiting.upgrade() else {
                    return;
                };
                let mut waiting = lock(&waiting);
                waiting.expire();
                if waiting.connections.is_empty() {
                    waiting.is_watched = false;
                    return;
                }
            }
        });
    }
}

impl<C> Waiting<C> {
    fn expire(&mut self) {
        self.connections
            .retain(|(_, since, _)| since.elapsed() < LONGEST);
    }
}

fn lock<C>(waiting: &Mutex<Waiting<C>>) -> MutexGuard<'_, Waiting<C>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<C> Default for Idle<C> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Waiting {
            connections: Vec::new(),
            is_watched: false,
        })))
    }
}

impl<C> fmt::Debug for Idle<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idle").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::transport::recent::key;

    #[tokio::test(start_paused = true)]
    async fn a_connection_waits_for_its_own_kind_and_not_for_long() {
        let idle = Idle::default();
        let (a, b) = (key(&[b"a"]), key(&[b"b"]));
        idle.put(a, 1);
        idle.put(a, 2);
        assert_eq!(idle.take(&b), None);
        assert_eq!(idle.take(&a), Some(2));
        sleep(LONGEST).await;
        assert_eq!(idle.take(&a), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_takes_is_closed_all_the_same() {
        let idle = Idle::default();
        let connection = Arc::new(());
        for _ in 0..2 {
            idle.put(key(&[]), connection.clone());
            sleep(LONGEST * 2 + Duration::from_secs(1)).await;
            assert_eq!(Arc::strong_count(&connection), 1);
        }
    }

    #[tokio::test]
    async fn no_more_wait_than_may() {
        let idle = Idle::default();
        (0..MOST + 1).for_each(|n| idle.put(key(&[&n.to_be_bytes()]), n));
        assert_eq!(idle.take(&key(&[&0_usize.to_be_bytes()])), None);
        assert_eq!(idle.take(&key(&[&MOST.to_be_bytes()])), Some(MOST));
        assert_eq!(lock(&idle.0).connections.len(), MOST - 1);
    }
}
