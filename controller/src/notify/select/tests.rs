//! Which Alerts take which events: tables of what nc does, and of what it has not.

use super::*;

fn event(change: impl FnOnce(&mut Event)) -> Event {
    let mut event = Event {
        severity: "info".to_owned(),
        message: "well done".to_owned(),
        ..Event::default()
    };
    event.involved_object.kind = "Kustomization".to_owned();
    event.involved_object.namespace = "apps".to_owned();
    event.involved_object.name = "web".to_owned();
    event.involved_object.api_version = "kustomize.toolkit.fluxcd.io/v1".to_owned();
    change(&mut event);
    event
}

fn provider(r#type: &str) -> Provider {
    let mut provider = Provider::default();
    provider.metadata.namespace = "apps".to_owned();
    provider.metadata.name = "chat".to_owned();
    r#type.clone_into(&mut provider.spec.r#type);
    provider
}

fn alert(change: impl FnOnce(&mut Alert)) -> Alert {
    let mut alert = Alert::default();
    alert.metadata.namespace = "apps".to_owned();
    alert.metadata.name = "on-call".to_owned();
    alert.spec.provider_ref.name = "chat".to_owned();
    alert.spec.event_sources = vec![source(|_| {})];
    change(&mut alert);
    alert
}

fn source(change: impl FnOnce(&mut EventSource)) -> EventSource {
    let mut source = EventSource {
        kind: "Kustomization".to_owned(),
        name: "*".to_owned(),
        ..EventSource::default()
    };
    change(&mut source);
    source
}

fn no_labels(_: &ResourceRef) -> Option<BTreeMap<String, String>> {
    None
}

fn selected(alert: Alert, event: &Event) -> Selection {
    let alerts = Alerts::compile(&[alert], &[provider("slack")], false);
    assert_eq!(alerts.warnings, BTreeMap::new());
    alerts.select(event, &no_labels)
}

fn takes(alert: Alert, event: &Event) -> bool {
    let selection = selected(alert, event);
    let want = [("apps/on-call".into(), "apps/chat".into())];
    assert!(selection.deliveries.is_empty() || selection.deliveries == want);
    !selection.deliveries.is_empty()
}

fn first(alert: &mut Alert) -> &mut EventSource {
    &mut alert.spec.event_sources[0]
}

#[test]
fn a_source_compares_kind_name_and_namespace() {
    let plain = event(|_| {});
    assert!(takes(alert(|_| {}), &plain));
    assert!(takes(
        alert(|a| "web".clone_into(&mut first(a).name)),
        &plain
    ));
    for miss in [
        alert(|a| "other".clone_into(&mut first(a).name)),
        alert(|a| "we*".clone_into(&mut first(a).name)),
        alert(|a| "HelmRelease".clone_into(&mut first(a).kind)),
        alert(|a| "kustomization".clone_into(&mut first(a).kind)),
        alert(|a| "infra".clone_into(&mut first(a).namespace)),
        alert(|a| "*".clone_into(&mut first(a).namespace)),
        alert(|a| a.spec.event_sources.clear()),
        alert(|a| a.spec.suspend = true),
    ] {
        assert!(!takes(miss.clone(), &plain), "{miss:?}");
    }
    let elsewhere = event(|e| "infra".clone_into(&mut e.involved_object.namespace));
    assert!(!takes(alert(|_| {}), &elsewhere));
    let named = alert(|a| "infra".clone_into(&mut first(a).namespace));
    assert!(takes(named, &elsewhere));
    let versioned = alert(|a| first(a).api_version = Some("other/v9".to_owned()));
    assert!(takes(versioned, &plain));
}

#[test]
fn severity_info_takes_everything_and_error_takes_errors_only() {
    for (wanted, severity, want) in [
        ("info", "info", true),
        ("info", "error", true),
        ("info", "trace", true),
        ("info", "", true),
        ("error", "error", true),
        ("error", "info", false),
        ("error", "Error", false),
        ("", "", true),
        ("", "info", false),
    ] {
        let alert = alert(|a| wanted.clone_into(&mut a.spec.event_severity));
        let event = event(|e| severity.clone_into(&mut e.severity));
        assert_eq!(takes(alert, &event), want, "{wanted:?} {severity:?}");
    }
}

#[test]
fn exclusion_is_stronger_than_inclusion() {
    for (inclusion, exclusion, want) in [
        (&[][..], &[][..], true),
        (&["done"], &[], true),
        (&["x", "^well"], &[], true),
        (&["x"], &[], false),
        (&[], &["done$"], false),
        (&[], &["x"], true),
        (&["done"], &["well"], false),
    ] {
        let list = |of: &[&str]| of.iter().map(|p| (*p).to_owned()).collect();
        let alert = alert(|a| {
            a.spec.inclusion_list = list(inclusion);
            a.spec.exclusion_list = list(exclusion);
        });
        assert_eq!(
            takes(alert, &event(|_| {})),
            want,
            "{inclusion:?} {exclusion:?}"
        );
    }
}

#[test]
fn an_invalid_pattern_is_a_warning_and_matches_nothing() {
    let plain = event(|_| {});
    let check = |alert: Alert, which: &str, want: bool| {
        let alerts = Alerts::compile(&[alert], &[provider("slack")], false);
        let warnings = &alerts.warnings["apps/on-call"];
        assert_eq!(warnings[0].reason, "InvalidConfig");
        let begins = format!("failed to compile {which} regex: [: ");
        assert!(warnings[0].message.starts_with(&begins), "{warnings:?}");
        let taken = !alerts.select(&plain, &no_labels).deliveries.is_empty();
        assert_eq!(taken, want);
    };
    let bad = || vec!["[".to_owned()];
    check(alert(|a| a.spec.inclusion_list = bad()), "inclusion", false);
    check(alert(|a| a.spec.exclusion_list = bad()), "exclusion", true);
}

#[test]
fn labels_are_those_of_the_object_which_must_be_there() {
    let wanted = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        let labels = pairs.map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        alert(|a| first(a).match_labels = Some(labels.collect()))
    };
    let labels = |reference: &ResourceRef| {
        assert_eq!(reference.api_version, "kustomize.toolkit.fluxcd.io/v1");
        (reference.name == "web").then(|| BTreeMap::from([("app".to_owned(), "web".to_owned())]))
    };
    for (alert, name, want) in [
        (wanted(&[("app", "web")]), "web", true),
        (wanted(&[]), "web", true),
        (wanted(&[("app", "other")]), "web", false),
        (wanted(&[("app", "web"), ("b", "")]), "web", false),
        (wanted(&[("app", "web")]), "gone", false),
    ] {
        let alerts = Alerts::compile(&[alert], &[provider("slack")], false);
        let event = event(|e| name.clone_into(&mut e.involved_object.name));
        let selection = alerts.select(&event, &labels);
        assert_eq!(!selection.deliveries.is_empty(), want);
        let told = selection.warnings.first().map(|(_, w)| w.clone());
        let want = (name == "gone").then(|| Warning {
            reason: "SourceFetchFailed",
            message: "error getting source object Kustomization/apps/gone".to_owned(),
        });
        assert_eq!(told, want);
    }
    let alerts = Alerts::compile(&[wanted(&[("a b", "c")])], &[provider("slack")], false);
    assert_eq!(
        alerts.warnings["apps/on-call"][0].message,
        "error using matchLabels from event source Kustomization/apps/*"
    );
}

#[test]
fn the_first_source_that_matches_decides_and_one_alert_sends_once() {
    let alert = alert(|a| a.spec.event_sources.push(source(|_| {})));
    assert_eq!(selected(alert, &event(|_| {})).deliveries.len(), 1);
}

#[test]
fn cross_namespace_events_are_refused_with_a_warning_where_they_are_blocked() {
    let alert = alert(|a| "infra".clone_into(&mut first(a).namespace));
    let alerts = Alerts::compile(&[alert], &[provider("slack")], true);
    let event = event(|e| "infra".clone_into(&mut e.involved_object.namespace));
    let selection = alerts.select(&event, &no_labels);
    assert_eq!(selection.deliveries, []);
    assert_eq!(
        selection.warnings[0].1.message,
        "discarding event, access denied to cross-namespace sources: alert 'apps/on-call' can't process event from 'Kustomization/infra/web', cross-namespace references have been blocked"
    );
}

#[test]
fn the_namespaces_annotation_widens_sources_without_a_namespace() {
    let annotated = |value: &str| {
        alert(|a| {
            let annotations = &mut a.metadata.annotations;
            annotations.insert(NAMESPACES.to_owned(), value.to_owned());
        })
    };
    let in_namespace =
        |namespace: &str| event(|e| namespace.clone_into(&mut e.involved_object.namespace));
    assert!(takes(annotated("*"), &in_namespace("infra")));
    assert!(takes(annotated("*"), &in_namespace("apps")));
    assert!(takes(annotated("a, infra"), &in_namespace("infra")));
    assert!(!takes(annotated("a,b"), &in_namespace("apps")));
    let mut explicit = annotated("*");
    "a".clone_into(&mut first(&mut explicit).namespace);
    assert!(!takes(explicit, &in_namespace("infra")));
    for (value, blocked) in [("*", true), ("A B", false), ("", false)] {
        let alerts = Alerts::compile(&[annotated(value)], &[provider("slack")], blocked);
        assert_eq!(alerts.warnings["apps/on-call"].len(), 1, "{value:?}");
        let elsewhere = alerts.select(&in_namespace("infra"), &no_labels);
        assert_eq!(elsewhere.deliveries, []);
        let own = alerts.select(&in_namespace("apps"), &no_labels);
        assert_eq!(own.deliveries.len(), 1);
    }
    let unknown = alert(|a| {
        let annotations = &mut a.metadata.annotations;
        annotations.insert("hookgate.dev/namespace".to_owned(), "*".to_owned());
    });
    let alerts = Alerts::compile(&[unknown], &[provider("slack")], false);
    assert_eq!(
        alerts.warnings["apps/on-call"][0].message,
        "annotation hookgate.dev/namespace is not known"
    );
}

#[test]
fn a_digest_collects_what_has_a_revision_and_is_no_error() {
    let annotated = |value: &str| {
        alert(|a| {
            let annotations = &mut a.metadata.annotations;
            annotations.insert(DIGEST.to_owned(), value.to_owned());
        })
    };
    let revised = |severity: &str| {
        event(|e| {
            severity.clone_into(&mut e.severity);
            let key = "kustomize.toolkit.fluxcd.io/revision".to_owned();
            e.metadata.insert(key, "r1".to_owned());
        })
    };
    let counts = |event: &Event| {
        let selection = selected(annotated("30s"), event);
        (selection.deliveries.len(), selection.digests.len())
    };
    assert_eq!(counts(&revised("info")), (0, 1));
    assert_eq!(counts(&revised("error")), (1, 0));
    assert_eq!(counts(&event(|_| {})), (1, 0));
    for (value, of) in [
        ("0s", "slack"),
        ("2h", "slack"),
        ("x", "slack"),
        ("30s", "github"),
        ("30s", "pagerduty"),
        ("30s", "incident.io"),
    ] {
        let alerts = Alerts::compile(&[annotated(value)], &[provider(of)], false);
        assert_eq!(alerts.warnings["apps/on-call"].len(), 1, "{value} {of}");
        assert_eq!(alerts.select(&revised("info"), &no_labels).digests, []);
    }
}

#[test]
fn a_template_that_can_t_be_used_or_has_no_effect_is_a_warning_and_events_are_taken_all_the_same() {
    let annotated = |value: &str| {
        alert(|a| {
            let annotations = &mut a.metadata.annotations;
            annotations.insert(template::ANNOTATION.to_owned(), value.to_owned());
        })
    };
    for (source, of, want) in [
        ("{{ event.message }}", "slack", None),
        ("{{ event.message }}", "githubpullrequestcomment", None),
        (
            "{{ event.message }}",
            "github",
            Some(
                "annotation hookgate.dev/template has no effect: the Provider's type sets commit statuses",
            ),
        ),
        (
            "a\n{{ event.msg }}",
            "slack",
            Some(
                "annotation hookgate.dev/template can't be used, and events are sent with their own messages: line 2: event has no \"msg\"; it has message, reason, reportingController, severity, timestamp",
            ),
        ),
    ] {
        let alerts = Alerts::compile(&[annotated(source)], &[provider(of)], false);
        let warnings = alerts.warnings.get("apps/on-call").into_iter().flatten();
        let said: Vec<_> = warnings.map(|warning| warning.message.as_str()).collect();
        assert_eq!(said, Vec::from_iter(want), "{source} {of}");
        let event = event(|e| {
            let keys =
                ["commit", "change_request"].map(|key| format!("event.toolkit.fluxcd.io/{key}"));
            e.metadata.extend(keys.map(|key| (key, "7".to_owned())));
        });
        assert_eq!(alerts.select(&event, &no_labels).deliveries.len(), 1);
    }
}

#[test]
fn the_first_thing_that_keeps_an_event_from_an_alert_is_told() {
    let list = |pattern: &str| vec![pattern.to_owned()];
    for (alert, want) in [
        (alert(|_| {}), None),
        (
            alert(|a| a.spec.event_severity = "error".to_owned()),
            Some(Refusal::Severity),
        ),
        (
            alert(|a| "other".clone_into(&mut first(a).name)),
            Some(Refusal::Source),
        ),
        (
            alert(|a| a.spec.inclusion_list = list("x")),
            Some(Refusal::Inclusion),
        ),
        (
            alert(|a| a.spec.exclusion_list = list("well")),
            Some(Refusal::Exclusion),
        ),
    ] {
        let alerts = Alerts::compile(&[alert], &[provider("slack")], false);
        assert_eq!(alerts.refusals(&event(|_| {}), &no_labels), [want]);
    }
}

#[test]
fn a_missing_or_unknown_provider_is_a_warning_and_a_suspended_one_takes_nothing() {
    let check = |providers: &[Provider]| {
        let alerts = Alerts::compile(&[alert(|_| {})], providers, false);
        let warnings = alerts.warnings.get("apps/on-call").map_or(0, Vec::len);
        let taken = alerts.select(&event(|_| {}), &no_labels).deliveries.len();
        (warnings, taken)
    };
    assert_eq!(check(&[]), (1, 1));
    assert_eq!(check(&[provider("carrier-pigeon")]), (1, 1));
    let mut suspended = provider("slack");
    suspended.spec.suspend = true;
    assert_eq!(check(&[suspended]), (0, 0));
}

#[test]
fn each_class_of_providers_gets_the_events_it_can_use() {
    let update = ("kustomize.toolkit.fluxcd.io/commit_status", "update");
    let commit = ("event.toolkit.fluxcd.io/commit", "abc");
    let change = ("event.toolkit.fluxcd.io/change_request", "7");
    for (takes, pairs, severity, want) in [
        (Takes::Messages, &[][..], "info", Ok(1)),
        (Takes::Messages, &[update], "error", Ok(0)),
        (Takes::Everything, &[update], "info", Ok(1)),
        (Takes::CommitStatuses, &[update], "info", Ok(1)),
        (Takes::CommitStatuses, &[commit], "info", Ok(1)),
        (Takes::CommitStatuses, &[], "error", Ok(1)),
        (Takes::CommitStatuses, &[], "info", Err("commit")),
        (Takes::CommitStatuses, &[change], "trace", Err("commit")),
        (Takes::ChangeRequests, &[change], "info", Ok(1)),
        (Takes::ChangeRequests, &[change, update], "info", Ok(0)),
        (
            Takes::ChangeRequests,
            &[commit],
            "error",
            Err("change_request"),
        ),
    ] {
        let event = event(|e| {
            severity.clone_into(&mut e.severity);
            let pairs = pairs.iter();
            e.metadata = pairs
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
        });
        let mut alerts = Alerts::compile(&[alert(|_| {})], &[provider("slack")], false);
        alerts.alerts[0].takes = Some(takes);
        let selection = alerts.select(&event, &no_labels);
        let got = match selection.unfit.first() {
            Some((_, lacks)) => Err(*lacks),
            None => Ok(selection.deliveries.len()),
        };
        assert_eq!(got, want, "{takes:?} {pairs:?} {severity}");
    }
}
