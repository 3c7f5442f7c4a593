//! Cutting and escaping text, by what reads it.

use std::borrow::Cow;

/// At most `limit` characters; what was cut ends in `…`.
pub(in crate::provider) fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    if text.chars().nth(limit).is_none() {
        return Cow::Borrowed(text);
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    Cow::Owned(short)
}

/// At most `limit` bytes, as [`cut`].
pub(in crate::provider) fn cut_bytes(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(limit.saturating_sub('…'.len_utf8()));
    Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
}

/// For Slack's mrkdwn: what would be a link, a mention or an entity is text.
pub(in crate::provider) fn slack(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// For the Markdown of forges: no HTML, so no comment of a marker either, and nobody is mentioned.
pub(in crate::provider) fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '@' if !before.is_alphanumeric() => out.push_str("@\u{200b}"),
            other => out.push(other),
        }
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_characters_and_shows_it() {
        assert_eq!(cut("héllo", 5), "héllo");
        assert_eq!(cut("héllo", 4), "hél…");
        assert_eq!(cut_bytes("héllo", 6), "héllo");
        assert_eq!(cut_bytes("héllo", 5), "h…");
        assert_eq!(cut_bytes("🚨🚨", 7), "🚨…");
        assert_eq!(cut("", 0), "");
    }

    #[test]
    fn what_a_reader_would_interpret_is_text() {
        assert_eq!(slack("<!channel> & a"), "&lt;!channel&gt; &amp; a");
        assert_eq!(
            markdown("<!-- x --> @team main@sha1:a &lt;"),
            "&lt;!-- x --> @\u{200b}team main@sha1:a &amp;lt;"
        );
    }
}
