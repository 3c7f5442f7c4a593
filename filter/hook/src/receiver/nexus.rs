//! `nexus`: Sonatype Nexus Repository. SHA-1 is all that it has.

use super::{BodyCheck, Check, Context, ReceiverType, SecretUse, hub};
use crate::config::Hook;
use crate::mac::Hash;
use crate::rejection::Rejection;
use crate::request::Request;

#[derive(Debug)]
pub(super) struct Nexus;

impl ReceiverType for Nexus {
    fn name(&self) -> &'static str {
        "nexus"
    }

    fn proof(&self) -> &'static str {
        "HMAC-SHA1 of the body in `X-Nexus-Webhook-Signature`"
    }

    fn secret(&self) -> SecretUse {
        SecretUse::Signs {
            hashes: &[Hash::Sha1],
            signing_token: false,
        }
    }

    fn check(
        &self,
        hook: &Hook,
        request: &Request<'_>,
        _: &Context<'_>,
    ) -> Result<Check, Rejection> {
        let digits = request
            .one_filled("x-nexus-webhook-signature")?
            .ok_or(Rejection::MissingSignature)?;
        // nc compares the text, so upper case never matches.
        if digits.iter().any(u8::is_ascii_uppercase) {
            return Err(Rejection::MalformedSignature);
        }
        BodyCheck::with_token(hook, Hash::Sha1, hub::bare(digits)?).map(Check::Body)
    }
}
