//! Cutting a whole event to what a platform takes: the metadata get half of it at most, the
//! message the rest.

use std::collections::BTreeMap;

use super::text;
use crate::api::event::{Event, ObjectReference};

/// Characters that Kubernetes allows a label and a name.
const LABEL: usize = 63;
const NAME: usize = 253;

/// Characters of a reason and of a controller's name: those of Kubernetes' own events.
const WORD: usize = 128;

/// What a platform takes.
#[derive(Clone, Copy)]
pub(in crate::provider) struct Limit {
    /// Message and metadata together.
    pub(in crate::provider) total: usize,
    /// The message alone.
    pub(in crate::provider) message: usize,
    /// How many pairs of metadata.
    pub(in crate::provider) pairs: usize,
    /// Characters of a key.
    pub(in crate::provider) key: usize,
    /// Characters of a value.
    pub(in crate::provider) value: usize,
    /// What surrounds each pair.
    pub(in crate::provider) markup: usize,
    /// What a character of the event takes, once it is escaped.
    pub(in crate::provider) cost: fn(char) -> usize,
}

/// The event within the limit, forged names too. Of metadata that are too many, `summary` stays and what comes first.
pub(in crate::provider) fn fit(event: &Event, limit: &Limit) -> Event {
    let cost = |text: &str| text.chars().map(limit.cost).sum::<usize>();
    let summary = event.metadata.get_key_value("summary");
    let others = event.metadata.iter().filter(|(key, _)| *key != "summary");
    let mut metadata = BTreeMap::new();
    let mut used = 0;
    for (key, value) in summary.into_iter().chain(others).take(limit.pairs) {
        let key = text::cut(key, limit.key);
        let value = text::cut(value, limit.value);
        let with_this = used + limit.markup + cost(&key) + cost(&value);
        if with_this > limit.total / 2 {
            break;
        }
        used = with_this;
        metadata.insert(key.into_owned(), value.into_owned());
    }
    let room = limit.message.min(limit.total - used);
    let cut = |text: &str, limit| text::cut(text, limit).into_owned();
    let object = &event.involved_object;
    Event {
        involved_object: ObjectReference {
            kind: cut(&object.kind, LABEL),
            namespace: cut(&object.namespace, LABEL),
            name: cut(&object.name, NAME),
            ..object.clone()
        },
        message: text::cut_by(&event.message, room, limit.cost).into_owned(),
        reason: cut(&event.reason, WORD),
        metadata,
        reporting_controller: cut(&event.reporting_controller, WORD),
        ..event.clone()
    }
}

/// Bytes within JSON, whatever the escapes of [`text`] and of JSON make of a character.
pub(in crate::provider) fn json(c: char) -> usize {
    match c {
        '&' | '<' | '>' => 10,
        '@' | '(' => 4,
        '"' | '\\' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}

/// Characters, where [`text::inert`] adds one.
pub(in crate::provider) fn inert_chars(c: char) -> usize {
    if matches!(c, '<' | '@' | '(') { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::testing;

    #[test]
    fn metadata_get_half_at_most_and_the_summary_comes_first() {
        let limit = Limit {
            total: 100,
            message: 60,
            pairs: 3,
            key: 5,
            value: 10,
            markup: 2,
            cost: |_| 1,
        };
        let event = Event {
            message: "m".repeat(200),
            ..testing::error()
        };
        let fitted = fit(&event, &limit);
        let pairs = [("chan…", "7"), ("clus…", "prod"), ("summ…", "prod impa…")];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(fitted.metadata, pairs.into());
        assert_eq!(fitted.message, format!("{}…", "m".repeat(59)));
        let mut forged = event.clone();
        forged.involved_object.name = "n".repeat(300);
        let fitted_name = fit(&forged, &limit).involved_object.name;
        assert_eq!(fitted_name, format!("{}…", "n".repeat(252)));
        let room_for_one = Limit { total: 40, ..limit };
        let fitted = fit(&event, &room_for_one);
        assert_eq!(fitted.metadata.len(), 1);
        assert_eq!(fitted.message.chars().count(), 40 - 17);
        assert_eq!(
            fit(
                &testing::info(),
                &Limit {
                    pairs: 9,
                    key: 99,
                    value: 99,
                    total: 999,
                    ..limit
                }
            ),
            testing::info()
        );
    }
}
