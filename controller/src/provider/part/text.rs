//! Cutting and escaping text, by what reads it.

use std::borrow::Cow;

/// At most `limit` characters; what was cut ends in `…`.
pub(in crate::provider) fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    cut_by(text, limit, |_| 1)
}

/// At most `limit` bytes, as [`cut`].
pub(in crate::provider) fn cut_bytes(text: &str, limit: usize) -> Cow<'_, str> {
    cut_by(text, limit, char::len_utf8)
}

/// As much as costs `limit`, by what one character costs.
pub(in crate::provider) fn cut_by(
    text: &str,
    limit: usize,
    cost: impl Fn(char) -> usize,
) -> Cow<'_, str> {
    let room = limit.saturating_sub(cost('…'));
    let (mut used, mut end) = (0, 0);
    for (at, c) in text.char_indices() {
        if used <= room {
            end = at;
        }
        used += cost(c);
        if used > limit {
            return Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()));
        }
    }
    Cow::Borrowed(text)
}

/// `&`, `<` and `>` as entities: for Slack's mrkdwn, where they make links and mentions, and for
/// HTML.
pub(in crate::provider) fn entities(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// For the Markdown of forges: no HTML, so no comment of a marker either, no link or image that hides where it
/// leads, and nobody is mentioned.
pub(in crate::provider) fn markdown(text: &str) -> String {
    let plain = text.replace('&', "&amp;").replace('<', "&lt;");
    let mut linkless = plain.replace("](", "]\u{200b}(");
    // Links by reference, and what they refer to.
    for mark in ["][", "]:"] {
        linkless = linkless.replace(mark, &mark.replace(']', "]\u{200b}"));
    }
    quiet(&linkless)
}

/// For the Markdown of chats, whose escapes differ: a character without width keeps mentions,
/// tags and links that show another address from being any. Emphasis stays.
pub(in crate::provider) fn inert(text: &str) -> String {
    quiet(&text.replace('<', "<\u{200b}").replace("](", "]\u{200b}("))
}

/// Nobody is mentioned.
pub(in crate::provider) fn quiet(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        out.push(c);
        if c == '@' && !before.is_alphanumeric() {
            out.push('\u{200b}');
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
        assert_eq!(cut_by("🚨🚨🚨", 5, char::len_utf16), "🚨🚨…");
    }

    #[test]
    fn what_a_reader_would_interpret_is_text() {
        assert_eq!(entities("<!channel> & a"), "&lt;!channel&gt; &amp; a");
        assert_eq!(
            markdown("<!-- x --> @team main@sha1:a &lt;"),
            "&lt;!-- x --> @\u{200b}team main@sha1:a &amp;lt;"
        );
        assert_eq!(
            markdown("[a](https://b) ![c](d) [e][f]\n[f]: https://g [h]"),
            "[a]\u{200b}(https://b) ![c]\u{200b}(d) [e]\u{200b}[f]\n[f]\u{200b}: https://g [h]"
        );
        assert_eq!(
            inert("<at id=all></at> @here a@b [x](https://y) f(z)"),
            "<\u{200b}at id=all><\u{200b}/at> @\u{200b}here a@b [x]\u{200b}(https://y) f(z)"
        );
    }
}
