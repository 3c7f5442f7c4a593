//! The shape of a JSON body as a table of its fields, and how a Go struct of that shape reads one:
//! keys without regard to case, the last of several counts, what is not named is ignored, `null`
//! is good for anything, another type than the named one is not.

mod json;

use alloc::string::String;
use alloc::vec::Vec;

pub(super) use self::json::{Value, first, whole};
use crate::rejection::Rejection;

/// The fields of an object: names and what they hold.
pub(super) type Fields = &'static [(&'static str, Shape)];

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A value that is looked at and not kept.
    Checked(fn(Value<'_>) -> Result<(), Rejection>),
    /// An object that may be missing; if so, nothing of it is required.
    Optional(Fields),
    /// An object that may not be missing.
    Required(Fields),
    /// An object; a missing one is as good as one without members.
    Struct(Fields),
    /// A string of which this must hold; a missing one is as good as an empty one.
    Text(fn(&str) -> bool),
}

/// What was read of an object.
#[derive(Debug)]
pub(super) struct Record {
    fields: Fields,
    slots: Vec<Slot>,
}

/// What was read of a field.
#[derive(Debug)]
enum Slot {
    Nothing,
    Record(Record),
    Text(String),
}

/// Any string.
pub(super) const TEXT: Shape = Shape::Text(|_| true);

/// Any string but the empty one.
pub(super) const FILLED: Shape = Shape::Text(|text| !text.is_empty());

/// A list of strings.
pub(super) const TEXTS: Shape = Shape::Checked(|value| {
    value.elements(|element| {
        element.text()?;
        Ok(())
    })
});

/// A time in RFC 3339.
pub(super) const TIME: Shape = Shape::Checked(|value| {
    if value.is_null() || is_time(value.raw()) {
        Ok(())
    } else {
        Err(Rejection::BadPayload)
    }
});

/// Anything at all.
pub(super) const ANY: Shape = Shape::Checked(|value| value.any());

/// An object of which no member is known.
pub(super) const MAP: Shape = Shape::Checked(|value| value.members(|_, member| member.any()));

impl Record {
    /// Reads `value` as an object of these fields and checks it.
    pub(super) fn of(fields: Fields, value: Value<'_>) -> Result<Self, Rejection> {
        let mut record = Self::empty(fields);
        record.read(value)?;
        record.check()
    }

    pub(super) fn empty(fields: Fields) -> Self {
        let slots = fields.iter().map(|(_, shape)| Slot::empty(*shape));
        Self {
            fields,
            slots: slots.collect(),
        }
    }

    /// Reads an object over what was read before, as Go does for a key that comes twice.
    pub(super) fn read(&mut self, value: Value<'_>) -> Result<(), Rejection> {
        value.members(|key, member| {
            for ((name, shape), slot) in self.fields.iter().zip(&mut self.slots) {
                if json::same_key(key, name) {
                    slot.read(*shape, member)?;
                }
            }
            Ok(())
        })
    }

    /// Checks what is left after everything was read.
    pub(super) fn check(self) -> Result<Self, Rejection> {
        if self.is_valid() {
            Ok(self)
        } else {
            Err(Rejection::BadPayload)
        }
    }

    /// The string at a path of field names, empty if it is missing.
    pub(super) fn text(&self, path: &[&str]) -> &str {
        let mut record = self;
        for wanted in path {
            let mut named = record.fields.iter().zip(&record.slots);
            match named.find(|((name, _), _)| name == wanted) {
                Some((_, Slot::Record(inner))) => record = inner,
                Some((_, Slot::Text(text))) => return text,
                Some((_, Slot::Nothing)) | None => break,
            }
        }
        ""
    }

    // Recurses as deep as the table does, whatever the body.
    fn is_valid(&self) -> bool {
        let mut fields = self.fields.iter().zip(&self.slots);
        fields.all(|((_, shape), slot)| match (shape, slot) {
            (Shape::Text(holds), Slot::Text(text)) => holds(text),
            (Shape::Required(_), Slot::Nothing) => false,
            (_, Slot::Record(record)) => record.is_valid(),
            (_, Slot::Nothing | Slot::Text(_)) => true,
        })
    }
}

impl Slot {
    fn empty(shape: Shape) -> Self {
        match shape {
            Shape::Checked(_) | Shape::Optional(_) | Shape::Required(_) => Self::Nothing,
            Shape::Struct(fields) => Self::Record(Record::empty(fields)),
            Shape::Text(_) => Self::Text(String::new()),
        }
    }

    fn read(&mut self, shape: Shape, value: Value<'_>) -> Result<(), Rejection> {
        match (shape, self) {
            (Shape::Checked(check), _) => check(value),
            (Shape::Text(_), slot) => {
                if let Some(text) = value.text()? {
                    *slot = Self::Text(text);
                }
                Ok(())
            }
            // Where Go has a pointer, `null` takes back what was read.
            (Shape::Optional(_) | Shape::Required(_), slot) if value.is_null() => {
                *slot = Self::Nothing;
                Ok(())
            }
            (_, Self::Record(record)) => record.read(value),
            (Shape::Optional(fields) | Shape::Required(fields) | Shape::Struct(fields), slot) => {
                let mut record = Record::empty(fields);
                record.read(value)?;
                *slot = Self::Record(record);
                Ok(())
            }
        }
    }
}

/// Calls `visit` for every value that stands at a path of keys.
pub(super) fn each<'a>(
    value: Value<'a>,
    path: &[&str],
    visit: &mut dyn FnMut(Value<'a>) -> Result<(), Rejection>,
) -> Result<(), Rejection> {
    let Some((wanted, path)) = path.split_first() else {
        return visit(value);
    };
    value.members(|key, member| {
        if json::same_key(key, wanted) {
            each(member, path, visit)
        } else {
            Ok(())
        }
    })
}

/// Whether this is a string that Go's `time.Time` takes: RFC 3339 with capital letters and no
/// escapes. An hour may have one digit, a fraction may follow a comma.
fn is_time(quoted: &[u8]) -> bool {
    let text = quoted.strip_prefix(b"\"");
    let text = text.and_then(|rest| rest.strip_suffix(b"\""));
    text.and_then(skip_date)
        .and_then(skip_clock)
        .is_some_and(is_offset)
}

fn skip_date(text: &[u8]) -> Option<&[u8]> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', rest @ ..] = text else {
        return None;
    };
    let year = two(*y1, *y2)?
        .checked_mul(100)?
        .checked_add(two(*y3, *y4)?)?;
    let day = two(*d1, *d2)?;
    (1..=days(year, two(*m1, *m2)?))
        .contains(&day)
        .then_some(rest)
}

fn skip_clock(text: &[u8]) -> Option<&[u8]> {
    let (hour, rest) = match text {
        [ones, b':', rest @ ..] => (two(b'0', *ones)?, rest),
        [tens, ones, b':', rest @ ..] => (two(*tens, *ones)?, rest),
        _ => return None,
    };
    let [m1, m2, b':', s1, s2, rest @ ..] = rest else {
        return None;
    };
    if hour >= 24 || two(*m1, *m2)? >= 60 || two(*s1, *s2)? >= 60 {
        return None;
    }
    let [b'.' | b',', fraction @ ..] = rest else {
        return Some(rest);
    };
    let end = fraction.iter().position(|b| !b.is_ascii_digit())?;
    let (digits, rest) = fraction.split_at_checked(end)?;
    (!digits.is_empty()).then_some(rest)
}

fn is_offset(text: &[u8]) -> bool {
    let below = |tens, ones, end| two(tens, ones).is_some_and(|n| n < end);
    match text {
        b"Z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => below(*h1, *h2, 24) && below(*m1, *m2, 60),
        _ => false,
    }
}

fn two(tens: u8, ones: u8) -> Option<u32> {
    let tens = char::from(tens).to_digit(10)?.checked_mul(10)?;
    tens.checked_add(char::from(ones).to_digit(10)?)
}

fn days(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    }
}

/// What the tests of receiver types share.
#[cfg(test)]
pub(super) mod testing {
    use alloc::borrow::Cow;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use crate::receiver;
    use crate::rejection::Rejection;

    /// What the receiver type `name` makes of a body.
    pub(in crate::receiver) fn payload<'b>(
        name: &str,
        body: &'b [u8],
    ) -> Result<Cow<'b, [u8]>, Rejection> {
        receiver::find(name).unwrap().payload(body)
    }

    /// Asserts that the bodies pass, untouched.
    pub(in crate::receiver) fn passes(name: &str, bodies: &[&str]) {
        for body in bodies {
            assert_eq!(
                payload(name, body.as_bytes()),
                Ok(Cow::Borrowed(body.as_bytes())),
                "{name} {body}"
            );
        }
    }

    /// Asserts that the bodies are refused.
    pub(in crate::receiver) fn refuses(name: &str, bodies: &[&str]) {
        for body in bodies {
            assert_eq!(
                payload(name, body.as_bytes()),
                Err(Rejection::BadPayload),
                "{name} {body}"
            );
        }
    }

    /// One of `bodies` with a few of its bytes replaced, removed or doubled.
    pub(in crate::receiver) fn mutated(
        bodies: &'static [&'static str],
    ) -> impl Strategy<Value = Vec<u8>> {
        let edit = (any::<prop::sample::Index>(), any::<u8>(), 0..4u8);
        let edits = prop::collection::vec(edit, 0..4);
        (prop::sample::select(bodies), edits).prop_map(|(body, edits)| {
            let mut body = body.as_bytes().to_vec();
            for (at, byte, kind) in edits {
                let at = at
                    .index(body.len().max(1))
                    .min(body.len().saturating_sub(1));
                match kind {
                    _ if body.is_empty() => body.push(byte),
                    0 => body[at] = byte,
                    1 => drop(body.remove(at)),
                    2 => body.insert(at, body[at]),
                    _ => body.truncate(at),
                }
            }
            body
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: Fields = &[
        ("name", FILLED),
        ("tags", TEXTS),
        ("at", TIME),
        ("extra", ANY),
        ("map", MAP),
        ("inner", Shape::Struct(&[("id", TEXT), ("size", TEXT)])),
        ("maybe", Shape::Optional(&[("id", FILLED)])),
    ];

    fn read(body: &str) -> Result<[String; 2], Rejection> {
        let record = Record::of(FIELDS, whole(body.as_bytes())?)?;
        Ok([&["name"][..], &["inner", "id"]].map(|path| record.text(path).into()))
    }

    #[test]
    fn a_record_is_read_as_go_reads_a_struct() {
        for (body, want) in [
            (r#"{"name":"a"}"#, Some(["a", ""])),
            (r#"{"NAME":"a","other":[{}]}"#, Some(["a", ""])),
            (r#"{"name":"a","Name":"b"}"#, Some(["b", ""])),
            (r#"{"name":"a","name":null}"#, Some(["a", ""])),
            (r#"{"name":"a","name":""}"#, None),
            (r#"{"name":"a","name":1,"name":"b"}"#, None),
            (
                r#"{"name":"a","inner":{"id":"1"},"inner":{"size":"2"}}"#,
                Some(["a", "1"]),
            ),
            (
                r#"{"name":"a","inner":{"id":"1"},"inner":null}"#,
                Some(["a", "1"]),
            ),
            (r#"{"name":"a","inner":[]}"#, None),
            (r#"{"name":"a","inner":"x"}"#, None),
            (r#"{"name":"a","maybe":null}"#, Some(["a", ""])),
            (r#"{"name":"a","maybe":{}}"#, None),
            (r#"{"name":"a","maybe":{},"maybe":null}"#, Some(["a", ""])),
            (
                r#"{"name":"a","maybe":{"id":"x"},"maybe":{}}"#,
                Some(["a", ""]),
            ),
            (
                r#"{"name":"a","tags":["x",null],"map":{"k":[1]},"extra":[1]}"#,
                Some(["a", ""]),
            ),
            (r#"{"name":"a","tags":["x",1]}"#, None),
            (r#"{"name":"a","tags":"x"}"#, None),
            (r#"{"name":"a","map":[]}"#, None),
            (r#"{"name":"a","extra":1e999}"#, None),
            (r#"{"name":"a","other":1e999}"#, Some(["a", ""])),
            ("null", None),
            ("[]", None),
        ] {
            assert_eq!(
                read(body).ok(),
                want.map(|want| want.map(String::from)),
                "{body}"
            );
        }
    }

    #[test]
    fn bodies_of_types_without_a_shape_are_left_alone() {
        for name in [
            "generic",
            "generic-hmac",
            "generic-oidc",
            "github",
            "gitlab",
            "bitbucket",
            "harbor",
        ] {
            let bodies = [
                "",
                "payload=%7B%7D",
                "[1",
                r#"{"events":[{"full_name":"a"}]}"#,
            ];
            testing::passes(name, &bodies);
        }
    }

    #[test]
    fn values_at_a_path_are_all_visited() {
        let body = whole(br#"{"a":{"b":1,"B":2},"A":null,"c":{"b":3},"a":{"b":4}}"#).unwrap();
        let mut seen = Vec::new();
        each(body, &["a", "b"], &mut |value| {
            seen.push(value.raw());
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [b"1", b"2", b"4"]);
    }

    #[test]
    fn times_are_those_of_rfc_3339() {
        for good in [
            "2023-03-20T14:27:05Z",
            "2023-03-20T14:27:05.315384Z",
            "2024-02-29T23:59:59.123456789012345+23:59",
            "0000-01-01T00:00:00-00:00",
            "2000-02-29T00:00:00Z",
            "2023-03-20T4:27:05Z",
            "2023-03-20T14:27:05,1Z",
        ] {
            assert!(is_time(alloc::format!("\"{good}\"").as_bytes()), "{good}");
        }
        for bad in [
            "",
            "x",
            "2023-03-20",
            "2023-03-20T14:27:05",
            "2023-03-20 14:27:05Z",
            "2023-03-20t14:27:05Z",
            "2023-03-20T14:27:05z",
            "2023-02-29T14:27:05Z",
            "1900-02-29T14:27:05Z",
            "2023-13-01T14:27:05Z",
            "2023-00-01T14:27:05Z",
            "2023-04-31T14:27:05Z",
            "2023-04-00T14:27:05Z",
            "2023-03-20T24:00:00Z",
            "2023-03-20T14:60:05Z",
            "2023-03-20T14:27:60Z",
            "2023-03-20T14:27:05.Z",
            "2023-03-20T14:27:05,Z",
            "2023-03-20T:27:05Z",
            "2023-03-20T004:27:05Z",
            "2023-03-20T14:27:05.1",
            "2023-03-20T14:27:05+24:00",
            "2023-03-20T14:27:05+01:60",
            "2023-03-20T14:27:05+0100",
            "2023-03-20T14:27:05Zx",
            "2023\\u002d03-20T14:27:05Z",
        ] {
            assert!(!is_time(alloc::format!("\"{bad}\"").as_bytes()), "{bad}");
        }
        for bad in ["1", "true", "{}", "2023-03-20T14:27:05Z"] {
            assert!(!is_time(bad.as_bytes()), "{bad}");
        }
    }
}
