//! A watch → steps, for as long as anybody listens. Broken watches are taken up again.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::Resource;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;

use super::api::{ApiError, chain};
use super::live::Key;

/// Objects of a list that are held at once, with all their managed fields: what a large list takes
/// for a moment, the allocator keeps.
const PAGE: u32 = 100;

/// What a watch says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step<T> {
    /// A new list begins.
    Begin,
    /// One object of the new list.
    Listed(T),
    /// The list is complete.
    Complete,
    /// An object is there, or has changed.
    Set(T),
    /// An object is gone.
    Gone(T),
    /// The API server can't be watched for now.
    Trouble(ApiError),
}

impl<T> Step<T> {
    /// The same about something else.
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Step<U> {
        match self {
            Self::Begin => Step::Begin,
            Self::Listed(item) => Step::Listed(change(item)),
            Self::Complete => Step::Complete,
            Self::Set(item) => Step::Set(change(item)),
            Self::Gone(item) => Step::Gone(change(item)),
            Self::Trouble(error) => Step::Trouble(error),
        }
    }
}

/// Follows a watch until `take` says that nobody listens any more.
pub(super) async fn follow<K, F>(api: kube::Api<K>, mut take: impl FnMut(Step<K>) -> F)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    F: Future<Output = bool>,
{
    let config = watcher::Config::default().page_size(PAGE);
    let watch = watcher(api, config).backoff(Patience::default());
    let mut watch = std::pin::pin!(watch);
    while let Some(event) = watch.next().await {
        let step = match event {
            Ok(Event::Init) => Step::Begin,
            Ok(Event::InitApply(object)) => Step::Listed(object),
            Ok(Event::InitDone) => Step::Complete,
            Ok(Event::Apply(object)) => Step::Set(object),
            Ok(Event::Delete(object)) => Step::Gone(object),
            Err(error) => Step::Trouble(trouble(&error)),
        };
        if !take(step).await {
            return;
        }
    }
}

fn trouble(error: &watcher::Error) -> ApiError {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => ApiError::from(error),
        watcher::Error::WatchError(status) => ApiError::from(status.as_ref()),
        watcher::Error::NoResourceVersion => ApiError::Unavailable(chain(error)),
    }
}

/// A quarter of a second, doubled up to two: an API server that is back is used at once.
#[derive(Debug, Default)]
struct Patience {
    tries: u32,
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let millis = 250_u64 << self.tries.min(3);
        self.tries = self.tries.saturating_add(1);
        Some(Duration::from_millis(millis))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.tries = 0;
    }
}

/// A list as it is known: the last complete one, and the changes since.
#[derive(Debug)]
pub(super) struct Listing<V> {
    current: Option<BTreeMap<Key, V>>,
    next: BTreeMap<Key, V>,
    trouble: Option<ApiError>,
}

impl<V> Default for Listing<V> {
    fn default() -> Self {
        Self {
            current: None,
            next: BTreeMap::new(),
            trouble: None,
        }
    }
}

impl<V> Listing<V> {
    /// The objects, once there was a complete list.
    pub(super) fn current(&self) -> Option<&BTreeMap<Key, V>> {
        self.current.as_ref()
    }

    /// What stands in the way of a list.
    pub(super) fn trouble(&self) -> Option<&ApiError> {
        self.trouble.as_ref()
    }

    /// Takes a step. A list that is being read replaces the last one when it is complete.
    pub(super) fn apply(&mut self, step: Step<(Key, V)>) {
        if !matches!(step, Step::Trouble(_)) {
            self.trouble = None;
        }
        match step {
            Step::Begin => self.next.clear(),
            Step::Listed((key, value)) => {
                self.next.insert(key, value);
            }
            Step::Complete => self.current = Some(std::mem::take(&mut self.next)),
            Step::Set((key, value)) => {
                self.current.get_or_insert_default().insert(key, value);
            }
            Step::Gone((key, _)) => {
                self.current.get_or_insert_default().remove(&key);
            }
            Step::Trouble(error) => self.trouble = Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str) -> (Key, u8) {
        (("ns".to_owned(), name.to_owned()), 1)
    }

    #[test]
    fn what_was_known_stays_until_the_next_list_is_complete() {
        let mut listing = Listing::default();
        for step in [
            Step::Begin,
            Step::Listed(item("a")),
            Step::Listed(item("b")),
        ] {
            listing.apply(step);
        }
        assert_eq!(listing.current(), None);
        listing.apply(Step::Complete);
        let both = BTreeMap::from([item("a"), item("b")]);
        assert_eq!(listing.current(), Some(&both));
        listing.apply(Step::Trouble(ApiError::Timeout));
        listing.apply(Step::Begin);
        listing.apply(Step::Listed(item("b")));
        assert_eq!(listing.current(), Some(&both));
        listing.apply(Step::Complete);
        assert_eq!(listing.current(), Some(&BTreeMap::from([item("b")])));
        listing.apply(Step::Gone(item("b")));
        listing.apply(Step::Set(item("c")));
        assert_eq!(listing.current(), Some(&BTreeMap::from([item("c")])));
    }

    #[test]
    fn a_watch_is_taken_up_again_within_two_seconds() {
        let mut patience = Patience::default();
        let waits: Vec<_> = patience
            .by_ref()
            .take(5)
            .map(|wait| wait.as_millis())
            .collect();
        assert_eq!(waits, [250, 500, 1_000, 2_000, 2_000]);
        patience.reset();
        assert_eq!(patience.next(), Some(Duration::from_millis(250)));
    }
}
