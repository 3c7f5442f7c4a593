//! What every provider type must keep to.

use std::collections::BTreeSet;

use super::testing::{self, SECRET, answer, converse};
use super::*;

/// Events that are hard on one or the other.
fn events() -> Vec<(&'static str, Event)> {
    let with = |message: &str| Event {
        message: message.to_owned(),
        ..testing::error()
    };
    let mut bare = testing::error();
    bare.metadata
        .retain(|key, _| matches!(key.as_str(), "change_request" | "revision"));
    vec![
        ("info", testing::info()),
        ("error", testing::error()),
        ("bare", bare),
        ("long", with(&"0123456789".repeat(1000))),
        ("emoji", with("🚨 é \u{202e} \u{0} \u{1b}[31m")),
        (
            "markup",
            with("<&\"'`*_~[x](y)|</font>--><!-- @here <!channel>"),
        ),
        ("no message", with("")),
    ]
}

#[test]
fn names_are_unique_sorted_and_legal() {
    let names: Vec<_> = PROVIDER_TYPES
        .iter()
        .map(|provider| provider.name())
        .collect();
    let sorted: BTreeSet<_> = names.iter().copied().collect();
    assert_eq!(names, sorted.into_iter().collect::<Vec<_>>());
    for name in names {
        let legal = |b: u8| b.is_ascii_lowercase() || b == b'-' || b == b'.';
        assert!(!name.is_empty() && name.bytes().all(legal), "{name}");
        assert_eq!(find(name).map(|found| found.name()), Some(name));
    }
    assert!(find("carrier-pigeon").is_none());
}

#[test]
fn every_type_brings_every_event() {
    for provider in PROVIDER_TYPES {
        for (what, event) in events() {
            let (requests, end) = converse(*provider, &event, &provider.example());
            assert_eq!(end, Ok(()), "{} {what}", provider.name());
            assert!(!requests.is_empty(), "{} {what}", provider.name());
        }
    }
}

#[test]
fn no_type_asks_more_than_five_times() {
    for provider in PROVIDER_TYPES {
        for (what, event) in events() {
            let (requests, _) = converse(*provider, &event, &provider.example());
            let requests = requests.iter().filter(|text| !text.starts_with("token:"));
            assert!(
                requests.count() <= MAX_REQUESTS,
                "{} {what}",
                provider.name()
            );
        }
    }
}

#[test]
fn no_type_puts_a_secret_into_a_body() {
    for provider in PROVIDER_TYPES {
        for (_, event) in events() {
            let (requests, _) = converse(*provider, &event, &provider.example());
            for request in requests {
                let bodies = request.split("\n\n").skip(1);
                let told = bodies.filter(|body| body.contains(SECRET)).count();
                assert_eq!(told, 0, "{}: {request}", provider.name());
            }
        }
    }
}

#[test]
fn every_type_stops_after_a_refusal_and_tells_no_secret() {
    for provider in PROVIDER_TYPES {
        for status in [400, 401, 403, 404, 429, 500, 503] {
            let example = provider.example();
            for refused_at in 0..MAX_REQUESTS {
                let mut example = testing::Example {
                    target: example.target.clone(),
                    answers: example.answers.clone(),
                };
                example.answers.resize(MAX_REQUESTS, answer(200, "{}"));
                example.answers[refused_at] = answer(status, "no");
                let (requests, end) = converse(*provider, &testing::error(), &example);
                let sent = requests
                    .iter()
                    .filter(|text| !text.starts_with("token:"))
                    .count();
                let Err(error) = end else {
                    // It has not come so far, or knows what this status means.
                    continue;
                };
                assert!(sent <= refused_at + 1, "{} {status}", provider.name());
                assert!(!format!("{error} {error:?}").contains(SECRET));
            }
        }
    }
}

#[test]
fn a_target_that_lacks_everything_is_an_error_without_secrets() {
    for provider in PROVIDER_TYPES {
        let error = testing::begin(*provider, &testing::error(), &Target::default());
        let error = error.map(drop).unwrap_err();
        assert_eq!(
            (error.category(), error.is_permanent()),
            ("config", true),
            "{}: {error}",
            provider.name()
        );
        for address in [
            "hush",
            "https://",
            "ftp://hush@x/hush",
            "http://[hush",
            "hush:hush",
        ] {
            let mut target = provider.example().target;
            target.address = address.to_owned().into();
            let end = testing::begin(*provider, &testing::error(), &target);
            assert!(
                !format!("{end:?} {target:?}").contains(SECRET),
                "{}",
                provider.name()
            );
        }
    }
}

#[test]
fn ids_stay_the_same_over_attempts_and_differ_between_deliveries() {
    let (alert, target) = (AlertId::default(), Target::default());
    let key = |now, event: &Event, alert: &AlertId, target: &Target| {
        Context::new(now, event, alert, target).key_hex()
    };
    let first = key(1, &testing::error(), &alert, &target);
    assert_eq!(first, key(2, &testing::error(), &alert, &target));
    let other_alert = AlertId {
        name: "b".to_owned(),
        ..AlertId::default()
    };
    let other_target = Target {
        name: "b".to_owned(),
        ..Target::default()
    };
    assert_ne!(first, key(1, &testing::info(), &alert, &target));
    assert_ne!(first, key(1, &testing::error(), &other_alert, &target));
    assert_ne!(first, key(1, &testing::error(), &alert, &other_target));
}
