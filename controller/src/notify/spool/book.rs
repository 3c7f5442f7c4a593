//! What the spool knows in memory: every entry but its event, and the queues. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::log::Location;
use super::record::Head;
use super::{Limits, SpoolError};
use crate::notify::delivery::{Delivery, DeliveryId, Name, State};
use crate::notify::queue::{Place, Queues, Room};

/// What an entry takes in memory and on disk beside its event, roughly.
const OVERHEAD: u64 = 512;

/// Where an entry's event is.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Disk(Location),
    Memory(Arc<[u8]>),
}

/// An accepted event that is not yet done with.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) at_ms: u64,
    pub(super) chain: Arc<str>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) body: Body,
    pub(super) size: u64,
}

/// A delivery to be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which.
    pub id: DeliveryId,
    /// When the event was accepted, Unix milliseconds.
    pub at_ms: u64,
    /// The involved object, or what else keeps events in order.
    pub chain: Arc<str>,
    /// Alert, Provider and state.
    pub delivery: Delivery,
}

/// The entries, by number.
#[derive(Debug)]
pub(super) struct Book {
    limits: Limits,
    entries: BTreeMap<u64, Entry>,
    /// Which live entries stand in which segment.
    segments: BTreeMap<u64, BTreeSet<u64>>,
    pub(super) queues: Queues,
    next_id: u64,
    bytes: u64,
    /// For appends that are on their way.
    reserved: (u64, usize),
    names: HashSet<Arc<str>>,
}

impl Book {
    pub(super) fn new(limits: Limits, room: Room) -> Self {
        Self {
            limits,
            entries: BTreeMap::new(),
            segments: BTreeMap::new(),
            queues: Queues::new(room),
            next_id: 1,
            bytes: 0,
            reserved: (0, 0),
            names: HashSet::new(),
        }
    }

    /// Makes room for an event of `length` bytes, if need be at the cost of the oldest dead
    /// letters, whose new states are returned.
    pub(super) fn reserve(
        &mut self,
        length: usize,
    ) -> Result<Vec<(DeliveryId, State)>, SpoolError> {
        let size = size(length);
        let mut dropped = Vec::new();
        while !self.has_room(size) {
            let dead = self
                .entries
                .iter()
                .find(|(_, entry)| entry.deliveries.iter().all(|d| !d.state.is_pending()))
                .map(|(id, _)| *id);
            let Some(dead) = dead else {
                return Err(SpoolError::Full);
            };
            dropped.extend(self.drop_dead(dead));
        }
        self.reserved.0 += size;
        self.reserved.1 += 1;
        Ok(dropped)
    }

    fn has_room(&self, size: u64) -> bool {
        self.bytes + self.reserved.0 + size <= self.limits.max_bytes
            && self.entries.len() + self.reserved.1 < self.limits.max_entries
    }

    /// Gives back what [`Book::reserve`] made.
    pub(super) fn release(&mut self, length: usize) {
        self.reserved.0 = self.reserved.0.saturating_sub(size(length));
        self.reserved.1 = self.reserved.1.saturating_sub(1);
    }

    fn drop_dead(&mut self, entry: u64) -> Vec<(DeliveryId, State)> {
        let deliveries = self.entries.get(&entry).map_or(&[][..], |e| &e.deliveries);
        let dead: Vec<_> = (0..)
            .zip(deliveries)
            .filter(|(_, delivery)| delivery.state.is_dead())
            .map(|(n, _)| DeliveryId { entry, n })
            .collect();
        for id in &dead {
            self.settle(*id, &State::Dropped);
        }
        dead.into_iter().map(|id| (id, State::Dropped)).collect()
    }

    /// The number of the next entry.
    pub(super) fn number(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Puts an entry in, or in place of one of the same number, as when segments are cleaned.
    /// `is_new` entries queue; of those that are read back the queues are filled at the end.
    pub(super) fn insert(&mut self, head: Head, body: Body, length: usize, is_new: bool) {
        self.next_id = self.next_id.max(head.id + 1);
        self.remove(head.id);
        let chain = self.shared(&head.chain);
        let deliveries: Vec<_> = head
            .deliveries
            .into_iter()
            .map(|delivery| Delivery {
                alert: self.shared(&delivery.alert),
                provider: self.shared(&delivery.provider),
                state: delivery.state,
            })
            .collect();
        if deliveries.iter().all(|delivery| delivery.state.is_over()) {
            return;
        }
        if let Body::Disk(location) = &body {
            self.segments
                .entry(location.segment)
                .or_default()
                .insert(head.id);
        }
        let entry = Entry {
            at_ms: head.at_ms,
            chain,
            deliveries,
            body,
            size: size(length),
        };
        self.bytes += entry.size;
        if is_new {
            enqueue(&mut self.queues, head.id, &entry);
        }
        self.entries.insert(head.id, entry);
    }

    /// Queues every entry that was read back.
    pub(super) fn enqueue_all(&mut self) {
        for (id, entry) in &self.entries {
            enqueue(&mut self.queues, *id, entry);
        }
    }

    /// Sets the state of a delivery that was read back, without the queues.
    pub(super) fn restore(&mut self, id: DeliveryId, state: State) {
        self.next_id = self.next_id.max(id.entry + 1);
        if let Some(delivery) = self.delivery_mut(id) {
            delivery.state = state;
            self.tidy(id.entry);
        }
    }

    /// The next delivery to send; it is in flight until it is settled.
    pub(super) fn take(&mut self, now_ms: u64) -> Option<Taken> {
        let id = self.queues.take(now_ms)?;
        self.taken(id)
    }

    /// What waits behind a delivery in flight, in order.
    pub(super) fn rest(&self, head: DeliveryId, limit: usize) -> Vec<Taken> {
        let Some(place) = self.place(head) else {
            return Vec::new();
        };
        let rest = self.queues.rest(&place, head).into_iter();
        rest.take(limit).filter_map(|id| self.taken(id)).collect()
    }

    fn taken(&self, id: DeliveryId) -> Option<Taken> {
        let entry = self.entries.get(&id.entry)?;
        Some(Taken {
            id,
            at_ms: entry.at_ms,
            chain: entry.chain.clone(),
            delivery: entry.deliveries.get(usize::from(id.n))?.clone(),
        })
    }

    /// Sets the state of a delivery; whether there is one.
    pub(super) fn settle(&mut self, id: DeliveryId, state: &State) -> bool {
        let Some(place) = self.place(id) else {
            return false;
        };
        let Some(delivery) = self.delivery_mut(id) else {
            return false;
        };
        let was_pending = delivery.state.is_pending();
        delivery.state = state.clone();
        match (was_pending, state) {
            (true, State::Pending { next_ms, .. }) => self.queues.postpone(&place, id, *next_ms),
            (false, State::Pending { next_ms, .. }) => self.queues.push(&place, id, *next_ms),
            (true, _) => self.queues.finish(&place, id),
            (false, _) => {}
        }
        self.tidy(id.entry);
        true
    }

    /// Forgets an entry whose event can't be read any more.
    pub(super) fn lose(&mut self, entry: u64) {
        let count = self.entries.get(&entry).map_or(0, |e| e.deliveries.len());
        for n in (0..).take(count) {
            self.settle(DeliveryId { entry, n }, &State::Dropped);
        }
    }

    /// Forgets an entry that is done with.
    fn tidy(&mut self, entry: u64) {
        let is_over = self
            .entries
            .get(&entry)
            .is_some_and(|entry| entry.deliveries.iter().all(|d| d.state.is_over()));
        if is_over {
            self.remove(entry);
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        self.bytes = self.bytes.saturating_sub(entry.size);
        if let Body::Disk(location) = entry.body {
            self.leave(id, location.segment);
        }
        if self.names.len() > 2 * self.entries.len() + 1_024 {
            drop(entry);
            self.names.retain(|name| Arc::strong_count(name) > 1);
        }
    }

    fn leave(&mut self, id: u64, segment: u64) {
        if let Some(live) = self.segments.get_mut(&segment) {
            live.remove(&id);
            if live.is_empty() {
                self.segments.remove(&segment);
            }
        }
    }

    /// The entries that stand in a segment.
    pub(super) fn live_in(&self, segment: u64) -> Vec<u64> {
        let live = self.segments.get(&segment);
        live.map(|live| live.iter().copied().collect())
            .unwrap_or_default()
    }

    /// What has to be written of an entry to have it stand elsewhere, and where it stands.
    pub(super) fn head(&self, id: u64) -> Option<(Head, Location)> {
        let entry = self.entries.get(&id)?;
        let Body::Disk(location) = entry.body else {
            return None;
        };
        let head = Head {
            id,
            at_ms: entry.at_ms,
            chain: entry.chain.clone(),
            deliveries: entry.deliveries.clone(),
        };
        Some((head, location))
    }

    /// An entry stands elsewhere now.
    pub(super) fn moved(&mut self, id: u64, to: Location) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if let Body::Disk(location) = &mut entry.body {
            let from = std::mem::replace(location, to);
            self.leave(id, from.segment);
            self.segments.entry(to.segment).or_default().insert(id);
        }
    }

    /// Gives up what waits for too long, and drops dead letters that are too old.
    pub(super) fn expire(&mut self, now_ms: u64) -> Vec<(DeliveryId, State)> {
        let age = u64::try_from(self.limits.max_age.as_millis()).unwrap_or(u64::MAX);
        let mut expired = Vec::new();
        for (entry, known) in &self.entries {
            for (n, delivery) in (0..).zip(&known.deliveries) {
                let id = DeliveryId { entry: *entry, n };
                match &delivery.state {
                    State::Dead { at_ms, .. } if at_ms.saturating_add(age) < now_ms => {
                        expired.push((id, State::Dropped));
                    }
                    State::Pending {
                        attempts,
                        since_ms,
                        error,
                        ..
                    } if since_ms.saturating_add(age) < now_ms
                        && !self.queues.is_in_flight(&place(known, delivery), id) =>
                    {
                        let why = error.as_deref().unwrap_or("never tried");
                        let reason = format!("too old: {why}");
                        let (attempts, at_ms) = (*attempts, now_ms);
                        expired.push((
                            id,
                            State::Dead {
                                attempts,
                                at_ms,
                                reason,
                            },
                        ));
                    }
                    State::Dead { .. }
                    | State::Pending { .. }
                    | State::Delivered
                    | State::Dropped => {}
                }
            }
        }
        for (id, state) in &expired {
            self.settle(*id, state);
        }
        expired
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    pub(super) fn entry(&self, id: u64) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where a delivery queues.
    pub(super) fn place(&self, id: DeliveryId) -> Option<Place> {
        let entry = self.entries.get(&id.entry)?;
        Some(place(entry, entry.deliveries.get(usize::from(id.n))?))
    }

    fn delivery_mut(&mut self, id: DeliveryId) -> Option<&mut Delivery> {
        let entry = self.entries.get_mut(&id.entry)?;
        entry.deliveries.get_mut(usize::from(id.n))
    }

    /// One allocation for each name, however many entries have it.
    pub(super) fn shared(&mut self, name: &Name) -> Name {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        self.names.insert(name.clone());
        name.clone()
    }
}

fn enqueue(queues: &mut Queues, entry: u64, known: &Entry) {
    for (n, delivery) in (0..).zip(&known.deliveries) {
        if let State::Pending { next_ms, .. } = delivery.state {
            queues.push(&place(known, delivery), DeliveryId { entry, n }, next_ms);
        }
    }
}

fn place(entry: &Entry, delivery: &Delivery) -> Place {
    Place {
        provider: delivery.provider.clone(),
        chain: entry.chain.clone(),
    }
}

fn size(length: usize) -> u64 {
    length as u64 + OVERHEAD
}
