//! `quay`: Quay. It signs nothing; the path is the credential.

use super::{Check, Context, ReceiverType, SecretUse, by_path};
use crate::config::Hook;
use crate::rejection::Rejection;
use crate::request::Request;

#[derive(Debug)]
pub(super) struct Quay;

impl ReceiverType for Quay {
    fn name(&self) -> &'static str {
        "quay"
    }

    fn proof(&self) -> &'static str {
        "the path"
    }

    fn secret(&self) -> SecretUse {
        SecretUse::Path
    }

    fn check(&self, _: &Hook, _: &Request<'_>, _: &Context<'_>) -> Result<Check, Rejection> {
        by_path()
    }
}
