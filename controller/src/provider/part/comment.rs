//! Comments on a change request: one an object, found again by its marker.

use super::text;
use crate::api::event::Event;
use crate::provider::error::ProviderError;
use crate::provider::target::Target;

/// Characters of the message within a comment; a comment of GitHub's takes 65,536.
const MESSAGE: usize = 50_000;

/// Characters of one metadata value.
const VALUE: usize = 1_000;

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
            "its metadata has no uid, which tells its comments from others'".to_owned(),
        ));
    }
    let uid = &target.uid;
    Ok(format!("<!-- {prefix}:{uid}/{} -->", event.involved_object))
}

/// The whole comment.
pub(in crate::provider) fn body(marker: &str, event: &Event) -> String {
    format!("{marker}\n\n{}", markdown(event))
}

/// Whether a comment is the one of this marker. It must open with it: elsewhere it may be quoted.
pub(in crate::provider) fn is_marked(comment: &str, marker: &str) -> bool {
    comment.trim_start().starts_with(marker)
}

/// An event in Markdown.
pub(in crate::provider) fn markdown(event: &Event) -> String {
    let emoji = if event.is_error() { "⚠️" } else { "ℹ️" };
    let object = &event.involved_object;
    let message = text::markdown(&text::cut(&event.message, MESSAGE));
    let mut out = format!("## Flux Status\n\n{emoji} {object}\n\n{message}\n\nMetadata:\n");
    for (key, value) in &event.metadata {
        if key != "change_request" {
            let value = text::markdown(&text::cut(value, VALUE));
            out += &format!("* `{key}`: {value}\n");
        }
    }
    out
}
