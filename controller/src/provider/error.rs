//! Why an event did not reach its provider.

use chrono::DateTime;

/// Why an event did not reach its provider. The texts hold no address and no credential; what a
/// server answered is quoted, so the driver masks the Target's secrets in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The Provider lacks something, or has it in a form that can't be used.
    #[error("the Provider cannot be used: {0}")]
    Config(String),
    /// The event lacks something.
    #[error("the event cannot be sent there: {0}")]
    Event(String),
    /// The server answered with a status that is none of success.
    #[error("the server answered {status}{}", quoted(.said))]
    Status {
        /// The status.
        status: u16,
        /// The beginning of the body.
        said: String,
        /// When to come again, where the server says.
        retry_after: Option<RetryAfter>,
        /// Whether the same request may succeed later.
        is_permanent: bool,
    },
    /// The server took the request and said in its body that it failed.
    #[error("the server refused the message: {said}")]
    Refused {
        /// What it said.
        said: String,
        /// Whether the same request may succeed later.
        is_permanent: bool,
    },
    /// The server's answer is not what its interface promises.
    #[error("the answer is not {wanted}")]
    Answer {
        /// What it should be.
        wanted: &'static str,
    },
    /// A fault of this program: a conversation was continued wrongly or is too long.
    #[error("the conversation with the provider went wrong: {0}")]
    Conversation(&'static str),
}

impl ProviderError {
    /// A metric's label.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Config(_) => "config",
            Self::Event(_) => "event",
            Self::Status { status: 429, .. } => "limited",
            Self::Status {
                status: 401 | 403, ..
            } => "unauthorized",
            Self::Status { .. } => "status",
            Self::Refused { .. } => "refused",
            Self::Answer { .. } => "answer",
            Self::Conversation(_) => "conversation",
        }
    }

    /// Whether trying again is of no use until somebody changes something.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Status { is_permanent, .. } | Self::Refused { is_permanent, .. } => *is_permanent,
            Self::Answer { .. } => false,
            Self::Config(_) | Self::Event(_) | Self::Conversation(_) => true,
        }
    }
}

fn quoted(said: &str) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!(": {said}")
    }
}

/// When a server wants to be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// After so many seconds.
    Seconds(u64),
    /// At this Unix time in seconds.
    At(u64),
}

impl RetryAfter {
    /// Reads `Retry-After`: seconds, or a date.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Self::Seconds(seconds));
        }
        // RFC 2822 knows GMT, but not the UTC that Go writes.
        let date = DateTime::parse_from_rfc2822(&text.replace("UTC", "GMT")).ok()?;
        u64::try_from(date.timestamp()).ok().map(Self::At)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        for (text, want) in [
            ("7", Some(RetryAfter::Seconds(7))),
            (
                "Fri, 02 Jan 2026 03:04:05 GMT",
                Some(RetryAfter::At(1_767_323_045)),
            ),
            (
                "Fri, 02 Jan 2026 03:04:05 UTC",
                Some(RetryAfter::At(1_767_323_045)),
            ),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(RetryAfter::parse(text), want, "{text:?}");
        }
    }
}
