//! `quay`: Quay. It signs nothing; the path is the credential.

#[cfg(feature = "payload")]
use alloc::borrow::Cow;

#[cfg(feature = "payload")]
use super::shape::{self, Fields, Record, TEXT, TEXTS};
use super::{Check, Context, ReceiverType, SecretUse, by_path};
use crate::config::Hook;
use crate::rejection::Rejection;
use crate::request::Request;

/// What nc reads of a body, and nothing of it is required.
#[cfg(feature = "payload")]
const FIELDS: Fields = &[("docker_url", TEXT), ("updated_tags", TEXTS)];

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
        r#"{"docker_url":"quay.example/a/b","updated_tags":["v0.0.1","latest"]}"#,
        r#"{"name":"b","repository":"a/b","namespace":"a","docker_url":"q","homepage":"h","updated_tags":["latest"]}"#,
    ];

    #[test]
    fn bodies_of_quay_pass() {
        passes("quay", BODIES);
        passes(
            "quay",
            &[
                "{}",
                "null",
                "{} trailing",
                r#"{"updated_tags":null}"#,
                r#"{"updated_tags":[]}"#,
                r#"{"updated_tags":[null]}"#,
                r#"{"Docker_URL":"x"}"#,
                r#"{"push_data":{"tag":1}}"#,
            ],
        );
    }

    #[test]
    fn other_bodies_are_refused() {
        refuses(
            "quay",
            &[
                "",
                "[]",
                "\"x\"",
                r#"{"docker_url":1}"#,
                r#"{"updated_tags":"latest"}"#,
                r#"{"updated_tags":{"a":"b"}}"#,
                r#"{"updated_tags":["a",1]}"#,
            ],
        );
    }

    proptest! {
        #[test]
        fn no_body_panics(body in mutated(BODIES)) {
            let _ = payload("quay", &body);
        }
    }
}
