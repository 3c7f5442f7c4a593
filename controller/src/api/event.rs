//! `Event`, as Flux's controllers post it: read as leniently as Go's JSON decoder reads it, and
//! written byte for byte as Go's encoder writes it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Prefix of metadata keys that come from the involved object's annotations.
pub const EVENT_GROUP: &str = "event.toolkit.fluxcd.io";

/// What a Flux controller reports about an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The object.
    pub involved_object: ObjectReference,
    /// `info`, `error` or `trace`; the server takes any.
    pub severity: String,
    /// When it was seen.
    pub timestamp: Option<Timestamp>,
    /// Free text.
    pub message: String,
    /// One word, such as `ReconciliationSucceeded`.
    pub reason: String,
    /// Keys with a group's prefix on the wire, without it once merged for an Alert.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Name of the controller.
    pub reporting_controller: String,
    /// Its Pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reporting_instance: String,
}

/// `involvedObject`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// Kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// UID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// `group/version`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// Resource version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// Field path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field_path: String,
}

/// A point in time, to the second, in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Not an event.
#[derive(Debug, thiserror::Error)]
#[error("not an event of Flux in JSON")]
pub struct EventError(#[from] serde_json::Error);

impl Event {
    /// Reads a request's body: names in any case, unknown fields ignored, the last of duplicates,
    /// `null` for nothing.
    ///
    /// # Errors
    /// [`EventError`] for what Go's decoder does not take either.
    pub fn parse(body: &[u8]) -> Result<Self, EventError> {
        // Go puts U+FFFD for bytes that are not UTF-8.
        let text = String::from_utf8_lossy(body);
        Ok(serde_json::from_str(&without_lone_surrogates(&text))?)
    }

    /// The JSON that nc signs, hashes and sends: Go's order of fields, its omissions, its escapes.
    pub fn to_json(&self) -> String {
        // Strings and maps of strings always serialise.
        escape_html(&serde_json::to_string(self).unwrap_or_default())
    }

    /// Whether its severity is `error`.
    pub fn is_error(&self) -> bool {
        self.severity == "error"
    }

    /// The API group of the involved object, empty for the core group and for what has no version.
    pub fn api_group(&self) -> &str {
        match self.involved_object.api_version.split_once('/') {
            Some((group, version)) if !version.contains('/') => group,
            _ => "",
        }
    }
}

impl fmt::Display for ObjectReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

impl Timestamp {
    /// From Unix seconds.
    pub fn from_unix(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Unix seconds.
    pub fn unix(self) -> i64 {
        self.0
    }

    /// The time of day in UTC: `03:04:05Z`.
    pub fn time_of_day(self) -> String {
        let text = self.to_string();
        let time = text.split_once('T').map(|(_, time)| time.to_owned());
        time.unwrap_or(text)
    }

    /// Reads RFC 3339; a fraction of a second is dropped.
    fn parse(text: &str) -> Option<Self> {
        let time = DateTime::parse_from_rfc3339(text).ok()?;
        Some(Self(time.timestamp()))
    }

    /// The year 1, which Go takes for "not set".
    fn is_zero(self) -> bool {
        self.0 == -62_135_596_800
    }
}

/// RFC 3339 in UTC: `2026-01-02T03:04:05Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::<Utc>::from_timestamp(self.0, 0).unwrap_or_default();
        f.write_str(&time.to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Escapes in a JSON text what Go's encoder escapes beyond the standard. These characters stand
/// in JSON within strings only.
pub fn escape_html(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out
}

/// Go puts U+FFFD for the escape of half a surrogate pair as well; `serde_json` refuses it.
fn without_lone_surrogates(json: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut rest, mut copied) = (json, 0);
    while let Some(at) = rest.find('\\') {
        rest = rest.get(at..).unwrap_or_default();
        let length = match escaped_unit(rest) {
            Some(0xd800..0xdc00) if is_low(rest.get(6..)) => 12,
            Some(0xd800..0xe000) => {
                let here = json.len() - rest.len();
                out += json.get(copied..here).unwrap_or_default();
                out += "\\ufffd";
                copied = here + 6;
                6
            }
            Some(_) => 6,
            // The escaped character, which may be a backslash.
            None => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    out += json.get(copied..).unwrap_or_default();
    Cow::Owned(out)
}

/// The UTF-16 unit of an escape such as `\ud83d` that a text begins with.
fn escaped_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(digits, 16).ok())?
}

fn is_low(text: Option<&str>) -> bool {
    matches!(text.and_then(escaped_unit), Some(0xdc00..0xe000))
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Lenient(PhantomData))
    }
}

impl<'de> Deserialize<'de> for ObjectReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Lenient(PhantomData))
    }
}

/// A struct whose fields are found whatever their case.
trait Fields: Default {
    /// Reads the value of one field, whose name is in lower case.
    fn read<'de, A: MapAccess<'de>>(&mut self, field: &str, map: &mut A) -> Result<(), A::Error>;
}

struct Lenient<T>(PhantomData<T>);

impl<'de, T: Fields> Visitor<'de> for Lenient<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut value = T::default();
        while let Some(field) = map.next_key::<String>()? {
            value.read(&field.to_ascii_lowercase(), &mut map)?;
        }
        Ok(value)
    }
}

impl Fields for Event {
    fn read<'de, A: MapAccess<'de>>(&mut self, field: &str, map: &mut A) -> Result<(), A::Error> {
        match field {
            "involvedobject" => self.involved_object = map.next_value()?,
            "severity" => text(&mut self.severity, map)?,
            "timestamp" => self.timestamp = timestamp(map)?,
            "message" => text(&mut self.message, map)?,
            "reason" => text(&mut self.reason, map)?,
            "metadata" => self.metadata = pairs(map)?,
            "reportingcontroller" => text(&mut self.reporting_controller, map)?,
            "reportinginstance" => text(&mut self.reporting_instance, map)?,
            _ => _ = map.next_value::<IgnoredAny>()?,
        }
        Ok(())
    }
}

impl Fields for ObjectReference {
    fn read<'de, A: MapAccess<'de>>(&mut self, field: &str, map: &mut A) -> Result<(), A::Error> {
        match field {
            "kind" => text(&mut self.kind, map),
            "namespace" => text(&mut self.namespace, map),
            "name" => text(&mut self.name, map),
            "uid" => text(&mut self.uid, map),
            "apiversion" => text(&mut self.api_version, map),
            "resourceversion" => text(&mut self.resource_version, map),
            "fieldpath" => text(&mut self.field_path, map),
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }
}

/// A string; `null` leaves what was there.
fn text<'de, A: MapAccess<'de>>(into: &mut String, map: &mut A) -> Result<(), A::Error> {
    if let Some(value) = map.next_value()? {
        *into = value;
    }
    Ok(())
}

fn timestamp<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Timestamp>, A::Error> {
    let Some(text) = map.next_value::<Option<String>>()? else {
        return Ok(None);
    };
    let time = Timestamp::parse(&text)
        .ok_or_else(|| A::Error::custom("timestamp is not of RFC 3339, as 2026-01-02T03:04:05Z"))?;
    Ok(Some(time).filter(|time| !time.is_zero()))
}

fn pairs<'de, A: MapAccess<'de>>(map: &mut A) -> Result<BTreeMap<String, String>, A::Error> {
    let read: Option<BTreeMap<String, Option<String>>> = map.next_value()?;
    let pairs = read.unwrap_or_default().into_iter();
    Ok(pairs.map(|(k, v)| (k, v.unwrap_or_default())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_as_go_writes_it() {
        let posted = r#"{"involvedObject":{"kind":"GitRepository","namespace":"gitops-system","name":"webapp"},"severity":"info","timestamp":"2022-09-30T06:40:29Z","message":"message","reason":"reason","metadata":{"test":"metadata"},"reportingController":"source-controller","reportingInstance":"source-controller-xyz"}"#;
        let event = Event::parse(posted.as_bytes()).unwrap();
        assert_eq!(event.to_json(), posted);
        assert_eq!(
            Event::default().to_json(),
            r#"{"involvedObject":{},"severity":"","timestamp":null,"message":"","reason":"","reportingController":""}"#
        );
        let event = Event {
            message: "<a> & b\u{2028}\u{7f}é\u{1}\n".to_owned(),
            ..Event::default()
        };
        assert_eq!(
            event.to_json(),
            "{\"involvedObject\":{},\"severity\":\"\",\"timestamp\":null,\"message\":\"\\u003ca\\u003e \\u0026 b\\u2028\u{7f}é\\u0001\\n\",\"reason\":\"\",\"reportingController\":\"\"}"
        );
    }

    #[test]
    fn names_of_any_case_duplicates_nulls_and_unknown_fields_are_read_as_go_reads_them() {
        let event = Event::parse(
            br#"{"INVOLVEDOBJECT":{"Kind":"Bucket","uid":null,"x":1},"severity":"info","Severity":"error",
                "message":null,"more":[{"a":1}],"metadata":{"a":"1","b":null},
                "timestamp":"2026-01-02T04:04:05.999+01:00"}"#,
        )
        .unwrap();
        let want = Event {
            involved_object: ObjectReference {
                kind: "Bucket".to_owned(),
                ..ObjectReference::default()
            },
            severity: "error".to_owned(),
            timestamp: Some(Timestamp::from_unix(1_767_323_045)),
            metadata: [("a", "1"), ("b", "")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            ..Event::default()
        };
        assert_eq!(event, want);
        assert_eq!(event.timestamp.unwrap().to_string(), "2026-01-02T03:04:05Z");
        assert_eq!(Event::parse(b"null").unwrap(), Event::default());
        let zero = Event::parse(br#"{"timestamp":"0001-01-01T00:00:00Z"}"#).unwrap();
        assert_eq!(zero, Event::default());
        let broken = Event::parse(b"{\"message\":\"\xff\"}").unwrap();
        assert_eq!(broken.message, "\u{fffd}");
    }

    #[test]
    fn half_a_surrogate_pair_is_the_replacement_character_as_in_go() {
        for (escaped, want) in [
            (r"\ud83d\ude80", "🚀"),
            (r"\uD83D\uDE80", "🚀"),
            (r"\ud83d", "\u{fffd}"),
            (r"\ude80", "\u{fffd}"),
            (r"a\ud83db\ude80c", "a\u{fffd}b\u{fffd}c"),
            (r"\ud83d\ud83d\ude80", "\u{fffd}🚀"),
            (r"\ud83d\u0041", "\u{fffd}A"),
            (r"\ud83d\n", "\u{fffd}\n"),
            (r"\\ud83d", r"\ud83d"),
            (r"\\\ud83d", "\\\u{fffd}"),
            (r"\u00e9é", "éé"),
        ] {
            let body = format!(r#"{{"message":"{escaped}","metadata":{{"{escaped}":"1"}}}}"#);
            let event = Event::parse(body.as_bytes()).unwrap();
            assert_eq!(event.message, want, "{escaped}");
            assert_eq!(event.metadata.keys().next().unwrap(), want, "{escaped}");
        }
        for escaped in [
            r"\ud83",
            r"\ud8",
            r"\u",
            r"\",
            r"\ud83d\u",
            r"\ud83x",
            r"\u+123",
            r"\é",
        ] {
            let body = format!(r#"{{"message":"{escaped}"}}"#);
            assert!(Event::parse(body.as_bytes()).is_err(), "{escaped}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for body in [
            "",
            "[]",
            "\"x\"",
            "1",
            "{",
            "{} {}",
            r#"{"message":1}"#,
            r#"{"metadata":{"a":1}}"#,
            r#"{"metadata":[]}"#,
            r#"{"involvedObject":"x"}"#,
            r#"{"timestamp":"yesterday"}"#,
            r#"{"timestamp":""}"#,
            r#"{"timestamp":1}"#,
        ] {
            assert!(Event::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn the_group_is_what_stands_before_the_version() {
        for (version, want) in [
            (
                "kustomize.toolkit.fluxcd.io/v1",
                "kustomize.toolkit.fluxcd.io",
            ),
            ("v1", ""),
            ("", ""),
            ("a/b/c", ""),
        ] {
            let mut event = Event::default();
            event.involved_object.api_version = version.to_owned();
            assert_eq!(event.api_group(), want, "{version:?}");
        }
    }
}
