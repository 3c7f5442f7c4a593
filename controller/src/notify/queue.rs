//! Which delivery of which Provider is sent next, given the time. Pure.
//!
//! Every Provider has a lane of its own: its own room in flight, its own rate, its own pause. In a
//! lane, what concerns one involved object is a chain: its deliveries go out one after the other,
//! in the order in which the events came. So a slow provider holds up nobody else, and an event
//! that a provider can't take holds up its own object's chain only. A provider that nobody answers at
//! is asked one delivery at a time, less and less often, until somebody does.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use hook::bucket::{Limit, TokenBucket};

use super::delivery::{DeliveryId, Name};

/// How many attempts in a row find nobody there before a Provider is thought to be down.
const STRIKES: u32 = 5;
/// The longest pause between attempts to reach a Provider that is down, in milliseconds.
const LONGEST_PROBE: u64 = 60_000;

/// Lanes that are kept although nothing waits in them.
const MAX_IDLE: usize = 1_000;

/// What is sent at once, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Deliveries in flight, all Providers together.
    pub total: usize,
    /// Deliveries in flight to one Provider.
    pub per_provider: usize,
    /// Attempts to one Provider.
    pub rate: Limit,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            total: 512,
            per_provider: 8,
            rate: Limit::per_second(50, 100),
        }
    }
}

/// Where a delivery queues: its Provider and its involved object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The Provider's `namespace/name`.
    pub provider: Name,
    /// The involved object.
    pub chain: Arc<str>,
}

/// The deliveries that wait, of all Providers.
#[derive(Debug, Default)]
pub struct Queues {
    room: Room,
    lanes: BTreeMap<Name, Lane>,
    in_flight: usize,
    /// The Provider that was served last: the next one comes first.
    last: Option<Name>,
}

#[derive(Debug)]
struct Lane {
    chains: HashMap<Arc<str>, VecDeque<Waiting>>,
    /// The heads of the chains that are not in flight, by when they are due.
    due: BTreeSet<(u64, DeliveryId, Arc<str>)>,
    in_flight: BTreeSet<DeliveryId>,
    bucket: TokenBucket,
    /// The provider asked for a pause until then, or is down.
    held_until: u64,
    /// How many attempts in a row have found nobody there.
    strikes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    id: DeliveryId,
    next_ms: u64,
}

impl Queues {
    /// Empty queues.
    pub fn new(room: Room) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }

    /// Adds a delivery at the end of its chain.
    pub fn push(&mut self, place: &Place, id: DeliveryId, next_ms: u64) {
        let rate = self.room.rate;
        let lane = self
            .lanes
            .entry(place.provider.clone())
            .or_insert_with(|| Lane::new(rate));
        let chain = lane.chains.entry(place.chain.clone()).or_default();
        chain.push_back(Waiting { id, next_ms });
        if chain.len() == 1 {
            lane.due.insert((next_ms, id, place.chain.clone()));
        }
    }

    /// The next delivery to send now; it is in flight until [`Queues::finish`] or [`Queues::postpone`].
    pub fn take(&mut self, now_ms: u64) -> Option<DeliveryId> {
        if self.in_flight >= self.room.total {
            return None;
        }
        let name = self.next_lane(now_ms)?;
        let id = self.lanes.get_mut(&name)?.take(self.room, now_ms)?;
        self.in_flight += 1;
        self.last = Some(name);
        Some(id)
    }

    /// The first lane that has something to send, beginning after the one that was served last.
    fn next_lane(&self, now_ms: u64) -> Option<Name> {
        let can_send = |(_, lane): &(&Name, &Lane)| lane.can_take(self.room, now_ms);
        let mut later = match &self.last {
            Some(last) => self
                .lanes
                .range::<Name, _>((Bound::Excluded(last), Bound::Unbounded)),
            None => self.lanes.range::<Name, _>(..),
        };
        let found = later.find(can_send).or_else(|| {
            let last = self.last.as_ref()?;
            self.lanes.range::<Name, _>(..=last).find(can_send)
        });
        found.map(|(name, _)| name.clone())
    }

    /// When [`Queues::take`] will next have something, if nothing else happens; `None` for never.
    pub fn wake_at(&self, now_ms: u64) -> Option<u64> {
        if self.in_flight >= self.room.total {
            return None;
        }
        let lanes = self.lanes.values();
        lanes
            .filter_map(|lane| lane.wake_at(self.room, now_ms))
            .min()
    }

    /// A delivery is over: the next of its chain may go. Also takes one out that was never in flight.
    pub fn finish(&mut self, place: &Place, id: DeliveryId) {
        let Some(lane) = self.lanes.get_mut(&place.provider) else {
            return;
        };
        if lane.in_flight.remove(&id) {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        lane.remove(&place.chain, id);
        // An idle lane is kept for its rate, but Providers come and go.
        if lane.chains.is_empty() && self.lanes.len() > MAX_IDLE {
            self.lanes.remove(&place.provider);
        }
    }

    /// A delivery in flight is to be tried again, and its chain waits for it.
    pub fn postpone(&mut self, place: &Place, id: DeliveryId, next_ms: u64) {
        let Some(lane) = self.lanes.get_mut(&place.provider) else {
            return;
        };
        if lane.in_flight.remove(&id) {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        let head = lane
            .chains
            .get_mut(&place.chain)
            .and_then(|c| c.front_mut());
        if let Some(head) = head.filter(|head| head.id == id) {
            lane.due.remove(&(head.next_ms, id, place.chain.clone()));
            head.next_ms = next_ms;
            lane.due.insert((next_ms, id, place.chain.clone()));
        }
    }

    /// Sends nothing to a Provider until then.
    pub fn hold(&mut self, provider: &str, until_ms: u64) {
        if let Some(lane) = self.lanes.get_mut(provider) {
            lane.held_until = lane.held_until.max(until_ms);
        }
    }

    /// Somebody answers at a Provider, whatever it is. Whether it was thought to be down.
    pub fn answered(&mut self, provider: &str) -> bool {
        let lane = self.lanes.get_mut(provider);
        lane.is_some_and(|lane| std::mem::take(&mut lane.strikes) >= STRIKES)
    }

    /// Nobody answered at a Provider. Whether it is thought to be down from now on.
    pub fn unanswered(&mut self, provider: &str, now_ms: u64) -> bool {
        let Some(lane) = self.lanes.get_mut(provider) else {
            return false;
        };
        // The others that were on their way when it was found to be down say nothing new.
        if lane.is_down() && now_ms < lane.held_until {
            return false;
        }
        lane.strikes = lane.strikes.saturating_add(1);
        let Some(doublings) = lane.strikes.checked_sub(STRIKES) else {
            return false;
        };
        let pause = (1_000_u64 << doublings.min(10)).min(LONGEST_PROBE);
        lane.held_until = lane.held_until.max(now_ms.saturating_add(pause));
        doublings == 0
    }

    /// Whether nobody answers at a Provider, so that it is asked now and then only.
    pub fn is_held_back(&self, provider: &str) -> bool {
        self.lanes.get(provider).is_some_and(Lane::is_down)
    }

    /// The others of a chain, in their order, whose turn comes after `head`.
    pub fn rest(&self, place: &Place, head: DeliveryId) -> Vec<DeliveryId> {
        let lane = self.lanes.get(&place.provider);
        let chain = lane.and_then(|lane| lane.chains.get(&place.chain));
        let waiting = chain.into_iter().flatten().map(|waiting| waiting.id);
        waiting.filter(|id| *id != head).collect()
    }

    /// Whether a delivery is being sent.
    pub fn is_in_flight(&self, place: &Place, id: DeliveryId) -> bool {
        self.lanes
            .get(&place.provider)
            .is_some_and(|lane| lane.in_flight.contains(&id))
    }
}

impl Lane {
    fn new(rate: Limit) -> Self {
        Self {
            chains: HashMap::new(),
            due: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            bucket: TokenBucket::full(rate, 0),
            held_until: 0,
            strikes: 0,
        }
    }

    /// Whether one more may be in flight. One is enough to see whether somebody is there.
    fn has_room(&self, room: Room) -> bool {
        self.in_flight.len() < if self.is_down() { 1 } else { room.per_provider }
    }

    fn is_down(&self) -> bool {
        self.strikes >= STRIKES
    }

    fn can_take(&self, room: Room, now_ms: u64) -> bool {
        self.has_room(room)
            && now_ms >= self.held_until
            && self.due.first().is_some_and(|(due, _, _)| *due <= now_ms)
            && self.bucket.peek(room.rate, now_ms).is_ok()
    }

    fn take(&mut self, room: Room, now_ms: u64) -> Option<DeliveryId> {
        self.bucket.take(room.rate, now_ms).ok()?;
        let (_, id, _) = self.due.pop_first()?;
        self.in_flight.insert(id);
        Some(id)
    }

    fn wake_at(&self, room: Room, now_ms: u64) -> Option<u64> {
        if !self.has_room(room) {
            return None;
        }
        let (due, _, _) = self.due.first()?;
        let limited = match self.bucket.peek(room.rate, now_ms) {
            Ok(()) => 0,
            // Tokens come faster than whole seconds.
            Err(_) => now_ms.saturating_add(50),
        };
        Some((*due).max(self.held_until).max(limited))
    }

    fn remove(&mut self, chain: &Arc<str>, id: DeliveryId) {
        let Some(waiting) = self.chains.get_mut(chain) else {
            return;
        };
        let Some(at) = waiting.iter().position(|waiting| waiting.id == id) else {
            return;
        };
        if let Some(gone) = waiting.remove(at) {
            self.due.remove(&(gone.next_ms, id, chain.clone()));
        }
        match waiting.front() {
            None => {
                self.chains.remove(chain);
            }
            Some(head) if at == 0 => {
                self.due.insert((head.next_ms, head.id, chain.clone()));
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(provider: &str, chain: &str) -> Place {
        Place {
            provider: provider.into(),
            chain: chain.into(),
        }
    }

    fn id(entry: u64) -> DeliveryId {
        DeliveryId { entry, n: 0 }
    }

    fn taken(queues: &mut Queues, now_ms: u64) -> Vec<u64> {
        std::iter::from_fn(|| queues.take(now_ms).map(|id| id.entry)).collect()
    }

    impl Queues {
        fn is_empty(&self) -> bool {
            self.in_flight == 0 && self.lanes.values().all(|lane| lane.chains.is_empty())
        }
    }

    fn room(per_provider: usize) -> Room {
        Room {
            per_provider,
            ..Room::default()
        }
    }

    #[test]
    fn events_of_one_object_go_out_one_after_the_other_and_others_beside_them() {
        let mut queues = Queues::new(room(8));
        for (entry, chain) in [(1, "a"), (2, "a"), (3, "b")] {
            queues.push(&place("p", chain), id(entry), 0);
        }
        assert_eq!(taken(&mut queues, 0), [1, 3]);
        assert_eq!(queues.wake_at(0), None);
        queues.finish(&place("p", "a"), id(1));
        assert_eq!(taken(&mut queues, 0), [2]);
    }

    #[test]
    fn a_postponed_event_blocks_its_chain_and_only_that() {
        let mut queues = Queues::new(room(8));
        for (entry, chain) in [(1, "a"), (2, "a"), (3, "b"), (4, "b")] {
            queues.push(&place("p", chain), id(entry), 0);
        }
        assert_eq!(taken(&mut queues, 0), [1, 3]);
        queues.postpone(&place("p", "a"), id(1), 5_000);
        queues.finish(&place("p", "b"), id(3));
        assert_eq!(taken(&mut queues, 1_000), [4]);
        assert_eq!(queues.wake_at(1_000), Some(5_000));
        assert_eq!(taken(&mut queues, 5_000), [1]);
        // Refused for good: the chain goes on.
        queues.finish(&place("p", "a"), id(1));
        assert_eq!(taken(&mut queues, 5_000), [2]);
    }

    #[test]
    fn a_full_or_held_provider_delays_nobody_else() {
        let mut queues = Queues::new(room(1));
        for (entry, provider) in [(1, "p"), (2, "p"), (3, "q"), (4, "r")] {
            queues.push(&place(provider, &entry.to_string()), id(entry), 0);
        }
        queues.hold("q", 10_000);
        assert_eq!(taken(&mut queues, 0), [1, 4]);
        assert_eq!(queues.wake_at(0), Some(10_000));
        assert_eq!(taken(&mut queues, 10_000), [3]);
    }

    #[test]
    fn a_provider_that_is_down_is_asked_one_at_a_time_ever_later_until_it_answers() {
        let mut queues = Queues::new(room(8));
        for entry in 0..20 {
            queues.push(&place("p", &entry.to_string()), id(entry), 0);
        }
        assert_eq!(taken(&mut queues, 0).len(), 8);
        let mut down = Vec::new();
        for entry in 0..8 {
            queues.postpone(&place("p", &entry.to_string()), id(entry), 100_000_000);
            down.push(queues.unanswered("p", 0));
        }
        assert_eq!(down.iter().position(|down| *down), Some(4));
        assert_eq!(down.iter().filter(|down| **down).count(), 1);
        assert_eq!(
            queues.wake_at(0),
            Some(1_000),
            "all of one moment are one finding"
        );
        let mut now = 1_000;
        for (entry, pause) in [(8, 2_000), (9, 4_000), (10, 8_000), (11, 16_000)] {
            assert_eq!(taken(&mut queues, now), [entry]);
            queues.postpone(&place("p", &entry.to_string()), id(entry), 100_000_000);
            assert!(!queues.unanswered("p", now));
            now += pause;
            assert_eq!(queues.wake_at(now - pause), Some(now));
        }
        assert_eq!(taken(&mut queues, now), [12]);
        for _ in 0..20 {
            now += LONGEST_PROBE;
            queues.unanswered("p", now);
        }
        queues.hold("p", 0);
        assert_eq!(queues.lanes["p"].held_until, now + LONGEST_PROBE);
        queues.finish(&place("p", "12"), id(12));
        assert!(queues.is_held_back("p") && !queues.is_held_back("q"));
        assert!(queues.answered("p") && !queues.answered("p"));
        assert!(!queues.is_held_back("p"));
        now += LONGEST_PROBE;
        assert_eq!(taken(&mut queues, now), [13, 14, 15, 16, 17, 18, 19]);
    }

    #[test]
    fn a_rate_is_kept_for_each_provider() {
        let mut queues = Queues::new(Room {
            rate: Limit::per_second(1, 2),
            ..Room::default()
        });
        for entry in 0..4 {
            queues.push(&place("p", &entry.to_string()), id(entry), 0);
        }
        queues.push(&place("q", "9"), id(9), 0);
        assert_eq!(taken(&mut queues, 100_000), [0, 9, 1]);
        assert_eq!(queues.wake_at(100_000), Some(100_050));
        assert_eq!(taken(&mut queues, 101_000), [2]);
    }

    #[test]
    fn providers_take_turns() {
        let mut queues = Queues::new(Room {
            total: 3,
            ..Room::default()
        });
        for entry in 0..10 {
            queues.push(&place("a", &entry.to_string()), id(entry), 0);
        }
        queues.push(&place("b", "x"), id(20), 0);
        assert_eq!(taken(&mut queues, 0), [0, 20, 1]);
    }

    #[test]
    fn one_that_waits_can_be_taken_out_wherever_it_stands() {
        let mut queues = Queues::new(room(8));
        for entry in 1..=3 {
            queues.push(&place("p", "a"), id(entry), 0);
        }
        queues.finish(&place("p", "a"), id(2));
        queues.finish(&place("p", "a"), id(1));
        assert_eq!(taken(&mut queues, 0), [3]);
        queues.finish(&place("p", "a"), id(3));
        assert!(queues.is_empty());
    }

    /// What may happen to a delivery that was taken.
    #[derive(Clone, Debug)]
    enum Fate {
        Finish,
        Postpone(u64),
    }

    fn fate() -> impl Strategy<Value = Fate> {
        prop_oneof![
            3 => Just(Fate::Finish),
            1 => (1_u64..50_000).prop_map(Fate::Postpone),
        ]
    }

    proptest! {
        #[test]
        fn everything_is_sent_once_in_order_per_object_within_the_room(
            pushes in prop::collection::vec((0_u8..3, 0_u8..4), 1..60),
            fates in prop::collection::vec(fate(), 200),
            per_provider in 1_usize..4,
        ) {
            let mut queues = Queues::new(Room { total: 5, per_provider, rate: Limit::per_second(1_000, 1_000) });
            let mut places = BTreeMap::new();
            for (entry, (provider, chain)) in (0..).zip(&pushes) {
                let place = place(&format!("p{provider}"), &format!("c{chain}"));
                queues.push(&place, id(entry), 0);
                places.insert(entry, place);
            }
            let mut fates = fates.into_iter();
            let mut finished: HashMap<Place, Vec<u64>> = HashMap::new();
            let mut now = 0;
            let mut left = pushes.len();
            while left > 0 {
                let round = taken(&mut queues, now);
                prop_assert!(round.len() <= 5);
                let mut chains = BTreeSet::new();
                let mut lanes: BTreeMap<Name, usize> = BTreeMap::new();
                for entry in &round {
                    let place = &places[entry];
                    prop_assert!(chains.insert((place.provider.clone(), place.chain.clone())));
                    *lanes.entry(place.provider.clone()).or_default() += 1;
                }
                prop_assert!(lanes.values().all(|n| *n <= per_provider));
                if round.is_empty() {
                    let wake = queues.wake_at(now);
                    prop_assert!(wake.is_some_and(|wake| wake > now), "{wake:?} at {now}");
                    now = wake.unwrap();
                }
                for entry in round {
                    let place = &places[&entry];
                    match fates.next().unwrap_or(Fate::Finish) {
                        Fate::Finish => {
                            queues.finish(place, id(entry));
                            finished.entry(place.clone()).or_default().push(entry);
                            left -= 1;
                        }
                        Fate::Postpone(by) => queues.postpone(place, id(entry), now + by),
                    }
                }
            }
            for order in finished.values() {
                prop_assert!(order.is_sorted());
            }
            prop_assert!(queues.is_empty());
        }
    }
}
