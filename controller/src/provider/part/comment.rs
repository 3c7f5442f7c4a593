//! Comments on a change request: one an object, found again by its marker.

use super::text;
use crate::api::event::Event;
use crate::provider::error::ProviderError;
use crate::provider::target::Target;

/// Characters of the message within a comment; a comment of GitHub's takes 65,536.
const MESSAGE: usize = 50_000;

/// Characters of one metadata value.
const VALUE: usize = 1_000;

/// Characters of one metadata key.
const KEY: usize = 300;

/// Characters of all metadata.
const METADATA: usize = 10_000;

/// The number of the change request that an event belongs to.
pub(in crate::provider) fn change_request(event: &Event) -> Result<u64, ProviderError> {
    let text = event.metadata.get("change_request").ok_or_else(|| {
        ProviderError::Event("missing \"change_request\" metadata key".to_owned())
    })?;
    // Number 0 would mean the whole repository to some forges.
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| {
            ProviderError::Event(format!(
                "invalid \"change_request\" metadata value {text:?}"
            ))
        })
}

/// The marker that opens a comment; `prefix` is the forge's, such as `flux-pr-comment-key`.
///
/// # Errors
/// [`ProviderError::Config`] where the Provider has no UID.
pub(in crate::provider) fn marker(
    prefix: &str,
    event: &Event,
    target: &Target,
) -> Result<String, ProviderError> {
    if target.uid.is_empty() {
        return Err(ProviderError::Config(
            "provider UID cannot be empty: it tells its comments from others'".to_owned(),
        ));
    }
    let uid = &target.uid;
    let object = event.involved_object.to_string();
    // No Kubernetes name has these; a forged one must not end the marker.
    let object = object.replace(['<', '>', '\n', '\r'], "_");
    let object = text::cut(&object, VALUE);
    Ok(format!("<!-- {prefix}:{uid}/{object} -->"))
}

/// The whole comment.
pub(in crate::provider) fn body(marker: &str, event: &Event) -> String {
    format!("{marker}\n\n{}", without_commands(&markdown(event)))
}

/// Lines that begin with `/` do not: GitLab would take `/merge` for a command.
fn without_commands(markdown: &str) -> String {
    let line = |line: &str| {
        if line.trim_start().starts_with('/') {
            format!("\u{200b}{line}")
        } else {
            line.to_owned()
        }
    };
    let lines: Vec<String> = markdown.split('\n').map(line).collect();
    lines.join("\n")
}

/// Whether a comment is the one of this marker. It must open with it: elsewhere it may be quoted.
pub(in crate::provider) fn is_marked(comment: &str, marker: &str) -> bool {
    comment.trim_start().starts_with(marker)
}

/// An event in Markdown.
pub(in crate::provider) fn markdown(event: &Event) -> String {
    let emoji = if event.is_error() { "⚠️" } else { "ℹ️" };
    let object = &event.involved_object;
    let object = text::markdown(&object.to_string());
    let object = text::cut(&object, VALUE);
    let message = text::markdown(&event.message);
    let message = text::cut(&message, MESSAGE);
    let mut metadata = String::new();
    for (key, value) in &event.metadata {
        if key != "change_request" {
            let key = key.replace(['`', '\n', '\r'], " ");
            let key = text::cut(&key, KEY);
            let value = text::markdown(value);
            let value = text::cut(&value, VALUE);
            metadata += &format!("* `{key}`: {value}\n");
        }
    }
    let metadata = text::cut(&metadata, METADATA);
    format!("## Flux Status\n\n{emoji} {object}\n\n{message}\n\nMetadata:\n{metadata}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::testing;

    #[test]
    fn a_comment_holds_no_markup_no_mention_and_no_command_of_the_event() {
        let mut event = testing::info();
        event.involved_object.name = "x --><b>@org/all\n/close".to_owned();
        event.message = "<!-- flux-mr-comment-key:a -->\n/merge\n  /approve @all".to_owned();
        event.metadata = [("`<i>`\n/label", "1\n/lock"), ("change_request", "7")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let target = testing::Example::default().target;
        let marker = marker("key", &event, &target).unwrap();
        assert_eq!(
            body(&marker, &event).replace('\u{200b}', "|"),
            "<!-- key:0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a/Kustomization/apps/x --__b_@org/all_/close -->\n\n\
             ## Flux Status\n\nℹ️ Kustomization/apps/x -->&lt;b>@|org/all\n|/close\n\n\
             &lt;!-- flux-mr-comment-key:a -->\n|/merge\n|  /approve @|all\n\n\
             Metadata:\n* ` <i>  /label`: 1\n|/lock\n"
        );
    }

    #[test]
    fn a_comment_stays_below_what_a_forge_takes() {
        let mut event = testing::error();
        event.message = "<".repeat(100_000);
        for number in 0..1000 {
            let (key, value) = (format!("{number}{}", "k".repeat(900)), "&".repeat(5_000));
            event.metadata.insert(key, value);
        }
        assert!(markdown(&event).chars().count() < 62_000);
    }

    #[test]
    fn a_change_request_is_a_number_above_zero() {
        let mut event = testing::error();
        for (text, want) in [
            ("7", Some(7)),
            ("0", None),
            ("-1", None),
            ("x", None),
            ("", None),
        ] {
            event
                .metadata
                .insert("change_request".to_owned(), text.to_owned());
            assert_eq!(change_request(&event).ok(), want, "{text:?}");
        }
        event.metadata.clear();
        let error = change_request(&event).unwrap_err();
        assert_eq!((error.category(), error.is_permanent()), ("event", true));
    }

    #[test]
    fn without_a_uid_there_is_no_marker() {
        let error = marker("key", &testing::error(), &Target::default()).unwrap_err();
        assert_eq!((error.category(), error.is_permanent()), ("config", true));
    }
}
