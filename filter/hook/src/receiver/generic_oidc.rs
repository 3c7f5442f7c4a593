//! `generic-oidc`: a JSON Web Token of an issuer that the Receiver names. Claims are the controller's.

use super::{Check, Context, Pass, ReceiverType, SecretUse};
use crate::config::Hook;
use crate::jwt;
use crate::rejection::Rejection;
use crate::request::Request;

#[derive(Debug)]
pub(super) struct GenericOidc;

impl ReceiverType for GenericOidc {
    fn name(&self) -> &'static str {
        "generic-oidc"
    }

    fn proof(&self) -> &'static str {
        "a JWT of a named issuer in `Authorization`, and what its claims say"
    }

    fn secret(&self) -> SecretUse {
        SecretUse::Issuers
    }

    fn check(
        &self,
        hook: &Hook,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Result<Check, Rejection> {
        let token = super::bearer(request, true)?;
        super::keys_fetched(hook)?;
        let now = context.now_ms / 1000;
        let verified = jwt::verify_oidc(&token, &hook.issuers, now, context.signatures)
            .map_err(Rejection::Jwt)?;
        Ok(Check::Passed(Pass::by_token(verified)))
    }
}
