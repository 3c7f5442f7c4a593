//! The metadata of events: what is kept of it, and how it is merged for an Alert (RFC 0008 of Flux). Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::alert::AlertSpec;
use crate::api::event::{EVENT_GROUP, Event};

/// nc's message of the Warning about keys of more than one source.
pub const CONFLICT: &str = "metadata key conflicts detected (please refer to the Alert API docs and Flux RFC 0008 for more information)";

const ANNOTATIONS: &str = "involved object annotations";
const EVENT_METADATA: &str = "Alert object .spec.eventMetadata";
const SUMMARY: &str = "Alert object .spec.summary";
const CONTROLLER: &str = "involved object controller metadata";

/// Keeps what comes from the object's annotations or its controller, without checksums.
pub fn clean(event: &mut Event) {
    let own = format!("{}/", event.api_group());
    let annotations = format!("{EVENT_GROUP}/");
    let dropped = ["checksum", "digest"].map(|key| format!("{own}{key}"));
    event.metadata.retain(|key, _| {
        let is_dropped = dropped.iter().any(|drop| drop.eq_ignore_ascii_case(key));
        (key.starts_with(&annotations) || key.starts_with(&own)) && !is_dropped
    });
}

/// Takes out what only the duplicate window needs.
pub fn strip_internal(event: &mut Event) {
    let token = format!("{}/token", event.api_group());
    event.metadata.remove(&token);
}

/// The metadata that a provider gets, and which keys came from more than one source: those, and
/// their sources from the weakest to the strongest.
pub fn merged(
    event: &Event,
    alert: &AlertSpec,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let own = event.api_group();
    let summary = (!alert.summary.is_empty())
        .then(|| BTreeMap::from([("summary".to_owned(), alert.summary.clone())]));
    let sources = [
        (ANNOTATIONS, under(event, EVENT_GROUP)),
        (EVENT_METADATA, alert.event_metadata.clone()),
        (SUMMARY, summary.unwrap_or_default()),
        (CONTROLLER, under(event, own)),
    ];
    let mut result = BTreeMap::new();
    let mut from: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (source, pairs) in sources {
        for (key, value) in pairs {
            from.entry(key.clone()).or_default().push(source);
            result.insert(key, value);
        }
    }
    let conflicts = from
        .into_iter()
        .filter(|(_, sources)| sources.len() > 1)
        .map(|(key, sources)| (key, sources.join(", ")));
    (result, conflicts.collect())
}

/// The value of a key of the object's annotations.
pub fn annotation<'e>(event: &'e Event, key: &str) -> Option<&'e str> {
    event
        .metadata
        .get(&format!("{EVENT_GROUP}/{key}"))
        .map(String::as_str)
        .filter(|value| !value.is_empty())
}

/// The value of a key of the object's controller.
pub fn own<'e>(event: &'e Event, key: &str) -> Option<&'e str> {
    event
        .metadata
        .get(&format!("{}/{key}", event.api_group()))
        .map(String::as_str)
}

/// The pairs under a prefix, without it.
fn under(event: &Event, group: &str) -> BTreeMap<String, String> {
    let pairs = event.metadata.iter();
    pairs
        .filter_map(|(key, value)| {
            let key = key.strip_prefix(group)?.strip_prefix('/')?;
            Some((key.to_owned(), value.clone()))
        })
        .collect()
}

/// The conflicting keys, as a list.
pub fn keys(conflicts: &BTreeMap<String, String>) -> String {
    let keys: BTreeSet<&str> = conflicts.keys().map(String::as_str).collect();
    keys.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        let of = of.iter();
        of.map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn event(metadata: &[(&str, &str)]) -> Event {
        let mut event = Event {
            metadata: pairs(metadata),
            ..Event::default()
        };
        event.involved_object.api_version = "kustomize.toolkit.fluxcd.io/v1".to_owned();
        event
    }

    #[test]
    fn only_annotations_and_the_controllers_own_keys_are_kept_and_no_checksums() {
        let mut cleaned = event(&[
            ("kustomize.toolkit.fluxcd.io/revision", "r"),
            ("kustomize.toolkit.fluxcd.io/aa/bb", "ab"),
            ("kustomize.toolkit.fluxcd.io/token", "t"),
            ("kustomize.toolkit.fluxcd.io/Checksum", "c"),
            ("kustomize.toolkit.fluxcd.io/digest", "d"),
            ("event.toolkit.fluxcd.io/foo", "f"),
            ("event.toolkit.fluxcd.io/digest", "kept"),
            ("source.toolkit.fluxcd.io/foo", "dropped"),
            ("bare", "dropped"),
        ]);
        clean(&mut cleaned);
        assert_eq!(
            cleaned.metadata,
            pairs(&[
                ("kustomize.toolkit.fluxcd.io/revision", "r"),
                ("kustomize.toolkit.fluxcd.io/aa/bb", "ab"),
                ("kustomize.toolkit.fluxcd.io/token", "t"),
                ("event.toolkit.fluxcd.io/foo", "f"),
                ("event.toolkit.fluxcd.io/digest", "kept"),
            ])
        );
        strip_internal(&mut cleaned);
        assert!(
            !cleaned
                .metadata
                .contains_key("kustomize.toolkit.fluxcd.io/token")
        );
        assert_eq!(cleaned.metadata.len(), 4);
    }

    #[test]
    fn without_a_group_the_objects_prefix_is_a_slash() {
        let mut cleaned = event(&[("/a", "1"), ("/digest", "2"), ("x/a", "3")]);
        cleaned.involved_object.api_version = "v1".to_owned();
        clean(&mut cleaned);
        assert_eq!(cleaned.metadata, pairs(&[("/a", "1")]));
    }

    #[test]
    fn sources_win_in_the_order_of_rfc_0008_and_conflicts_are_told() {
        let event = event(&[
            ("event.toolkit.fluxcd.io/a", "annotation"),
            ("event.toolkit.fluxcd.io/b", "annotation"),
            ("event.toolkit.fluxcd.io/summary", "annotation"),
            ("event.toolkit.fluxcd.io/only", "annotation"),
            ("kustomize.toolkit.fluxcd.io/b", "controller"),
            ("kustomize.toolkit.fluxcd.io/revision", "r"),
        ]);
        let alert = AlertSpec {
            event_metadata: pairs(&[("a", "alert"), ("summary", "alert"), ("c", "alert")]),
            summary: "spec".to_owned(),
            ..AlertSpec::default()
        };
        let (result, conflicts) = merged(&event, &alert);
        assert_eq!(
            result,
            pairs(&[
                ("a", "alert"),
                ("b", "controller"),
                ("c", "alert"),
                ("only", "annotation"),
                ("revision", "r"),
                ("summary", "spec"),
            ])
        );
        assert_eq!(
            conflicts,
            pairs(&[
                (
                    "a",
                    "involved object annotations, Alert object .spec.eventMetadata"
                ),
                (
                    "b",
                    "involved object annotations, involved object controller metadata"
                ),
                (
                    "summary",
                    "involved object annotations, Alert object .spec.eventMetadata, Alert object .spec.summary"
                ),
            ])
        );
        assert_eq!(keys(&conflicts), "a, b, summary");
    }
}
