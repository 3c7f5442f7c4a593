//! JSON as Go's `encoding/json` reads it: nested no deeper than 10,000, any bytes in a string.
//!
//! `serde_json` refuses what Go takes: values nested deeper than 128, strings that are not UTF-8,
//! unpaired surrogates. Nothing here recurses: a body can't use up the stack.

use alloc::string::String;
use alloc::vec::Vec;

use crate::rejection::Rejection;

/// How deep arrays and objects may be nested: Go's limit.
const DEPTH: usize = 10_000;

/// A JSON value that is well-formed, as the text it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::receiver) struct Value<'a>(&'a [u8]);

/// The first value of a body, as of a Go `Decoder`: what follows is ignored.
pub(in crate::receiver) fn first(body: &[u8]) -> Result<Value<'_>, Rejection> {
    let (value, _) = split_value(body).ok_or(Rejection::BadPayload)?;
    Ok(Value(value))
}

/// The only value of a body, as of Go's `Unmarshal`.
pub(in crate::receiver) fn whole(body: &[u8]) -> Result<Value<'_>, Rejection> {
    match split_value(body) {
        Some((value, rest)) if skip_space(rest).is_empty() => Ok(Value(value)),
        _ => Err(Rejection::BadPayload),
    }
}

impl<'a> Value<'a> {
    /// The text of the value, with the quotes and escapes of a string.
    pub(in crate::receiver) fn raw(self) -> &'a [u8] {
        self.0
    }

    pub(in crate::receiver) fn is_null(self) -> bool {
        self.0 == b"null"
    }

    pub(in crate::receiver) fn is_string(self) -> bool {
        self.0.first() == Some(&b'"')
    }

    pub(in crate::receiver) fn is_object(self) -> bool {
        self.0.first() == Some(&b'{')
    }

    /// A string, or nothing for `null`.
    pub(in crate::receiver) fn text(self) -> Result<Option<String>, Rejection> {
        if self.is_null() {
            return Ok(None);
        }
        unquote(self.0).map(Some).ok_or(Rejection::BadPayload)
    }

    /// Calls `each` for every member of an object in turn, also for those that come twice;
    /// `null` has none.
    pub(in crate::receiver) fn members(
        self,
        mut each: impl FnMut(&str, Self) -> Result<(), Rejection>,
    ) -> Result<(), Rejection> {
        self.parts(b'{', |rest| {
            let (key, after) = split_key(rest)?;
            let (value, rest) = split_value(after)?;
            Some((each(&unquote(key)?, Value(value)), rest))
        })
    }

    /// Calls `each` for every element of an array in turn; `null` has none.
    pub(in crate::receiver) fn elements(
        self,
        mut each: impl FnMut(Self) -> Result<(), Rejection>,
    ) -> Result<(), Rejection> {
        self.parts(b'[', |rest| {
            let (value, rest) = split_value(rest)?;
            Some((each(Value(value)), rest))
        })
    }

    /// Walks along what stands between the brackets; `part` reads one and says what is left.
    fn parts(
        self,
        open: u8,
        mut part: impl FnMut(&'a [u8]) -> Option<(Result<(), Rejection>, &'a [u8])>,
    ) -> Result<(), Rejection> {
        if self.is_null() {
            return Ok(());
        }
        let inside = self.0.strip_prefix(&[open]).ok_or(Rejection::BadPayload)?;
        let mut rest = skip_space(inside);
        while !matches!(rest.first(), None | Some(b'}' | b']')) {
            let (result, tail) = part(rest).ok_or(Rejection::BadPayload)?;
            result?;
            let tail = skip_space(tail);
            rest = skip_space(tail.strip_prefix(b",").unwrap_or(tail));
        }
        Ok(())
    }

    /// A value that Go reads into an `any`: no number may be too large for a `float64`.
    pub(in crate::receiver) fn any(self) -> Result<(), Rejection> {
        let mut rest = self.0;
        while let Some((b, tail)) = rest.split_first() {
            rest = match b {
                b'"' => split_string(rest).ok_or(Rejection::BadPayload)?.1,
                b'-' | b'0'..=b'9' => {
                    let (number, tail) = split_number(rest).ok_or(Rejection::BadPayload)?;
                    if !is_finite(number) {
                        return Err(Rejection::BadPayload);
                    }
                    tail
                }
                _ => tail,
            };
        }
        Ok(())
    }
}

/// Whether a key is a field's name, as Go compares them: without regard to case, and the Kelvin
/// sign is a K, the long s an S.
pub(super) fn same_key(key: &str, name: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 'S',
        '\u{212a}' => 'K',
        c => c.to_ascii_uppercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}

/// Splits the first value off, without the space before it.
fn split_value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = skip_space(text);
    let rest = after_value(start)?;
    start.split_at_checked(start.len().checked_sub(rest.len())?)
}

/// What follows the value at the start of `rest`.
fn after_value(mut rest: &[u8]) -> Option<&[u8]> {
    // The closing brackets that are due.
    let mut due = Vec::new();
    loop {
        let tail = match rest.split_first()? {
            (b'{', tail) => {
                due.push(b'}');
                tail
            }
            (b'[', tail) => {
                due.push(b']');
                tail
            }
            _ => {
                rest = after_parts(scalar(rest)?, &mut due)?;
                if due.is_empty() {
                    return Some(rest);
                }
                continue;
            }
        };
        if due.len() > DEPTH {
            return None;
        }
        let tail = skip_space(tail);
        let close = due.last()?;
        rest = if tail.first() == Some(close) {
            after_parts(tail, &mut due)?
        } else if *close == b'}' {
            split_key(tail)?.1
        } else {
            tail
        };
        if due.is_empty() {
            return Some(rest);
        }
    }
}

/// What follows the end of a value: the closing brackets behind it are taken off `due`, and if it
/// has a neighbor that is where the next value starts.
fn after_parts<'a>(mut rest: &'a [u8], due: &mut Vec<u8>) -> Option<&'a [u8]> {
    while let Some(close) = due.last() {
        match skip_space(rest).split_first()? {
            (b, tail) if b == close => {
                due.pop();
                rest = tail;
            }
            (b',', tail) if *close == b'}' => return Some(split_key(skip_space(tail))?.1),
            (b',', tail) => return Some(skip_space(tail)),
            _ => return None,
        }
    }
    Some(rest)
}

/// Splits a key off, and skips its colon.
fn split_key(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (key, rest) = split_string(text)?;
    let rest = skip_space(rest).strip_prefix(b":")?;
    Some((key, skip_space(rest)))
}

/// What follows a value that is neither array nor object.
fn scalar(text: &[u8]) -> Option<&[u8]> {
    match text.first()? {
        b'"' => Some(split_string(text)?.1),
        b't' => text.strip_prefix(b"true"),
        b'f' => text.strip_prefix(b"false"),
        b'n' => text.strip_prefix(b"null"),
        _ => Some(split_number(text)?.1),
    }
}

/// Splits a string off, with its quotes.
fn split_string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    loop {
        rest = match rest.split_first()? {
            (b'"', tail) => return text.split_at_checked(text.len().checked_sub(tail.len())?),
            (b'\\', tail) => match tail.split_first()? {
                (b'u', tail) => hex4(tail)?.1,
                (b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', tail) => tail,
                _ => return None,
            },
            (..b' ', _) => return None,
            (_, tail) => tail,
        }
    }
}

/// Splits a number off.
fn split_number(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = text.strip_prefix(b"-").unwrap_or(text);
    let mut rest = match rest.strip_prefix(b"0") {
        Some(rest) => rest,
        None => digits(rest)?,
    };
    if let Some(fraction) = rest.strip_prefix(b".") {
        rest = digits(fraction)?;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let unsigned = match exponent {
            [b'+' | b'-', unsigned @ ..] => unsigned,
            _ => exponent,
        };
        rest = digits(unsigned)?;
    }
    text.split_at_checked(text.len().checked_sub(rest.len())?)
}

/// What follows at least one digit.
fn digits(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|b| !b.is_ascii_digit());
    let (digits, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
    (!digits.is_empty()).then_some(rest)
}

fn is_finite(number: &[u8]) -> bool {
    core::str::from_utf8(number)
        .ok()
        .and_then(|number| number.parse::<f64>().ok())
        .is_some_and(f64::is_finite)
}

fn skip_space(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .position(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
    end.and_then(|end| text.get(end..)).unwrap_or_default()
}

/// What a string that [`split_string`] gave says. Each byte that is not UTF-8 and each unpaired
/// surrogate becomes the replacement character.
fn unquote(quoted: &[u8]) -> Option<String> {
    let mut rest = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut out = String::with_capacity(rest.len());
    while !rest.is_empty() {
        let end = rest.iter().position(|b| *b == b'\\').unwrap_or(rest.len());
        let (plain, escape) = rest.split_at_checked(end)?;
        push_lossy(&mut out, plain);
        rest = match escape {
            [b'\\', b'u', digits @ ..] => {
                let (c, tail) = unescape(digits)?;
                out.push(c);
                tail
            }
            [b'\\', b, tail @ ..] => {
                out.push(match b {
                    b'b' => '\u{8}',
                    b'f' => '\u{c}',
                    b'n' => '\n',
                    b'r' => '\r',
                    b't' => '\t',
                    b => char::from(*b),
                });
                tail
            }
            _ => escape,
        };
    }
    Some(out)
}

/// Reads what follows `\u`, and a second escape if the two are a pair of surrogates.
fn unescape(digits: &[u8]) -> Option<(char, &[u8])> {
    let (unit, rest) = hex4(digits)?;
    if let Some((low, rest)) = rest.strip_prefix(b"\\u").and_then(hex4)
        && let Some(Ok(c)) = char::decode_utf16([unit, low]).next()
        && c > '\u{ffff}'
    {
        return Some((c, rest));
    }
    let c = char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER);
    Some((c, rest))
}

fn hex4(text: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let mut unit = [0; 2];
    hex::decode_to_slice(digits, &mut unit).ok()?;
    Some((u16::from_be_bytes(unit), rest))
}

fn push_lossy(out: &mut String, mut bytes: &[u8]) {
    loop {
        let error = match core::str::from_utf8(bytes) {
            Ok(text) => {
                out.push_str(text);
                return;
            }
            Err(error) => error,
        };
        let (valid, bad) = bytes
            .split_at_checked(error.valid_up_to())
            .unwrap_or_default();
        out.push_str(core::str::from_utf8(valid).unwrap_or_default());
        out.push(char::REPLACEMENT_CHARACTER);
        bytes = bad.get(1..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    fn nested(depth: usize) -> Vec<u8> {
        [vec![b'['; depth], vec![b']'; depth]].concat()
    }

    #[test]
    fn what_json_is_is_taken_and_nothing_else() {
        for good in [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "10",
            "-1.50e+07",
            "1E5",
            "1e-5",
            "\"\"",
            "\"a\\u00e9\\\"\"",
            "[]",
            "[ ]",
            "[1]",
            "[1 , [2,{}] ]",
            "{}",
            "{ }",
            "{\"a\":1}",
            " {\"a\" : [ ] ,\"a\":{\"b\":null}}\r\n\t",
            "1e999",
            "\"\u{7f}\"",
        ] {
            assert!(whole(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "",
            " ",
            "nul",
            "nulls",
            "True",
            "01",
            "+1",
            "1.",
            ".5",
            "1e",
            "1e+",
            "-",
            "0x1",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "[",
            "]",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1}",
            "{",
            "}",
            "{1:2}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":1]",
            "{\"a\" 1}",
            "{} {}",
            "{}x",
            "\u{a0}{}",
            "'a'",
            "\u{feff}{}",
            "// a\n{}",
        ] {
            assert_eq!(whole(bad.as_bytes()), Err(Rejection::BadPayload), "{bad}");
        }
    }

    #[test]
    fn a_decoder_reads_the_first_value_and_looks_no_further() {
        for (body, want) in [
            ("{} trailing", Some("{}")),
            ("{}{", Some("{}")),
            (" \n[1]]", Some("[1]")),
            ("nullx", Some("null")),
            ("12 3", Some("12")),
            ("{", None),
            ("x{}", None),
        ] {
            let got = first(body.as_bytes())
                .map(|value| value.raw().to_vec())
                .ok();
            assert_eq!(got, want.map(|want| want.as_bytes().to_vec()), "{body}");
        }
    }

    #[test]
    fn nesting_is_bounded_where_go_bounds_it() {
        assert!(whole(&nested(DEPTH)).is_ok());
        assert_eq!(whole(&nested(DEPTH + 1)), Err(Rejection::BadPayload));
        assert_eq!(first(&vec![b'['; 3 << 20]), Err(Rejection::BadPayload));
    }

    #[test]
    fn strings_are_decoded_as_go_decodes_them() {
        for (text, want) in [
            (&br#""a\"\\\/\b\f\n\r\t""#[..], "a\"\\/\u{8}\u{c}\n\r\t"),
            (br#""\u00e9\uD83D\ude00""#, "\u{e9}\u{1f600}"),
            (br#""\ud83d""#, "\u{fffd}"),
            (br#""\ud83dx""#, "\u{fffd}x"),
            (br#""\ud83d\u0041""#, "\u{fffd}A"),
            (br#""\ude00\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (br#""\u0000""#, "\0"),
            (b"\"a\xffb\"", "a\u{fffd}b"),
            (b"\"\xe2\x82\"", "\u{fffd}\u{fffd}"),
            (b"\"\xf0\x9f\x98\x80\"", "\u{1f600}"),
        ] {
            assert_eq!(whole(text).unwrap().text().unwrap().unwrap(), want);
        }
    }

    #[test]
    fn keys_are_compared_without_regard_to_case() {
        for (key, name, want) in [
            ("push_data", "push_data", true),
            ("PUSH_Data", "push_data", true),
            ("pu\u{17f}h_data", "push_data", true),
            ("\u{212a}", "k", true),
            ("push-data", "push_data", false),
            ("push_data ", "push_data", false),
            ("", "push_data", false),
            ("\u{131}d", "id", false),
        ] {
            assert_eq!(same_key(key, name), want, "{key}");
        }
    }

    #[test]
    fn members_and_elements_come_in_order_and_duplicates_too() {
        let body = br#"{"a":1, "b" : {"c":[2,"}"]},"a":null , "":[]}"#;
        let mut seen = vec![];
        let body = whole(body).unwrap();
        body.members(|key, value| {
            seen.push((key.to_string(), value.raw().to_vec()));
            Ok(())
        })
        .unwrap();
        assert_eq!(
            seen,
            [
                ("a", "1"),
                ("b", r#"{"c":[2,"}"]}"#),
                ("a", "null"),
                ("", "[]")
            ]
            .map(|(key, value)| (key.to_string(), value.as_bytes().to_vec()))
        );
        let mut count = 0;
        let list = whole(b"[ 1,[2,3] , \"]\" ]").unwrap();
        list.elements(|_| {
            count += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(count, 3);
        assert_eq!(list.members(|_, _| Ok(())), Err(Rejection::BadPayload));
        assert_eq!(body.elements(|_| Ok(())), Err(Rejection::BadPayload));
    }

    #[test]
    fn numbers_too_large_for_a_float_are_no_values() {
        for (text, want) in [
            (r#"{"a":[1e308,-1e308,"1e999"]}"#, true),
            (r#"{"a":[1e999]}"#, false),
            (r#"-1e400"#, false),
            (r#"1e-999"#, true),
            (r#"[true,false,null,"\"1e999"]"#, true),
        ] {
            assert_eq!(
                whole(text.as_bytes()).unwrap().any().is_ok(),
                want,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_serde_takes_is_taken_and_read_alike(text in ".{0,40}", numbers in any::<Vec<f64>>()) {
            let value = serde_json::json!({ "text": text, "numbers": numbers, "nested": [[{ text.clone(): {} }]] });
            let body = serde_json::to_vec(&value).unwrap();
            let read = whole(&body).unwrap();
            let mut seen = None;
            read.members(|key, value| {
                if key == "text" {
                    seen = value.text()?;
                }
                value.any()
            }).unwrap();
            prop_assert_eq!(seen, Some(text));
        }

        #[test]
        fn whether_bytes_are_json_is_what_serde_says(body in r#"[\[\]{}:, "\\ue0-9.truefalsn+-]{0,12}"#) {
            let ours = whole(body.as_bytes()).is_ok();
            let serde = serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok();
            prop_assert_eq!(ours, serde, "{}", body);
        }

        #[test]
        fn no_bytes_panic(body in any::<Vec<u8>>()) {
            if let Ok(value) = first(&body) {
                let _ = (value.text(), value.any(), value.members(|_, _| Ok(())), value.elements(|_| Ok(())));
            }
        }
    }
}
