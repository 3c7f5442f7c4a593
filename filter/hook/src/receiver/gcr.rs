//! `gcr`: Google's registries through an authenticated Pub/Sub push.

use super::{Check, Context, Pass, ReceiverType, SecretUse};
use crate::config::{Hook, Slot};
use crate::jwt::{self, JwtError, Token};
use crate::rejection::Rejection;
use crate::request::Request;

#[derive(Debug)]
pub(super) struct Gcr;

impl ReceiverType for Gcr {
    fn name(&self) -> &'static str {
        "gcr"
    }

    fn proof(&self) -> &'static str {
        "a JWT of Google for the Secret's `email` and `audience` in `Authorization`"
    }

    fn secret(&self) -> SecretUse {
        SecretUse::Google
    }

    fn check(
        &self,
        hook: &Hook,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Result<Check, Rejection> {
        let header = request
            .one_filled("authorization")?
            .ok_or(Rejection::MissingSignature)?;
        let text = jwt::bearer(header, false).ok_or(Rejection::Jwt(JwtError::Malformed))?;
        let token = Token::parse(text).map_err(Rejection::Jwt)?;
        let issuer = hook.issuers.first().ok_or(Rejection::NotConfigured)?;
        let email = hook.email.as_ref().ok_or(Rejection::NotConfigured)?;
        super::keys_fetched(hook)?;
        let is_email = |text: &str| email.matches(text.as_bytes());
        let now = context.now_ms / 1000;
        let verified = jwt::verify_gcr(&token, issuer, &is_email, now, context.signatures)
            .map_err(Rejection::Jwt)?;
        Ok(Check::Passed(Pass {
            checked: verified.signature_checked,
            ..Pass::by(Slot::Token)
        }))
    }
}
