//! What every provider type must keep to whatever an event says and a server answers.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use secrecy::ExposeSecret;
use url::Url;

use super::testing::{self, Example, answer};
use super::*;
use crate::api::event::{ObjectReference, Timestamp};

/// Texts with what markup, JSON, headers and paths are made of.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => any::<String>(),
        6 => "[a-zA-Z0-9/:@.,;*_~`<>&\"'\\[\\]()#|!?%\r\n\\\\ -]{0,80}",
        1 => Just("🚨".repeat(5_000)),
    ]
}

fn object() -> impl Strategy<Value = ObjectReference> {
    (text(), text(), text(), text()).prop_map(|(kind, namespace, name, uid)| ObjectReference {
        kind,
        namespace,
        name,
        uid,
        ..ObjectReference::default()
    })
}

fn severity() -> impl Strategy<Value = String> {
    prop_oneof![Just("info".to_owned()), Just("error".to_owned()), text()]
}

fn metadata() -> impl Strategy<Value = BTreeMap<String, String>> {
    let revision = "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738";
    btree_map(text(), text(), 0..6).prop_map(move |mut metadata| {
        metadata.insert("revision".to_owned(), revision.to_owned());
        metadata.insert("change_request".to_owned(), "7".to_owned());
        metadata
    })
}

fn event() -> impl Strategy<Value = Event> {
    let words = (severity(), text(), text(), text());
    let time = proptest::option::of(any::<i64>().prop_map(Timestamp::from_unix));
    (object(), words, metadata(), time).prop_map(|(involved_object, words, metadata, timestamp)| {
        let (severity, message, reason, reporting_controller) = words;
        Event {
            involved_object,
            severity,
            timestamp,
            message,
            reason,
            metadata,
            reporting_controller,
            reporting_instance: String::new(),
        }
    })
}

fn answers() -> impl Strategy<Value = Vec<HttpReply>> {
    let status = prop_oneof![3 => Just(200), 1 => 100..600_u16];
    let body = prop_oneof![
        Just("[]".to_owned()),
        Just("[{}]".to_owned()),
        Just(r#"{"code":1,"msg":"no","ok":false,"parameters":{"retry_after":-1}}"#.to_owned()),
        any::<String>(),
    ];
    vec(
        (status, body).prop_map(|(status, body)| answer(status, &body)),
        0..5,
    )
}

/// Whether a driver can send it.
fn is_sendable(request: &HttpRequest) -> bool {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let are_headers_fine = request.headers.iter().all(|(name, value)| {
        let value = value.expose_secret();
        name.bytes().all(is_token)
            && value
                .bytes()
                .all(|b| b == b'\t' || (b >= b' ' && b != 0x7f))
    });
    are_headers_fine && Url::parse(request.url.expose_secret()).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_said_every_conversation_ends(event in event(), answers in answers()) {
        for provider in PROVIDER_TYPES {
            let target = provider.example().target;
            let example = Example { target, answers: answers.clone() };
            let (requests, _) = testing::converse(*provider, &event, &example);
            let requests = requests.iter().filter(|text| !text.starts_with("token:"));
            prop_assert!(requests.count() <= MAX_REQUESTS, "{}", provider.name());
        }
    }

    #[test]
    fn whatever_is_said_a_request_can_be_sent(event in event()) {
        for provider in PROVIDER_TYPES {
            let target = provider.example().target;
            let Ok(mut exchange) = testing::begin(*provider, &event, &target) else {
                continue;
            };
            let mut step = exchange.next(None);
            if let Step::Token(_) = step {
                step = exchange.next(Some(&Reply::Token("fetched".to_owned().into())));
            }
            match step {
                Step::Send(Request::Http(request)) => {
                    prop_assert!(is_sendable(&request), "{}", provider.name());
                }
                Step::Send(Request::Smtp(mail)) => {
                    let message = String::from_utf8(mail.message).unwrap();
                    prop_assert!(message.is_ascii());
                    prop_assert!(message.lines().all(|line| line.len() <= 998));
                }
                Step::Send(Request::Amqp(_) | Request::Nats(_)) | Step::Done(()) | Step::Failed(_) => {}
                Step::Token(_) => prop_assert!(false, "{} asks twice", provider.name()),
            }
        }
    }
}
