//! JSON Web Tokens of the receiver types `generic-oidc` and `gcr`, against given keys and a given
//! now.
//!
//! ```text
//!  Authorization ─ bearer ─► Token::parse ─► verify_oidc │ verify_gcr ─► Verified │ JwtError
//!                                                 ▲
//!           JWKS ─ jwk_to_key ─► Issuer { keys } ─┘      Signatures: the side's own primitive
//! ```
//!
//! Claims are compared before the signature is checked, because that is the cheap part; an answer
//! depends on them only together with the signature. Of the JWT algorithms, ES512 is left out: `ring`,
//! which is the controller's primitive, has no P-521. `none` and the HMAC ones are never
//! accepted: an issuer's public key is no secret.

mod der;
mod jwk;
mod token;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use der::{KeyType, ecdsa_der, spki_parts};
pub use jwk::{Jwk, KeyError, jwk_to_key};
pub use token::{MAX_TOKEN, Token};

use token::Audience;

/// How far in the future `nbf` may lie, in seconds, for clocks that differ (as go-oidc has it).
const NOT_BEFORE_LEEWAY: u64 = 5 * 60;
/// The most keys tried on one token. Issuers with more than one key name it in the token (OpenID
/// Connect Core 10.1), so that one is the rule; the limit bounds the work a forged token makes.
const MAX_TRIES: usize = 8;
/// Google's issuer. Its tokens name it with or without the scheme.
pub const GOOGLE_ISSUER: &str = "https://accounts.google.com";
const GOOGLE_BARE: &str = "accounts.google.com";

/// A signature algorithm of RFC 7518 or RFC 8037, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    #[serde(rename = "RS384")]
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    #[serde(rename = "RS512")]
    Rs512,
    /// RSASSA-PSS with SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
    /// RSASSA-PSS with SHA-384.
    #[serde(rename = "PS384")]
    Ps384,
    /// RSASSA-PSS with SHA-512.
    #[serde(rename = "PS512")]
    Ps512,
    /// ECDSA on P-256 with SHA-256; the signature is `r || s`, 64 bytes.
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA on P-384 with SHA-384; the signature is `r || s`, 96 bytes.
    #[serde(rename = "ES384")]
    Es384,
    /// Ed25519 (Ed448 is not supported).
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// Every algorithm, in order.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The algorithm that an `alg` member names, exactly.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == word)
    }

    /// The word for it in `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The type of key that it takes.
    #[must_use]
    pub const fn key_type(self) -> KeyType {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => {
                KeyType::Rsa
            }
            Self::Es256 => KeyType::P256,
            Self::Es384 => KeyType::P384,
            Self::EdDsa => KeyType::Ed25519,
        }
    }

    /// The length of its signatures in bytes; for RSA it is the key's.
    const fn signature_length(self) -> Option<usize> {
        match self.key_type() {
            KeyType::Rsa => None,
            KeyType::P256 | KeyType::Ed25519 => Some(64),
            KeyType::P384 => Some(96),
        }
    }
}

/// A public key of an issuer, as it stands in the table. The order (key id, algorithms, key) is the
/// table's, so that equal key sets make equal tables.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The id by which tokens name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// What it may verify, in order.
    pub algorithms: Vec<Algorithm>,
    /// DER SubjectPublicKeyInfo; standard base64 in the table.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub spki: Vec<u8>,
}

/// An issuer that a Receiver trusts, as it stands in the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The `iss` of its tokens, exactly.
    pub issuer: String,
    /// The audience that its tokens must be for.
    pub audience: String,
    /// The algorithms that it says it signs with; tokens with others are refused.
    pub algorithms: Vec<Algorithm>,
    /// Its public keys, in order.
    pub keys: Vec<Key>,
}

/// The signature primitive of the side that verifies: the host's in Envoy, `ring` in the
/// controller.
pub trait Signatures {
    /// Whether `signature` is `algorithm`'s of `message` under the key `spki` (DER
    /// SubjectPublicKeyInfo). An implementation answers `Ok(false)`, never `Ok(true)`, when key and
    /// algorithm do not fit together.
    ///
    /// `signature` is as in the token: for ES256 and ES384 it is `r || s`; [`ecdsa_der`] is for
    /// primitives that want DER.
    ///
    /// # Errors
    /// [`Unsupported`] when this side has no such algorithm.
    fn verify(
        &self,
        algorithm: Algorithm,
        spki: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, Unsupported>;
}

/// This side cannot check the algorithm; the other side may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported;

/// A token that holds, as far as this side can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Which of the issuers made it.
    pub issuer_index: usize,
    /// `false` when everything but the signature was checked, because this side has no such
    /// algorithm and the issuer has a key for it. Such a token proves nothing yet.
    pub signature_checked: bool,
}

/// Why a token is refused. Says nothing of what the token contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtError {
    /// `alg` is not one of ours, of the issuer's, or of the key's.
    Algorithm,
    /// `aud` is missing, is another, or has a form that the receiver type does not take.
    Audience,
    /// `email` is missing, is another, or is not verified.
    Email,
    /// `exp` is missing or past.
    Expired,
    /// `iss` is missing or is none of the trusted ones.
    Issuer,
    /// Not a well-formed token, or above a limit.
    Malformed,
    /// `nbf` is more than 5 minutes ahead.
    NotYetValid,
    /// The key that the token names does not verify its signature.
    Signature,
    /// The issuer has no key of the id that the token names; or the token names none, and none of the
    /// keys verifies it. The keys may have changed: the controller fetches them again, at a limited
    /// rate.
    UnknownKey,
}

impl JwtError {
    /// A stable word for metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Algorithm => "jwt_algorithm",
            Self::Audience => "jwt_audience",
            Self::Email => "jwt_email",
            Self::Expired => "jwt_expired",
            Self::Issuer => "jwt_issuer",
            Self::Malformed => "jwt_malformed",
            Self::NotYetValid => "jwt_not_yet_valid",
            Self::Signature => "jwt_signature",
            Self::UnknownKey => "jwt_unknown_key",
        }
    }
}

impl fmt::Display for JwtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Algorithm => "the token's algorithm is not accepted from this issuer",
            Self::Audience => "the token is for another audience",
            Self::Email => "the token is not for the expected verified email address",
            Self::Expired => "the token has expired",
            Self::Issuer => "the token is from an issuer that is not configured",
            Self::Malformed => "the token is malformed",
            Self::NotYetValid => "the token is not valid yet",
            Self::Signature => "the token's signature is wrong",
            Self::UnknownKey => "the issuer has no such key",
        })
    }
}

impl core::error::Error for JwtError {}

/// The token of an `Authorization` header: what follows exactly `Bearer `, not empty. `generic-oidc`
/// trims whitespace around it, `gcr` does not.
#[must_use]
pub fn bearer(header: &[u8], trim: bool) -> Option<&[u8]> {
    let token = header.strip_prefix(b"Bearer ")?;
    let token = if trim { token.trim_ascii() } else { token };
    (!token.is_empty()).then_some(token)
}

/// Verifies a token of `generic-oidc` as the first of `issuers` whose URL equals its `iss`.
///
/// Tokens that say `accounts.google.com` count as those of `https://accounts.google.com`. `aud` may
/// be a string or a list; `exp` is required and has no leeway, and a token is refused from that second
/// on; `nbf`, when given, has 5 minutes; `iat` and `typ` do not matter.
///
/// # Errors
/// The first rule that the token breaks, in the order issuer, audience, times, algorithm, key,
/// signature.
pub fn verify_oidc(
    token: &Token<'_>,
    issuers: &[Issuer],
    now_unix: u64,
    signatures: &dyn Signatures,
) -> Result<Verified, JwtError> {
    let claims = &token.claims;
    if claims.issuer.is_empty() {
        return Err(JwtError::Issuer);
    }
    let (issuer_index, issuer) = issuers
        .iter()
        .enumerate()
        .find(|(_, issuer)| {
            issuer.issuer == claims.issuer
                || (issuer.issuer == GOOGLE_ISSUER && claims.issuer == GOOGLE_BARE)
        })
        .ok_or(JwtError::Issuer)?;
    let meant = match &claims.audience {
        Audience::None => false,
        Audience::One(audience) => *audience == issuer.audience,
        Audience::Many(audiences) => audiences.contains(&issuer.audience),
    };
    if !meant {
        return Err(JwtError::Audience);
    }
    if claims.expires.is_none_or(|expires| expires <= now_unix) {
        return Err(JwtError::Expired);
    }
    if claims
        .not_before
        .is_some_and(|start| start > now_unix.saturating_add(NOT_BEFORE_LEEWAY))
    {
        return Err(JwtError::NotYetValid);
    }
    if !issuer.algorithms.contains(&token.algorithm) {
        return Err(JwtError::Algorithm);
    }
    let keys = issuer
        .keys
        .iter()
        .filter(|key| token.kid.is_empty() || names(token, key));
    let signature_checked = check_signature(token, keys, signatures)?;
    Ok(Verified {
        issuer_index,
        signature_checked,
    })
}

/// Verifies a token of `gcr` (Pub/Sub push): from Google, for `issuer.audience`, with an email address
/// that `email` accepts.
///
/// `aud` must be a string; a token is refused in the seconds after `exp`; RS256 or ES256, by a key
/// that it names; `email_verified` must be JSON `true`. `email` is a function so that the table need not
/// hold the address.
///
/// # Errors
/// The first rule that the token breaks, in the order audience, time, algorithm, issuer, email, key,
/// signature.
pub fn verify_gcr(
    token: &Token<'_>,
    issuer: &Issuer,
    email: &dyn Fn(&str) -> bool,
    now_unix: u64,
    signatures: &dyn Signatures,
) -> Result<Verified, JwtError> {
    let claims = &token.claims;
    if !matches!(&claims.audience, Audience::One(audience) if *audience == issuer.audience) {
        return Err(JwtError::Audience);
    }
    if claims.expires.is_none_or(|expires| expires < now_unix) {
        return Err(JwtError::Expired);
    }
    if !matches!(token.algorithm, Algorithm::Rs256 | Algorithm::Es256) {
        return Err(JwtError::Algorithm);
    }
    if claims.issuer != GOOGLE_ISSUER && claims.issuer != GOOGLE_BARE {
        return Err(JwtError::Issuer);
    }
    if !claims.email_verified || !claims.email.as_deref().is_some_and(email) {
        return Err(JwtError::Email);
    }
    let keys = issuer.keys.iter().filter(|key| names(token, key));
    let signature_checked = check_signature(token, keys, signatures)?;
    Ok(Verified {
        issuer_index: 0,
        signature_checked,
    })
}

/// Whether the token names this key.
fn names(token: &Token<'_>, key: &Key) -> bool {
    !token.kid.is_empty() && key.kid.as_deref() == Some(token.kid.as_str())
}

/// Whether one of `keys`, those that the token may mean, verified the signature (`true`), or could but
/// for this side's lack of the algorithm (`false`).
fn check_signature<'k>(
    token: &Token<'_>,
    keys: impl Iterator<Item = &'k Key>,
    signatures: &dyn Signatures,
) -> Result<bool, JwtError> {
    let mut keys = keys.peekable();
    if keys.peek().is_none() {
        return Err(JwtError::UnknownKey);
    }
    let length = token.algorithm.signature_length();
    if length.is_some_and(|length| length != token.signature().len()) {
        return Err(JwtError::Signature);
    }
    let mut failure = JwtError::Algorithm;
    for key in keys
        .filter(|key| key.algorithms.contains(&token.algorithm))
        .take(MAX_TRIES)
    {
        match signatures.verify(
            token.algorithm,
            &key.spki,
            token.message(),
            token.signature(),
        ) {
            Ok(true) => return Ok(true),
            Ok(false) => failure = JwtError::Signature,
            Err(Unsupported) => return Ok(false),
        }
    }
    // Without a key id, a new key looks just like a wrong signature.
    Err(if token.kid.is_empty() {
        JwtError::UnknownKey
    } else {
        failure
    })
}

/// Strict base64url: no padding, no other characters, no stray bits at the end.
fn base64url(text: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD
        .decode(text)
        .map_err(|_| serde::de::Error::custom("spki is not base64"))
}

#[cfg(test)]
mod tests;
