//! `nexus`: Sonatype Nexus Repository. SHA-1 is all that it has.

#[cfg(feature = "payload")]
use alloc::borrow::Cow;

#[cfg(feature = "payload")]
use super::shape::{self, Fields, Record, TEXT};
use super::{BodyCheck, Check, Context, ReceiverType, SecretUse, hub};
use crate::config::Hook;
use crate::mac::Hash;
use crate::rejection::Rejection;
use crate::request::Request;

/// What nc reads of a body, and nothing of it is required.
#[cfg(feature = "payload")]
const FIELDS: Fields = &[("action", TEXT), ("repositoryName", TEXT)];

#[derive(Debug)]
pub(super) struct Nexus;

impl ReceiverType for Nexus {
    fn name(&self) -> &'static str {
        "nexus"
    }

    fn proof(&self) -> &'static str {
        "HMAC-SHA1 of the body in `X-Nexus-Webhook-Signature`"
    }

    fn secret(&self) -> SecretUse {
        SecretUse::Signs {
            hashes: &[Hash::Sha1],
            signing_token: false,
        }
    }

    fn check(
        &self,
        hook: &Hook,
        request: &Request<'_>,
        _: &Context<'_>,
    ) -> Result<Check, Rejection> {
        let digits = request
            .one_filled("x-nexus-webhook-signature")?
            .ok_or(Rejection::MissingSignature)?;
        // nc compares the text, so upper case never matches.
        if digits.iter().any(u8::is_ascii_uppercase) {
            return Err(Rejection::MalformedSignature);
        }
        BodyCheck::with_token(hook, Hash::Sha1, hub::bare(digits)?).map(Check::Body)
    }

    #[cfg(feature = "payload")]
    fn payload<'b>(&self, body: &'b [u8]) -> Result<Cow<'b, [u8]>, Rejection> {
        Record::of(FIELDS, shape::whole(body)?)?;
        Ok(Cow::Borrowed(body))
    }
}

#[cfg(test)]
#[cfg(feature = "payload")]
mod tests {
    use proptest::prelude::*;

    use crate::receiver::shape::testing::{mutated, passes, payload, refuses};

    const BODIES: &[&str] = &[
        r#"{"action":"push"}"#,
        r#"{"timestamp":"2016-11-10T23:57:49.664+0000","nodeId":"52905B51","initiator":"anonymous/127.0.0.1","repositoryName":"npm-proxy","action":"CREATED","component":{"id":"08909bf0","format":"npm","name":"angular2","group":null,"version":"0.0.2"}}"#,
    ];

    #[test]
    fn bodies_of_nexus_pass() {
        passes("nexus", BODIES);
        passes(
            "nexus",
            &[
                "{}",
                "null",
                " {}\r\n",
                r#"{"action":null}"#,
                r#"{"ACTION":"x","RepositoryName":"y"}"#,
            ],
        );
    }

    #[test]
    fn other_bodies_are_refused_and_so_is_what_trails() {
        refuses(
            "nexus",
            &[
                "",
                "[]",
                "\"x\"",
                r#"{"action":"push"} x"#,
                "{}{}",
                r#"{"action":1}"#,
                r#"{"repositoryName":{}}"#,
            ],
        );
    }

    proptest! {
        #[test]
        fn no_body_panics(body in mutated(BODIES)) {
            let _ = payload("nexus", &body);
        }
    }
}
