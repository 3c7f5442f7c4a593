//! The `req` variable: which bodies are read, and as what.

use super::CelError;
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::HashMap;

/// The `req` variable of a request, by the rules Flux documents.
///
/// A body is read only if its content type says `application/json`. The header may be a
/// comma-separated list and may carry parameters: the first element that is `application/json`
/// decides, and the first that is no media type ends the search. Any other body (a form,
/// `application/*+json`, none named) is the empty object.
///
/// Of the body, the first JSON value counts and the rest is ignored. It must be an object; `null`
/// is the empty one. The caller bounds the size of the body; nesting is bounded here, at 128.
///
/// # Errors
///
/// [`CelError::Body`] if the body is empty or not JSON, [`CelError::NotObject`] if it is something
/// other than an object.
pub fn request_object(content_type: Option<&[u8]>, body: &[u8]) -> Result<Json, CelError> {
    let empty = || Json::Object(serde_json::Map::new());
    if !content_type.is_some_and(|header| is_json(&String::from_utf8_lossy(header))) {
        return Ok(empty());
    }
    // Broken UTF-8 in a string is no reason to refuse a hook; the reference replaces it too.
    let body = String::from_utf8_lossy(body);
    match Json::deserialize(&mut serde_json::Deserializer::from_str(&body)) {
        Ok(object @ Json::Object(_)) => Ok(object),
        Ok(Json::Null) => Ok(empty()),
        Ok(Json::Array(_)) => Err(CelError::NotObject { found: "an array" }),
        Ok(Json::Bool(_)) => Err(CelError::NotObject { found: "a bool" }),
        Ok(Json::Number(_)) => Err(CelError::NotObject { found: "a number" }),
        Ok(Json::String(_)) => Err(CelError::NotObject { found: "a string" }),
        Err(error) => Err(CelError::Body {
            reason: error.to_string(),
        }),
    }
}

/// Whether a Content-Type header names JSON before anything that is no media type.
fn is_json(header: &str) -> bool {
    header
        .split(',')
        .map_while(media_type)
        .any(|media_type| media_type == "application/json")
}

/// The media type of one element in lower case, if the element is well formed with its parameters.
fn media_type(element: &str) -> Option<String> {
    let (base, parameters) = match element.find(';') {
        Some(at) => element.split_at(at),
        None => (element, ""),
    };
    let base = base.trim();
    let (kind, subtype) = match base.split_once('/') {
        Some((kind, subtype)) => (kind, Some(subtype)),
        None => (base, None),
    };
    let well_formed = is_token(kind) && subtype.is_none_or(is_token);
    (well_formed && are_parameters(parameters)).then(|| base.to_ascii_lowercase())
}

/// Whether the rest of an element is `; name=value` any number of times, no name with two values.
fn are_parameters(mut rest: &str) -> bool {
    let mut seen: HashMap<String, String> = HashMap::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() || rest.trim_end() == ";" {
            return true;
        }
        let Some((name, value, after)) = parameter(rest) else {
            return false;
        };
        if *seen.entry(name).or_insert_with(|| value.clone()) != value {
            return false;
        }
        rest = after;
    }
}

/// One `; name=value` and what follows it.
fn parameter(rest: &str) -> Option<(String, String, &str)> {
    let rest = rest.strip_prefix(';')?.trim_start();
    let (name, rest) = split_token(rest)?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => unquote(quoted)?,
        None => split_token(rest).map(|(value, rest)| (value.to_owned(), rest))?,
    };
    Some((name.to_ascii_lowercase(), value, rest))
}

/// The text up to the closing quote and what follows it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, quoted.get(at + 1..).unwrap_or_default())),
            '\r' | '\n' => return None,
            '\\' => match characters.next_if(|(_, next)| is_special(*next)) {
                Some((_, escaped)) => value.push(escaped),
                None => value.push('\\'),
            },
            other => value.push(other),
        }
    }
    None
}

fn split_token(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|character| !is_token_character(character))
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_token_character)
}

fn is_token_character(character: char) -> bool {
    character.is_ascii_graphic() && !is_special(character)
}

fn is_special(character: char) -> bool {
    "()<>@,;:\\\"/[]?=".contains(character)
}
