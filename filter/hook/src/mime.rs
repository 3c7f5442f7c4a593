//! Media types by the rules of Go's `mime.ParseMediaType`, which decide what nc accepts.

use alloc::string::String;
use alloc::vec::Vec;

/// The media type of a `Content-Type` value in lower case, or `None` if the value breaks the rules:
/// a parameter without a value, a parameter given twice, or anything that is not a token.
///
/// ```
/// use hook::mime::media_type;
///
/// assert_eq!(media_type(b"Application/JSON; charset=utf-8").as_deref(), Some("application/json"));
/// assert_eq!(media_type(b"application/json; charset"), None);
/// ```
pub fn media_type(value: &[u8]) -> Option<String> {
    let text = core::str::from_utf8(value).ok()?;
    let (base, mut rest) = match text.find(';') {
        Some(at) => text.split_at_checked(at)?,
        None => (text, ""),
    };
    let base = base.trim();
    let mut parts = base.splitn(2, '/');
    if !parts.next().is_some_and(is_token) || !parts.next().is_none_or(is_token) {
        return None;
    }
    let mut seen: Vec<String> = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() || rest.trim() == ";" {
            return Some(base.to_ascii_lowercase());
        }
        let (name, after) = parameter(rest)?;
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        rest = after;
    }
}

/// One `; name=value`, and what follows it.
fn parameter(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix(';')?.trim_start();
    let (name, text) = split_token(text)?;
    let text = text.trim_start().strip_prefix('=')?.trim_start();
    let text = match text.strip_prefix('"') {
        Some(quoted) => after_quoted(quoted)?,
        None => split_token(text)?.1,
    };
    Some((name.to_ascii_lowercase(), text))
}

fn split_token(text: &str) -> Option<(&str, &str)> {
    let end = text
        .bytes()
        .position(|b| !is_token_byte(b))
        .unwrap_or(text.len());
    if end == 0 {
        None
    } else {
        text.split_at_checked(end)
    }
}

fn after_quoted(text: &str) -> Option<&str> {
    let mut escaped = false;
    for (at, b) in text.bytes().enumerate() {
        match b {
            b'\r' | b'\n' => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return text.get(at.checked_add(1)?..),
            _ => {}
        }
    }
    None
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_graphic() && !br#"()<>@,;:\"/[]?="#.contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_read_as_go_reads_them() {
        for (value, want) in [
            ("application/json", Some("application/json")),
            ("Application/JSON", Some("application/json")),
            ("application/json; charset=utf-8", Some("application/json")),
            ("application/json;", Some("application/json")),
            (
                "application/json ; a=\"x;\\\"y\" ; b=2",
                Some("application/json"),
            ),
            (
                "application/x-www-form-urlencoded; charset=utf-8",
                Some("application/x-www-form-urlencoded"),
            ),
            ("text/plain", Some("text/plain")),
            ("", None),
            ("application/json, text/plain", None),
            ("application/json; charset", None),
            ("application/json; a=1; a=2", None),
            ("application/json; a=1; A=2", None),
            ("application/json; a=\"open", None),
            ("application/json;;", None),
            ("application/", None),
        ] {
            assert_eq!(media_type(value.as_bytes()).as_deref(), want, "{value:?}");
        }
        assert_eq!(media_type(b"application/json; a=\xff"), None);
    }
}
