//! The table: what the controller tells the filter about every hook.
//!
//! Versioned JSON in canonical order, so that controllers with equal inputs write equal bytes.
//! It holds no token and no usable path: paths as [`HookId`]s, HMAC keys as midstates, other tokens
//! as salted hashes. Still, whoever reads it *and* knows a path can forge that hash's signatures.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::address::Cidr;
use crate::bucket::Limit;
use crate::digest::HookId;
use crate::jwt::Issuer;
use crate::mac::{Midstates, Salted};

/// The version of the table's form that this crate reads and writes.
pub const VERSION: u32 = 1;
/// Hooks in one table. Bounds the filter's memory: about 1 KB each while a table is taken in.
pub const MAX_HOOKS: usize = 100_000;
/// Bytes of one table's JSON.
pub const MAX_TABLE: usize = 96 * 1024 * 1024;
/// Bytes of a configuration that only says where the table is, spaces included.
const LONGEST_POINTER: usize = 256;
/// The largest `max_body`: what GitHub sends at most.
pub const MAX_BODY: u64 = 25 * 1024 * 1024;

/// What the controller tells the filter.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// [`VERSION`].
    pub version: u32,
    /// The largest body of a hook, in bytes.
    pub max_body: u64,
    /// Whether methods other than POST and PUT are taken.
    #[serde(default, skip_serializing_if = "is_default")]
    pub allow_any_method: bool,
    /// Whether the filter holds a request's head until the verdict. `false` for hosts that can't.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub hold_headers: bool,
    /// The limit of refused hooks, for each hook.
    pub failures: Limit,
    /// The hooks, sorted by name.
    pub hooks: Vec<Hook>,
}

/// What the filter is configured with.
#[derive(Clone, Debug)]
pub enum Source {
    /// The table itself.
    Table(Config),
    /// `{"table_from":"controller"}`: the table is fetched from the controller, for hosts whose objects can hold no secret. Such
    /// hosts cannot hold the head of a request either.
    Controller,
}

/// The form of [`Source::Controller`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pointer {
    table_from: Origin,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Origin {
    Controller,
}

impl Source {
    /// Parses and checks what the filter is configured with.
    ///
    /// # Errors
    /// Those of [`Config::parse`].
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        // A table is longer.
        if json.len() <= LONGEST_POINTER
            && let Ok(Pointer {
                table_from: Origin::Controller,
            }) = serde_json::from_slice(json)
        {
            return Ok(Self::Controller);
        }
        Config::parse(json).map(Self::Table)
    }
}

/// One Receiver.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// `namespace/name`, for metrics, reports and logs.
    pub name: String,
    /// `spec.type`.
    #[serde(rename = "type")]
    pub receiver_type: String,
    /// The paths it is served on.
    pub paths: Vec<Path>,
    /// Whether it takes hooks now.
    #[serde(default, skip_serializing_if = "is_default")]
    pub state: State,
    /// What its senders prove that they know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Key>,
    /// `spec.events`; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// The status of an authenticated hook whose event is not listed: 200, 202 or 400.
    #[serde(default = "ok", skip_serializing_if = "is_ok")]
    pub filtered_status: u16,
    /// The limit of admitted hooks.
    pub limit: Limit,
    /// The clients that may send; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Cidr>,
    /// The issuers of `generic-oidc`, in the order of the spec; Google for `gcr`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<Issuer>,
    /// The `email` of `gcr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Salted>,
}

/// One path of a hook, and the token it was made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Path {
    /// What the path hashes to.
    pub id: HookId,
    /// The Secret's key that the path was made from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub slot: Slot,
}

/// One secret that a sender may use.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Where it came from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub slot: Slot,
    /// For types that sign: one for each hash that the Receiver allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<Midstates>,
    /// For types that present the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Salted>,
}

/// A key of the Receiver's Secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// `token`.
    #[default]
    Token,
    /// `token-previous`, accepted while it exists.
    TokenPrevious,
    /// `signing-token`.
    SigningToken,
}

impl Slot {
    /// The key in the Secret.
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::TokenPrevious => "token-previous",
            Self::SigningToken => "signing-token",
        }
    }
}

/// Whether a hook is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Yes.
    #[default]
    Ready,
    /// No: the Receiver is suspended.
    Suspended,
    /// No: the Receiver is not ready.
    NotReady,
}

impl Config {
    /// Parses and checks a table.
    ///
    /// # Errors
    /// [`ConfigError`] if it is too large, not of this version, or anything in it could not be obeyed.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        if json.len() > MAX_TABLE {
            return Err(ConfigError::Size { bytes: json.len() });
        }
        let mut config: Self =
            serde_json::from_slice(json).map_err(|error| ConfigError::Json(error.to_string()))?;
        config.check()?;
        config.hooks.iter_mut().for_each(Hook::shrink);
        Ok(config)
    }

    /// The canonical JSON of the table.
    ///
    /// # Errors
    /// The serializer's own, which this form does not provoke.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.version != VERSION {
            return Err(ConfigError::Version(self.version));
        }
        if self.hooks.len() > MAX_HOOKS {
            return Err(ConfigError::Hooks(self.hooks.len()));
        }
        if self.max_body > MAX_BODY {
            return Err(ConfigError::MaxBody(self.max_body));
        }
        self.hooks.iter().try_for_each(Hook::check)
    }
}

impl Hook {
    /// A parsed list has room for four, of which most hooks use one: in a table of many thousands that room
    /// would be most of its memory, in every VM of every Envoy.
    fn shrink(&mut self) {
        self.paths.shrink_to_fit();
        self.keys.shrink_to_fit();
        self.keys
            .iter_mut()
            .for_each(|key| key.macs.shrink_to_fit());
        self.events.shrink_to_fit();
        self.addresses.shrink_to_fit();
        self.issuers.shrink_to_fit();
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |what| {
            Err(ConfigError::Hook {
                name: self.name.clone(),
                what,
            })
        };
        if !matches!(self.filtered_status, 200 | 202 | 400) {
            return wrong("filtered_status is not 200, 202 or 400");
        }
        if crate::receiver::find(&self.receiver_type).is_none() {
            return wrong("the receiver type is unknown");
        }
        Ok(())
    }
}

/// Why a table was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// One hook in it can't be obeyed.
    Hook {
        /// `namespace/name`.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// More hooks than [`MAX_HOOKS`].
    Hooks(usize),
    /// Not the JSON of a table.
    Json(String),
    /// `max_body` above [`MAX_BODY`].
    MaxBody(u64),
    /// More bytes than [`MAX_TABLE`].
    Size {
        /// How many.
        bytes: usize,
    },
    /// Another [`VERSION`].
    Version(u32),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook { name, what } => write!(f, "hook {name:?}: {what}"),
            Self::Hooks(n) => write!(f, "{n} hooks, but a table holds at most {MAX_HOOKS}"),
            Self::Json(error) => write!(f, "not a table: {error}"),
            Self::MaxBody(n) => write!(f, "max_body is {n}, but may be at most {MAX_BODY}"),
            Self::Size { bytes } => write!(f, "{bytes} bytes, but a table has at most {MAX_TABLE}"),
            Self::Version(v) => write!(f, "version {v}, but this filter reads version {VERSION}"),
        }
    }
}

impl core::error::Error for ConfigError {}

fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_true(value: &bool) -> bool {
    *value
}

fn ok() -> u16 {
    200
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_ok(status: &u16) -> bool {
    *status == 200
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Bytes as base64 in JSON.
pub(crate) mod base64_bytes {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD_NO_PAD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, B: TryFrom<Vec<u8>>>(
        d: D,
    ) -> Result<B, D::Error> {
        STANDARD_NO_PAD
            .decode(<Cow<'_, str>>::deserialize(d)?.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| serde::de::Error::custom("not base64 of the right length"))
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::digest::Digest;
    use crate::mac::Hash;

    fn config() -> Config {
        Config {
            version: VERSION,
            max_body: 3_145_728,
            allow_any_method: false,
            hold_headers: true,
            failures: Limit::per_second(10, 100),
            hooks: alloc::vec![Hook {
                name: "flux-system/app".into(),
                receiver_type: "github".into(),
                paths: alloc::vec![Path {
                    id: Digest::of(b"token", "app", "flux-system").id(),
                    slot: Slot::Token,
                }],
                state: State::Ready,
                keys: alloc::vec![Key {
                    slot: Slot::Token,
                    macs: alloc::vec![Midstates::of(Hash::Sha256, b"token")],
                    token: None,
                }],
                events: alloc::vec!["push".into()],
                filtered_status: 200,
                limit: Limit::per_second(100, 3000),
                addresses: Vec::new(),
                issuers: Vec::new(),
                email: None,
            }],
        }
    }

    #[test]
    fn a_table_reads_back_as_it_was_written() {
        let json = config().to_json().unwrap();
        assert_eq!(
            Config::parse(json.as_bytes()).unwrap().to_json().unwrap(),
            json
        );
    }

    #[test]
    fn a_configuration_is_a_table_or_says_that_the_controller_has_it() {
        for json in [
            r#"{"table_from":"controller"}"#,
            " {\n \"table_from\" : \"controller\" }\n",
        ] {
            assert!(
                matches!(Source::parse(json.as_bytes()), Ok(Source::Controller)),
                "{json}"
            );
        }
        let table = config().to_json().unwrap();
        assert!(matches!(
            Source::parse(table.as_bytes()),
            Ok(Source::Table(_))
        ));
        for json in [
            "",
            "{}",
            r#"{"table_from":"elsewhere"}"#,
            r#"{"table_from":"controller","surprise":1}"#,
            r#"{"table_from":null}"#,
        ] {
            assert!(
                matches!(Source::parse(json.as_bytes()), Err(ConfigError::Json(_))),
                "{json}"
            );
        }
    }

    #[test]
    fn a_table_holds_neither_token_nor_path() {
        let json = config().to_json().unwrap();
        let digest = Digest::of(b"token", "app", "flux-system").path();
        assert!(!json.contains(digest.trim_start_matches("/hook/")));
        assert!(!json.contains(&hex::encode("token")));
    }

    #[test]
    fn a_table_that_cannot_be_obeyed_is_refused() {
        let with = |change: fn(&mut Config)| {
            let mut config = config();
            change(&mut config);
            Config::parse(config.to_json().unwrap().as_bytes()).err()
        };
        assert_eq!(with(|_| {}), None);
        assert_eq!(with(|c| c.version = 2), Some(ConfigError::Version(2)));
        assert_eq!(
            with(|c| c.max_body = MAX_BODY + 1),
            Some(ConfigError::MaxBody(MAX_BODY + 1))
        );
        let hook = |what| {
            Some(ConfigError::Hook {
                name: "flux-system/app".into(),
                what,
            })
        };
        assert_eq!(
            with(|c| c.hooks[0].filtered_status = 204),
            hook("filtered_status is not 200, 202 or 400")
        );
        assert_eq!(
            with(|c| c.hooks[0].receiver_type = "x".into()),
            hook("the receiver type is unknown")
        );
        for junk in ["", "{", "[]", "null", r#"{"version":1}"#, "\u{0}"] {
            assert!(
                matches!(Config::parse(junk.as_bytes()), Err(ConfigError::Json(_))),
                "{junk}"
            );
        }
    }

    #[test]
    fn an_unknown_field_is_refused_and_never_ignored() {
        let json = config()
            .to_json()
            .unwrap()
            .replacen('{', r#"{"surprise":1,"#, 1);
        let error = Config::parse(json.as_bytes()).unwrap_err();
        assert!(format!("{error}").contains("surprise"), "{error}");
    }
}
