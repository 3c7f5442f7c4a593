//! `Secret`: keys to bytes. Nothing here prints a value.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice};
use serde::Deserialize;

use crate::api::meta::ObjectMeta;

/// What an API server takes for all keys together.
const MAX_BYTES: usize = 1024 * 1024;

/// A Secret as it stands in a manifest.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RawSecret {
    pub(crate) metadata: ObjectMeta,
    data: BTreeMap<String, Option<String>>,
    string_data: BTreeMap<String, String>,
}

/// A Secret, decoded. Its values are wiped when dropped.
#[derive(Clone, Default)]
pub struct Secret {
    values: BTreeMap<String, SecretSlice<u8>>,
}

/// What is wrong with a Secret. Never names a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// A value in `data` is not base64.
    #[error("data.{0} is not base64; use stringData for plain text")]
    NotBase64(String),
    /// More bytes than a Secret may have.
    #[error("the values have more than {MAX_BYTES} bytes together")]
    TooLarge,
}

impl Secret {
    /// A Secret of these keys.
    pub fn new(values: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let values = values.into_iter();
        Self {
            values: values.map(|(key, value)| (key, value.into())).collect(),
        }
    }

    /// Wipes every value but these keys'.
    pub fn keep_only(&mut self, keys: &[&str]) {
        self.values.retain(|key, _| keys.contains(&key.as_str()));
    }

    /// The bytes under a key, just as they are: a trailing newline is part of them.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key).map(|value| value.expose_secret())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl TryFrom<RawSecret> for Secret {
    type Error = SecretError;

    fn try_from(raw: RawSecret) -> Result<Self, SecretError> {
        let mut values = BTreeMap::new();
        for (key, text) in raw.data {
            // Line breaks come from YAML's block scalars.
            let text: String = text
                .unwrap_or_default()
                .chars()
                .filter(|c| !c.is_ascii_whitespace())
                .collect();
            let bytes = STANDARD
                .decode(&text)
                .map_err(|_| SecretError::NotBase64(key.clone()))?;
            values.insert(key, bytes);
        }
        // As on the API server, stringData wins.
        values.extend(
            raw.string_data
                .into_iter()
                .map(|(key, text)| (key, text.into_bytes())),
        );
        if values.values().map(Vec::len).sum::<usize>() > MAX_BYTES {
            return Err(SecretError::TooLarge);
        }
        Ok(Self::new(values))
    }
}
