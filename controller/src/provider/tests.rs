//! What every provider type must keep to.

use std::collections::BTreeSet;

use proptest::prelude::*;

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
                if let Request::Http(request) = request {
                    let is_refused = sent == refused + 1;
                    if is_refused {
                        expected = Some(expects(provider, &request, status));
                    }
                    Reply::Http(if is_refused {
                        answer(status, "no")
                    } else {
                        usual
                    })
                } else {
                    Reply::Delivered
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

/// Whether a request takes a status for an answer.
fn expects(provider: &dyn ProviderType, request: &HttpRequest, status: u16) -> bool {
    let success = request.success;
    let in_range = (200..300).contains(&status) && !success.except.contains(&status);
    let is_expected = in_range || success.also.contains(&status);
    // What says something must be taken.
    let is_ignored = is_expected && request.method != Method::Get;
    assert!(!is_ignored, "{} ignores {status}", provider.name());
    is_expected
}

fn speaks_http(provider: &dyn ProviderType) -> bool {
    let target = provider.example().target;
    let mut exchange = testing::begin(provider, &testing::error(), &target).unwrap();
    matches!(
        exchange.next(None),
        Step::Send(Request::Http(_)) | Step::Token(_)
    )
}

#[test]
fn every_type_fails_at_a_refusal_sends_no_more_and_tells_no_secret() {
    for provider in PROVIDER_TYPES {
        let name = provider.name();
        for status in [301, 400, 401, 403, 404, 410, 429, 500, 503] {
            for refused in 0..MAX_REQUESTS {
                let Some(found) = refuse(*provider, refused, status) else {
                    assert!(refused > 0 || !speaks_http(*provider), "{name}");
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
fn a_forge_whose_token_is_missing_is_an_error() {
    let forges = PROVIDER_TYPES.iter().filter(|provider| {
        let is_forge = matches!(
            provider.takes(),
            Takes::CommitStatuses | Takes::ChangeRequests
        );
        // Azure DevOps takes an identity instead.
        is_forge && provider.name() != "azuredevops" || provider.name() == "githubdispatch"
    });
    for provider in forges {
        let mut target = provider.example().target;
        (target.token, target.password, target.github_app) = (None, None, None);
        let error = testing::begin(*provider, &testing::error(), &target);
        let error = error.map(drop).unwrap_err();
        assert_eq!(
            (error.category(), error.is_permanent()),
            ("config", true),
            "{}: {error}",
            provider.name()
        );
    }
}

/// The types that set commit statuses.
fn statuses() -> impl Iterator<Item = &'static dyn ProviderType> {
    let statuses = PROVIDER_TYPES.iter().copied();
    statuses.filter(|provider| provider.takes() == Takes::CommitStatuses)
}

#[test]
fn of_all_that_set_statuses_only_gitea_is_told_of_progress() {
    let mut event = testing::info();
    event.reason = "Progressing".to_owned();
    for provider in statuses() {
        let (requests, end) = converse(provider, &event, &provider.example());
        let told = (!requests.is_empty(), end);
        assert_eq!(
            told,
            (provider.name() == "gitea", Ok(())),
            "{}",
            provider.name()
        );
    }
}

#[test]
fn an_artifact_that_is_no_commit_has_no_status_and_is_no_failure() {
    let mut event = testing::error();
    let digest = format!("latest@sha256:{}", "a".repeat(64));
    event.metadata.insert("revision".to_owned(), digest);
    for provider in statuses() {
        let mut example = provider.example();
        example.answers = vec![answer(404, r#"{"message":"404 Commit Not Found"}"#)];
        let (requests, end) = converse(provider, &event, &example);
        let posts = requests
            .iter()
            .filter(|request| request.starts_with("POST "));
        assert_eq!((posts.count(), end), (0, Ok(())), "{}", provider.name());
    }
}

#[test]
fn a_revision_or_a_severity_that_says_nothing_is_an_error() {
    let with = |key: &str, value: &str| {
        let mut event = testing::error();
        event.metadata.insert(key.to_owned(), value.to_owned());
        event
    };
    let mut bare = testing::error();
    bare.metadata.clear();
    let mut trace = testing::error();
    trace.severity = "trace".to_owned();
    for provider in statuses() {
        for event in [
            &bare,
            &trace,
            &with("revision", "main@sha1:5394"),
            &with("commit", "v1.0"),
        ] {
            let (requests, end) = converse(provider, event, &provider.example());
            let error = end.unwrap_err();
            let found = (requests.len(), error.category(), error.is_permanent());
            assert_eq!(found, (0, "event", true), "{}: {error}", provider.name());
        }
    }
}

#[test]
fn a_status_without_a_name_is_an_error_and_a_name_is_taken_as_it_is() {
    for provider in statuses() {
        let mut example = provider.example();
        example.target.commit_status = Some("Own/Näme".to_owned());
        let (requests, end) = converse(provider, &testing::error(), &example);
        assert_eq!(end, Ok(()), "{}", provider.name());
        let post = requests.last().map(String::as_str).unwrap_or_default();
        // Bitbucket has its hash.
        let named = [
            "\"Own/Näme\"",
            "\"5d8703af3140933e71cd4929e1d0a36571b142da\"",
        ];
        assert!(named.iter().any(|name| post.contains(name)), "{post}");
        example.target.commit_status = Some(String::new());
        let (_, end) = converse(provider, &testing::error(), &example);
        assert_eq!(end.unwrap_err().category(), "config", "{}", provider.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A panic, or a sixth request, would fail in `converse`.
    #[test]
    fn no_event_and_no_answer_is_a_fault_of_this_program(
        texts in prop::collection::vec(".{0,40}", 8),
        metadata in prop::collection::btree_map("[a-zA-Z_]{1,12}|.{0,5}", ".{0,30}", 0..5),
        severity in prop::sample::select(vec!["info", "error", "trace", ""]),
        revision in "(main@)?(sha1:|sha256:)?([0-9a-f]{40}|[0-9a-f]{64}|.{0,10})",
        answers in prop::collection::vec(
            (200_u16..600, prop::sample::select(vec![
                "", "null", "[]", "{}", "[{}]", "[null]", "1", "\"x\"", "{\"value\":[{}]}",
                "{\"login\":\"a\",\"username\":\"a\"}", "[{\"id\":1}]", "\u{0}",
            ])), 0..6),
    ) {
        let mut event = testing::error();
        event.metadata.extend(metadata);
        event.metadata.insert("revision".to_owned(), revision);
        event.severity = severity.to_owned();
        let mut texts = texts.into_iter();
        let object = &mut event.involved_object;
        for field in [
            &mut object.kind,
            &mut object.namespace,
            &mut object.name,
            &mut object.uid,
            &mut object.api_version,
            &mut event.message,
            &mut event.reason,
            &mut event.reporting_controller,
        ] {
            *field = texts.next().unwrap_or_default();
        }
        for provider in PROVIDER_TYPES {
            let mut example = provider.example();
            example.answers = answers.iter().map(|(status, body)| answer(*status, body)).collect();
            let (_, end) = converse(*provider, &event, &example);
            let is_fault = matches!(end, Err(ProviderError::Conversation(_)));
            prop_assert!(!is_fault, "{}: {end:?}", provider.name());
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

#[test]
fn a_type_of_ours_is_reached_by_generic_and_its_annotation_and_not_else() {
    let named = |declared: &str, extra: Option<&str>| {
        let mut provider = Provider::default();
        declared.clone_into(&mut provider.spec.r#type);
        if let Some(extra) = extra {
            let annotations = &mut provider.metadata.annotations;
            annotations.insert(PROVIDER_TYPE.to_owned(), extra.to_owned());
        }
        of(&provider).map(|found| found.name())
    };
    for name in EXTRA_TYPES {
        assert_eq!(named("generic", Some(name)), Ok(name));
        assert!(named(name, None).is_err() && named("slack", Some(name)).is_err());
    }
    assert_eq!(named("slack", None), Ok("slack"));
    assert!(named("generic", Some("slack")).is_err());
    assert_eq!(
        named("carrier-pigeon", None),
        Err("provider carrier-pigeon not supported".to_owned())
    );
}

#[test]
fn only_pagers_that_would_not_end_alerts_can_be_told_to() {
    let told = |declared: &str, value: &str| {
        let mut provider = Provider::default();
        declared.clone_into(&mut provider.spec.r#type);
        let annotations = &mut provider.metadata.annotations;
        annotations.insert(RESOLVE.to_owned(), value.to_owned());
        resolves(&provider)
    };
    assert_eq!(resolves(&Provider::default()), Ok(false));
    assert_eq!(told("opsgenie", "true"), Ok(true));
    assert_eq!(told("alertmanager", "true"), Ok(true));
    assert_eq!(told("alertmanager", "false"), Ok(false));
    assert!(told("slack", "true").is_err() && told("opsgenie", "yes").is_err());
}
