//! Functions on text: the standard ones, the string extension and base64.
//!
//! Positions count characters, not bytes. What a function makes is paid for before it is made.

use super::eval::{Fault, Outcome, Run, no_overload};
use super::patterns;
use super::value::{Text, Val};
use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};

/// Decodes with and without padding, as the encoder extension does.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Calls a function on text, if `name` is one for these arguments.
pub(super) fn call<'e>(
    run: &mut Run<'e>,
    name: &str,
    arguments: &[Val<'e>],
) -> Option<Outcome<Val<'e>>> {
    match arguments {
        [Val::Text(text), rest @ ..] => on_text(run, name, text, rest),
        [Val::Bytes(bytes)] if name == "base64.encode" => Some(
            run.pay_made(bytes.len().saturating_mul(2))
                .map(|()| Val::text(STANDARD.encode(bytes))),
        ),
        [list] if name == "join" => Some(join(run, list, "")),
        [list, Val::Text(separator)] if name == "join" => Some(join(run, list, separator)),
        _ => None,
    }
}

fn on_text<'e>(
    run: &mut Run<'e>,
    name: &str,
    text: &Text<'e>,
    rest: &[Val<'e>],
) -> Option<Outcome<Val<'e>>> {
    if let Err(exhausted) = run.pay_read(text.len()) {
        return Some(Err(exhausted));
    }
    Some(match (name, rest) {
        ("contains", [Val::Text(part)]) => Ok(Val::Bool(text.contains(&**part))),
        ("startsWith", [Val::Text(part)]) => Ok(Val::Bool(text.starts_with(&**part))),
        ("endsWith", [Val::Text(part)]) => Ok(Val::Bool(text.ends_with(&**part))),
        ("matches", [Val::Text(pattern)]) => patterns::matches(run, text, pattern),
        ("charAt", [Val::Int(at)]) => char_at(text, *at),
        ("indexOf", [Val::Text(part)]) => index_of(text, part, 0),
        ("indexOf", [Val::Text(part), Val::Int(from)]) => index_of(text, part, *from),
        ("lastIndexOf", [Val::Text(part)]) => last_index_of(text, part, None),
        ("lastIndexOf", [Val::Text(part), Val::Int(from)]) => {
            last_index_of(text, part, Some(*from))
        }
        ("replace", [Val::Text(old), Val::Text(new)]) => replace(run, text, old, new, -1),
        ("replace", [Val::Text(old), Val::Text(new), Val::Int(limit)]) => {
            replace(run, text, old, new, *limit)
        }
        ("split", [Val::Text(separator)]) => split(run, text, separator, -1),
        ("split", [Val::Text(separator), Val::Int(limit)]) => split(run, text, separator, *limit),
        ("substring", [Val::Int(start)]) => substring(text, *start, None),
        ("substring", [Val::Int(start), Val::Int(end)]) => substring(text, *start, Some(*end)),
        ("trim", []) => Ok(Val::Text(trim(text))),
        ("lowerAscii", []) => made(run, text, |text| text.to_ascii_lowercase()),
        ("upperAscii", []) => made(run, text, |text| text.to_ascii_uppercase()),
        ("reverse", []) => made(run, text, |text| text.chars().rev().collect()),
        ("strings.quote", []) => made(run, text, quote),
        ("base64.decode", []) => decode(run, text),
        _ => return None,
    })
}

/// Text made from other text, at most twice as long.
fn made<'e>(
    run: &mut Run<'e>,
    text: &Text<'e>,
    make: impl FnOnce(&str) -> String,
) -> Outcome<Val<'e>> {
    run.pay_made(text.len().saturating_mul(2))?;
    Ok(Val::text(make(text)))
}

/// The text of a bool or number.
pub(super) fn from_scalar(value: &Val<'_>) -> Option<String> {
    match value {
        Val::Bool(value) => Some(value.to_string()),
        Val::Int(value) => Some(value.to_string()),
        Val::Uint(value) => Some(value.to_string()),
        Val::Double(value) => Some(from_double(*value)),
        _ => None,
    }
}

/// A double as Go's `%g` writes it: the shortest digits, with an exponent below 1e-4 and from
/// 1e6 on.
fn from_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

fn out_of_range(at: i64) -> Fault {
    Fault::new(format!("index out of range: {at}"))
}

/// The byte at which the character number `at` begins; the end counts as one.
fn byte_of(text: &str, at: i64) -> Option<usize> {
    let at = usize::try_from(at).ok()?;
    text.char_indices()
        .map(|(byte, _)| byte)
        .chain([text.len()])
        .nth(at)
}

/// The number of characters before `byte`.
fn position<'e>(text: &str, byte: Option<usize>) -> Val<'e> {
    let before = byte
        .and_then(|byte| text.get(..byte))
        .map(|before| before.chars().count());
    Val::Int(
        before
            .and_then(|count| i64::try_from(count).ok())
            .unwrap_or(-1),
    )
}

fn char_at<'e>(text: &Text<'e>, at: i64) -> Outcome<Val<'e>> {
    let start = byte_of(text, at).ok_or_else(|| out_of_range(at))?;
    let rest = text.get(start..).unwrap_or_default();
    let len = rest.chars().next().map_or(0, char::len_utf8);
    Ok(Val::Text(text.slice(start..start + len)))
}

fn index_of<'e>(text: &str, part: &str, from: i64) -> Outcome<Val<'e>> {
    if from < 0 {
        return Err(out_of_range(from));
    }
    let Some(start) = byte_of(text, from) else {
        return Ok(Val::Int(-1));
    };
    let found = text
        .get(start..)
        .and_then(|rest| rest.find(part))
        .map(|at| start + at);
    Ok(position(text, found))
}

fn last_index_of<'e>(text: &str, part: &str, from: Option<i64>) -> Outcome<Val<'e>> {
    let start = match from {
        None => text.len(),
        Some(from) if from < 0 => return Err(out_of_range(from)),
        Some(from) => match byte_of(text, from) {
            Some(start) => start,
            None => return Ok(Val::Int(-1)),
        },
    };
    let mut end = start.saturating_add(part.len()).min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Ok(position(
        text,
        text.get(..end).and_then(|before| before.rfind(part)),
    ))
}

fn replace<'e>(
    run: &mut Run<'e>,
    text: &Text<'e>,
    old: &str,
    new: &str,
    limit: i64,
) -> Outcome<Val<'e>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let count = text.matches(old).take(limit).count();
    run.pay(count)?;
    run.pay_made(text.len().saturating_add(count.saturating_mul(new.len())))?;
    Ok(Val::text(text.replacen(old, new, limit)))
}

fn split<'e>(run: &mut Run<'e>, text: &Text<'e>, separator: &str, limit: i64) -> Outcome<Val<'e>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if let Text::Shared(_) = text {
        run.pay_made(text.len())?;
    }
    let mut parts = Vec::new();
    let mut start = 0;
    if limit > 0 {
        let ends: Box<dyn Iterator<Item = (usize, usize)>> = if separator.is_empty() {
            // Between all characters, not before the first or after the last.
            Box::new(text.char_indices().skip(1).map(|(at, _)| (at, at)))
        } else {
            Box::new(
                text.match_indices(separator)
                    .map(|(at, found)| (at, at + found.len())),
            )
        };
        for (end, next) in ends.take(limit - 1) {
            run.pay(1)?;
            parts.push(Val::Text(text.slice(start..end)));
            start = next;
        }
        if !(separator.is_empty() && text.is_empty()) {
            parts.push(Val::Text(text.slice(start..text.len())));
        }
    }
    Ok(Val::list(parts))
}

fn substring<'e>(text: &Text<'e>, start: i64, end: Option<i64>) -> Outcome<Val<'e>> {
    if let Some(end) = end.filter(|end| start > *end) {
        return Err(Fault::new(format!(
            "invalid substring range. start: {start}, end: {end}"
        )));
    }
    let from = byte_of(text, start).ok_or_else(|| out_of_range(start))?;
    let to = match end {
        None => text.len(),
        Some(end) => byte_of(text, end).ok_or_else(|| out_of_range(end))?,
    };
    Ok(Val::Text(text.slice(from..to)))
}

fn trim<'e>(text: &Text<'e>) -> Text<'e> {
    let start = text.len() - text.trim_start().len();
    text.slice(start..start + text.trim().len())
}

fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn decode<'e>(run: &mut Run<'e>, text: &str) -> Outcome<Val<'e>> {
    run.pay_made(text.len())?;
    match LENIENT.decode(text) {
        Ok(bytes) => Ok(Val::Bytes(bytes.into())),
        Err(_) => Err(Fault::new("base64.decode: not base64")),
    }
}

fn join<'e>(run: &mut Run<'e>, list: &Val<'e>, separator: &str) -> Outcome<Val<'e>> {
    let Some(len) = list.list_len() else {
        return Err(no_overload("join", std::slice::from_ref(list)));
    };
    let mut joined = String::new();
    for index in 0..len {
        let item = list.list_at(index).unwrap_or(Val::Null);
        let Val::Text(item) = item else {
            return Err(no_overload("join", std::slice::from_ref(&item)));
        };
        run.pay(1)?;
        run.pay_made(item.len().saturating_add(separator.len()))?;
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(&item);
    }
    Ok(Val::text(joined))
}
