//! `github`: GitHub, and Gitea, Forgejo and Gogs, which sign alike under other header names.

use super::{Check, Context, ReceiverType, SecretUse, hub};
use crate::config::Hook;
use crate::mac::Hash;
use crate::rejection::Rejection;
use crate::request::Request;

#[derive(Debug)]
pub(super) struct GitHub;

/// Bare hex of HMAC-SHA256 over the JSON.
const GITEA_SIGNATURES: [&str; 3] = [
    "x-forgejo-signature",
    "x-gitea-signature",
    "x-gogs-signature",
];
const GITEA_EVENTS: [&str; 3] = ["x-forgejo-event", "x-gitea-event", "x-gogs-event"];

impl ReceiverType for GitHub {
    fn name(&self) -> &'static str {
        "github"
    }

    fn proof(&self) -> &'static str {
        "HMAC of the body in `X-Hub-Signature-256`, `X-Hub-Signature`, or Gitea's, Forgejo's, Gogs' header"
    }

    fn secret(&self) -> SecretUse {
        SecretUse::Signs {
            hashes: hub::HASHES,
            signing_token: false,
        }
    }

    fn event_headers(&self) -> &'static [&'static str] {
        &[
            "x-github-event",
            "x-forgejo-event",
            "x-gitea-event",
            "x-gogs-event",
        ]
    }

    fn check(
        &self,
        hook: &Hook,
        request: &Request<'_>,
        _: &Context<'_>,
    ) -> Result<Check, Rejection> {
        let mut signature = hub::headers(request)?;
        let mut gitea = false;
        for name in GITEA_SIGNATURES {
            if let Some(digits) = request.one_filled(name)?
                && signature.is_none()
            {
                signature = Some((Hash::Sha256, hub::bare(digits)?));
            }
        }
        for name in GITEA_EVENTS {
            gitea |= request.one(name)?.is_some();
        }
        // Gitea signs the JSON even where it delivers it as a form field.
        hub::check(
            hook,
            request,
            signature.ok_or(Rejection::MissingSignature)?,
            gitea,
        )
    }
}
