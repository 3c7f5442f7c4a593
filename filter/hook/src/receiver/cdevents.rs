//! `cdevents`: CDEvents in CloudEvents' binary mode. Nothing is signed; the path is the credential.

use super::{Check, Context, ReceiverType, SecretUse, by_path};
use crate::config::Hook;
use crate::rejection::Rejection;
use crate::request::Request;

#[derive(Debug)]
pub(super) struct CdEvents;

impl ReceiverType for CdEvents {
    fn name(&self) -> &'static str {
        "cdevents"
    }

    fn proof(&self) -> &'static str {
        "the path"
    }

    fn secret(&self) -> SecretUse {
        SecretUse::Path
    }

    fn event_headers(&self) -> &'static [&'static str] {
        &["ce-type"]
    }

    fn check(&self, _: &Hook, _: &Request<'_>, _: &Context<'_>) -> Result<Check, Rejection> {
        by_path()
    }
}
