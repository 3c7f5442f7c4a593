//! `harbor`: the token is the whole `Authorization` value.

use super::{Check, Context, ReceiverType, SecretUse, presented};
use crate::config::Hook;
use crate::rejection::Rejection;
use crate::request::Request;

#[derive(Debug)]
pub(super) struct Harbor;

impl ReceiverType for Harbor {
    fn name(&self) -> &'static str {
        "harbor"
    }

    fn proof(&self) -> &'static str {
        "the token in `Authorization`"
    }

    fn secret(&self) -> SecretUse {
        SecretUse::Presents {
            signing_token: false,
        }
    }

    fn check(
        &self,
        hook: &Hook,
        request: &Request<'_>,
        _: &Context<'_>,
    ) -> Result<Check, Rejection> {
        presented(
            hook,
            request
                .one_filled("authorization")?
                .ok_or(Rejection::MissingSignature)?,
        )
    }
}
