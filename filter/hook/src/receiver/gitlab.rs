//! `gitlab`: the secret token, or with a `signing-token` GitLab's signed webhooks.

use super::{Check, Context, ReceiverType, SecretUse, by_signing_token, presented};
use crate::config::Hook;
use crate::rejection::Rejection;
use crate::request::Request;

#[derive(Debug)]
pub(super) struct GitLab;

impl ReceiverType for GitLab {
    fn name(&self) -> &'static str {
        "gitlab"
    }

    fn proof(&self) -> &'static str {
        "the token in `X-Gitlab-Token`; with a `signing-token`, a Standard Webhooks signature"
    }

    fn secret(&self) -> SecretUse {
        SecretUse::Presents {
            signing_token: true,
        }
    }

    fn event_headers(&self) -> &'static [&'static str] {
        &["x-gitlab-event"]
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
        let token = request
            .one_filled("x-gitlab-token")?
            .ok_or(Rejection::MissingSignature)?;
        presented(hook, token)
    }
}
