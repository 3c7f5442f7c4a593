//! Values at evaluation: views of the JSON they come from, or results computed along the way.

use ::cel::Value as Library;
use ::cel::objects::{Key as LibraryKey, Map as LibraryMap};
use serde_json::Value as Json;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Text that is part of the input or of the expression, or that was made here.
#[derive(Clone, Debug)]
pub(super) enum Text<'e> {
    Borrowed(&'e str),
    Shared(Arc<str>),
}

impl Text<'_> {
    /// A part of the text; of the input it costs nothing.
    pub(super) fn slice(&self, range: Range<usize>) -> Self {
        match self {
            Self::Borrowed(text) => Self::Borrowed(text.get(range).unwrap_or_default()),
            Self::Shared(text) => Self::Shared(text.get(range).unwrap_or_default().into()),
        }
    }

    fn into_owned(self) -> Text<'static> {
        match self {
            Self::Borrowed(text) => Text::Shared(text.into()),
            Self::Shared(text) => Text::Shared(text),
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

/// A key of a map that the expression built. Numbers that are equal are the same key.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Key {
    Bool(bool),
    Number(i128),
    Text(Arc<str>),
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Val<'e> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'e>),
    Bytes(Arc<[u8]>),
    /// A JSON array of the input.
    Array(&'e [Json]),
    /// A JSON object of the input.
    Object(&'e serde_json::Map<String, Json>),
    List(Arc<Vec<Self>>),
    Map(Arc<BTreeMap<Key, (Self, Self)>>),
    /// The results of earlier variables, by name.
    Vars(&'e BTreeMap<String, Val<'static>>),
    Optional(Option<Arc<Self>>),
    /// A timestamp or a duration, which the library computes with.
    Time(Library),
    /// A type, by its name.
    Type(&'static str),
}

impl<'e> Val<'e> {
    /// JSON as the expression sees it: all numbers are doubles.
    pub(super) fn from_json(json: &'e Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => Self::Text(Text::Borrowed(text)),
            Json::Array(items) => Self::Array(items),
            Json::Object(fields) => Self::Object(fields),
        }
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(Text::from(text.into()))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Arc::new(items))
    }

    pub(super) fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    pub(super) fn optional(value: Option<Self>) -> Self {
        Self::Optional(value.map(Arc::new))
    }

    /// The name of the type, as `type()` and messages give it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Array(_) | Self::List(_) => "list",
            Self::Object(_) | Self::Map(_) | Self::Vars(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Time(Library::Duration(_)) => "google.protobuf.Duration",
            Self::Time(_) => "google.protobuf.Timestamp",
            Self::Type(_) => "type",
        }
    }

    /// The length of a list.
    pub(super) fn list_len(&self) -> Option<usize> {
        match self {
            Self::Array(items) => Some(items.len()),
            Self::List(items) => Some(items.len()),
            _ => None,
        }
    }

    /// The element of a list at `index`.
    pub(super) fn list_at(&self, index: usize) -> Option<Self> {
        match self {
            Self::Array(items) => items.get(index).map(Self::from_json),
            Self::List(items) => items.get(index).cloned(),
            _ => None,
        }
    }

    /// The number of entries of a map.
    pub(super) fn map_len(&self) -> Option<usize> {
        match self {
            Self::Object(fields) => Some(fields.len()),
            Self::Map(entries) => Some(entries.len()),
            Self::Vars(vars) => Some(vars.len()),
            _ => None,
        }
    }

    /// The value of a map under `key`.
    pub(super) fn map_get(&self, key: &Self) -> Option<Self> {
        match (self, key) {
            (Self::Object(fields), Self::Text(name)) => fields.get(&**name).map(Self::from_json),
            (Self::Vars(vars), Self::Text(name)) => vars.get(&**name).cloned(),
            (Self::Map(entries), _) => entries.get(&key.as_key()?).map(|(_, value)| value.clone()),
            _ => None,
        }
    }

    /// The keys of a map.
    pub(super) fn map_keys(&self) -> Option<Vec<Self>> {
        match self {
            Self::Object(fields) => Some(
                fields
                    .keys()
                    .map(|name| Self::Text(Text::Borrowed(name)))
                    .collect(),
            ),
            Self::Vars(vars) => Some(
                vars.keys()
                    .map(|name| Self::Text(Text::Borrowed(name)))
                    .collect(),
            ),
            Self::Map(entries) => Some(entries.values().map(|(key, _)| key.clone()).collect()),
            _ => None,
        }
    }

    /// The value as a key of a map, if it can be one.
    pub(super) fn as_key(&self) -> Option<Key> {
        match self {
            Self::Bool(value) => Some(Key::Bool(*value)),
            Self::Int(_) | Self::Uint(_) | Self::Double(_) => self.integral().map(Key::Number),
            Self::Text(text) => Some(Key::Text((**text).into())),
            _ => None,
        }
    }

    /// The whole number a numeric value is equal to.
    pub(super) fn integral(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(i128::from(*value)),
            Self::Uint(value) => Some(i128::from(*value)),
            Self::Double(value) => whole(*value),
            _ => None,
        }
    }

    /// The order of two numbers of any types, of texts, bytes or bools.
    pub(super) fn order(&self, other: &Self) -> Result<Option<Ordering>, ()> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Ok(Some(a.cmp(b))),
            (Self::Text(a), Self::Text(b)) => Ok(Some((**a).cmp(&**b))),
            (Self::Bytes(a), Self::Bytes(b)) => Ok(Some(a.cmp(b))),
            (Self::Double(a), Self::Double(b)) => Ok(a.partial_cmp(b)),
            (Self::Double(a), Self::Int(_) | Self::Uint(_)) => {
                Ok(other.integral().and_then(|b| order_double(*a, b)))
            }
            (Self::Int(_) | Self::Uint(_), Self::Double(b)) => Ok(self
                .integral()
                .and_then(|a| order_double(*b, a))
                .map(Ordering::reverse)),
            (Self::Int(_) | Self::Uint(_), Self::Int(_) | Self::Uint(_)) => Ok(self
                .integral()
                .zip(other.integral())
                .map(|(a, b)| a.cmp(&b))),
            _ => Err(()),
        }
    }

    /// Whether the value is what its type has for nothing.
    pub(super) fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Int(_) | Self::Uint(_) | Self::Double(_) => self.integral() == Some(0),
            Self::Text(text) => text.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Optional(held) => held.is_none(),
            Self::Time(time) => time.is_zero(),
            Self::Type(_) => false,
            Self::Array(_) | Self::List(_) => self.list_len() == Some(0),
            Self::Object(_) | Self::Map(_) | Self::Vars(_) => self.map_len() == Some(0),
        }
    }

    /// A copy that does not borrow the input.
    pub(super) fn into_owned(self) -> Val<'static> {
        match self {
            Self::Null => Val::Null,
            Self::Bool(value) => Val::Bool(value),
            Self::Int(value) => Val::Int(value),
            Self::Uint(value) => Val::Uint(value),
            Self::Double(value) => Val::Double(value),
            Self::Text(text) => Val::Text(text.into_owned()),
            Self::Bytes(bytes) => Val::Bytes(bytes),
            Self::Array(items) => Val::list(
                items
                    .iter()
                    .map(|item| Val::from_json(item).into_owned())
                    .collect(),
            ),
            Self::List(items) => {
                Val::list(items.iter().map(|item| item.clone().into_owned()).collect())
            }
            Self::Object(fields) => Val::Map(Arc::new(
                fields
                    .iter()
                    .map(|(name, value)| owned_entry(name, Val::from_json(value)))
                    .collect(),
            )),
            Self::Vars(vars) => Val::Map(Arc::new(
                vars.iter()
                    .map(|(name, value)| owned_entry(name, value.clone()))
                    .collect(),
            )),
            Self::Map(entries) => Val::Map(Arc::new(
                entries
                    .iter()
                    .map(|(id, (key, value))| {
                        (
                            id.clone(),
                            (key.clone().into_owned(), value.clone().into_owned()),
                        )
                    })
                    .collect(),
            )),
            Self::Optional(held) => {
                Val::Optional(held.map(|value| Arc::new(Arc::unwrap_or_clone(value).into_owned())))
            }
            Self::Time(time) => Val::Time(time),
            Self::Type(name) => Val::Type(name),
        }
    }

    /// The value in the library's form.
    pub(super) fn to_library(&self) -> Library {
        match self {
            Self::Null => Library::Null,
            Self::Bool(value) => Library::Bool(*value),
            Self::Int(value) => Library::Int(*value),
            Self::Uint(value) => Library::UInt(*value),
            Self::Double(value) => Library::Float(*value),
            Self::Text(text) => Library::String(Arc::new(text.to_string())),
            Self::Bytes(bytes) => Library::Bytes(Arc::new(bytes.to_vec())),
            Self::Array(items) => Library::List(Arc::new(
                items
                    .iter()
                    .map(|item| Val::from_json(item).to_library())
                    .collect(),
            )),
            Self::List(items) => {
                Library::List(Arc::new(items.iter().map(Self::to_library).collect()))
            }
            Self::Object(_) | Self::Map(_) | Self::Vars(_) => self.to_library_map(),
            // Neither has a form there; as text it can at least be formatted.
            Self::Optional(_) => Library::String(Arc::new("optional".to_owned())),
            Self::Type(name) => Library::String(Arc::new((*name).to_owned())),
            Self::Time(time) => time.clone(),
        }
    }

    fn to_library_map(&self) -> Library {
        let entries: HashMap<LibraryKey, Library> = self
            .map_keys()
            .unwrap_or_default()
            .iter()
            .filter_map(|key| Some((key.to_library().try_into().ok()?, self.map_get(key)?)))
            .map(|(key, value): (LibraryKey, Self)| (key, value.to_library()))
            .collect();
        Library::Map(LibraryMap {
            map: Arc::new(entries),
        })
    }

    /// A value from the library's form; maps do not come back from it.
    pub(super) fn from_library(value: Library) -> Option<Self> {
        match value {
            Library::Null => Some(Self::Null),
            Library::Bool(value) => Some(Self::Bool(value)),
            Library::Int(value) => Some(Self::Int(value)),
            Library::UInt(value) => Some(Self::Uint(value)),
            Library::Float(value) => Some(Self::Double(value)),
            Library::String(text) => Some(Self::text(Arc::unwrap_or_clone(text))),
            Library::Bytes(bytes) => Some(Self::Bytes(bytes.as_slice().into())),
            Library::Duration(_) | Library::Timestamp(_) => Some(Self::Time(value)),
            Library::List(_)
            | Library::Map(_)
            | Library::Function(..)
            | Library::Opaque(_)
            | Library::Struct(_) => None,
        }
    }
}

fn owned_entry(name: &str, value: Val<'_>) -> (Key, (Val<'static>, Val<'static>)) {
    let name: Arc<str> = name.into();
    (
        Key::Text(Arc::clone(&name)),
        (Val::Text(Text::Shared(name)), value.into_owned()),
    )
}

/// The whole number a double is exactly, if it is one of 64 bits.
fn whole(value: f64) -> Option<i128> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range is checked just before"
    )]
    (value.fract() == 0.0 && value.abs() < 2e19).then_some(value as i128)
}

/// The order of a double and a whole number of 64 bits, without rounding either.
fn order_double(double: f64, number: i128) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    if double.abs() >= 2e19 {
        return Some(if double > 0.0 {
            Ordering::Greater
        } else {
            Ordering::Less
        });
    }
    whole(double.floor()).map(|floor| {
        floor.cmp(&number).then(if double.fract() == 0.0 {
            Ordering::Equal
        } else {
            Ordering::Greater
        })
    })
}
