//! `acr`: Azure Container Registry. It signs nothing; the path is the credential.

#[cfg(feature = "payload")]
use alloc::borrow::Cow;

#[cfg(feature = "payload")]
use super::shape::{self, Fields, Record, Shape, TEXT};
use super::{Check, Context, ReceiverType, SecretUse, by_path};
use crate::config::Hook;
use crate::rejection::Rejection;
use crate::request::Request;

/// What nc reads of a body, and nothing of it is required.
#[cfg(feature = "payload")]
const FIELDS: Fields = &[
    ("action", TEXT),
    (
        "target",
        Shape::Struct(&[("repository", TEXT), ("tag", TEXT)]),
    ),
];

#[derive(Debug)]
pub(super) struct Acr;

impl ReceiverType for Acr {
    fn name(&self) -> &'static str {
        "acr"
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
        Record::of(FIELDS, shape::first(body)?)?;
        Ok(Cow::Borrowed(body))
    }
}

#[cfg(test)]
#[cfg(feature = "payload")]
mod tests {
    use proptest::prelude::*;

    use crate::receiver::shape::testing::{mutated, passes, payload, refuses};

    const BODIES: &[&str] = &[
        r#"{"action":"push","target":{"repository":"hello-world","tag":"v1"}}"#,
        r#"{"id":"cb8c3971","timestamp":"2017-11-17T16:52:01.343145347Z","action":"push","target":{"size":524,"digest":"sha256:80f0","length":524,"repository":"hello-world","tag":"v1"},"request":{"id":"3cbb6949","method":"PUT"}}"#,
    ];

    #[test]
    fn bodies_of_acr_pass() {
        passes("acr", BODIES);
        passes(
            "acr",
            &[
                "{}",
                "null",
                "{} trailing",
                r#"{"push_data":null}"#,
                r#"{"action":null,"target":null}"#,
                r#"{"Action":"ping","TARGET":{}}"#,
            ],
        );
    }

    #[test]
    fn other_bodies_are_refused() {
        refuses(
            "acr",
            &[
                "",
                "[]",
                "\"x\"",
                r#"{"action":1}"#,
                r#"{"target":"x"}"#,
                r#"{"target":{"tag":1}}"#,
                r#"{"target":{"repository":[]}}"#,
            ],
        );
    }

    proptest! {
        #[test]
        fn no_body_panics(body in mutated(BODIES)) {
            let _ = payload("acr", &body);
        }
    }
}
