//! `hookgate.dev/digest` on an Alert: one message for the events of one revision. Pure.
//!
//! Errors are never held back, and go out by themselves. What is held back is kept in the spool as
//! everything else is; a crash makes no difference to it. So an error overtakes the infos about its
//! object that wait: each line of a digest tells its time, and provider types that
//! [keep incidents](crate::provider::ProviderType::keeps_incidents) get none.

use std::collections::BTreeMap;

use super::delivery::Name;
use super::metadata;
use crate::api::event::{Event, Timestamp};

/// What the chain of a digest begins with; that of an object begins with its kind.
const PREFIX: &str = "digest: ";
/// Events of one message.
pub const MAX_EVENTS: usize = 200;
/// Bytes of the message, beyond which the rest is only counted.
const MAX_MESSAGE: usize = 20_000;
/// Characters of one event's line.
const MAX_LINE: usize = 200;

/// The revision by which an event is grouped, if it has one.
pub fn revision(event: &Event) -> Option<&str> {
    let keys = ["originRevision", "revision"];
    keys.iter().find_map(|key| metadata::own(event, key))
}

/// The chain of the events that an Alert groups.
pub fn chain(alert: &Name, revision: &str) -> String {
    format!("{PREFIX}{alert} {revision}")
}

/// Whether a chain is one of a digest.
pub fn is_digest(chain: &str) -> bool {
    chain.starts_with(PREFIX)
}

/// One event of several, whose metadata is merged. `alert` is whose digest it is.
pub fn merged(alert: &Name, events: &[Event]) -> Event {
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return Event::default();
    };
    if events.len() == 1 {
        return first.clone();
    }
    let mut event = first.clone();
    event.message = message(events);
    event.timestamp = events.iter().filter_map(|event| event.timestamp).max();
    event.metadata = common(events);
    if events.iter().any(|other| other.reason != first.reason) {
        "Digest".clone_into(&mut event.reason);
    }
    if events
        .iter()
        .any(|other| other.involved_object != last.involved_object)
    {
        let (namespace, name) = alert.split_once('/').unwrap_or(("", alert));
        event.involved_object = crate::api::event::ObjectReference {
            kind: "Alert".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..crate::api::event::ObjectReference::default()
        };
    }
    event
}

fn message(events: &[Event]) -> String {
    let mut message = format!("{} events:", events.len());
    for (n, event) in events.iter().enumerate() {
        let text = event.message.lines().next().unwrap_or_default();
        let time = event.timestamp.map(Timestamp::time_of_day);
        let time = time.map_or_else(String::new, |time| format!("{time} "));
        let line = format!("{time}{}: {}: {text}", event.involved_object, event.reason);
        if message.len() > MAX_MESSAGE {
            message.push_str(&format!("\n… and {} more", events.len() - n));
            break;
        }
        message.push_str("\n- ");
        message.extend(line.chars().take(MAX_LINE));
        if line.chars().nth(MAX_LINE).is_some() {
            message.push('…');
        }
    }
    message
}

/// The pairs that all have.
fn common(events: &[Event]) -> BTreeMap<String, String> {
    let mut common = events
        .first()
        .map(|event| event.metadata.clone())
        .unwrap_or_default();
    for event in events {
        common.retain(|key, value| event.metadata.get(key) == Some(value));
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, reason: &str, seconds: i64, extra: &str) -> Event {
        let mut event = Event {
            severity: "info".to_owned(),
            message: format!("{name} is done\nsecond line"),
            reason: reason.to_owned(),
            timestamp: Some(Timestamp::from_unix(seconds)),
            ..Event::default()
        };
        event.involved_object.kind = "Kustomization".to_owned();
        event.involved_object.namespace = "apps".to_owned();
        event.involved_object.name = name.to_owned();
        event
            .metadata
            .insert("revision".to_owned(), "r1".to_owned());
        event.metadata.insert("extra".to_owned(), extra.to_owned());
        event
    }

    #[test]
    fn events_become_one_that_lists_them() {
        let events = [
            event("a", "Done", 5, "x"),
            event("b", "Failed", 9, "y"),
            event("c", "Done", 7, "x"),
        ];
        let got = merged(&"apps/on-call".into(), &events);
        let mut want = events[0].clone();
        want.message = "3 events:\n- 00:00:05Z Kustomization/apps/a: Done: a is done\n- 00:00:09Z Kustomization/apps/b: Failed: b is done\n- 00:00:07Z Kustomization/apps/c: Done: c is done".to_owned();
        want.reason = "Digest".to_owned();
        want.timestamp = Some(Timestamp::from_unix(9));
        want.metadata.remove("extra");
        want.involved_object.kind = "Alert".to_owned();
        want.involved_object.name = "on-call".to_owned();
        assert_eq!(got, want);
    }

    #[test]
    fn one_event_stays_as_it_is_and_events_of_one_object_keep_it() {
        let one = event("a", "Done", 5, "x");
        let alert = "apps/on-call".into();
        assert_eq!(merged(&alert, std::slice::from_ref(&one)), one);
        let two = merged(&alert, &[one.clone(), event("a", "Done", 6, "x")]);
        assert_eq!(two.involved_object, one.involved_object);
        assert_eq!((two.reason, two.metadata), (one.reason, one.metadata));
    }

    #[test]
    fn a_long_digest_counts_what_it_does_not_list() {
        let mut long = event("a", "Done", 5, "x");
        long.message = "é".repeat(5_000);
        let got = merged(&"apps/on-call".into(), &vec![long; 200]);
        assert!(
            got.message.len() < MAX_MESSAGE + 1_000,
            "{}",
            got.message.len()
        );
        assert!(got.message.starts_with("200 events:") && got.message.contains("… and "));
    }
}
