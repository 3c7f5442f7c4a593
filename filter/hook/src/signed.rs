//! Standard Webhooks: a signed id, a signed timestamp and any number of signatures.
//!
//! Source: the Standard Webhooks specification 1.0; GitLab's signing tokens follow it.

use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::rejection::Rejection;
use crate::request::Request;

/// How far a signed timestamp may be off, in seconds, before and after now.
pub const TOLERANCE: u64 = 300;

/// More signatures than any sender in the middle of a key rotation makes.
const MAX_SIGNATURES: usize = 16;
/// Ids are short; this bounds what the replay memory is fed.
const MAX_ID: usize = 256;

/// The head of a Standard Webhooks message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// `webhook-id`: the same for every attempt to deliver one message.
    pub id: Vec<u8>,
    /// What is signed before the body: `id.timestamp.`
    pub prefix: Vec<u8>,
    /// The `v1` signatures, decoded.
    pub signatures: Vec<Vec<u8>>,
}

impl Signed {
    /// Reads the three headers.
    ///
    /// # Errors
    /// The [`Rejection`] that says which of them is missing, malformed, doubled or too old.
    pub fn read(request: &Request<'_>, now_ms: u64) -> Result<Self, Rejection> {
        let header = |name| request.one_filled(name)?.ok_or(Rejection::MissingSignature);
        let (id, timestamp, list) = (
            header("webhook-id")?,
            header("webhook-timestamp")?,
            header("webhook-signature")?,
        );
        // With a dot in it, the end of the id could be moved to a dot within another message's body, and
        // digits there be passed off as a fresh timestamp: the signed text would be the same.
        if id.len() > MAX_ID || id.contains(&b'.') {
            return Err(Rejection::MalformedSignature);
        }
        let signatures = signatures(list)?;
        if seconds(timestamp)?.abs_diff(now_ms / 1000) > TOLERANCE {
            return Err(Rejection::Stale);
        }
        let prefix = [id, b".", timestamp, b"."].concat();
        Ok(Self {
            id: id.to_vec(),
            prefix,
            signatures,
        })
    }
}

/// The key in a `whsec_…` secret; `None` if it is not one. Surrounding white space, such as the
/// newline that an editor adds, is not part of it.
///
/// ```
/// assert_eq!(hook::signed::key(b"whsec_AAEC\n"), Some(vec![0, 1, 2]));
/// assert_eq!(hook::signed::key(b"AAEC"), None);
/// ```
pub fn key(secret: &[u8]) -> Option<Vec<u8>> {
    let text = secret.trim_ascii().strip_prefix(b"whsec_")?;
    STANDARD.decode(text).ok().filter(|key| !key.is_empty())
}

fn seconds(timestamp: &[u8]) -> Result<u64, Rejection> {
    if timestamp.iter().any(|b| !b.is_ascii_digit()) {
        return Err(Rejection::MalformedSignature);
    }
    core::str::from_utf8(timestamp)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Rejection::MalformedSignature)
}

fn signatures(list: &[u8]) -> Result<Vec<Vec<u8>>, Rejection> {
    let found: Vec<_> = list
        .split(|b| *b == b' ')
        .filter_map(|one| one.strip_prefix(b"v1,"))
        .filter_map(|text| STANDARD.decode(text).ok())
        .take(MAX_SIGNATURES)
        .collect();
    if found.is_empty() {
        Err(Rejection::MalformedSignature)
    } else {
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(id: &str, timestamp: &str, signature: &str, now: u64) -> Result<Signed, Rejection> {
        let headers = alloc::vec![
            ("webhook-id", id.as_bytes()),
            ("webhook-timestamp", timestamp.as_bytes()),
            ("webhook-signature", signature.as_bytes()),
        ];
        let now_ms = now.saturating_mul(1000);
        Signed::read(
            &Request {
                method: b"POST",
                path: b"",
                headers,
            },
            now_ms,
        )
    }

    #[test]
    fn the_headers_are_read() {
        let signed = read(
            "msg_1",
            "1000",
            "v1a,xxxx v1,AAEC v2,AAEC v1,AwQF v1,???",
            1000,
        )
        .unwrap();
        assert_eq!(
            signed,
            Signed {
                id: b"msg_1".to_vec(),
                prefix: b"msg_1.1000.".to_vec(),
                signatures: alloc::vec![alloc::vec![0, 1, 2], alloc::vec![3, 4, 5]],
            }
        );
    }

    #[test]
    fn timestamps_are_held_to_five_minutes_both_ways() {
        for (timestamp, now, want) in [
            ("1000", 1300, None),
            ("1000", 1301, Some(Rejection::Stale)),
            ("1300", 1000, None),
            ("1301", 1000, Some(Rejection::Stale)),
            ("18446744073709551615", 1000, Some(Rejection::Stale)),
            (
                "18446744073709551616",
                1000,
                Some(Rejection::MalformedSignature),
            ),
            ("-1", 1000, Some(Rejection::MalformedSignature)),
            ("1e3", 1000, Some(Rejection::MalformedSignature)),
        ] {
            assert_eq!(
                read("i", timestamp, "v1,AAEC", now).err(),
                want,
                "{timestamp} at {now}"
            );
        }
    }

    #[test]
    fn a_missing_or_unreadable_signature_is_told_apart() {
        assert_eq!(
            read("", "1", "v1,AAEC", 1),
            Err(Rejection::MissingSignature)
        );
        assert_eq!(read("i", "1", "", 1), Err(Rejection::MissingSignature));
        assert_eq!(
            read("i", "1", "v1a,AAEC", 1),
            Err(Rejection::MalformedSignature)
        );
        assert_eq!(
            read(&"i".repeat(257), "1", "v1,AAEC", 1),
            Err(Rejection::MalformedSignature)
        );
    }
}
