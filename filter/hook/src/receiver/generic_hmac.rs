//! `generic-hmac`: any sender that signs the body, as Flux documents it or as Standard Webhooks.

use super::{BodyCheck, Check, Context, ReceiverType, SecretUse, hub};
use crate::config::{Hook, Slot};
use crate::rejection::Rejection;
use crate::request::Request;
use crate::signed::Signed;

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
        if hook.keys.iter().any(|key| key.slot == Slot::SigningToken) {
            let signed = Signed::read(request, context.now_ms)?;
            return BodyCheck::with_signing_token(hook, signed).map(Check::Body);
        }
        let value = request
            .one_filled("x-signature")?
            .ok_or(Rejection::MissingSignature)?;
        let (hash, signature) = hub::signature(value)?;
        BodyCheck::with_token(hook, hash, signature).map(Check::Body)
    }
}
