//! `gcr`: Google's registries through an authenticated Pub/Sub push.

#[cfg(feature = "payload")]
use alloc::borrow::Cow;
#[cfg(feature = "payload")]
use alloc::vec::Vec;

#[cfg(feature = "payload")]
use base64::{
    Engine, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

#[cfg(feature = "payload")]
use super::shape::{self, Fields, Record, Shape, TEXT, TIME};
use super::{Check, Context, Pass, ReceiverType, SecretUse};
use crate::config::Hook;
use crate::jwt;
use crate::rejection::Rejection;
use crate::request::Request;

/// What nc reads of a Pub/Sub push.
#[cfg(feature = "payload")]
const ENVELOPE: Fields = &[(
    "message",
    Shape::Struct(&[
        ("data", TEXT),
        ("messageId", TEXT),
        ("publishTime", TIME),
        ("subscription", TEXT),
    ]),
)];

/// What nc reads of the message in it.
#[cfg(feature = "payload")]
const EVENT: Fields = &[("action", TEXT), ("digest", TEXT), ("tag", TEXT)];

/// Base64 as Go decodes it: padded, and bits that padding leaves over are ignored.
#[cfg(feature = "payload")]
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The body that filters see.
#[cfg(feature = "payload")]
#[derive(serde::Serialize)]
struct Event<'a> {
    action: &'a str,
    digest: &'a str,
    tag: &'a str,
}

#[derive(Debug)]
pub(super) struct Gcr;

impl ReceiverType for Gcr {
    fn name(&self) -> &'static str {
        "gcr"
    }

    fn proof(&self) -> &'static str {
        "a JWT of Google for the Secret's `email` and `audience` in `Authorization`"
    }

    fn secret(&self) -> SecretUse {
        SecretUse::Google
    }

    fn check(
        &self,
        hook: &Hook,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Result<Check, Rejection> {
        let token = super::bearer(request, false)?;
        let issuer = hook.issuers.first().ok_or(Rejection::NotConfigured)?;
        let email = hook.email.as_ref().ok_or(Rejection::NotConfigured)?;
        super::keys_fetched(hook)?;
        let is_email = |text: &str| email.matches(text.as_bytes());
        let now = context.now_ms / 1000;
        let verified = jwt::verify_gcr(&token, issuer, &is_email, now, context.signatures)
            .map_err(Rejection::Jwt)?;
        Ok(Check::Passed(Pass::by_token(verified)))
    }

    /// Unwraps the Pub/Sub message: filters see what the registry said, and only the three fields
    /// that nc knows.
    #[cfg(feature = "payload")]
    fn payload<'b>(&self, body: &'b [u8]) -> Result<Cow<'b, [u8]>, Rejection> {
        let envelope = Record::of(ENVELOPE, shape::first(body)?)?;
        let data = base64_prefix(envelope.text(&["message", "data"]).as_bytes());
        let event = Record::of(EVENT, shape::whole(&data)?)?;
        let event = Event {
            action: event.text(&["action"]),
            digest: event.text(&["digest"]),
            tag: event.text(&["tag"]),
        };
        let event = serde_json::to_vec(&event).map_err(|_| Rejection::BadPayload)?;
        Ok(Cow::Owned(event))
    }
}

/// Decodes standard base64 as far as it is good: nc ignores the error.
#[cfg(feature = "payload")]
fn base64_prefix(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut quantum = Vec::with_capacity(4);
    for b in text.iter().filter(|b| !matches!(b, b'\r' | b'\n')) {
        quantum.push(*b);
        if quantum.len() < 4 {
            continue;
        }
        let Ok(bytes) = LENIENT.decode(&quantum) else {
            break;
        };
        out.extend_from_slice(&bytes);
        // Padding ends it.
        if quantum.contains(&b'=') {
            break;
        }
        quantum.clear();
    }
    out
}

#[cfg(test)]
#[cfg(feature = "payload")]
mod tests {
    use alloc::borrow::Cow;
    use alloc::string::String;
    use alloc::vec::Vec;

    use base64::prelude::{BASE64_STANDARD, Engine};
    use proptest::prelude::*;

    use super::base64_prefix;
    use crate::receiver::shape::testing::{mutated, payload, refuses};
    use crate::rejection::Rejection;

    const BODIES: &[&str] = &[
        r#"{"message":{"data":"eyJhY3Rpb24iOiJJTlNFUlQiLCJ0YWciOiJ0In0=","messageId":"1","publishTime":"2023-03-20T14:27:05Z"}}"#,
        r#"{"message":{"attributes":{},"data":"e30=","message_id":"1"},"subscription":"projects/p/subscriptions/s"}"#,
    ];

    fn unwrap(inner: &[u8]) -> Result<String, Rejection> {
        let data = BASE64_STANDARD.encode(inner);
        let body = alloc::format!(r#"{{"message":{{"data":"{data}"}}}}"#);
        payload("gcr", body.as_bytes()).map(|out| String::from_utf8(out.into_owned()).unwrap())
    }

    #[test]
    fn the_message_is_unwrapped() {
        for (inner, want) in [
            (
                &br#"{"action":"INSERT","digest":"d@sha256:6ec1","tag":"d:v1"}"#[..],
                r#"{"action":"INSERT","digest":"d@sha256:6ec1","tag":"d:v1"}"#,
            ),
            (b"{}", r#"{"action":"","digest":"","tag":""}"#),
            (b"null", r#"{"action":"","digest":"","tag":""}"#),
            (
                br#"{"TAG":"a","tag":"b","other":1,"action":null} "#,
                r#"{"action":"","digest":"","tag":"b"}"#,
            ),
            (
                b"{\"tag\":\"<\\u0022\xff\\ud800\"}",
                "{\"action\":\"\",\"digest\":\"\",\"tag\":\"<\\\"\u{fffd}\u{fffd}\"}",
            ),
        ] {
            assert_eq!(unwrap(inner).as_deref(), Ok(want));
        }
    }

    #[test]
    fn what_is_wrapped_must_be_one_object_of_strings() {
        for inner in [
            &b""[..],
            b"[]",
            b"x",
            b"{} x",
            br#"{"tag":1}"#,
            br#"{"action":{}}"#,
        ] {
            assert_eq!(unwrap(inner), Err(Rejection::BadPayload));
        }
    }

    #[test]
    fn envelopes_pass_as_a_go_decoder_reads_them() {
        for body in BODIES {
            assert!(matches!(payload("gcr", body.as_bytes()), Ok(Cow::Owned(_))));
        }
        for body in [
            r#"{"message":{"data":"e30="}} trailing"#,
            r#"{"Message":{"DATA":"e30=","publishTime":null}}"#,
            r#"{"message":{"data":"e30"},"message":{"data":"e3\n0="}}"#,
            // Whatever follows the good part.
            r#"{"message":{"data":"e30=!!!!"}}"#,
            r#"{"message":{"data":"e30gIC!"}}"#,
            r#"{"message":{"data":"e30=","subscription":"s","messageId":"1"}}"#,
        ] {
            assert_eq!(
                payload("gcr", body.as_bytes()).as_deref(),
                Ok(&br#"{"action":"","digest":"","tag":""}"#[..]),
                "{body}"
            );
        }
    }

    #[test]
    fn other_envelopes_are_refused() {
        refuses(
            "gcr",
            &[
                "",
                "null",
                "{}",
                "[]",
                "\"x\"",
                r#"{"message":null}"#,
                r#"{"message":{"data":""}}"#,
                r#"{"message":{"data":null}}"#,
                r#"{"message":{"data":"!"}}"#,
                r#"{"message":{"data":{}}}"#,
                r#"{"message":{"data":"e30=","publishTime":"x"}}"#,
                r#"{"message":{"data":"e30=","publishTime":""}}"#,
                r#"{"message":{"data":"e30=","publishTime":1}}"#,
                r#"{"message":{"data":"e30=","messageId":1}}"#,
                r#"{"message":{"data":"e30=","subscription":[]}}"#,
                // An unwrapped push.
                r#"{"action":"INSERT","digest":"d","tag":"t"}"#,
            ],
        );
    }

    #[test]
    fn base64_is_decoded_as_far_as_it_is_good() {
        for (text, want) in [
            ("", ""),
            ("e30=", "{}"),
            ("e3\r\n0\n=", "{}"),
            ("e31=", "{}"),
            ("e30", ""),
            ("YWJjZGVm", "abcdef"),
            ("YWJjZGV", "abc"),
            ("YWJjZ_Vm", "abc"),
            ("YWJjZA==", "abcd"),
            ("YWJjZA==YWJj", "abcd"),
            ("YWJjZA=a", "abc"),
            ("YWJj====", "abc"),
            ("YWJj ZGVm", "abc"),
        ] {
            assert_eq!(base64_prefix(text.as_bytes()), want.as_bytes(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in mutated(BODIES)) {
            let _ = payload("gcr", &body);
        }

        #[test]
        fn what_was_encoded_is_decoded(bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(base64_prefix(BASE64_STANDARD.encode(&bytes).as_bytes()), bytes);
        }
    }
}
