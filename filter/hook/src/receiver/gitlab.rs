//! `gitlab`: the secret token, or with a `signing-token` GitLab's signed webhooks.

use super::{BodyCheck, Check, Context, ReceiverType, SecretUse, presented};
use crate::config::{Hook, Slot};
use crate::rejection::Rejection;
use crate::request::Request;
use crate::signed::Signed;

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
        if hook.keys.iter().any(|key| key.slot == Slot::SigningToken) {
            let signed = Signed::read(request, context.now_ms)?;
            return BodyCheck::with_signing_token(hook, signed).map(Check::Body);
        }
        let token = request
            .one_filled("x-gitlab-token")?
            .ok_or(Rejection::MissingSignature)?;
        presented(hook, token)
    }
}
