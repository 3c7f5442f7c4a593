//! What templates say, what they may not, and that nothing in an event is one.

use super::*;
use crate::api::event::Timestamp;
use crate::clock;

fn event(message: &str) -> Event {
    let mut event = Event {
        severity: "error".to_owned(),
        message: message.to_owned(),
        reason: "BuildFailed".to_owned(),
        timestamp: Some(Timestamp::from_unix(1_767_323_045)),
        reporting_controller: "kustomize-controller".to_owned(),
        ..Event::default()
    };
    let object = &mut event.involved_object;
    object.api_version = "kustomize.toolkit.fluxcd.io/v1".to_owned();
    object.kind = "Kustomization".to_owned();
    object.namespace = "apps".to_owned();
    object.name = "web".to_owned();
    let metadata = [
        ("cluster", "prod"),
        ("revision", "main@sha1:abc"),
        ("summary", "web"),
    ];
    event.metadata = metadata.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    event
}

fn alert() -> Alert {
    let mut alert = Alert::default();
    alert.metadata.namespace = "flux-system".to_owned();
    alert.metadata.name = "on-call".to_owned();
    alert
}

fn rendered(source: &str, message: &str) -> Result<String, TemplateError> {
    Template::compile(source)?.render(&event(message), &alert())
}

/// What is wrong with a template, which is found before it is used.
fn mistake(source: &str) -> String {
    Template::compile(source).map(drop).unwrap_err().to_string()
}

#[test]
fn a_template_sees_event_object_metadata_summary_and_alert() {
    for (source, want) in [
        ("plain", "plain"),
        (
            "{{ event.severity }} {{ event.reason }} {{ event.timestamp }} {{ event.reportingController }}: {{ event.message }}",
            "error BuildFailed 2026-01-02T03:04:05Z kustomize-controller: first\nsecond",
        ),
        (
            "{{ object.kind }}/{{ object.namespace }}/{{ object.name }} {{ object.apiVersion }}",
            "Kustomization/apps/web kustomize.toolkit.fluxcd.io/v1",
        ),
        (
            "{{ alert.namespace }}/{{ alert.name }} {{ summary }}",
            "flux-system/on-call web",
        ),
        (
            "{% for key in metadata if key != \"summary\" %}{{ loop.index }} {{ key }}={{ metadata[key] }};{% endfor %}",
            "1 cluster=prod;2 revision=main@sha1:abc;",
        ),
        (
            "{% if metadata.cluster == 'prod' and \"BuildFailed\" in event.reason %}now{% else %}later{% endif %}",
            "now",
        ),
        (
            "[{{ metadata.team }}] {{ metadata.team | default('nobody') }}",
            "[] nobody",
        ),
        ("{{ 'yes' if metadata.team is defined else 'no' }}", "no"),
        (
            "{{ event.message|first_line|upper }} {{ 'ÄB'|lower }}",
            "FIRST äb",
        ),
        (
            "{{ event.message[:3] }}{{ event.message|truncate(2) }}{{ 'é'|truncate(1) }}",
            "firfi…é",
        ),
        (
            "{{ metadata.revision|replace('main@sha1:', 'r ') ~ '!' }} {{ ' a '|trim }}",
            "r abc! a",
        ),
        ("{# nothing #}{% raw %}{{ x }}{% endraw %}\n", "{{ x }}"),
    ] {
        let got = rendered(source, "first\nsecond");
        assert_eq!(got, Ok(want.to_owned()), "{source}");
    }
}

#[test]
fn what_is_misspelt_or_not_there_is_found_before_it_is_used() {
    for (source, want) in [
        (
            "{{ event.message",
            "line 1: syntax error: unexpected end of input, expected end of variable block",
        ),
        (
            "a\n{% if %}",
            "line 2: syntax error: unexpected end of block",
        ),
        (
            "{{ evnt.message }}",
            "line 1: there is no \"evnt\"; there are alert, event, metadata, object, summary",
        ),
        (
            "\n\n{{ event.mesage }}",
            "line 3: event has no \"mesage\"; it has message, reason, reportingController, severity, timestamp",
        ),
        (
            "{{ object.spec }}",
            "line 1: object has no \"spec\"; it has apiVersion, kind, name, namespace",
        ),
        (
            "{{ summary|safe }}",
            "line 1: there is no filter \"safe\"; there are default, first_line, lower, replace, trim, truncate, upper",
        ),
        (
            "{{ summary is odd }}",
            "line 1: the only test is \"is defined\"",
        ),
        ("{{ range(9) }}", "line 1: there are no functions"),
        ("{{ summary.upper() }}", "line 1: there are no functions"),
        (
            "{{ summary|truncate(length=3) }}",
            "line 1: arguments have no names and no stars",
        ),
        (
            "{% for a, b in metadata %}{% endfor %}",
            "line 1: a loop has one variable",
        ),
        (
            "{% set a = 1 %}",
            "line 1: there is no \"set\" here; there are \"if\" and \"for\"",
        ),
        (
            "{% set a %}{% endset %}",
            "line 1: there is no \"set\" here; there are \"if\" and \"for\"",
        ),
        (
            "{% with a = 1 %}{% endwith %}",
            "line 1: there is no \"with\" here; there are \"if\" and \"for\"",
        ),
        (
            "{% filter upper %}{% endfilter %}",
            "line 1: there is no \"filter\" here; there are \"if\" and \"for\"",
        ),
        (
            "{% do f() %}",
            "line 1: there is no \"do\" here; there are \"if\" and \"for\"",
        ),
        (
            "{% for a in metadata recursive %}{{ loop(metadata) }}{% endfor %}",
            "line 1: there is no \"recursive\" here; there are \"if\" and \"for\"",
        ),
        (
            "{% for a in metadata %}{% endfor %}{{ a }}",
            "line 1: there is no \"a\"; there are alert, event, metadata, object, summary",
        ),
    ] {
        assert_eq!(mistake(source), want, "{source}");
    }
}

#[test]
fn other_templates_and_macros_are_no_part_of_the_language() {
    for source in [
        "{% include '/etc/passwd' %}",
        "{% import 'a' as a %}",
        "{% from 'a' import b %}",
        "{% extends 'a' %}",
        "{% block a %}{% endblock %}",
        "{% macro a() %}{{ a() }}{% endmacro %}",
        "{% call a() %}{% endcall %}",
        "{% for a in metadata %}{% break %}{% endfor %}",
    ] {
        let said = mistake(source);
        assert!(
            said.starts_with("line 1: syntax error: unknown statement"),
            "{source}: {said}"
        );
    }
    assert_eq!(
        mistake("{{ self }}").split(';').next(),
        Some("line 1: there is no \"self\"")
    );
}

#[test]
fn what_loops_nests_or_allocates_ends_with_an_error() {
    let loops = |n: usize, inner: &str| {
        let lists = "{% for x in [1,2,3,4,5,6,7,8,9] %}".repeat(n);
        format!("{lists}{inner}{}", "{% endfor %}".repeat(n))
    };
    let big = format!("event.message{}", "~event.message".repeat(90));
    let long = "x".repeat(MAX_VALUE);
    for (what, source) in [
        ("loops", loops(40, "a")),
        ("loops that say nothing", loops(9, "")),
        ("repetition", "{{ 'x' * 1000000000 }}".to_owned()),
        ("repeated lists", "{{ [1] * 1000000000 }}".to_owned()),
        (
            "concatenation",
            format!(
                "{{% for a in [{big}] %}}{{% for b in [a~a~a~a~a~a~a~a] %}}{{% endfor %}}{{% endfor %}}"
            ),
        ),
        (
            "work of filters",
            loops(5, "{% if event.message|upper == 'a' %}{% endif %}"),
        ),
        (
            "shrinking",
            loops(5, "{{ event.message|replace('x', '') }}"),
        ),
        (
            "growth",
            "{{ event.message|replace('x', event.message) }}".to_owned(),
        ),
        ("powers", "{{ 9 ** 9 ** 9 ** 9 }}".to_owned()),
        ("a long text", format!("{{{{ {big} }}}}")),
        ("a padded text", "{{ '%9999999999s' % 'x' }}".to_owned()),
        (
            "searches",
            loops(5, "{% if 'y' in event.message %}{% endif %}"),
        ),
        (
            "an unknown of an unknown",
            "{{ metadata.a.b.c }}".to_owned(),
        ),
        ("nothing", " \n{{ metadata.team }}".to_owned()),
    ] {
        let started = clock::now_ms();
        let got = rendered(&source, &long);
        assert!(got.is_err(), "{what}: {} bytes", got.unwrap().len());
        let took = clock::now_ms().saturating_sub(started);
        assert!(took < 5_000, "{what}: {took} ms");
    }
}

#[test]
fn nesting_that_would_eat_the_stack_is_refused() {
    let tags = |open: &str, close: &str, n: usize| open.repeat(n) + &close.repeat(n);
    for (source, want) in [
        ("x".repeat(MAX_TEMPLATE + 1), "it has 8193 bytes"),
        (
            tags("{% if 1 %}", "{% endif %}", 101),
            "line 1: more than 200 tags",
        ),
        (
            format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(300)),
            "line 1: more than 200 tags",
        ),
        (
            format!("{{{{ {}1 }}}}", "-".repeat(4_000)),
            "line 1: more than 200 words",
        ),
        (
            format!("{{{{ {}1{} }}}}", "(".repeat(2_000), ")".repeat(2_000)),
            "line 1: more than 200 words",
        ),
        (
            format!("{{{{ event{} }}}}", ".a".repeat(2_000)),
            "line 1: more than 200 words",
        ),
        (
            format!("{{{{ summary{} }}}}", "|trim".repeat(1_000)),
            "line 1: more than 200 words",
        ),
        (
            format!("{{{{ 1{} }}}}", " and 1".repeat(1_000)),
            "line 1: more than 200 words",
        ),
    ] {
        let said = mistake(&source);
        assert!(said.starts_with(want), "{want}: {said}");
    }
    // The deepest that are let through are no trouble either.
    for source in [
        tags("{% if 1 %}", "{% endif %}", 99),
        format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(190)),
        format!("{{{{ {}1{} }}}}", "(".repeat(95), ")".repeat(95)),
        format!("{{{{ {}1 }}}}", "not ".repeat(190)),
        format!("{{{{ metadata{} }}}}", ".a".repeat(90)),
        format!("{{{{ summary{} }}}}", "|trim".repeat(90)),
    ] {
        let _ = rendered(&source, "x");
    }
}

#[test]
fn what_an_event_says_is_never_a_template_and_arrives_as_it_is() {
    for message in [
        "{{ 7 * 7 }}",
        "{% for x in [1] %}{{ x }}{% endfor %}",
        "{# gone? #}",
        "{{ event.message }}",
        "}} {{ alert.name",
        "{% raw %}",
        "<b>&\"' \u{1b}[31m \u{7} \u{202e} \u{0} \r\nX",
        "{{ '{{' }}",
    ] {
        assert_eq!(
            rendered("{{ event.message }}", message),
            Ok(message.to_owned())
        );
        let want = format!("<{message}|{}>", message.to_uppercase());
        assert_eq!(
            rendered("<{{ event.message }}|{{ event.message|upper }}>", message),
            Ok(want)
        );
        let mut hostile = event("x");
        hostile
            .metadata
            .insert(message.to_owned(), message.to_owned());
        let each =
            Template::compile("{% for k in metadata %}{{ k }}:{{ metadata[k] }} {% endfor %}");
        let got = each.unwrap().render(&hostile, &alert()).unwrap();
        assert!(got.contains(&format!("{message}:{message}")), "{got}");
    }
}

#[test]
fn long_values_are_cut_and_long_messages_refused() {
    let cut = rendered("{{ event.message }}", &"é".repeat(1_000_000)).unwrap();
    assert_eq!(cut, "é".repeat(MAX_VALUE / 2) + "…");
    let twice = rendered(
        "{{ event.message }}{{ event.message }}",
        &"é".repeat(1_000_000),
    );
    assert_eq!(twice, Err(TemplateError::Output));
    let loops = rendered(
        "{% for a in [1,2,3] %}{% for b in metadata %}{% for c in event.message %}{% endfor %}{% endfor %}{% endfor %}",
        &"x".repeat(9_000),
    );
    assert!(loops.is_err(), "{loops:?}");
}

#[test]
fn an_alert_without_a_template_leaves_messages_alone_and_a_template_is_compiled_once() {
    let (templates, event) = (Templates::default(), event("x"));
    assert_eq!(templates.message(&alert(), &event), Ok(None));
    let mut with = alert();
    let mut say = |source: &str| {
        let annotations = &mut with.metadata.annotations;
        annotations.insert(ANNOTATION.to_owned(), source.to_owned());
        templates.message(&with, &event)
    };
    assert_eq!(say("{{ event.message }}!"), Ok(Some("x!".to_owned())));
    assert_eq!(say("{{ event.message }}?"), Ok(Some("x?".to_owned())));
    assert_eq!(say("{{ event.message }}?"), Ok(Some("x?".to_owned())));
    assert!(say("{{").is_err());
    assert!(say(&"x".repeat(MAX_TEMPLATE + 1)).is_err());
    assert_eq!(templates.0.lock().unwrap().len(), 3);
}

proptest::proptest! {
    #[test]
    fn no_template_and_no_event_makes_it_panic(
        source in "(\\{\\{|\\}\\}|\\{%|%\\}|event\\.message|metadata|for x in |if |endif|endfor|[|~+*'\"a-z0-9 \\[\\]().-]|\\n){0,60}",
        message in ".{0,50}",
    ) {
        let _ = rendered(&source, &message);
    }
}
