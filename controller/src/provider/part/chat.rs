//! Metadata as chats are told them: pair by pair.

use crate::api::event::Event;

/// What `line` makes of each pair, in the order of the keys.
pub(in crate::provider) fn lines(event: &Event, line: impl Fn(&str, &str) -> String) -> String {
    let pairs = event.metadata.iter();
    pairs.map(|(key, value)| line(key, value)).collect()
}
