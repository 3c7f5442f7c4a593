//! `cdevents`: CDEvents in CloudEvents' binary mode. Nothing is signed; the path is the credential.

#[cfg(feature = "payload")]
mod events;
#[cfg(feature = "payload")]
mod purl;
#[cfg(feature = "payload")]
mod uri;

#[cfg(feature = "payload")]
use alloc::borrow::Cow;

#[cfg(feature = "payload")]
use self::events::{EVENTS, MAYBE_URI};
#[cfg(feature = "payload")]
use super::shape::{self, ANY, FILLED, Fields, MAP, Record, Shape, TEXT, TIME, Value};
use super::{Check, Context, ReceiverType, SecretUse, by_path};
use crate::config::Hook;
use crate::rejection::Rejection;
use crate::request::Request;

#[derive(Debug)]
pub(super) struct CdEvents;

impl ReceiverType for CdEvents {
    fn name(&self) -> &'static str {
        "cdevents"
    }

    fn proof(&self) -> &'static str {
        "the path"
    }

    fn secret(&self) -> SecretUse {
        SecretUse::Path
    }

    fn event_headers(&self) -> &'static [&'static str] {
        &["ce-type"]
    }

    fn check(&self, _: &Hook, _: &Request<'_>, _: &Context<'_>) -> Result<Check, Rejection> {
        by_path()
    }

    /// Checks that the body is a CDEvent, of CDEvents 0.4 or custom.
    #[cfg(feature = "payload")]
    fn payload<'b>(&self, body: &'b [u8]) -> Result<Cow<'b, [u8]>, Rejection> {
        let event = shape::whole(body)?;
        let envelope = Record::of(ENVELOPE, event)?;
        let subject = envelope.text(&["subject", "type"]);
        let name = event_type(event)?.ok_or(Rejection::BadPayload)?;
        if let Some(name) = name.strip_prefix(b"dev.cdeventsx.") {
            check_custom(event, name, subject)?;
        } else {
            check_known(event, name, subject)?;
        }
        check_data(event)?;
        Ok(Cow::Borrowed(body))
    }
}

/// What all events have in common.
#[cfg(feature = "payload")]
const ENVELOPE: Fields = &[
    (
        "context",
        Shape::Struct(&[
            ("chainId", TEXT),
            ("id", FILLED),
            ("links", Shape::Checked(check_links)),
            // There are no schemas to look it up in.
            ("schemaUri", Shape::Text(str::is_empty)),
            ("source", FILLED_URI),
            ("specversion", TEXT),
            ("timestamp", TIME),
            ("version", FILLED),
        ]),
    ),
    ("customData", ANY),
    ("customDataContentType", TEXT),
    (
        "subject",
        Shape::Struct(&[("id", FILLED), ("source", MAYBE_URI), ("type", FILLED)]),
    ),
];

#[cfg(feature = "payload")]
const FILLED_URI: Shape = Shape::Text(|text| !text.is_empty() && uri::is_reference(text));

/// What a link from an event, or to the end of a chain, holds.
#[cfg(feature = "payload")]
const LINK: Fields = &[
    ("from", Shape::Struct(&[("contextId", FILLED)])),
    ("tags", MAP),
];

/// What a link to a related event holds.
#[cfg(feature = "payload")]
const RELATION: Fields = &[
    ("linkKind", FILLED),
    ("target", Shape::Struct(&[("contextId", FILLED)])),
    ("tags", MAP),
];

/// The event's type, if it has one: as it is written, because Go does not decode it.
#[cfg(feature = "payload")]
fn event_type(event: Value<'_>) -> Result<Option<&[u8]>, Rejection> {
    let mut found = None;
    shape::each(event, &["context", "type"], &mut |value| {
        if value.is_null() || value.raw() == b"\"\"" {
            return Ok(());
        }
        let quoted = value.raw().strip_prefix(b"\"");
        let name = quoted.and_then(|rest| rest.strip_suffix(b"\""));
        let name = name.filter(|name| name.starts_with(b"dev.cdevents"));
        found = Some(name.ok_or(Rejection::BadPayload)?);
        Ok(())
    })?;
    Ok(found)
}

/// Checks an event that the specification defines.
#[cfg(feature = "payload")]
fn check_known(event: Value<'_>, name: &[u8], subject: &str) -> Result<(), Rejection> {
    let name = name.strip_prefix(b"dev.cdevents.");
    let known = EVENTS
        .iter()
        .find(|known| Some(known.name.as_bytes()) == name && known.subject == subject)
        .ok_or(Rejection::BadPayload)?;
    let mut content = Record::empty(known.content);
    shape::each(event, &["subject", "content"], &mut |value| {
        content.read(value)
    })?;
    content.check()?;
    Ok(())
}

/// Checks an event that the specification leaves to tools: `tool-subject.predicate.0.1.0`.
#[cfg(feature = "payload")]
fn check_custom(event: Value<'_>, name: &[u8], subject: &str) -> Result<(), Rejection> {
    let mut has_content = false;
    shape::each(event, &["subject", "content"], &mut |value| {
        has_content = value.is_object();
        value.any()
    })?;
    if has_content && is_custom_type(name) && is_custom_subject(subject) {
        Ok(())
    } else {
        Err(Rejection::BadPayload)
    }
}

/// Custom data is an object or a string.
#[cfg(feature = "payload")]
fn check_data(event: Value<'_>) -> Result<(), Rejection> {
    let mut good = true;
    shape::each(event, &["customData"], &mut |value| {
        good = value.is_object() || value.is_string() || value.is_null();
        Ok(())
    })?;
    good.then_some(()).ok_or(Rejection::BadPayload)
}

/// The specification has `tags` optional; the SDK refuses links without them by accident.
#[cfg(feature = "payload")]
fn check_links(links: Value<'_>) -> Result<(), Rejection> {
    links.elements(|link| {
        let kind = Record::of(&[("linkType", TEXT)], link)?;
        let fields = match kind.text(&["linkType"]) {
            "END" | "PATH" => LINK,
            "RELATION" => RELATION,
            _ => return Err(Rejection::BadPayload),
        };
        Record::of(fields, link)?;
        Ok(())
    })
}

#[cfg(feature = "payload")]
fn is_custom_type(name: &[u8]) -> bool {
    let is_word = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_lowercase);
    let mut parts = name.split(|b| *b == b'.');
    let mut subject = parts.next().unwrap_or_default().split(|b| *b == b'-');
    let named = subject.next().is_some_and(is_word) && subject.next().is_some_and(is_word);
    named
        && subject.next().is_none()
        && parts.next().is_some_and(is_word)
        && parts.clone().count() == 3
        && parts.all(|part| matches!(part, [digit] if digit.is_ascii_digit()))
}

#[cfg(feature = "payload")]
fn is_custom_subject(subject: &str) -> bool {
    subject.split_once('-').is_some_and(|(tool, subject)| {
        let is_tool = tool.bytes().all(|b| b.is_ascii_alphanumeric());
        let is_subject = subject.bytes().all(|b| b.is_ascii_alphabetic());
        !tool.is_empty() && is_tool && !subject.is_empty() && is_subject
    })
}

#[cfg(test)]
#[cfg(feature = "payload")]
mod tests {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::events::EVENTS;
    use crate::receiver::shape::testing::{mutated, passes, payload, refuses};
    use crate::rejection::Rejection;

    /// One of each family of types, and a custom one.
    const BODIES: &[&str] = &[
        r#"{"context":{"version":"0.4.1","id":"271069a8","source":"/event/source/123","type":"dev.cdevents.artifact.packaged.0.2.0","timestamp":"2023-03-20T14:27:05.315384Z"},"subject":{"id":"pkg:golang/mygit.com/myorg/myapp@234fd47e","source":"/event/source/123","type":"artifact","content":{"change":{"id":"myChange123","source":"my-git.example/an-org/a-repo"},"sbom":{"uri":"https://sbom.repo/myorg/x.sbom.json"}}},"customData":{"key":"value"},"customDataContentType":"application/json"}"#,
        r#"{"context":{"version":"0.4.1","id":"1","source":"/e","type":"dev.cdevents.branch.created.0.2.0","timestamp":"2023-03-20T14:27:05Z"},"subject":{"id":"b","type":"branch","content":{"repository":{"id":"r"}}}}"#,
        r#"{"context":{"version":"0.4.1","id":"1","source":"/e","type":"dev.cdevents.build.finished.0.2.0","timestamp":"2023-03-20T14:27:05Z"},"subject":{"id":"b","type":"build","content":{"artifactId":"pkg:oci/myapp@sha256:0b31b1c02ff4"}}}"#,
        r#"{"context":{"version":"0.4.1","id":"1","source":"/e","type":"dev.cdevents.change.merged.0.2.0","timestamp":"2023-03-20T14:27:05Z","gitRepository":"x","links":[{"linkType":"RELATION","linkKind":"TRIGGER","target":{"contextId":"5328c37f"},"tags":{"k":[1]}},{"linkType":"PATH","from":{"contextId":"x"},"tags":{}},{"linkType":"END","from":{"contextId":"x"},"tags":{}}]},"subject":{"id":"c","source":"/e","type":"change","content":{}}}"#,
        r#"{"context":{"version":"0.4.1","id":"1","source":"/e","type":"dev.cdevents.environment.created.0.2.0","timestamp":"2023-03-20T14:27:05Z"},"subject":{"id":"e","type":"environment","content":{"name":"testEnv","url":"https://example.org/testEnv"}}}"#,
        r#"{"context":{"version":"0.4.1","id":"1","source":"/e","type":"dev.cdevents.incident.reported.0.2.0","timestamp":"2023-03-20T14:27:05Z"},"subject":{"id":"i","type":"incident","content":{"environment":{"id":"prod1"},"service":{"id":"s"},"ticketURI":"https://my-issues.example/1","artifactId":"pkg:oci/myapp@sha256:1"}}}"#,
        r#"{"context":{"version":"0.4.1","id":"1","source":"/e","type":"dev.cdevents.pipelinerun.started.0.2.0","timestamp":"2023-03-20T14:27:05Z"},"subject":{"id":"p","type":"pipelineRun","content":{"pipelineName":"p","url":"https://x/p"}}}"#,
        r#"{"context":{"version":"0.4.1","id":"1","source":"/e","type":"dev.cdevents.repository.created.0.2.0","timestamp":"2023-03-20T14:27:05Z"},"subject":{"id":"r","type":"repository","content":{"name":"TestRepo","owner":"TestOrg","url":"https://example.org/r.git"}}}"#,
        r#"{"context":{"version":"0.4.1","id":"1","source":"/e","type":"dev.cdevents.service.deployed.0.2.0","timestamp":"2023-03-20T14:27:05Z"},"subject":{"id":"s","type":"service","content":{"environment":{"id":"test123"},"artifactId":"pkg:oci/myapp@sha256:1"}}}"#,
        r#"{"context":{"version":"0.4.1","id":"1","source":"/e","type":"dev.cdevents.taskrun.finished.0.2.0","timestamp":"2023-03-20T14:27:05Z"},"subject":{"id":"t","type":"taskRun","content":{"taskName":"t","pipelineRun":{"id":"p","source":"/p"},"outcome":"failure"}}}"#,
        r#"{"context":{"version":"0.4.1","id":"1","source":"/e","type":"dev.cdevents.testcaserun.finished.0.2.0","timestamp":"2023-03-20T14:27:05Z"},"subject":{"id":"t","type":"testCaseRun","content":{"environment":{"id":"dev"},"outcome":"pass","severity":"low","testCase":{"id":"92834723894","type":"integration"},"testSuiteRun":{"id":"t"}}}}"#,
        r#"{"context":{"version":"0.4.1","id":"1","source":"/e","type":"dev.cdevents.testoutput.published.0.2.0","timestamp":"2023-03-20T14:27:05Z"},"subject":{"id":"t","type":"testOutput","content":{"outputType":"video","format":"video/quicktime","uri":"https://x/y"}}}"#,
        r#"{"context":{"version":"0.4.1","id":"1","source":"/e","type":"dev.cdevents.testsuiterun.queued.0.2.0","timestamp":"2023-03-20T14:27:05Z"},"subject":{"id":"t","type":"testSuiteRun","content":{"environment":{"id":"dev"},"trigger":{"type":"schedule","uri":"u"},"testSuite":{"id":"s","url":"u"}}}}"#,
        r#"{"context":{"version":"0.4.1","id":"1","source":"/e","type":"dev.cdevents.ticket.closed.0.1.0","timestamp":"2023-03-20T14:27:05Z"},"subject":{"id":"t","type":"ticket","content":{"summary":"s","creator":"alice","assignees":["Bob"],"labels":["bug"],"resolution":"completed","uri":"https://example.issues.com/ticket123"}}}"#,
        r#"{"context":{"version":"0.4.1","id":"1","source":"/e","type":"dev.cdeventsx.mytool-resource.created.0.1.0","timestamp":"2023-03-20T14:27:05Z"},"subject":{"id":"r","type":"mytool-resource","content":{"user":"x","nested":{"k":[1,"2"]}}}}"#,
    ];

    fn event(name: &str, subject: &str, content: &str) -> String {
        format!(
            r#"{{"context":{{"version":"0.4.1","id":"1","source":"/e","type":"{name}","timestamp":"2023-03-20T14:27:05Z"}},"subject":{{"id":"s","type":"{subject}","content":{content}}}}}"#
        )
    }

    fn known(name: &str, content: &str) -> Result<(), Rejection> {
        let known = EVENTS.iter().find(|known| known.name == name).unwrap();
        let body = event(&format!("dev.cdevents.{name}"), known.subject, content);
        payload("cdevents", body.as_bytes()).map(drop)
    }

    /// The change of nc's tests, with something else in place of a part.
    fn merged(part: &str, instead: &str) -> String {
        let body = r#"{"context":{"version":"0.4.1","id":"1","source":"/e","type":"dev.cdevents.change.merged.0.2.0","timestamp":"2023-03-20T14:27:05Z"},"subject":{"id":"c","source":"/e","type":"change","content":{"repository":{"id":"r","source":"/r"}}}}"#;
        assert!(body.contains(part), "{part}");
        body.replacen(part, instead, 1)
    }

    #[test]
    fn an_event_of_each_family_passes() {
        passes("cdevents", BODIES);
        for known in EVENTS {
            let family = known.name.split('.').next().unwrap();
            let prefix = format!("dev.cdevents.{family}.");
            assert!(BODIES.iter().any(|body| body.contains(&prefix)), "{family}");
        }
    }

    #[test]
    fn there_are_45_types_and_each_has_one_version() {
        let versionless: alloc::collections::BTreeSet<_> = EVENTS
            .iter()
            .map(|known| known.name.split('.').take(2).collect::<String>())
            .collect();
        assert_eq!((EVENTS.len(), versionless.len()), (45, 45));
        for known in EVENTS {
            let family = known.name.split('.').next().unwrap();
            assert_eq!(known.subject.to_lowercase(), family);
        }
    }

    #[test]
    fn content_that_a_type_requires_must_be_there() {
        for (name, good, bad) in [
            (
                "artifact.packaged.0.2.0",
                r#"{"change":{"id":"c"}}"#,
                r#"{"change":{"source":"/c"}}"#,
            ),
            ("artifact.packaged.0.2.0", r#"{"change":{"id":"c"}}"#, "{}"),
            (
                "artifact.packaged.0.2.0",
                r#"{"change":{"id":"c"},"sbom":{"uri":"u"}}"#,
                r#"{"change":{"id":"c"},"sbom":{}}"#,
            ),
            ("artifact.published.0.2.0", "{}", r#"{"sbom":{"uri":""}}"#),
            ("artifact.signed.0.2.0", r#"{"signature":"s"}"#, "{}"),
            ("artifact.deleted.0.1.0", "{}", r#"{"user":1}"#),
            ("branch.deleted.0.2.0", "{}", r#"{"repository":{}}"#),
            ("build.finished.0.2.0", "{}", r#"{"artifactId":"x"}"#),
            ("build.queued.0.2.0", r#"{"other":1}"#, "1"),
            (
                "change.created.0.3.0",
                r#"{"description":"d"}"#,
                r#"{"repository":{"id":""}}"#,
            ),
            ("environment.deleted.0.2.0", "null", r#"{"name":{}}"#),
            (
                "incident.detected.0.2.0",
                r#"{"environment":{"id":"e"}}"#,
                "{}",
            ),
            (
                "incident.reported.0.2.0",
                r#"{"environment":{"id":"e"},"ticketURI":"t"}"#,
                r#"{"environment":{"id":"e"}}"#,
            ),
            ("pipelinerun.started.0.2.0", "{}", r#"{"url":[]}"#),
            (
                "repository.created.0.2.0",
                r#"{"name":"n","url":"u"}"#,
                r#"{"name":"n"}"#,
            ),
            (
                "service.deployed.0.2.0",
                r#"{"environment":{"id":"e"},"artifactId":"pkg:a/b"}"#,
                r#"{"environment":{"id":"e"}}"#,
            ),
            (
                "service.upgraded.0.2.0",
                r#"{"environment":{"id":"e"},"artifactId":"pkg:a/b"}"#,
                r#"{"artifactId":"pkg:a/b"}"#,
            ),
            (
                "service.removed.0.2.0",
                "{}",
                r#"{"environment":{"id":"e","source":"http://[x"}}"#,
            ),
            ("taskrun.started.0.2.0", "{}", r#"{"pipelineRun":{}}"#),
            (
                "testcaserun.finished.0.2.0",
                r#"{"environment":{"id":"e"},"outcome":"fail"}"#,
                r#"{"environment":{"id":"e"}}"#,
            ),
            (
                "testcaserun.finished.0.2.0",
                r#"{"environment":{"id":"e"},"outcome":"fail"}"#,
                r#"{"environment":{"id":"e"},"outcome":"FAIL"}"#,
            ),
            (
                "testcaserun.queued.0.2.0",
                r#"{"environment":{"id":"e"},"trigger":{}}"#,
                r#"{"environment":{"id":"e"},"trigger":{"type":"x"}}"#,
            ),
            (
                "testcaserun.skipped.0.1.0",
                "{}",
                r#"{"testCase":{"id":"t","type":"x"}}"#,
            ),
            (
                "testoutput.published.0.2.0",
                r#"{"outputType":"log"}"#,
                r#"{"format":"f"}"#,
            ),
            (
                "testsuiterun.finished.0.2.0",
                r#"{"environment":{"id":"e"},"outcome":"error"}"#,
                r#"{"environment":{"id":"e"},"outcome":"error","severity":"x"}"#,
            ),
            (
                "testsuiterun.started.0.2.0",
                r#"{"environment":{"id":"e"}}"#,
                r#"{"environment":null}"#,
            ),
            (
                "ticket.closed.0.1.0",
                r#"{"uri":"u","resolution":"r"}"#,
                r#"{"uri":"u"}"#,
            ),
            (
                "ticket.created.0.1.0",
                r#"{"uri":"u","creator":"c"}"#,
                r#"{"uri":"u"}"#,
            ),
            (
                "ticket.updated.0.1.0",
                r#"{"uri":"u"}"#,
                r#"{"labels":["l"]}"#,
            ),
            (
                "ticket.updated.0.1.0",
                r#"{"uri":"u","labels":null}"#,
                r#"{"uri":"u","labels":[1]}"#,
            ),
        ] {
            assert_eq!(known(name, good), Ok(()), "{name} {good}");
            assert_eq!(known(name, bad), Err(Rejection::BadPayload), "{name} {bad}");
        }
    }

    #[test]
    fn a_context_and_a_subject_are_required() {
        for (part, instead) in [
            (r#""version":"0.4.1","#, ""),
            (r#""version":"0.4.1","#, r#""specversion":"0.5.0","#),
            (
                r#""version":"0.4.1","#,
                r#""version":"0.4.1","specversion":1,"#,
            ),
            (r#""id":"1","#, ""),
            (r#""id":"1","#, r#""id":"","#),
            (r#""source":"/e","#, ""),
            (r#""source":"/e","#, r#""source":"a_b:c","#),
            (r#""type":"dev.cdevents.change.merged.0.2.0","#, ""),
            (
                r#""type":"dev.cdevents.change.merged.0.2.0","#,
                r#""type":"","#,
            ),
            (
                r#""type":"dev.cdevents.change.merged.0.2.0","#,
                r#""type":1,"#,
            ),
            (
                "dev.cdevents.change.merged.0.2.0",
                "dev.cdevents.change.merged",
            ),
            (
                "dev.cdevents.change.merged.0.2.0",
                "dev.cdevents.change.merged.0.2.1",
            ),
            (
                "dev.cdevents.change.merged.0.2.0",
                "dev.cdevents.change.eaten.0.2.0",
            ),
            (
                "dev.cdevents.change.merged.0.2.0",
                "DEV.cdevents.change.merged.0.2.0",
            ),
            ("dev.cdevents.change.merged.0.2.0", "change.merged.0.2.0"),
            (
                "dev.cdevents.change.merged.0.2.0",
                "\\u0064ev.cdevents.change.merged.0.2.0",
            ),
            ("dev.cdevents.change.merged.0.2.0", "cd.change.merged.v1"),
            ("2023-03-20T14:27:05Z", ""),
            ("2023-03-20T14:27:05Z", "yesterday"),
            (r#""id":"1","#, r#""id":"1","type":"change","#),
            (r#""context":"#, r#""ctx":"#),
            (r#""subject":"#, r#""sub":"#),
            (r#""id":"c","#, ""),
            (
                r#""source":"/e","type":"change""#,
                r#""source":"http://[x","type":"change""#,
            ),
            (r#""type":"change","#, ""),
            (r#""type":"change","#, r#""type":"Change","#),
            (r#""type":"change","#, r#""type":"branch","#),
            (
                r#""id":"1","#,
                r#""id":"1","schemaUri":"https://example.com/schema","#,
            ),
            (r#""id":"1","#, r#""id":"1","chainId":1,"#),
            ("}}}}", "}}}} x"),
            ("}}}}", r#"}}},"customData":[]}"#),
            ("}}}}", r#"}}},"customData":1e999}"#),
            ("}}}}", r#"}}},"customDataContentType":{}}"#),
        ] {
            refuses("cdevents", &[&merged(part, instead)]);
        }
        refuses(
            "cdevents",
            &[
                "",
                "null",
                "{}",
                "[]",
                "\"x\"",
                r#"{"context":null}"#,
                r#"{"specversion":"1.0","type":"x","data":{}}"#,
            ],
        );
    }

    #[test]
    fn what_the_sdk_overlooks_passes_too() {
        for (part, instead) in [
            (r#","timestamp":"2023-03-20T14:27:05Z""#, ""),
            (r#""2023-03-20T14:27:05Z""#, "null"),
            (r#""id":"1","#, r#""id":"1","schemaUri":"","links":null,"#),
            (r#""id":"1","#, r#""ID":"1","gitRepository":"x","#),
            (
                r#""type":"dev.cdevents.change.merged.0.2.0","#,
                r#""type":"dev.cdevents.change.merged.0.2.0","type":null,"#,
            ),
            (
                r#""repository":{"id":"r","source":"/r"}"#,
                r#""repository":{"id":"r"},"other":{"id":1}"#,
            ),
            ("}}}}", r#"}}},"customData":"text"}"#),
            ("}}}}", r#"}}},"customData":[],"customData":{}}"#),
            ("}}}}", r#"}}},"unknown":1e999}"#),
        ] {
            passes("cdevents", &[&merged(part, instead)]);
        }
    }

    #[test]
    fn links_are_of_three_kinds() {
        let with = |links: &str| merged(r#""id":"1","#, &format!(r#""id":"1","links":{links},"#));
        for links in [
            "[]",
            r#"[{"linkType":"END","from":{"contextId":"x"}}]"#,
            r#"[{"linkType":"PATH","from":{"contextId":"x"},"tags":{"a":1}}]"#,
            r#"[{"linkType":"RELATION","linkKind":"k","target":{"contextId":"x"},"tags":null}]"#,
        ] {
            passes("cdevents", &[&with(links)]);
        }
        for links in [
            "{}",
            "[null]",
            "[1]",
            "[{}]",
            r#"[{"linkType":"start","from":{"contextId":"x"}}]"#,
            r#"[{"linkType":"END"}]"#,
            r#"[{"linkType":"PATH","from":{"contextId":""}}]"#,
            r#"[{"linkType":"PATH","from":{"contextId":"x"},"tags":[]}]"#,
            r#"[{"linkType":"RELATION","target":{"contextId":"x"}}]"#,
            r#"[{"linkType":"RELATION","linkKind":"k","from":{"contextId":"x"}}]"#,
        ] {
            refuses("cdevents", &[&with(links)]);
        }
    }

    #[test]
    fn custom_events_are_named_after_their_tool() {
        for (name, subject, content, want) in [
            ("tool-thing.created.0.1.0", "tool-thing", "{}", true),
            ("tool-thing.created.0.1.0", "T2-Other", r#"{"a":[1]}"#, true),
            ("tool-thing.created.0.1.0", "thing", "{}", false),
            ("tool-thing.created.0.1.0", "to-ol-thing", "{}", false),
            ("tool-thing.created.0.1.0", "tool-th1ng", "{}", false),
            ("tool-thing.created.0.1.0", "-thing", "{}", false),
            ("tool-thing.created.0.1.0", "tool-thing", "null", false),
            ("tool-thing.created.0.1.0", "tool-thing", "[]", false),
            (
                "tool-thing.created.0.1.0",
                "tool-thing",
                r#"{"a":1e999}"#,
                false,
            ),
            ("Tool-thing.created.0.1.0", "tool-thing", "{}", false),
            ("t2-thing.created.0.1.0", "tool-thing", "{}", false),
            ("thing.created.0.1.0", "tool-thing", "{}", false),
            ("tool-thing.created.0.10.0", "tool-thing", "{}", false),
            ("tool-thing.created.0.1", "tool-thing", "{}", false),
            ("tool-thing.created.0.1.0.0", "tool-thing", "{}", false),
            ("tool-thing.created", "tool-thing", "{}", false),
            ("tool-thing..0.1.0", "tool-thing", "{}", false),
            ("-thing.created.0.1.0", "tool-thing", "{}", false),
            ("a-b-c.created.0.1.0", "tool-thing", "{}", false),
        ] {
            let body = event(&format!("dev.cdeventsx.{name}"), subject, content);
            let got = payload("cdevents", body.as_bytes()).is_ok();
            assert_eq!(got, want, "{name} {subject} {content}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in mutated(BODIES)) {
            let _ = payload("cdevents", &body);
        }

        #[test]
        fn no_bytes_panic_any_type(body in any::<Vec<u8>>()) {
            for receiver_type in crate::receiver::RECEIVER_TYPES {
                let _ = receiver_type.payload(&body);
            }
        }
    }
}
