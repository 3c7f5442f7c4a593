//! Media types by the rules of Go's `mime.ParseMediaType`, which decide what nc accepts.

use alloc::string::String;
use alloc::vec::Vec;

/// The characters that end a token.
const SPECIALS: &str = r#"()<>@,;:\"/[]?="#;

/// The media type of a `Content-Type` value in lower case, or `None` if the value breaks the rules:
/// a parameter without a value, a parameter given twice with two values, or anything that is not a token.
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
    let mut seen: Vec<(String, String)> = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() || rest.trim() == ";" {
            return Some(base.to_ascii_lowercase());
        }
        let (name, value, after) = parameter(rest)?;
        // Go lets a parameter be repeated as long as it says the same.
        match seen.iter().find(|(n, _)| *n == name) {
            Some((_, before)) if *before != value => return None,
            Some(_) => {}
            None => seen.push((name, value)),
        }
        rest = after;
    }
}

/// One `; name=value`, the name in lower case, and what follows it.
fn parameter(text: &str) -> Option<(String, String, &str)> {
    let text = text.strip_prefix(';')?.trim_start();
    let (name, text) = split_token(text)?;
    let text = text.trim_start().strip_prefix('=')?.trim_start();
    let (value, text) = match text.strip_prefix('"') {
        Some(text) => quoted(text)?,
        None => split_token(text).map(|(value, rest)| (value.into(), rest))?,
    };
    Some((name.to_ascii_lowercase(), value, text))
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

/// The rest of a quoted string, and what follows it. A backslash escapes special characters only;
/// in front of others it stands for itself, as Microsoft's paths need it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Some((value, chars.as_str())),
            '\r' | '\n' => return None,
            '\\' => match chars.clone().next() {
                Some(special) if SPECIALS.contains(special) => {
                    value.push(special);
                    chars.next();
                }
                _ => value.push(c),
            },
            _ => value.push(c),
        }
    }
    None
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_graphic() && !SPECIALS.as_bytes().contains(&b)
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
            ("application/json; a=1; A=\"1\"", Some("application/json")),
            (
                r#"application/json; a="\(x"; a="(x""#,
                Some("application/json"),
            ),
            (r#"application/json; a="\x"; a="x""#, None),
            ("application/json; a=\"\n\"", None),
            ("application/json; a=\"open", None),
            ("application/json;;", None),
            ("application/", None),
        ] {
            assert_eq!(media_type(value.as_bytes()).as_deref(), want, "{value:?}");
        }
        assert_eq!(media_type(b"application/json; a=\xff"), None);
    }
}
