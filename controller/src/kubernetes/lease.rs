//! Who leads: the decision about a Lease, as client-go takes it. Pure.

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a lease lasts, and how often it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long others wait after the last renewal that they saw.
    pub lease: Duration,
    /// How long a leader that can't renew goes on leading.
    pub renew: Duration,
    /// How often it is tried.
    pub retry: Duration,
}

/// `spec` of a Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) holder_identity: Option<String>,
    pub(super) lease_duration_seconds: Option<u64>,
    pub(super) acquire_time: Option<String>,
    pub(super) renew_time: Option<String>,
    pub(super) lease_transitions: Option<u64>,
}

/// A Lease as it was last seen to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) record: Record,
    /// When it was first seen so, in milliseconds of our own clock: other machines' are not trusted.
    pub(super) at_ms: u64,
}

impl Sighting {
    /// What is known after a look at the Lease.
    pub(super) fn next(before: Option<Self>, record: Record, now_ms: u64) -> Self {
        match before {
            Some(before) if before.record == record => before,
            Some(_) | None => Self {
                record,
                at_ms: now_ms,
            },
        }
    }
}

/// The record to write in order to lead, or to go on leading; `None` while somebody else does.
pub(super) fn claim(
    me: &str,
    seen: Option<&Sighting>,
    terms: &Terms,
    now_ms: u64,
) -> Option<Record> {
    let now = micro_time(now_ms);
    let mut record = Record {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: Some(terms.lease.as_secs().max(1)),
        acquire_time: Some(now.clone()),
        renew_time: Some(now),
        lease_transitions: Some(0),
    };
    let Some(seen) = seen else {
        return Some(record);
    };
    let holder = seen.record.holder_identity.as_deref().unwrap_or_default();
    if holder == me {
        record.acquire_time.clone_from(&seen.record.acquire_time);
        record.lease_transitions = seen.record.lease_transitions;
        return Some(record);
    }
    if !holder.is_empty() && !has_expired(seen, terms, now_ms) {
        return None;
    }
    record.lease_transitions = Some(seen.record.lease_transitions.unwrap_or(0) + 1);
    Some(record)
}

/// The record that gives a Lease away, so that nobody waits for it to expire.
pub(super) fn release(seen: &Sighting, now_ms: u64) -> Record {
    let now = micro_time(now_ms);
    Record {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        acquire_time: Some(now.clone()),
        renew_time: Some(now),
        lease_transitions: seen.record.lease_transitions,
    }
}

/// A holder that promised a longer time than ours is given it.
fn has_expired(seen: &Sighting, terms: &Terms, now_ms: u64) -> bool {
    let promised = Duration::from_secs(seen.record.lease_duration_seconds.unwrap_or(0));
    let lasts = u64::try_from(promised.max(terms.lease).as_millis()).unwrap_or(u64::MAX);
    now_ms.saturating_sub(seen.at_ms) >= lasts
}

fn micro_time(now_ms: u64) -> String {
    let millis = i64::try_from(now_ms).unwrap_or(i64::MAX);
    DateTime::from_timestamp_millis(millis)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        lease: Duration::from_secs(35),
        renew: Duration::from_secs(30),
        retry: Duration::from_secs(5),
    };

    fn held_by(holder: &str, at_ms: u64) -> Sighting {
        let record = Record {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(35),
            acquire_time: Some("1970-01-01T00:00:00.000000Z".to_owned()),
            renew_time: Some("1970-01-01T00:00:00.000000Z".to_owned()),
            lease_transitions: Some(4),
        };
        Sighting { record, at_ms }
    }

    #[test]
    fn a_lease_that_nobody_made_is_taken() {
        let record = claim("me", None, &TERMS, 1_500).unwrap();
        assert_eq!(
            record,
            Record {
                holder_identity: Some("me".to_owned()),
                lease_duration_seconds: Some(35),
                acquire_time: Some("1970-01-01T00:00:01.500000Z".to_owned()),
                renew_time: Some("1970-01-01T00:00:01.500000Z".to_owned()),
                lease_transitions: Some(0),
            }
        );
    }

    #[test]
    fn another_leader_is_waited_for_until_its_lease_has_run_out() {
        let seen = held_by("other", 1_000);
        assert_eq!(claim("me", Some(&seen), &TERMS, 35_999), None);
        let taken = claim("me", Some(&seen), &TERMS, 36_000).unwrap();
        assert_eq!(taken.lease_transitions, Some(5));
        let mut patient = held_by("other", 1_000);
        patient.record.lease_duration_seconds = Some(60);
        assert_eq!(claim("me", Some(&patient), &TERMS, 36_000), None);
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        let seen = Sighting {
            record: release(&held_by("other", 0), 10),
            at_ms: 10,
        };
        assert!(claim("me", Some(&seen), &TERMS, 11).is_some());
    }

    #[test]
    fn a_renewal_keeps_the_time_of_taking_over() {
        let seen = held_by("me", 0);
        let renewed = claim("me", Some(&seen), &TERMS, 5_000).unwrap();
        assert_eq!(renewed.acquire_time, seen.record.acquire_time);
        assert_eq!(
            renewed.renew_time.as_deref(),
            Some("1970-01-01T00:00:05.000000Z")
        );
        assert_eq!(renewed.lease_transitions, Some(4));
    }

    #[test]
    fn only_a_change_counts_as_a_sign_of_life() {
        let first = held_by("other", 1_000);
        let same = Sighting::next(Some(first.clone()), first.record.clone(), 9_000);
        assert_eq!(same.at_ms, 1_000);
        let mut renewed = first.record.clone();
        renewed.renew_time = Some("1970-01-01T00:00:09.000000Z".to_owned());
        assert_eq!(Sighting::next(Some(first), renewed, 9_000).at_ms, 9_000);
    }
}
