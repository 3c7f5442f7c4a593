//! Group commit: many hooks for one resource share few reconcile requests.
//!
//! # Guarantees
//! - The first hook for a resource asks at once.
//! - Hooks that come while a request is in flight, or within the interval after it, wait together
//!   for the next one and share its outcome.
//! - A hook gets [`Outcome::Done`] only from a request that began after the hook had come.
//! - Nobody waits longer than [`PATIENCE`]; the request that was waited for still goes out.
//! - Whoever stops waiting takes nothing from the others.
//! - What is kept is bounded by the resources that were asked for within the last seconds.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::api::reference::ResourceRef;
use crate::clock;

/// How long a hook waits from its arrival: GitHub and GitLab give up at 10 s.
pub const PATIENCE: Duration = Duration::from_secs(9);
/// Requests at once: a wildcard may mean thousands of objects.
const IN_FLIGHT: usize = 256;
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

/// Asks for one resource to be reconciled.
pub trait Requester: fmt::Debug + Send + Sync + 'static {
    /// Sets `reconcile.fluxcd.io/requestedAt` to a new value.
    ///
    /// # Errors
    /// [`RequestError`] that says why it could not.
    fn request(
        &self,
        resource: &ResourceRef,
        requested_at: &str,
    ) -> impl Future<Output = Result<(), RequestError>> + Send;
}

impl<R: Requester> Requester for Arc<R> {
    fn request(
        &self,
        resource: &ResourceRef,
        requested_at: &str,
    ) -> impl Future<Output = Result<(), RequestError>> + Send {
        R::request(self, resource, requested_at)
    }
}

/// Why a resource could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no such object.
    #[error("not found")]
    NotFound,
    /// There is no such kind in that version.
    #[error(
        "the API server does not serve this kind; is its apiVersion right, and its CRD installed"
    )]
    NotServed,
    /// We may not.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// The API server is away, or has too much to do.
    #[error("the API server is not available: {0}")]
    Unavailable(String),
    /// The API server did not take the request.
    #[error("refused: {0}")]
    Refused(String),
    /// It took too long.
    #[error("no answer within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
}

/// What became of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was asked.
    Done,
    /// It could not be.
    Failed(RequestError),
    /// It was not yet when the hook's patience ended; it will be.
    Deadline,
}

impl Outcome {
    /// Whether it was asked.
    pub fn is_done(&self) -> bool {
        *self == Self::Done
    }

    /// Whether the sender may try again.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Deadline => true,
            Self::Done => false,
            Self::Failed(error) => {
                matches!(error, RequestError::Timeout | RequestError::Unavailable(_))
            }
        }
    }

    /// A word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed(RequestError::NotFound) => "not_found",
            Self::Failed(RequestError::NotServed) => "not_served",
            Self::Failed(RequestError::Forbidden(_)) => "forbidden",
            Self::Failed(RequestError::Unavailable(_)) => "unavailable",
            Self::Failed(RequestError::Refused(_)) => "refused",
            Self::Failed(RequestError::Timeout) => "timeout",
            Self::Deadline => "deadline",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("asked"),
            Self::Failed(error) => error.fmt(f),
            Self::Deadline => write!(f, "not asked within {} s", PATIENCE.as_secs()),
        }
    }
}

/// Asks for resources on behalf of hooks.
#[derive(Debug)]
pub struct Annotator<R> {
    shared: Arc<Shared<R>>,
}

#[derive(Debug)]
struct Shared<R> {
    requester: R,
    queues: Mutex<HashMap<ResourceRef, Queue>>,
    last_stamp: AtomicU64,
    draining: Notify,
    is_draining: AtomicBool,
    gone: Notify,
    /// Requests at once, for all resources together.
    room: Semaphore,
}

/// The hooks that wait for one resource. It is there as long as its worker runs.
#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<oneshot::Sender<Outcome>>,
    interval: Duration,
}

impl<R: Requester> Annotator<R> {
    /// An Annotator that asks through `requester`.
    pub fn new(requester: R) -> Self {
        Self {
            shared: Arc::new(Shared {
                requester,
                queues: Mutex::default(),
                last_stamp: AtomicU64::new(0),
                draining: Notify::new(),
                is_draining: AtomicBool::new(false),
                gone: Notify::new(),
                room: Semaphore::new(IN_FLIGHT),
            }),
        }
    }

    /// Asks for resources, all at once, for a hook that came at `arrived`. `interval` is the least
    /// time between two requests for one resource. The outcomes are in the order of `resources`.
    pub async fn trigger(
        &self,
        resources: &[ResourceRef],
        interval: Duration,
        arrived: Instant,
    ) -> Vec<Outcome> {
        let waits: Vec<_> = resources
            .iter()
            .map(|resource| self.shared.join(resource, interval))
            .collect();
        let deadline = arrived + PATIENCE;
        join_all(waits.into_iter().map(|wait| async move {
            match timeout_at(deadline, wait).await {
                Ok(Ok(outcome)) => outcome,
                // A worker only goes away after it has answered everybody.
                Ok(Err(_)) | Err(_) => Outcome::Deadline,
            }
        }))
        .await
    }

    /// Lets everything that is pending go out at once, and waits for it.
    pub async fn drain(&self) {
        self.shared.is_draining.store(true, Ordering::Release);
        loop {
            let gone = self.shared.gone.notified();
            self.shared.draining.notify_waiters();
            if self.shared.lock().is_empty() || timeout(REQUEST_TIMEOUT * 2, gone).await.is_err() {
                return;
            }
        }
    }
}

impl<R: Requester> Shared<R> {
    fn lock(&self) -> MutexGuard<'_, HashMap<ResourceRef, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the hooks that wait for a resource, with a worker for them if there is none.
    fn join(
        self: &Arc<Self>,
        resource: &ResourceRef,
        interval: Duration,
    ) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        let mut queues = self.lock();
        let is_new = !queues.contains_key(resource);
        let queue = queues.entry(resource.clone()).or_default();
        // The least patient of those who wait decides for all.
        queue.interval = if queue.waiting.is_empty() {
            interval
        } else {
            queue.interval.min(interval)
        };
        queue.waiting.push(sender);
        drop(queues);
        if is_new {
            tokio::spawn(self.clone().work(resource.clone()));
        }
        receiver
    }

    /// Serves the hooks of one resource until nobody has come for an interval.
    async fn work(self: Arc<Self>, resource: ResourceRef) {
        let mut leaving = Leaving {
            shared: &self,
            resource: &resource,
            queued: true,
        };
        while let Some(interval) = self.serve(&resource).await {
            self.pause(Instant::now() + interval).await;
        }
        leaving.queued = false;
    }

    /// One request for all that wait; the interval after it, or `None` if nobody waits.
    async fn serve(&self, resource: &ResourceRef) -> Option<Duration> {
        // Whoever comes while there is no room joins this request. The semaphore is never closed.
        let _room = self.room.acquire().await.ok()?;
        let (batch, interval) = self.take(resource)?;
        let stamp = self.stamp();
        let asked = timeout(REQUEST_TIMEOUT, self.requester.request(resource, &stamp)).await;
        let outcome = match asked {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) => Outcome::Failed(RequestError::Timeout),
        };
        for waiting in batch {
            // Whoever has gone away does not need it.
            let _ = waiting.send(outcome.clone());
        }
        Some(interval)
    }

    /// The hooks that wait now; without any the queue ends, in the same step.
    fn take(&self, resource: &ResourceRef) -> Option<(Vec<oneshot::Sender<Outcome>>, Duration)> {
        let mut queues = self.lock();
        let queue = queues.get_mut(resource)?;
        if queue.waiting.is_empty() {
            queues.remove(resource);
            return None;
        }
        Some((std::mem::take(&mut queue.waiting), queue.interval))
    }

    async fn pause(&self, until: Instant) {
        let draining = self.draining.notified();
        if self.is_draining.load(Ordering::Acquire) {
            return;
        }
        tokio::select! {
            () = sleep_until(until) => {}
            () = draining => {}
        }
    }

    /// A value that was never given before: RFC 3339 with nanoseconds, as the flux CLI writes it.
    fn stamp(&self) -> String {
        let now = clock::now_ns();
        let last = self.last_stamp.fetch_max(now, Ordering::AcqRel);
        let unique = if now > last {
            now
        } else {
            self.last_stamp.fetch_add(1, Ordering::AcqRel) + 1
        };
        clock::rfc3339(unique)
    }
}

/// Takes the queue away with its worker, even where a Requester panics: the next hook starts afresh.
struct Leaving<'a, R> {
    shared: &'a Shared<R>,
    resource: &'a ResourceRef,
    queued: bool,
}

impl<R> Drop for Leaving<'_, R> {
    fn drop(&mut self) {
        if self.queued {
            let mut queues = self
                .shared
                .queues
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            queues.remove(self.resource);
        }
        self.shared.gone.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Answers after a while; counts.
    #[derive(Debug, Default)]
    struct Fake {
        takes: Duration,
        fails: bool,
        asked: Mutex<Vec<(String, String, Instant)>>,
        at_once: AtomicUsize,
        most_at_once: AtomicUsize,
    }

    impl Requester for Fake {
        async fn request(&self, resource: &ResourceRef, at: &str) -> Result<(), RequestError> {
            self.asked
                .lock()
                .unwrap()
                .push((resource.name.clone(), at.to_owned(), Instant::now()));
            let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(self.takes).await;
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            if self.fails {
                Err(RequestError::NotFound)
            } else {
                Ok(())
            }
        }
    }

    fn resource(name: &str) -> ResourceRef {
        ResourceRef {
            api_version: "v1".to_owned(),
            kind: "Kind".to_owned(),
            namespace: "ns".to_owned(),
            name: name.to_owned(),
        }
    }

    fn annotator(takes_ms: u64, fails: bool) -> (Arc<Fake>, Arc<Annotator<Arc<Fake>>>) {
        let fake = Arc::new(Fake {
            takes: Duration::from_millis(takes_ms),
            fails,
            ..Fake::default()
        });
        (fake.clone(), Arc::new(Annotator::new(fake)))
    }

    const SECOND: Duration = Duration::from_secs(1);

    async fn burst(annotator: &Arc<Annotator<Arc<Fake>>>, n: usize) -> Vec<Outcome> {
        let hooks = (0..n).map(|_| {
            let annotator = annotator.clone();
            tokio::spawn(async move {
                annotator
                    .trigger(&[resource("a")], SECOND, Instant::now())
                    .await
                    .remove(0)
            })
        });
        join_all(hooks)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_costs_two_requests_and_every_hook_is_done() {
        let (fake, annotator) = annotator(20, false);
        let first = burst(&annotator, 1);
        let rest = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            burst(&annotator, 1999).await
        };
        let (first, rest) = tokio::join!(first, rest);
        assert!(first.iter().chain(&rest).all(Outcome::is_done));
        assert_eq!(fake.asked.lock().unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn done_means_a_request_that_began_after_the_hook_came() {
        let (fake, annotator) = annotator(300, false);
        let first = tokio::spawn({
            let annotator = annotator.clone();
            async move {
                annotator
                    .trigger(&[resource("a")], SECOND, Instant::now())
                    .await
            }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let came = Instant::now();
        let outcome = annotator.trigger(&[resource("a")], SECOND, came).await;
        assert_eq!(outcome, [Outcome::Done]);
        assert_eq!(first.await.unwrap(), [Outcome::Done]);
        let asked = fake.asked.lock().unwrap();
        assert!(asked[1].2 >= came && asked[1].2 - asked[0].2 >= SECOND);
        assert!(asked[0].1 < asked[1].1, "the value must change");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_shared_by_those_who_waited_for_it() {
        let (fake, annotator) = annotator(10, true);
        let outcomes = burst(&annotator, 10).await;
        assert!(
            outcomes
                .iter()
                .all(|o| *o == Outcome::Failed(RequestError::NotFound))
        );
        assert!(fake.asked.lock().unwrap().len() <= 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_nine_seconds_and_the_request_still_goes_out() {
        let (fake, annotator) = annotator(7_000, false);
        let first = tokio::spawn({
            let annotator = annotator.clone();
            async move {
                annotator
                    .trigger(&[resource("a")], SECOND, Instant::now())
                    .await
            }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        let came = Instant::now();
        assert_eq!(
            annotator.trigger(&[resource("a")], SECOND, came).await,
            [Outcome::Deadline]
        );
        assert_eq!(came.elapsed(), PATIENCE);
        assert_eq!(first.await.unwrap(), [Outcome::Done]);
        annotator.drain().await;
        assert_eq!(fake.asked.lock().unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hook_that_goes_away_takes_nothing_from_the_others() {
        let (fake, annotator) = annotator(50, false);
        let gone = tokio::spawn({
            let annotator = annotator.clone();
            async move {
                annotator
                    .trigger(&[resource("a")], SECOND, Instant::now())
                    .await
            }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        let (resources, now) = ([resource("a")], Instant::now());
        let stays = annotator.trigger(&resources, SECOND, now);
        gone.abort();
        assert_eq!(stays.await, [Outcome::Done]);
        assert_eq!(fake.asked.lock().unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn all_resources_of_a_sender_that_goes_away_early_are_asked() {
        let (fake, annotator) = annotator(50, false);
        let resources = ["a", "b", "c"].map(resource);
        let hook = annotator.trigger(&resources, SECOND, Instant::now());
        let early = timeout(Duration::from_millis(1), hook);
        assert!(early.await.is_err());
        annotator.drain().await;
        assert_eq!(fake.asked.lock().unwrap().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn resources_of_one_hook_are_asked_at_once() {
        let (fake, annotator) = annotator(50, false);
        let resources: Vec<_> = (0..50).map(|n| resource(&n.to_string())).collect();
        let outcomes = annotator.trigger(&resources, SECOND, Instant::now()).await;
        assert!(outcomes.iter().all(Outcome::is_done) && outcomes.len() == 50);
        assert_eq!(fake.most_at_once.load(Ordering::SeqCst), 50);
    }

    #[derive(Debug)]
    struct Panics;

    impl Requester for Panics {
        async fn request(&self, _: &ResourceRef, _: &str) -> Result<(), RequestError> {
            panic!("on purpose")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_requester_that_panics_blocks_nobody() {
        let annotator = Annotator::new(Panics);
        for _ in 0..2 {
            let began = Instant::now();
            let outcome = annotator.trigger(&[resource("a")], SECOND, began).await;
            assert_eq!(outcome, [Outcome::Deadline]);
            assert!(began.elapsed() < SECOND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_at_once_are_bounded() {
        let (fake, annotator) = annotator(5, false);
        let resources: Vec<_> = (0..1_000).map(|n| resource(&n.to_string())).collect();
        let outcomes = annotator.trigger(&resources, SECOND, Instant::now()).await;
        assert!(outcomes.iter().all(Outcome::is_done));
        assert_eq!(fake.most_at_once.load(Ordering::SeqCst), IN_FLIGHT);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_a_resource_that_nobody_asks_for() {
        let (_, annotator) = annotator(1, false);
        burst(&annotator, 3).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(annotator.shared.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_lets_what_waits_go_out_at_once() {
        let (fake, annotator) = annotator(1, false);
        burst(&annotator, 1).await;
        let waiting = tokio::spawn({
            let annotator = annotator.clone();
            async move { burst(&annotator, 5).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        let began = Instant::now();
        annotator.drain().await;
        assert!(began.elapsed() < Duration::from_millis(100));
        assert!(waiting.await.unwrap().iter().all(Outcome::is_done));
        assert_eq!(fake.asked.lock().unwrap().len(), 2);
    }
}
