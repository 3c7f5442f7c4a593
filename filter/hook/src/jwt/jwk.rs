//! JSON Web Keys (RFC 7517, RFC 7518, RFC 8037), as issuers publish them, into the keys of the
//! table. Everything that must hold for a key is checked here, once, when it is imported.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::Deserialize;

use super::der::{self, KeyType};
use super::{Algorithm, Key, base64url};

/// The shortest RSA modulus accepted, in bits (NIST SP 800-131A).
const MIN_RSA_BITS: usize = 2048;
/// The longest RSA modulus accepted, in bits: what `ring` verifies, and a bound on the work that an
/// issuer can make of one token.
const MAX_RSA_BITS: usize = 8192;
/// The longest key id accepted, in bytes.
const MAX_KID: usize = 512;

/// One member of the `keys` of a JSON Web Key Set. Fields that do not matter are ignored, the
/// private ones among them.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Jwk {
    /// Key type: `RSA`, `EC`, `OKP`.
    pub kty: String,
    /// Key id.
    #[serde(default)]
    pub kid: Option<String>,
    /// Intended use: `sig`, `enc`.
    #[serde(default, rename = "use")]
    pub public_key_use: Option<String>,
    /// Intended operations: `verify` among them, if given.
    #[serde(default)]
    pub key_ops: Option<Vec<String>>,
    /// The only algorithm it is for.
    #[serde(default)]
    pub alg: Option<String>,
    /// Curve of an `EC` or `OKP` key.
    #[serde(default)]
    pub crv: Option<String>,
    /// Modulus of an `RSA` key, base64url.
    #[serde(default)]
    pub n: Option<String>,
    /// Exponent of an `RSA` key, base64url.
    #[serde(default)]
    pub e: Option<String>,
    /// X coordinate of an `EC` key, or the whole `OKP` key, base64url.
    #[serde(default)]
    pub x: Option<String>,
    /// Y coordinate of an `EC` key, base64url.
    #[serde(default)]
    pub y: Option<String>,
}

/// Why a JSON Web Key is not taken into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// `alg` names an algorithm that is unknown, or that a key of this type is not for.
    Algorithm,
    /// A member is missing, is not base64url, or has the wrong length.
    Malformed,
    /// The RSA modulus has fewer than 2048 or more than 8192 bits.
    Size,
    /// The key type or curve is not one of RSA, P-256, P-384, Ed25519.
    Type,
    /// `use` or `key_ops` say that the key is not for verifying signatures.
    Use,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Algorithm => "the key is for an algorithm that is not supported",
            Self::Malformed => "the key is malformed",
            Self::Size => "the RSA key must have 2048 to 8192 bits",
            Self::Type => "the key type is not one of RSA, P-256, P-384, Ed25519",
            Self::Use => "the key is not for verifying signatures",
        })
    }
}

impl core::error::Error for KeyError {}

/// The key of the table that `jwk` describes, with the algorithms it may verify.
///
/// # Errors
/// A [`KeyError`] for every key that must not, or cannot, verify a token. An empty `kid` is no
/// `kid`.
pub fn jwk_to_key(jwk: &Jwk) -> Result<Key, KeyError> {
    if jwk
        .public_key_use
        .as_deref()
        .is_some_and(|word| word != "sig")
        || jwk
            .key_ops
            .as_ref()
            .is_some_and(|ops| !ops.iter().any(|op| op == "verify"))
    {
        return Err(KeyError::Use);
    }
    let kid = jwk.kid.clone().filter(|kid| !kid.is_empty());
    if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
        return Err(KeyError::Malformed);
    }
    let key_type = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => KeyType::Rsa,
        ("EC", Some("P-256")) => KeyType::P256,
        ("EC", Some("P-384")) => KeyType::P384,
        ("OKP", Some("Ed25519")) => KeyType::Ed25519,
        _ => return Err(KeyError::Type),
    };
    let algorithms = algorithms(key_type, jwk.alg.as_deref())?;
    let key = match key_type {
        KeyType::Rsa => rsa(&number(jwk.n.as_deref())?, &number(jwk.e.as_deref())?)?,
        KeyType::P256 => point(jwk, 32)?,
        KeyType::P384 => point(jwk, 48)?,
        KeyType::Ed25519 => exactly(32, number(jwk.x.as_deref())?)?,
    };
    let spki = der::spki(key_type, &key).ok_or(KeyError::Malformed)?;
    Ok(Key {
        kid,
        algorithms,
        spki,
    })
}

fn algorithms(key_type: KeyType, alg: Option<&str>) -> Result<Vec<Algorithm>, KeyError> {
    let possible = Algorithm::ALL
        .into_iter()
        .filter(|algorithm| algorithm.key_type() == key_type);
    let Some(word) = alg else {
        return Ok(possible.collect());
    };
    // RFC 9864 names the curve where RFC 8037 did not; they are the same signature.
    let word = if word == "Ed25519" { "EdDSA" } else { word };
    let only: Vec<_> = possible
        .filter(|algorithm| algorithm.name() == word)
        .collect();
    if only.is_empty() {
        Err(KeyError::Algorithm)
    } else {
        Ok(only)
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Vec<u8>, KeyError> {
    let (n, e) = (der::significant(modulus), der::significant(exponent));
    let bits = n
        .first()
        .and_then(|first| {
            n.len()
                .checked_mul(8)?
                .checked_sub(first.leading_zeros() as usize)
        })
        .ok_or(KeyError::Malformed)?;
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err(KeyError::Size);
    }
    // What ring and BoringSSL take: odd, at least 3, at most 33 bits.
    let odd = e.last().is_some_and(|last| last % 2 == 1);
    let small = e.len() < 5 || (e.len() == 5 && e.first() == Some(&1));
    if !odd || !small || e == [1] {
        return Err(KeyError::Malformed);
    }
    der::rsa_public_key(n, e).ok_or(KeyError::Malformed)
}

/// The uncompressed point. Whether it lies on the curve is for the verifier to say.
fn point(jwk: &Jwk, length: usize) -> Result<Vec<u8>, KeyError> {
    let mut point = Vec::from([0x04]);
    point.extend_from_slice(&exactly(length, number(jwk.x.as_deref())?)?);
    point.extend_from_slice(&exactly(length, number(jwk.y.as_deref())?)?);
    Ok(point)
}

fn exactly(length: usize, bytes: Vec<u8>) -> Result<Vec<u8>, KeyError> {
    if bytes.len() == length {
        Ok(bytes)
    } else {
        Err(KeyError::Malformed)
    }
}

fn number(member: Option<&str>) -> Result<Vec<u8>, KeyError> {
    member
        .and_then(|text| base64url(text.as_bytes()))
        .ok_or(KeyError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::Algorithm::*;
    use alloc::string::ToString;
    use base64::Engine as _;
    use serde_json::{Value, json};

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../tests/vectors/jwt.json")).unwrap()
    }

    fn key(jwk: &Value) -> Result<Key, KeyError> {
        jwk_to_key(&serde_json::from_value(jwk.clone()).unwrap())
    }

    /// The vector's key of this id, with members replaced; `null` counts as absent.
    fn with(kid: &str, members: &Value) -> Result<Key, KeyError> {
        let vectors = vectors();
        let keys = vectors["keys"].as_array().unwrap();
        let mut jwk = keys.iter().find(|key| key["jwk"]["kid"] == kid).unwrap()["jwk"].clone();
        for (name, value) in members.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        key(&jwk)
    }

    #[test]
    fn keys_become_the_spki_that_openssl_writes() {
        let vectors = vectors();
        let keys = vectors["keys"].as_array().unwrap();
        assert_eq!(keys.len(), 4);
        for vector in keys {
            let spki = base64::engine::general_purpose::STANDARD
                .decode(vector["spki"].as_str().unwrap())
                .unwrap();
            let expected = Key {
                kid: vector["jwk"]["kid"].as_str().map(ToString::to_string),
                algorithms: serde_json::from_value(vector["algorithms"].clone()).unwrap(),
                spki,
            };
            assert_eq!(key(&vector["jwk"]), Ok(expected));
        }
    }

    #[test]
    fn a_key_is_for_what_its_members_say() {
        let rows = [
            (
                with("rsa-2048", &json!({"alg": "PS384"})),
                Ok([Ps384].to_vec()),
            ),
            (
                with("rsa-2048", &json!({"use": null, "key_ops": ["verify"]})),
                Ok([Rs256, Rs384, Rs512, Ps256, Ps384, Ps512].to_vec()),
            ),
            (
                with("rsa-2048", &json!({"alg": "RSA-OAEP"})),
                Err(KeyError::Algorithm),
            ),
            (
                with("rsa-2048", &json!({"alg": "HS256"})),
                Err(KeyError::Algorithm),
            ),
            (
                with("rsa-2048", &json!({"alg": "ES256"})),
                Err(KeyError::Algorithm),
            ),
            (with("rsa-2048", &json!({"use": "enc"})), Err(KeyError::Use)),
            (
                with("rsa-2048", &json!({"key_ops": ["wrapKey"]})),
                Err(KeyError::Use),
            ),
            (with("p256", &json!({"alg": "ES256"})), Ok([Es256].to_vec())),
            (
                with("p256", &json!({"alg": "ES384"})),
                Err(KeyError::Algorithm),
            ),
            (with("p384", &json!({})), Ok([Es384].to_vec())),
            (
                with("ed25519", &json!({"alg": "Ed25519"})),
                Ok([EdDsa].to_vec()),
            ),
            (
                with("ed25519", &json!({"crv": "X25519"})),
                Err(KeyError::Type),
            ),
            (with("p256", &json!({"crv": "P-521"})), Err(KeyError::Type)),
            (
                with("p256", &json!({"crv": "P-384"})),
                Err(KeyError::Malformed),
            ),
            (with("p256", &json!({"crv": null})), Err(KeyError::Type)),
            (with("p256", &json!({"kty": "oct"})), Err(KeyError::Type)),
        ];
        for (index, (key, expected)) in rows.into_iter().enumerate() {
            assert_eq!(key.map(|key| key.algorithms), expected, "row {index}");
        }
    }

    #[test]
    fn broken_and_weak_keys_are_refused() {
        let huge = "_".repeat(1400);
        let rows = [
            (key(&vectors()["small_rsa"]), KeyError::Size),
            (with("rsa-2048", &json!({"n": huge})), KeyError::Size),
            (with("rsa-2048", &json!({"n": "AAAA"})), KeyError::Malformed),
            (with("rsa-2048", &json!({"n": null})), KeyError::Malformed),
            (with("rsa-2048", &json!({"n": "a+b/"})), KeyError::Malformed),
            (
                with("rsa-2048", &json!({"e": "AQAB=="})),
                KeyError::Malformed,
            ),
            (with("rsa-2048", &json!({"e": ""})), KeyError::Malformed),
            (with("rsa-2048", &json!({"e": "AQ"})), KeyError::Malformed),
            (with("rsa-2048", &json!({"e": "AQAC"})), KeyError::Malformed),
            (
                with("rsa-2048", &json!({"e": "AwAAAAE"})),
                KeyError::Malformed,
            ),
            (with("rsa-2048", &json!({"kid": huge})), KeyError::Malformed),
            (with("p256", &json!({"x": "AA"})), KeyError::Malformed),
            (with("p256", &json!({"y": null})), KeyError::Malformed),
            (with("ed25519", &json!({"x": "AA"})), KeyError::Malformed),
        ];
        for (index, (key, expected)) in rows.into_iter().enumerate() {
            assert_eq!(key, Err(expected), "row {index}");
        }
    }

    #[test]
    fn an_empty_key_id_is_none() {
        assert_eq!(
            with("p256", &json!({"kid": ""})).map(|key| key.kid),
            Ok(None)
        );
    }
}
