//! `generic-hmac`: any sender that signs the body, as Flux documents it or as Standard Webhooks.

use super::{BodyCheck, Check, Context, ReceiverType, SecretUse, by_signing_token, hub};
use crate::config::Hook;
use crate::rejection::Rejection;
use crate::request::Request;

#[derive(Debug)]
pub(super) struct GenericHmac;

impl ReceiverType for GenericHmac {
    fn name(&self) -> &'static str {
        "generic-hmac"
    }

    fn proof(&self) -> &'static str {
        "HMAC of the body in `X-Signature`; with a `signing-token`, a Standard Webhooks signature"
    }

    fn secret(&self) -> SecretUse {
        SecretUse::Signs {
            hashes: hub::HASHES,
            signing_token: true,
        }
    }

    fn check(
        &self,
        hook: &Hook,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Result<Check, Rejection> {
        if let Some(check) = by_signing_token(hook, request, context) {
            return check;
        }
        let value = request
            .one_filled("x-signature")?
            .ok_or(Rejection::MissingSignature)?;
        let (hash, signature) = hub::signature(value)?;
        BodyCheck::with_token(hook, hash, signature).map(Check::Body)
    }
}
