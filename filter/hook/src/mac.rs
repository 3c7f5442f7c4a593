//! HMAC from stored midstates, and the one comparison for every secret.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

/// Compares two secrets, or what was computed from them, in a time that tells nothing but their lengths.
///
/// There is no other comparison of secrets in Hookgate.
pub fn eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// The hash under an HMAC signature, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// SHA-1: still unbroken in HMAC, but counted and shown as weak.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Every hash, weakest first.
    pub const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Sha512];

    /// The hash of a signature's prefix, as in `sha256=…`. Lower case only, as go-github has it.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|hash| hash.name().as_bytes() == name)
    }

    /// The name of [`Hash::from_name`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn state_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// The two halves of an HMAC key after one block each: enough to compute that one HMAC, not enough
/// to know the key, to compute another hash's, or to present the key as a token.
///
/// In JSON `sha256:` and both states in base64: a table has one for each hash of each token, so that their
/// size is the table's.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "Cow<'_, str>")]
pub struct Midstates {
    /// The hash that the key is used with.
    pub hash: Hash,
    /// The state after the key XORed with `0x36`, then the one after the key XORed with `0x5c`.
    states: Box<[u8]>,
}

impl Midstates {
    /// Derives the midstates of a key (RFC 2104: keys longer than a block are hashed first).
    pub fn of(hash: Hash, key: &[u8]) -> Self {
        let (inner, outer) = match hash {
            Hash::Sha1 => pads::<Sha1, 64>(key),
            Hash::Sha256 => pads::<Sha256, 64>(key),
            Hash::Sha512 => pads::<Sha512, 128>(key),
        };
        let len = hash.state_len();
        let halves = [inner, outer];
        Self {
            hash,
            states: halves
                .iter()
                .flat_map(|state| state.iter().take(len).copied())
                .collect(),
        }
    }

    /// Starts an HMAC. `None` never, but if the hash's own form of a state changed under us.
    pub fn start(&self) -> Option<Mac> {
        Some(match self.hash {
            Hash::Sha1 => Mac::Sha1(resume::<Sha1, 64>(self)?),
            Hash::Sha256 => Mac::Sha256(resume::<Sha256, 64>(self)?),
            Hash::Sha512 => Mac::Sha512(Box::new(resume::<Sha512, 128>(self)?)),
        })
    }
}

impl From<Midstates> for String {
    fn from(mid: Midstates) -> Self {
        format!("{}:{}", mid.hash.name(), STANDARD_NO_PAD.encode(mid.states))
    }
}

impl TryFrom<Cow<'_, str>> for Midstates {
    type Error = &'static str;

    fn try_from(text: Cow<'_, str>) -> Result<Self, Self::Error> {
        let (hash, states) = text
            .split_once(':')
            .ok_or("midstates without the name of their hash")?;
        let hash = Hash::from_name(hash.as_bytes()).ok_or("midstates of an unknown hash")?;
        let states = STANDARD_NO_PAD
            .decode(states)
            .ok()
            .filter(|states| states.len() / 2 == hash.state_len() && states.len().is_multiple_of(2))
            .ok_or("midstates of a wrong length")?;
        Ok(Self {
            hash,
            states: states.into(),
        })
    }
}

impl fmt::Debug for Midstates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Midstates({})", self.hash.name())
    }
}

/// An HMAC in progress. Its size does not depend on what it has been fed.
#[derive(Clone)]
#[non_exhaustive]
pub enum Mac {
    /// HMAC-SHA1.
    #[doc(hidden)]
    Sha1(Pair<Sha1>),
    /// HMAC-SHA256.
    #[doc(hidden)]
    Sha256(Pair<Sha256>),
    /// HMAC-SHA512.
    #[doc(hidden)]
    Sha512(Box<Pair<Sha512>>),
}

impl Mac {
    /// Feeds more of the message.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(pair) => pair.inner.update(bytes),
            Self::Sha256(pair) => pair.inner.update(bytes),
            Self::Sha512(pair) => pair.inner.update(bytes),
        }
    }

    /// The HMAC of all that was fed.
    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(pair) => pair.finish(),
            Self::Sha256(pair) => pair.finish(),
            Self::Sha512(pair) => pair.finish(),
        }
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mac(..)")
    }
}

/// The inner and outer hash of an HMAC.
#[derive(Clone)]
pub struct Pair<H> {
    inner: H,
    outer: H,
}

impl<H: Digest> Pair<H> {
    fn finish(self) -> Vec<u8> {
        self.outer
            .chain_update(self.inner.finalize())
            .finalize()
            .to_vec()
    }
}

/// HMAC-SHA256 of a token under a salt: tells whether a presented token is the right one, without
/// being a plain hash of it (which would be its flux-recv path).
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Salted {
    #[serde(with = "crate::config::base64_bytes")]
    salt: Box<[u8]>,
    #[serde(with = "crate::config::base64_bytes")]
    hash: Box<[u8]>,
}

impl Salted {
    /// Salts a token.
    pub fn of(salt: &[u8], token: &[u8]) -> Self {
        Self {
            salt: salt.into(),
            hash: hmac_sha256(salt, token).into(),
        }
    }

    /// Whether `presented` is the token.
    pub fn matches(&self, presented: &[u8]) -> bool {
        eq(&hmac_sha256(&self.salt, presented), &self.hash)
    }
}

impl fmt::Debug for Salted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salted(..)")
    }
}

/// HMAC-SHA256 in one go.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Midstates::of(Hash::Sha256, key).start();
    if let Some(mac) = &mut mac {
        mac.update(message);
    }
    mac.map(Mac::finish).unwrap_or_default()
}

/// The serialised hash states after the inner and the outer padded key block.
fn pads<H: Digest + SerializableState, const BLOCK: usize>(key: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let hashed = if key.len() > BLOCK {
        H::digest(key).to_vec()
    } else {
        Vec::new()
    };
    let key = if key.len() > BLOCK {
        hashed.as_slice()
    } else {
        key
    };
    let state = |pad: u8| {
        let mut block = [pad; BLOCK];
        for (b, k) in block.iter_mut().zip(key) {
            *b ^= k;
        }
        H::new().chain_update(block).serialize().to_vec()
    };
    (state(0x36), state(0x5c))
}

fn resume<H: Digest + SerializableState, const BLOCK: usize>(mid: &Midstates) -> Option<Pair<H>> {
    let len = mid.hash.state_len();
    let (inner, outer) = mid.states.split_at_checked(len)?;
    // The state words stand first; the rest (one block done, nothing buffered) is the same for
    // every key, so it is taken from a hash that has seen one block of anything.
    let mut whole: SerializedState<H> = H::new().chain_update([0u8; BLOCK]).serialize();
    let mut half = |state: &[u8]| {
        whole.get_mut(..len)?.copy_from_slice(state);
        H::deserialize(&whole).ok()
    };
    Some(Pair {
        inner: half(inner)?,
        outer: half(outer.get(..len)?)?,
    })
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    fn mac(hash: Hash, key: &[u8], message: &[u8]) -> String {
        let mut mac = Midstates::of(hash, key).start().unwrap();
        for chunk in message.chunks(7) {
            mac.update(chunk);
        }
        hex::encode(mac.finish())
    }

    #[test]
    fn macs_are_those_of_the_reference() {
        let body = br#"{"action":"push"}"#;
        for (hash, key, message, want) in [
            (
                Hash::Sha1,
                &b"token"[..],
                &body[..],
                "0a23fffb3dd66539440cf881ae6fdfbc8ccae4a9",
            ),
            (
                Hash::Sha256,
                b"token",
                body,
                "83eee066cf716dd10bc327e341a581ae657bf26d8815c9334434f470c12d3079",
            ),
            (
                Hash::Sha512,
                b"token",
                body,
                "ba49015231e38c2779666c90692d82917c88a814b1c1ae23e94d9544b321011aa9c10824df4d5ac1c5bbb397d1947d4eda37014bbd33d4acb1b11a6f71039f59",
            ),
            (
                Hash::Sha256,
                &[b'k'; 100],
                body,
                "847dbff4779ddefefe5d4754496ac78fa9b7914d752ac2105121b110351cc4a5",
            ),
            (
                Hash::Sha256,
                b"token",
                b"",
                "ce282bed9e6f7eb223c19a9ed2220e32c351b5a3e14ddfeab0f2230755a2987b",
            ),
            // GitHub's and Bitbucket's documentation
            (
                Hash::Sha256,
                b"It's a Secret to Everybody",
                b"Hello, World!",
                "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            ),
            (
                Hash::Sha256,
                b"It's a Secret to Everybody",
                b"Hello World!",
                "a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9",
            ),
        ] {
            assert_eq!(mac(hash, key, message), want);
        }
    }

    #[test]
    fn midstates_survive_the_table_and_never_hold_the_key() {
        for hash in Hash::ALL {
            let mid = Midstates::of(hash, b"a-token-that-is-not-in-there");
            let json = serde_json::to_string(&mid).unwrap();
            for holds in ["a-token", "YS10b2tlb"] {
                assert!(!json.contains(holds), "{json}");
            }
            assert_eq!(serde_json::from_str::<Midstates>(&json).unwrap(), mid);
        }
    }

    #[test]
    fn midstates_that_are_none_are_refused() {
        for (text, want) in [
            ("", "midstates without the name of their hash"),
            ("sha256", "midstates without the name of their hash"),
            ("md5:AAAA", "midstates of an unknown hash"),
            ("sha256:AAAA", "midstates of a wrong length"),
            ("sha256:????", "midstates of a wrong length"),
        ] {
            assert_eq!(
                Midstates::try_from(Cow::Borrowed(text)),
                Err(want),
                "{text}"
            );
        }
    }

    #[test]
    fn a_salted_token_matches_only_itself() {
        let salted = Salted::of(b"salt", b"token");
        assert!(salted.matches(b"token"));
        for wrong in [&b""[..], b"toke", b"token ", b"TOKEN"] {
            assert!(!salted.matches(wrong));
        }
    }
}
