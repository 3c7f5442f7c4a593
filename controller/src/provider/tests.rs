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

/// What became of a conversation one of whose requests is refused.
struct Refused {
    /// How many requests were sent, tokens apart.
    sent: usize,
    /// Whether the refused one takes that status for an answer.
    is_expected: bool,
    end: Result<(), ProviderError>,
}

/// Refuses the request of that number, from 0; `None` where there are not as many over HTTP.
fn refuse(provider: &dyn ProviderType, refused: usize, status: u16) -> Option<Refused> {
    let example = provider.example();
    let mut exchange = testing::begin(provider, &testing::error(), &example.target).unwrap();
    let (mut sent, mut expected, mut reply) = (0, None, None);
    let end = loop {
        reply = Some(match exchange.next(reply.as_ref()) {
            Step::Send(request) => {
                let usual = example.answers.get(sent).cloned();
                let usual = usual.unwrap_or_else(|| answer(200, "{}"));
                sent += 1;
                match request {
                    Request::Http(request) if sent == refused + 1 => {
                        let success = request.success;
                        let in_range = (200..300).contains(&status);
                        let is_expected = success.also.contains(&status)
                            || in_range && !success.except.contains(&status);
                        expected = Some(is_expected);
                        Reply::Http(answer(status, "no"))
                    }
                    Request::Http(_) => Reply::Http(usual),
                    Request::Nats(_) => Reply::Delivered,
                }
            }
            Step::Token(_) => Reply::Token("fetched".to_owned().into()),
            Step::Done(()) => break Ok(()),
            Step::Failed(error) => break Err(error),
        });
    };
    expected.map(|is_expected| Refused {
        sent,
        is_expected,
        end,
    })
}

#[test]
fn every_type_fails_at_a_refusal_sends_no_more_and_tells_no_secret() {
    for provider in PROVIDER_TYPES {
        let name = provider.name();
        for status in [301, 400, 401, 403, 404, 410, 429, 500, 503] {
            for refused in 0..MAX_REQUESTS {
                let Some(found) = refuse(*provider, refused, status) else {
                    // Only a message of NATS has no status.
                    assert!(refused > 0 || name == "nats", "{name}");
                    continue;
                };
                let Err(error) = found.end else {
                    assert!(found.is_expected, "{name} ignores {status} to {refused}");
                    continue;
                };
                if !found.is_expected {
                    assert_eq!(found.sent, refused + 1, "{name} goes on after {status}");
                    let is_status =
                        matches!(&error, ProviderError::Status { status: s, .. } if *s == status);
                    assert!(is_status, "{name} {status}: {error}");
                }
                assert!(!format!("{error} {error:?}").contains(SECRET), "{name}");
            }
        }
    }
}

#[test]
fn no_type_takes_what_may_pass_for_an_answer() {
    for provider in PROVIDER_TYPES {
        for status in [401, 403, 408, 429, 500, 502, 503, 504] {
            for refused in 0..MAX_REQUESTS {
                let expected = refuse(*provider, refused, status).map(|found| found.is_expected);
                assert_ne!(expected, Some(true), "{} {status}", provider.name());
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
