//! How messages name what an event is about.

use super::text;
use crate::api::event::Event;

/// `kustomization/webapp.apps`, as most chats show it.
pub(in crate::provider) fn object_name(event: &Event) -> String {
    let object = &event.involved_object;
    let kind = object.kind.to_lowercase();
    format!("{kind}/{}.{}", object.name, object.namespace)
}

/// `kustomization/webapp`, as forges and pagers show it.
pub(in crate::provider) fn short_name(event: &Event) -> String {
    let object = &event.involved_object;
    format!("{}/{}", object.kind, object.name).to_lowercase()
}

/// The reason in words: `HTTPServerError2` is `http server error 2`.
pub(in crate::provider) fn reason_in_words(event: &Event) -> String {
    in_words(&event.reason)
}

/// What ties the end of an incident to its beginning: the object's UID or, where an event has none,
/// what else tells it from others, as an incident without a key can never be resolved.
pub(in crate::provider) fn incident_key(event: &Event) -> String {
    let object = &event.involved_object;
    if object.uid.is_empty() {
        text::cut(&object.to_string(), 255).into_owned()
    } else {
        object.uid.clone()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Lower,
    Upper,
    Digit,
    Other,
}

fn class(c: char) -> Class {
    if c.is_lowercase() {
        Class::Lower
    } else if c.is_uppercase() {
        Class::Upper
    } else if c.is_numeric() {
        Class::Digit
    } else {
        Class::Other
    }
}

fn in_words(text: &str) -> String {
    let mut words: Vec<(Class, String)> = Vec::new();
    for c in text.chars() {
        let now = class(c);
        match words.last_mut() {
            Some((last, word)) if *last == now => word.push(c),
            Some((last, word)) if *last == Class::Upper && now == Class::Lower => {
                // The last capital of a run belongs to the word that it begins.
                let begin = word.pop().map(String::from).unwrap_or_default();
                if word.is_empty() {
                    words.pop();
                }
                words.push((now, begin + &String::from(c)));
            }
            _ => words.push((now, c.into())),
        }
    }
    let words: Vec<_> = words.into_iter().map(|(_, word)| word).collect();
    words.join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_split_into_words() {
        for (reason, want) in [
            ("ApplySucceeded", "apply succeeded"),
            ("HTTPServerError2", "http server error 2"),
            ("event-happened", "event - happened"),
            ("ABC", "abc"),
            ("a", "a"),
            ("", ""),
        ] {
            assert_eq!(in_words(reason), want, "{reason:?}");
        }
    }
}
