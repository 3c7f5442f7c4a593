//! What registries that sign nothing have in common: the path is the credential, and the body has a
//! known shape.

#[cfg(feature = "payload")]
use alloc::borrow::Cow;

#[cfg(feature = "payload")]
use super::shape::{self, Fields, Record};
use super::{Check, Context, ReceiverType, SecretUse, by_path};
use crate::config::Hook;
use crate::rejection::Rejection;
use crate::request::Request;

/// A receiver type for such a registry.
#[derive(Debug)]
pub(super) struct Registry {
    /// `spec.type`.
    pub(super) name: &'static str,
    /// What nc reads of a body, and nothing of it is required.
    #[cfg(feature = "payload")]
    pub(super) fields: Fields,
}

impl ReceiverType for Registry {
    fn name(&self) -> &'static str {
        self.name
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

    #[cfg(feature = "payload")]
    fn payload<'b>(&self, body: &'b [u8]) -> Result<Cow<'b, [u8]>, Rejection> {
        Record::of(self.fields, shape::first(body)?)?;
        Ok(Cow::Borrowed(body))
    }
}
