//! `bitbucket`: Bitbucket Data Center, and Bitbucket Cloud with a webhook secret.

use super::{Check, Context, ReceiverType, SecretUse, hub};
use crate::config::Hook;
use crate::rejection::Rejection;
use crate::request::Request;

#[derive(Debug)]
pub(super) struct Bitbucket;

impl ReceiverType for Bitbucket {
    fn name(&self) -> &'static str {
        "bitbucket"
    }

    fn proof(&self) -> &'static str {
        "HMAC of the body in `X-Hub-Signature`"
    }

    fn secret(&self) -> SecretUse {
        SecretUse::Signs {
            hashes: hub::HASHES,
            signing_token: false,
        }
    }

    fn event_headers(&self) -> &'static [&'static str] {
        &["x-event-key"]
    }

    fn check(
        &self,
        hook: &Hook,
        request: &Request<'_>,
        _: &Context<'_>,
    ) -> Result<Check, Rejection> {
        let signature = hub::headers(request)?.ok_or(Rejection::MissingSignature)?;
        hub::check(hook, request, signature, false)
    }
}
