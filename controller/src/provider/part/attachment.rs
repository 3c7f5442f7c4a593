//! Slack's message with one attachment, which Discord and Rocket.Chat take too.

use serde::Serialize;

use super::fit::{Limit, fit};
use super::subject;
use super::text;
use crate::api::event::Event;

/// Characters of the name of an object or of a sender: Discord's limits, the narrowest.
const AUTHOR: usize = 256;
const USERNAME: usize = 80;

/// What differs between those who take it.
pub(in crate::provider) struct Style {
    /// Colours of an info and of an error.
    pub(in crate::provider) colors: [&'static str; 2],
    /// How text is escaped.
    pub(in crate::provider) escape: fn(&str) -> String,
    /// How much there may be of it.
    pub(in crate::provider) limit: Limit,
    /// Whether the attachment has a text for notifications.
    pub(in crate::provider) has_fallback: bool,
}

/// What Slack takes, in characters.
pub(in crate::provider) const LIMIT: Limit = Limit {
    total: 39_000,
    message: 39_000,
    pairs: 100,
    key: 300,
    value: 2_000,
    markup: 0,
    cost: |_| 1,
};

/// Slack's own style.
pub(in crate::provider) const SLACK: Style = Style {
    colors: ["good", "danger"],
    escape: text::entities,
    limit: LIMIT,
    has_fallback: true,
};

/// A message.
#[derive(Serialize)]
pub(in crate::provider) struct Message {
    #[serde(skip_serializing_if = "String::is_empty")]
    channel: String,
    username: String,
    attachments: [Attachment; 1],
}

#[derive(Serialize)]
struct Attachment {
    #[serde(skip_serializing_if = "String::is_empty")]
    fallback: String,
    color: &'static str,
    author_name: String,
    text: String,
    mrkdwn_in: [&'static str; 1],
    fields: Vec<Field>,
}

#[derive(Serialize)]
struct Field {
    title: String,
    value: String,
    short: bool,
}

/// The message of an event; the reporting controller signs where no user name is given.
pub(in crate::provider) fn message(
    event: &Event,
    channel: &str,
    username: &str,
    style: &Style,
) -> Message {
    let escape = style.escape;
    let event = fit(event, &style.limit);
    let name = text::cut(&subject::object_name(&event), AUTHOR).into_owned();
    let first_line = event.message.lines().next().unwrap_or_default();
    let fallback = if style.has_fallback {
        escape(&text::cut(&format!("{name}: {first_line}"), 1000))
    } else {
        String::new()
    };
    let author = if username.is_empty() {
        &event.reporting_controller
    } else {
        username
    };
    let field = |(title, value): (&String, &String)| Field {
        title: escape(title),
        value: escape(value),
        short: false,
    };
    let [good, bad] = style.colors;
    Message {
        channel: channel.to_owned(),
        username: text::cut(author, USERNAME).into_owned(),
        attachments: [Attachment {
            fallback,
            color: if event.is_error() { bad } else { good },
            author_name: name,
            text: escape(&event.message),
            mrkdwn_in: ["text"],
            fields: event.metadata.iter().map(field).collect(),
        }],
    }
}
