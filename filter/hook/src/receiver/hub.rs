//! The signature header of PubSubHubbub, `sha256=<hex>`, by the rules of go-github, which nc uses
//! for github, bitbucket and generic-hmac.

use alloc::vec::Vec;

use super::{BodyCheck, Check};
use crate::config::Hook;
use crate::mac::Hash;
use crate::mime;
use crate::rejection::Rejection;
use crate::request::Request;

/// The hashes of [`signature`].
pub(super) const HASHES: &[Hash] = &[Hash::Sha1, Hash::Sha256, Hash::Sha512];

/// Reads `<algorithm>=<hex>`. The sender's prefix chooses the hash, whatever the header's name
/// says; which hashes are allowed at all is the table's business.
pub(super) fn signature(value: &[u8]) -> Result<(Hash, Vec<u8>), Rejection> {
    let at = value
        .iter()
        .position(|b| *b == b'=')
        .ok_or(Rejection::MalformedSignature)?;
    let (name, rest) = value
        .split_at_checked(at)
        .ok_or(Rejection::MalformedSignature)?;
    let hash = Hash::from_name(name).ok_or(Rejection::MalformedSignature)?;
    let digits = rest.strip_prefix(b"=").unwrap_or_default();
    Ok((hash, bare(digits)?))
}

/// Reads a signature that is hex only. Gitea without a secret sends an empty one.
pub(super) fn bare(digits: &[u8]) -> Result<Vec<u8>, Rejection> {
    if digits.is_empty() {
        return Err(Rejection::MissingSignature);
    }
    hex::decode(digits).map_err(|_| Rejection::MalformedSignature)
}

/// `X-Hub-Signature-256`, or where that is empty `X-Hub-Signature`.
pub(super) fn headers(request: &Request<'_>) -> Result<Option<(Hash, Vec<u8>)>, Rejection> {
    let strong = request.one_filled("x-hub-signature-256")?;
    let old = request.one_filled("x-hub-signature")?;
    strong.or(old).map(signature).transpose()
}

/// What GitHub and Bitbucket share: the signature is over the raw body, which is JSON or a form.
pub(super) fn check(
    hook: &Hook,
    request: &Request<'_>,
    (hash, signature): (Hash, Vec<u8>),
    form_signs_payload: bool,
) -> Result<Check, Rejection> {
    let form = is_form(request)?;
    let check = BodyCheck::with_token(hook, hash, signature)?;
    Ok(Check::Body(if form {
        check.of_form(form_signs_payload)
    } else {
        check
    }))
}

fn is_form(request: &Request<'_>) -> Result<bool, Rejection> {
    let value = request.one("content-type")?.unwrap_or_default();
    match mime::media_type(value).as_deref() {
        Some("application/json") => Ok(false),
        Some("application/x-www-form-urlencoded") => Ok(true),
        _ => Err(Rejection::ContentType),
    }
}
