//! A JSON Web Token in compact form, taken apart within limits. Nothing in it is believed yet.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Algorithm, JwtError, base64url};

/// The longest token accepted, in bytes. Envoy refuses header fields of about 60 KiB; issuers stay
/// under 8 KiB, because many servers do.
pub const MAX_TOKEN: usize = 16 * 1024;
/// The longest encoded header accepted, in bytes: `alg`, `kid`, `typ`, and what issuers add.
const MAX_HEADER: usize = 4 * 1024;
/// The longest encoded signature accepted, in bytes: RSA with 8192 bits.
const MAX_SIGNATURE: usize = 1366;
/// The most members accepted in the header, and in the payload.
const MAX_MEMBERS: usize = 256;

/// A token that is well formed, with the members of header and payload that decide on it.
///
/// Two strictnesses beyond RFC 7519, both against tokens that two readers understand differently: a
/// member that occurs twice in the header or at the top of the payload is refused, and names are
/// compared exactly (Go's decoder also takes `ISS` for `iss`). A `crit` header is refused as none of
/// its extensions is understood.
pub struct Token<'a> {
    pub(super) algorithm: Algorithm,
    /// Empty when the token names no key.
    pub(super) kid: String,
    pub(super) claims: Claims,
    message: &'a [u8],
    payload: String,
    signature: Vec<u8>,
}

/// Claims and key ids can be personal: they stay out of logs.
impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl<'a> Token<'a> {
    /// Takes a compact token apart.
    ///
    /// # Errors
    /// [`JwtError::Malformed`] when it is not three parts of unpadded base64url with JSON objects
    /// first and second, or is above a limit; [`JwtError::Algorithm`] when `alg` is none of ours.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, JwtError> {
        if bytes.len() > MAX_TOKEN {
            return Err(JwtError::Malformed);
        }
        let mut parts = bytes.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtError::Malformed);
        };
        if header.len() > MAX_HEADER || signature.len() > MAX_SIGNATURE {
            return Err(JwtError::Malformed);
        }
        let message_length = header.len().saturating_add(1).saturating_add(payload.len());
        let message = bytes.get(..message_length).ok_or(JwtError::Malformed)?;
        let Header { algorithm, kid } = object(&text(header)?)?;
        let algorithm = Algorithm::parse(&algorithm).ok_or(JwtError::Algorithm)?;
        let payload = text(payload)?;
        let claims = object(&payload)?;
        let signature = base64url(signature).ok_or(JwtError::Malformed)?;
        Ok(Self {
            algorithm,
            kid,
            claims,
            message,
            payload,
            signature,
        })
    }

    /// The algorithm that the header names.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What was signed: header and payload as they came.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.message
    }

    /// The payload: JSON text with one object. It is worth something only after the verdict.
    #[must_use]
    pub fn payload(&self) -> &str {
        &self.payload
    }

    /// The signature, decoded.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// What the header says. Other members, key material among them, are ignored.
struct Header {
    algorithm: String,
    kid: String,
}

/// The claims that decide; the others are only in the payload.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) issuer: String,
    pub(super) audience: Audience,
    /// Seconds since 1970; fractions are cut off, times before 1970 are 0.
    pub(super) expires: Option<u64>,
    pub(super) not_before: Option<u64>,
    pub(super) email: Option<String>,
    /// Whether `email_verified` is JSON `true`.
    pub(super) email_verified: bool,
}

/// The `aud` claim. An audience can be one string or a list of them, and some readers take only one
/// of the two forms.
#[derive(Default)]
pub(super) enum Audience {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

fn text(part: &[u8]) -> Result<String, JwtError> {
    String::from_utf8(base64url(part).ok_or(JwtError::Malformed)?).map_err(|_| JwtError::Malformed)
}

fn object<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, JwtError> {
    serde_json::from_str(text).map_err(|_| JwtError::Malformed)
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut algorithm = None;
        let mut kid = String::new();
        deserializer.deserialize_map(Members(|name: &str, member: Member| {
            match (name, member) {
                ("alg", Member::Text(word)) => {
                    algorithm = Some(word);
                    true
                }
                ("kid", Member::Text(word)) => {
                    kid = word;
                    true
                }
                ("alg" | "kid" | "crit", _) => false,
                _ => true,
            }
        }))?;
        let algorithm = algorithm.ok_or_else(|| serde::de::Error::missing_field("alg"))?;
        Ok(Self { algorithm, kid })
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut claims = Self::default();
        deserializer.deserialize_map(Members(|name: &str, member| claims.take(name, member)))?;
        Ok(claims)
    }
}

impl Claims {
    /// Whether the claim has a type that it may have.
    fn take(&mut self, name: &str, member: Member) -> bool {
        match (name, member) {
            ("iss", Member::Text(text)) => self.issuer = text,
            ("aud", Member::Text(text)) => self.audience = Audience::One(text),
            ("aud", Member::List(list)) => self.audience = Audience::Many(list),
            ("exp", Member::Number(seconds)) => self.expires = Some(seconds),
            ("nbf", Member::Number(seconds)) => self.not_before = Some(seconds),
            ("iss" | "aud" | "exp" | "nbf", Member::Null) => {}
            ("iss" | "aud" | "exp" | "nbf", _) => return false,
            ("email", Member::Text(text)) => self.email = Some(text),
            ("email_verified", Member::True) => self.email_verified = true,
            _ => {}
        }
        true
    }
}

/// The members of an object, one after the other, handed to a function that says whether each is
/// acceptable.
struct Members<F>(F);

impl<'de, F: FnMut(&str, Member) -> bool> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let member = map.next_value()?;
            if !(self.0)(&name, member) {
                return Err(serde::de::Error::custom("a member of the wrong type"));
            }
            if !seen.insert(name) || seen.len() > MAX_MEMBERS {
                return Err(serde::de::Error::custom("a member twice, or too many"));
            }
        }
        Ok(())
    }
}

/// A JSON value, as far as any claim here needs it.
enum Member {
    Text(String),
    List(Vec<String>),
    Number(u64),
    True,
    Null,
    Other,
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberVisitor)
    }
}

struct MemberVisitor;

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Member, E> {
        Ok(Member::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Member, E> {
        Ok(if value { Member::True } else { Member::Other })
    }

    fn visit_u64<E>(self, value: u64) -> Result<Member, E> {
        Ok(Member::Number(value))
    }

    fn visit_i64<E>(self, _negative: i64) -> Result<Member, E> {
        Ok(Member::Number(0))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Member, E> {
        // The cast cuts fractions off and keeps to the range of the type.
        Ok(Member::Number(value as u64))
    }

    fn visit_str<E>(self, value: &str) -> Result<Member, E> {
        Ok(Member::Text(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Member, E> {
        Ok(Member::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Member, A::Error> {
        let mut list = Some(Vec::new());
        while let Some(member) = seq.next_element::<Member>()? {
            match (member, &mut list) {
                (Member::Text(text), Some(list)) => list.push(text),
                _ => list = None,
            }
        }
        Ok(list.map_or(Member::Other, Member::List))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Member, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    fn compact(header: &str, payload: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part(header), part(payload), part("signature"))
    }

    fn outcome(token: &str) -> Option<JwtError> {
        Token::parse(token.as_bytes()).err()
    }

    #[test]
    fn a_token_comes_apart_into_what_was_signed_and_what_signs_it() {
        let bytes = compact(
            r#"{"alg":"ES256","kid":"k","typ":"JWT"}"#,
            r#"{"iss":"i","a":[{}]}"#,
        );
        let token = Token::parse(bytes.as_bytes()).unwrap();
        assert_eq!(token.algorithm(), Algorithm::Es256);
        assert_eq!(token.kid, "k");
        assert_eq!(
            token.message(),
            bytes.rsplit_once('.').unwrap().0.as_bytes()
        );
        assert_eq!(token.signature(), b"signature");
        assert_eq!(token.payload(), r#"{"iss":"i","a":[{}]}"#);
        assert_eq!(format!("{token:?}"), "Token { algorithm: Es256, .. }");
    }

    #[test]
    fn tokens_that_two_readers_could_understand_differently_are_refused() {
        let (h, p) = (r#"{"alg":"RS256"}"#, r#"{"iss":"i"}"#);
        let good = compact(h, p);
        let malformed = Some(JwtError::Malformed);
        let rows = [
            (good.clone(), None),
            (String::new(), malformed),
            ("..".into(), malformed),
            ("a.b".into(), malformed),
            (format!("{good}."), malformed),
            (format!("{good}.a"), malformed),
            (format!("{good}="), malformed),
            (format!("{good} "), malformed),
            (good.replacen('.', "=.", 1), malformed),
            (good.replacen('.', "\n.", 1), malformed),
            (good.replacen('.', "+.", 1), malformed),
            (compact("", p), malformed),
            (compact("[]", p), malformed),
            (compact("{}", p), malformed),
            (compact(r#"{"alg":null}"#, p), malformed),
            (compact(r#"{"alg":["RS256"]}"#, p), malformed),
            (compact(r#"{"alg":"RS256","alg":"RS256"}"#, p), malformed),
            (compact(r#"{"alg":"RS256","kid":1}"#, p), malformed),
            (
                compact(r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, p),
                malformed,
            ),
            (compact(r#"{"alg":"RS256","crit":"b64"}"#, p), malformed),
            (compact(r#"{"alg":"none"}"#, p), Some(JwtError::Algorithm)),
            (compact(r#"{"alg":"HS256"}"#, p), Some(JwtError::Algorithm)),
            (compact(r#"{"alg":"ES512"}"#, p), Some(JwtError::Algorithm)),
            (compact(r#"{"alg":"rs256"}"#, p), Some(JwtError::Algorithm)),
            (compact(h, "null"), malformed),
            (compact(h, r#"{"iss":"i"} x"#), malformed),
            (compact(h, r#"{"iss":"i","iss":"j"}"#), malformed),
            (compact(h, r#"{"iss":"i","\u0069ss":"j"}"#), malformed),
            (compact(h, r#"{"a":{"b":1,"b":2}}"#), None),
            (compact(h, r#"{"iss":1}"#), malformed),
            (compact(h, r#"{"exp":"1"}"#), malformed),
            (compact(h, r#"{"exp":true}"#), malformed),
            (compact(h, r#"{"aud":["a",1]}"#), malformed),
            (compact(h, r#"{"aud":{}}"#), malformed),
            (compact(h, r#"{"email":1,"email_verified":"true"}"#), None),
        ];
        for (index, (token, expected)) in rows.into_iter().enumerate() {
            assert_eq!(outcome(&token), expected, "row {index}");
        }
    }

    #[test]
    fn tokens_above_a_limit_are_refused() {
        let h = r#"{"alg":"RS256"}"#;
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
        let wide = (0..300)
            .map(|n| format!(r#""{n}":0"#))
            .collect::<Vec<_>>()
            .join(",");
        let rows = [
            compact(h, &format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_TOKEN))),
            compact(
                &format!(r#"{{"alg":"RS256","x":"{}"}}"#, "x".repeat(MAX_HEADER)),
                "{}",
            ),
            format!("{}{}", compact(h, "{}"), "A".repeat(MAX_SIGNATURE)),
            compact(h, &deep),
            compact(h, &format!("{{{wide}}}")),
        ];
        for (index, token) in rows.iter().enumerate() {
            assert_eq!(outcome(token), Some(JwtError::Malformed), "row {index}");
        }
    }

    #[test]
    fn times_are_whole_seconds_since_1970() {
        let expires = |json: &str| {
            let token = compact(r#"{"alg":"RS256"}"#, json);
            Token::parse(token.as_bytes()).map(|token| token.claims.expires)
        };
        assert_eq!(expires(r#"{"exp":12}"#), Ok(Some(12)));
        assert_eq!(expires(r#"{"exp":12.9}"#), Ok(Some(12)));
        assert_eq!(expires(r#"{"exp":1.2e1}"#), Ok(Some(12)));
        assert_eq!(expires(r#"{"exp":-5}"#), Ok(Some(0)));
        assert_eq!(expires(r#"{"exp":-0.5}"#), Ok(Some(0)));
        assert_eq!(expires(r#"{"exp":1e300}"#), Ok(Some(u64::MAX)));
        assert_eq!(expires(r#"{"exp":null}"#), Ok(None));
        assert_eq!(expires("{}"), Ok(None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            header in ".{0,80}",
            payload in r#"\{("(iss|aud|exp|nbf|email)":("a"|1e9|-3|null|true|\[|\]|\{|\}|,){0,6},?){0,6}\}"#,
        ) {
            let _ = Token::parse(&bytes);
            let _ = Token::parse(compact(&header, &payload).as_bytes());
            let _ = Token::parse(compact(r#"{"alg":"RS256"}"#, &payload).as_bytes());
        }
    }
}
