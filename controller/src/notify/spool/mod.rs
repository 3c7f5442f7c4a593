//! The durable queue: an accepted event, and how far it has come on its way to each Provider.
//!
//! ```text
//!  append ──► writer (a thread): many appends, one fsync ──► segments on disk (log, record)
//!     take, settle, retry, drop ──► Book: entries and queues in memory
//! ```
//!
//! # Guarantees
//! - [`Spool::append`] returns only when the event is on disk; when it fails, nothing is kept.
//! - What was delivered may be sent again after the process died; what was not is sent.
//! - Size, number and age are bounded. Where room is needed the oldest dead letters make it;
//!   what still waits to be sent never does.
//! - A full disk is an error to whoever appends, until there is room again.
//! - Secrets are never in it: only the names of Alerts and Providers.
//!
//! Without a folder everything is kept in memory, and a restart loses it.

mod book;
mod log;
mod record;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, Semaphore, oneshot};

pub use self::book::Taken;
use self::book::{Body, Book, Entry};
use self::log::{Disk, Files};
pub use self::log::{Found, OpenError};
use self::record::Head;
use self::writer::{Job, Writer};
use super::delivery::{Delivery, DeliveryId, Name, State};
use super::queue::Room;

/// Appends that wait at once.
const APPENDS: usize = 1_024;
/// How often a read is tried while the entry moves from segment to segment.
const READS: usize = 3;

/// The bounds of the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of events that are kept; the files have at most about twice as many.
    pub max_bytes: u64,
    /// Events that are kept.
    pub max_entries: usize,
    /// How long a dead letter is kept, and how long anything may wait to be sent.
    pub max_age: Duration,
    /// Bytes of one segment.
    pub segment_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            max_entries: 100_000,
            max_age: Duration::from_secs(7 * 24 * 3600),
            segment_bytes: 8 << 20,
        }
    }
}

/// Why an event can't be kept, or a delivery not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// Everything in it waits to be sent.
    #[error(
        "the spool is full; raise --spool-max-bytes, or see `hookgate alerts list` for what does not go out"
    )]
    Full,
    /// The disk refused.
    #[error("failed to write to the spool: {0}")]
    Write(String),
    /// The disk refused.
    #[error("failed to read from the spool: {0}")]
    Read(String),
    /// The event is larger than any event may be.
    #[error("the event is too large for the spool")]
    TooLarge,
    /// The process is stopping.
    #[error("the spool is closed")]
    Closed,
    /// There is no such delivery any more.
    #[error("there is no delivery {0}; it was delivered, dropped, or never was")]
    Unknown(DeliveryId),
    /// It is on its way at this moment.
    #[error("delivery {0} is being sent just now; try again")]
    InFlight(DeliveryId),
}

/// An event to be kept.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// When it was accepted, Unix milliseconds.
    pub at_ms: u64,
    /// The involved object: events of one are sent in order.
    pub chain: String,
    /// Not to be sent before this, Unix milliseconds.
    pub not_before_ms: u64,
    /// Alert and Provider of each delivery, as `namespace/name`.
    pub deliveries: Vec<(Name, Name)>,
    /// The event, as JSON.
    pub event: Vec<u8>,
}

/// One delivery as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Its name.
    pub id: DeliveryId,
    /// When the event was accepted, Unix milliseconds.
    pub accepted_ms: u64,
    /// The involved object.
    pub object: Arc<str>,
    /// Alert, Provider and state.
    #[serde(flatten)]
    pub delivery: Delivery,
}

/// The spool in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Deliveries by Provider.
    pub providers: BTreeMap<Name, ProviderStats>,
    /// Bytes of the events that are kept.
    pub bytes: u64,
    /// Events that are kept.
    pub entries: usize,
    /// When the oldest event that still waits was accepted, Unix milliseconds.
    pub oldest_ms: Option<u64>,
    /// Whether the last write failed.
    pub is_failing: bool,
}

/// The deliveries of one Provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderStats {
    /// To be sent.
    pub pending: u64,
    /// Dead letters.
    pub dead: u64,
    /// When the oldest event that waits for it was accepted, Unix milliseconds.
    pub oldest_ms: Option<u64>,
    /// Whether nobody answers there, so that it is asked now and then only.
    pub is_held_back: bool,
}

/// The durable queue.
#[derive(Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    appends: Semaphore,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Disk { folder: PathBuf, writer: Writer },
    Memory,
}

#[derive(Debug)]
struct Shared {
    book: Mutex<Book>,
    /// Something can be sent that could not before.
    changed: Notify,
    is_failing: std::sync::atomic::AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spool {
    /// A spool in a folder, with what is in it.
    ///
    /// # Errors
    /// [`OpenError`] if the folder can't be used. What is damaged in it is skipped and counted.
    pub fn open(folder: &Path, limits: Limits, room: Room) -> Result<(Self, Found), OpenError> {
        Self::open_on(Box::new(Files), folder, limits, room)
    }

    fn open_on(
        disk: Box<dyn Disk>,
        folder: &Path,
        limits: Limits,
        room: Room,
    ) -> Result<(Self, Found), OpenError> {
        let (writer, shared, found) = Writer::open(disk, folder, limits, room)?;
        let spool = Self {
            shared,
            appends: Semaphore::new(APPENDS),
            store: Store::Disk {
                folder: folder.to_owned(),
                writer,
            },
        };
        Ok((spool, found))
    }

    /// A spool in memory: a restart loses what is in it.
    pub fn in_memory(limits: Limits, room: Room) -> Self {
        Self {
            shared: Arc::new(Shared {
                book: Mutex::new(Book::new(limits, room)),
                changed: Notify::new(),
                is_failing: false.into(),
            }),
            appends: Semaphore::new(APPENDS),
            store: Store::Memory,
        }
    }

    /// Whether a restart keeps what is in it.
    pub fn is_durable(&self) -> bool {
        matches!(self.store, Store::Disk { .. })
    }

    /// Keeps an event; returns its number once it is durable. It is kept although the caller goes
    /// away meanwhile.
    ///
    /// # Errors
    /// [`SpoolError`] if it can't be kept; then nothing of it is.
    pub async fn append(&self, new: NewEntry) -> Result<u64, SpoolError> {
        let _permit = self
            .appends
            .acquire()
            .await
            .map_err(|_| SpoolError::Closed)?;
        let length = new.event.len();
        let dropped = self.shared.lock().reserve(length)?;
        if !dropped.is_empty() {
            tracing::error!(
                deliveries = dropped.len(),
                "dead letters were dropped to make room in the spool"
            );
        }
        match &self.store {
            Store::Disk { writer, .. } => {
                for (id, state) in dropped {
                    writer.send(Job::Change {
                        id,
                        state,
                        ack: None,
                    });
                }
                let (ack, done) = oneshot::channel();
                writer.send(Job::Append { new, ack });
                done.await.unwrap_or(Err(SpoolError::Closed))
            }
            Store::Memory => {
                let mut book = self.shared.lock();
                book.release(length);
                let id = book.number();
                let body = Body::Memory(new.event.as_slice().into());
                book.insert(head(id, &new), body, length, true);
                drop(book);
                self.shared.changed.notify_one();
                Ok(id)
            }
        }
    }

    /// The next delivery to send now; it is in flight until it is settled.
    pub fn take(&self, now_ms: u64) -> Option<Taken> {
        self.shared.lock().take(now_ms)
    }

    /// What waits behind a delivery in flight, in order: to be sent with it.
    pub fn rest(&self, head: DeliveryId, limit: usize) -> Vec<Taken> {
        self.shared.lock().rest(head, limit)
    }

    /// When [`Spool::take`] will have something, if nothing changes until then.
    pub fn wake_at(&self, now_ms: u64) -> Option<u64> {
        self.shared.lock().queues.wake_at(now_ms)
    }

    /// Waits until something can be sent that could not before.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Sends nothing to a Provider until then.
    pub fn hold(&self, provider: &str, until_ms: u64) {
        self.shared.lock().queues.hold(provider, until_ms);
    }

    /// Whether somebody answered at a Provider. One that nobody answers at is asked less and less often.
    pub fn heard(&self, provider: &Name, is_answer: bool, now_ms: u64) {
        let queues = &mut self.shared.lock().queues;
        if is_answer {
            if queues.answered(provider) {
                tracing::info!(%provider, "the provider answers again");
            }
        } else if queues.unanswered(provider, now_ms) {
            tracing::warn!(%provider, "nobody answers at the provider: it is asked now and then");
        }
    }

    /// What became of a delivery in flight. Written soon; a crash before that sends it again.
    pub fn settle(&self, id: DeliveryId, state: State) {
        if self.shared.lock().settle(id, &state) {
            self.write(id, state);
        }
        self.shared.changed.notify_one();
    }

    /// The event of an entry, as JSON. Reads from disk: not for async code.
    ///
    /// # Errors
    /// [`SpoolError`] if the entry is gone, or can't be read.
    pub fn event(&self, id: DeliveryId) -> Result<Vec<u8>, SpoolError> {
        let mut error = SpoolError::Unknown(id);
        for _ in 0..READS {
            let body = self.shared.lock().entry(id.entry).map(|e| e.body.clone());
            match (body, &self.store) {
                (Some(Body::Memory(event)), _) => return Ok(event.to_vec()),
                (Some(Body::Disk(location)), Store::Disk { folder, .. }) => {
                    match log::body(folder, location) {
                        Ok(event) => return Ok(event),
                        // It may have moved meanwhile.
                        Err(failed) => error = SpoolError::Read(failed.to_string()),
                    }
                }
                (Some(Body::Disk(_)), Store::Memory) | (None, _) => break,
            }
        }
        Err(error)
    }

    /// Sends a dead letter again, or one that waits at once; returns when that is durable.
    ///
    /// # Errors
    /// [`SpoolError`] if there is no such delivery, it is in flight, or can't be written.
    pub async fn retry(&self, id: DeliveryId, now_ms: u64) -> Result<(), SpoolError> {
        self.change(id, State::new(now_ms)).await
    }

    /// Forgets a dead letter or one that waits; returns when that is durable.
    ///
    /// # Errors
    /// As [`Spool::retry`].
    pub async fn drop_delivery(&self, id: DeliveryId) -> Result<(), SpoolError> {
        self.change(id, State::Dropped).await
    }

    async fn change(&self, id: DeliveryId, state: State) -> Result<(), SpoolError> {
        {
            let mut book = self.shared.lock();
            let place = book.place(id).ok_or(SpoolError::Unknown(id))?;
            if book.queues.is_in_flight(&place, id) {
                return Err(SpoolError::InFlight(id));
            }
            if self.is_over(&book, id) || !book.settle(id, &state) {
                return Err(SpoolError::Unknown(id));
            }
        }
        self.shared.changed.notify_one();
        let Store::Disk { writer, .. } = &self.store else {
            return Ok(());
        };
        let (ack, done) = oneshot::channel();
        let ack = Some(ack);
        writer.send(Job::Change { id, state, ack });
        done.await.unwrap_or(Err(SpoolError::Closed))
    }

    fn is_over(&self, book: &Book, id: DeliveryId) -> bool {
        let delivery = book
            .entry(id.entry)
            .and_then(|entry| entry.deliveries.get(usize::from(id.n)));
        delivery.is_none_or(|delivery| delivery.state.is_over())
    }

    /// The deliveries that are not over and that `wanted` wants, oldest first, at most `limit`.
    pub fn list(&self, limit: usize, wanted: impl Fn(&Delivery) -> bool) -> Vec<Listed> {
        let book = self.shared.lock();
        let of_entry = |(entry, known): (u64, &Entry)| {
            let deliveries: Vec<_> = (0..)
                .zip(&known.deliveries)
                .filter(|(_, delivery)| !delivery.state.is_over() && wanted(delivery))
                .map(|(n, delivery)| Listed {
                    id: DeliveryId { entry, n },
                    accepted_ms: known.at_ms,
                    object: known.chain.clone(),
                    delivery: delivery.clone(),
                })
                .collect();
            deliveries
        };
        book.entries().flat_map(of_entry).take(limit).collect()
    }

    /// One delivery that is not over.
    pub fn find(&self, id: DeliveryId) -> Option<Listed> {
        let book = self.shared.lock();
        let entry = book.entry(id.entry)?;
        let delivery = entry.deliveries.get(usize::from(id.n))?;
        (!delivery.state.is_over()).then(|| Listed {
            id,
            accepted_ms: entry.at_ms,
            object: entry.chain.clone(),
            delivery: delivery.clone(),
        })
    }

    /// The spool in figures.
    pub fn stats(&self) -> Stats {
        let book = self.shared.lock();
        let mut stats = Stats {
            bytes: book.bytes(),
            is_failing: self
                .shared
                .is_failing
                .load(std::sync::atomic::Ordering::Relaxed),
            ..Stats::default()
        };
        for (_, entry) in book.entries() {
            stats.entries += 1;
            for delivery in &entry.deliveries {
                if delivery.state.is_over() {
                    continue;
                }
                let provider = stats
                    .providers
                    .entry(delivery.provider.clone())
                    .or_default();
                if delivery.state.is_pending() {
                    provider.pending += 1;
                    // Entries come oldest first, clocks that were set back apart.
                    provider.oldest_ms.get_or_insert(entry.at_ms);
                    stats.oldest_ms.get_or_insert(entry.at_ms);
                } else {
                    provider.dead += 1;
                }
            }
        }
        for (name, provider) in &mut stats.providers {
            provider.is_held_back = book.queues.is_held_back(name);
        }
        stats
    }

    /// To be called every minute or so: drops what is too old, writes what could not be written.
    /// Returns how many deliveries it gave up or dropped.
    pub fn tend(&self, now_ms: u64) -> usize {
        let expired = self.shared.lock().expire(now_ms);
        let count = expired.len();
        for (id, state) in expired {
            self.write(id, state);
        }
        if let Store::Disk { writer, .. } = &self.store {
            writer.send(Job::Tend);
        }
        self.shared.changed.notify_one();
        count
    }

    fn write(&self, id: DeliveryId, state: State) {
        if let Store::Disk { writer, .. } = &self.store {
            writer.send(Job::Change {
                id,
                state,
                ack: None,
            });
        }
    }
}

fn head(id: u64, new: &NewEntry) -> Head {
    let deliveries = new.deliveries.iter();
    Head {
        id,
        at_ms: new.at_ms,
        chain: new.chain.as_str().into(),
        deliveries: deliveries
            .map(|(alert, provider)| Delivery {
                alert: alert.clone(),
                provider: provider.clone(),
                state: State::Pending {
                    attempts: 0,
                    next_ms: new.not_before_ms.max(new.at_ms),
                    since_ms: new.at_ms,
                    error: None,
                },
            })
            .collect(),
    }
}
