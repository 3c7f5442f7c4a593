//! The thread that writes the spool: whatever came while one fsync ran shares the next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::{Notify, mpsc, oneshot};

use super::book::{Body, Book};
use super::log::{self, Disk, Found, Location, Log, OpenError};
use super::record::{self, Change, Head, Record};
use super::{Limits, NewEntry, Shared, SpoolError, head};
use crate::notify::delivery::{DeliveryId, State};
use crate::notify::queue::Room;

/// Bytes of events that share an fsync, beyond which the next ones wait.
const BATCH: usize = 8 << 20;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    Append {
        new: NewEntry,
        ack: oneshot::Sender<Result<u64, SpoolError>>,
    },
    Change {
        id: DeliveryId,
        state: State,
        /// Whoever waits for it to be durable.
        ack: Option<oneshot::Sender<Result<(), SpoolError>>>,
    },
    Tend,
}

/// The writing thread; dropped, it writes what it was given and ends.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Opens a folder, reads what is in it, and starts the thread.
    pub(super) fn open(
        disk: Box<dyn Disk>,
        folder: &Path,
        limits: Limits,
        room: Room,
    ) -> Result<(Self, Arc<Shared>, Found), OpenError> {
        let mut book = Book::new(limits, room);
        let (log, found) =
            Log::open(
                folder,
                disk,
                limits.segment_bytes,
                |location, record| match record {
                    Record::Entry { head, body } => {
                        book.insert(head, Body::Disk(location), body.len(), false);
                    }
                    Record::Change(Change { id, state }) => book.restore(id, state),
                },
            )?;
        book.enqueue_all();
        let shared = Arc::new(Shared {
            book: Mutex::new(book),
            changed: Notify::new(),
            is_failing: false.into(),
        });
        let (jobs, receiver) = mpsc::unbounded_channel();
        let worker = Worker {
            log,
            folder: folder.to_owned(),
            segment_bytes: limits.segment_bytes,
            shared: shared.clone(),
            unsaved: BTreeMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || worker.run(receiver))
            .map_err(|source| OpenError::Io {
                path: folder.to_owned(),
                source,
            })?;
        let writer = Self {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        Ok((writer, shared, found))
    }

    /// Whoever waits for a job that can't be taken any more finds its channel closed.
    pub(super) fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has said so.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Worker {
    log: Log,
    folder: PathBuf,
    segment_bytes: u64,
    shared: Arc<Shared>,
    /// Changes that are not written yet, the last of each delivery.
    unsaved: BTreeMap<DeliveryId, State>,
}

/// What shares one fsync.
#[derive(Default)]
struct Batch {
    appends: Vec<(NewEntry, oneshot::Sender<Result<u64, SpoolError>>)>,
    changes: Vec<oneshot::Sender<Result<(), SpoolError>>>,
    bytes: usize,
    is_tending: bool,
}

impl Worker {
    fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut batch = Batch::default();
            self.sort(first, &mut batch);
            while batch.bytes < BATCH
                && let Ok(job) = jobs.try_recv()
            {
                self.sort(job, &mut batch);
            }
            let is_tending = batch.is_tending;
            self.commit(batch);
            if is_tending && let Err(error) = self.log.sync() {
                tracing::error!(%error, "failed to sync the spool");
            }
            self.clean();
        }
        self.commit(Batch::default());
        if let Err(error) = self.log.sync() {
            tracing::error!(%error, "failed to sync the spool at the end");
        }
    }

    fn sort(&mut self, job: Job, batch: &mut Batch) {
        match job {
            Job::Append { new, ack } => {
                batch.bytes += new.event.len();
                batch.appends.push((new, ack));
            }
            Job::Change { id, state, ack } => {
                self.unsaved.insert(id, state);
                batch.changes.extend(ack);
            }
            Job::Tend => batch.is_tending = true,
        }
    }

    /// Writes a batch and tells everybody who waits for it.
    fn commit(&mut self, batch: Batch) {
        let mut bytes = Vec::with_capacity(batch.bytes + 1024 * batch.appends.len());
        let mut ends = Vec::new();
        for (id, state) in &self.unsaved {
            let (id, state) = (*id, state.clone());
            if record::change(&mut bytes, &Change { id, state }).is_some() {
                ends.push(bytes.len());
            }
        }
        let changes = ends.len();
        let mut taken = Vec::new();
        for (new, ack) in batch.appends {
            let id = self.shared.lock().number();
            let head = head(id, &new);
            if record::entry(&mut bytes, &head, &new.event).is_none() {
                self.shared.lock().release(new.event.len());
                let _ = ack.send(Err(SpoolError::TooLarge));
                continue;
            }
            ends.push(bytes.len());
            taken.push((head, new.event.len(), ack));
        }
        if bytes.is_empty() {
            batch
                .changes
                .into_iter()
                .for_each(|ack| drop(ack.send(Ok(()))));
            return;
        }
        let durable = !taken.is_empty() || !batch.changes.is_empty();
        let written = self.log.append(&bytes, &ends, durable);
        self.shared
            .is_failing
            .store(written.is_err(), Ordering::Relaxed);
        match written {
            Ok(locations) => {
                self.unsaved.clear();
                let locations = locations.into_iter().skip(changes);
                self.keep(taken, locations);
                batch
                    .changes
                    .into_iter()
                    .for_each(|ack| drop(ack.send(Ok(()))));
            }
            Err(error) => {
                tracing::error!(%error, "failed to write to the spool");
                let error = SpoolError::Write(error.to_string());
                for (_, length, ack) in taken {
                    self.shared.lock().release(length);
                    let _ = ack.send(Err(error.clone()));
                }
                for ack in batch.changes {
                    let _ = ack.send(Err(error.clone()));
                }
            }
        }
    }

    /// Puts what is on disk into the queues.
    fn keep(&self, taken: Vec<Kept>, locations: impl Iterator<Item = Location>) {
        let mut acks = Vec::new();
        let mut book = self.shared.lock();
        for ((head, length, ack), location) in taken.into_iter().zip(locations) {
            acks.push((head.id, ack));
            book.release(length);
            book.insert(head, Body::Disk(location), length, true);
        }
        drop(book);
        if !acks.is_empty() {
            self.shared.changed.notify_one();
        }
        for (id, ack) in acks {
            // Whoever has gone away does not need it; the event is kept.
            let _ = ack.send(Ok(id));
        }
    }

    /// Deletes old segments in which nothing lives; moves what lives in the oldest, if that
    /// frees much.
    fn clean(&mut self) {
        while let Some(oldest) = self.log.oldest() {
            let (live, bytes) = {
                let book = self.shared.lock();
                (book.live_in(oldest), book.bytes())
            };
            let is_wasteful = self.log.bytes() > 2 * bytes + 2 * self.segment_bytes;
            if !live.is_empty() && (!is_wasteful || !self.rewrite(&live)) {
                return;
            }
            // What happened to entries elsewhere must not go with it: it stands behind them.
            if let Err(error) = self.log.delete(oldest) {
                tracing::error!(%error, "failed to delete an old segment of the spool");
                return;
            }
        }
    }

    /// Appends entries anew; whether all now stand elsewhere.
    fn rewrite(&mut self, live: &[u64]) -> bool {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        let mut moved = Vec::new();
        for id in live {
            let Some((head, location)) = self.shared.lock().head(*id) else {
                continue;
            };
            match log::body(&self.folder, location) {
                Ok(body) if record::entry(&mut bytes, &head, &body).is_some() => {
                    ends.push(bytes.len());
                    moved.push(*id);
                }
                Ok(_) | Err(_) => {
                    tracing::error!(entry = id, "an event in the spool is damaged and lost");
                    self.shared.lock().lose(*id);
                }
            }
        }
        match self.log.append(&bytes, &ends, true) {
            Ok(locations) => {
                let mut book = self.shared.lock();
                for (id, location) in moved.into_iter().zip(locations) {
                    book.moved(id, location);
                }
                true
            }
            Err(error) => {
                tracing::error!(%error, "failed to clean the spool");
                false
            }
        }
    }
}

/// An entry that is being written, the length of its event, and who waits for it.
type Kept = (Head, usize, oneshot::Sender<Result<u64, SpoolError>>);
