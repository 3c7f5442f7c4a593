//! What the 45 event types of CDEvents 0.4 require of `subject.content`.
//!
//! Derived from the structs and JSON schemas (0.4.1) of the Go SDK v0.5.0, which nc checks with: it
//! decodes an event, encodes it again and validates that. So a string that the schema requires
//! counts only where the schema also says that it may not be empty. Formats other than `purl` and
//! URI references are not asserted.

use super::purl;
use super::uri;
use crate::receiver::shape::{FILLED, Fields, Shape, TEXT, TEXTS};

/// An event type.
#[derive(Debug)]
pub(super) struct Event {
    /// Subject, predicate and version: `context.type` without `dev.cdevents.`.
    pub(super) name: &'static str,
    /// The only `subject.type`.
    pub(super) subject: &'static str,
    /// `subject.content`.
    pub(super) content: Fields,
}

/// Every type, with the one version of it that is known.
pub(super) const EVENTS: &[Event] = &[
    event("artifact.deleted.0.1.0", "artifact", USER),
    event("artifact.downloaded.0.1.0", "artifact", USER),
    event(
        "artifact.packaged.0.2.0",
        "artifact",
        &[("change", Shape::Required(REFERENCE)), ("sbom", SBOM)],
    ),
    event(
        "artifact.published.0.2.0",
        "artifact",
        &[("sbom", SBOM), ("user", TEXT)],
    ),
    event(
        "artifact.signed.0.2.0",
        "artifact",
        &[("signature", FILLED)],
    ),
    event("branch.created.0.2.0", "branch", IN_REPOSITORY),
    event("branch.deleted.0.2.0", "branch", IN_REPOSITORY),
    event(
        "build.finished.0.2.0",
        "build",
        &[("artifactId", MAYBE_PURL)],
    ),
    event("build.queued.0.2.0", "build", &[]),
    event("build.started.0.2.0", "build", &[]),
    event("change.abandoned.0.2.0", "change", IN_REPOSITORY),
    event(
        "change.created.0.3.0",
        "change",
        &[
            ("description", TEXT),
            ("repository", Shape::Optional(REFERENCE)),
        ],
    ),
    event("change.merged.0.2.0", "change", IN_REPOSITORY),
    event("change.reviewed.0.2.0", "change", IN_REPOSITORY),
    event("change.updated.0.2.0", "change", IN_REPOSITORY),
    event(
        "environment.created.0.2.0",
        "environment",
        &[("name", TEXT), ("url", TEXT)],
    ),
    event(
        "environment.deleted.0.2.0",
        "environment",
        &[("name", TEXT)],
    ),
    event(
        "environment.modified.0.2.0",
        "environment",
        &[("name", TEXT), ("url", TEXT)],
    ),
    event("incident.detected.0.2.0", "incident", INCIDENT),
    event(
        "incident.reported.0.2.0",
        "incident",
        &[
            ("artifactId", MAYBE_PURL),
            ("description", TEXT),
            ("environment", Shape::Required(REFERENCE)),
            ("service", Shape::Optional(REFERENCE)),
            ("ticketURI", FILLED),
        ],
    ),
    event("incident.resolved.0.2.0", "incident", INCIDENT),
    event(
        "pipelinerun.finished.0.2.0",
        "pipelineRun",
        &[
            ("errors", TEXT),
            ("outcome", TEXT),
            ("pipelineName", TEXT),
            ("url", TEXT),
        ],
    ),
    event("pipelinerun.queued.0.2.0", "pipelineRun", PIPELINE),
    event("pipelinerun.started.0.2.0", "pipelineRun", PIPELINE),
    event(
        "repository.created.0.2.0",
        "repository",
        &[
            ("name", FILLED),
            ("owner", TEXT),
            ("url", FILLED),
            ("viewUrl", TEXT),
        ],
    ),
    event("repository.deleted.0.2.0", "repository", REPOSITORY),
    event("repository.modified.0.2.0", "repository", REPOSITORY),
    event("service.deployed.0.2.0", "service", DEPLOYMENT),
    event("service.published.0.2.0", "service", IN_ENVIRONMENT),
    event("service.removed.0.2.0", "service", IN_ENVIRONMENT),
    event("service.rolledback.0.2.0", "service", DEPLOYMENT),
    event("service.upgraded.0.2.0", "service", DEPLOYMENT),
    event(
        "taskrun.finished.0.2.0",
        "taskRun",
        &[
            ("errors", TEXT),
            ("outcome", TEXT),
            ("pipelineRun", Shape::Optional(REFERENCE)),
            ("taskName", TEXT),
            ("url", TEXT),
        ],
    ),
    event(
        "taskrun.started.0.2.0",
        "taskRun",
        &[
            ("pipelineRun", Shape::Optional(REFERENCE)),
            ("taskName", TEXT),
            ("url", TEXT),
        ],
    ),
    event(
        "testcaserun.finished.0.2.0",
        "testCaseRun",
        &[
            ("environment", Shape::Required(REFERENCE)),
            ("outcome", OUTCOME),
            ("reason", TEXT),
            ("severity", MAYBE_SEVERITY),
            ("testCase", TEST_CASE),
            ("testSuiteRun", Shape::Optional(REFERENCE)),
        ],
    ),
    event("testcaserun.queued.0.2.0", "testCaseRun", TEST_CASE_RUN),
    event(
        "testcaserun.skipped.0.1.0",
        "testCaseRun",
        &[
            ("environment", Shape::Optional(REFERENCE)),
            ("reason", TEXT),
            ("testCase", TEST_CASE),
            ("testSuiteRun", Shape::Optional(REFERENCE)),
        ],
    ),
    event("testcaserun.started.0.2.0", "testCaseRun", TEST_CASE_RUN),
    event(
        "testoutput.published.0.2.0",
        "testOutput",
        &[
            ("format", TEXT),
            ("outputType", OUTPUT_TYPE),
            ("testCaseRun", Shape::Optional(REFERENCE)),
            ("uri", TEXT),
        ],
    ),
    event(
        "testsuiterun.finished.0.2.0",
        "testSuiteRun",
        &[
            ("environment", Shape::Required(REFERENCE)),
            ("outcome", OUTCOME),
            ("reason", TEXT),
            ("severity", MAYBE_SEVERITY),
            ("testSuite", TEST_SUITE),
        ],
    ),
    event(
        "testsuiterun.queued.0.2.0",
        "testSuiteRun",
        &[
            ("environment", Shape::Required(REFERENCE)),
            (
                "testSuite",
                Shape::Optional(&[
                    ("id", FILLED),
                    ("name", TEXT),
                    ("url", TEXT),
                    ("version", TEXT),
                ]),
            ),
            ("trigger", TRIGGER),
        ],
    ),
    event(
        "testsuiterun.started.0.2.0",
        "testSuiteRun",
        &[
            ("environment", Shape::Required(REFERENCE)),
            ("testSuite", TEST_SUITE),
            ("trigger", TRIGGER),
        ],
    ),
    event(
        "ticket.closed.0.1.0",
        "ticket",
        &[
            ("assignees", TEXTS),
            ("creator", TEXT),
            ("group", TEXT),
            ("labels", TEXTS),
            ("milestone", TEXT),
            ("priority", TEXT),
            ("resolution", FILLED),
            ("summary", TEXT),
            ("ticketType", TEXT),
            ("updatedBy", TEXT),
            ("uri", FILLED),
        ],
    ),
    event(
        "ticket.created.0.1.0",
        "ticket",
        &[
            ("assignees", TEXTS),
            ("creator", FILLED),
            ("group", TEXT),
            ("labels", TEXTS),
            ("milestone", TEXT),
            ("priority", TEXT),
            ("summary", TEXT),
            ("ticketType", TEXT),
            ("uri", FILLED),
        ],
    ),
    event(
        "ticket.updated.0.1.0",
        "ticket",
        &[
            ("assignees", TEXTS),
            ("creator", TEXT),
            ("group", TEXT),
            ("labels", TEXTS),
            ("milestone", TEXT),
            ("priority", TEXT),
            ("summary", TEXT),
            ("ticketType", TEXT),
            ("updatedBy", TEXT),
            ("uri", FILLED),
        ],
    ),
];

/// A URI reference, empty if it is missing.
pub(super) const MAYBE_URI: Shape = Shape::Text(uri::is_reference);

const REFERENCE: Fields = &[("id", FILLED), ("source", MAYBE_URI)];
const USER: Fields = &[("user", TEXT)];
const IN_REPOSITORY: Fields = &[("repository", Shape::Optional(REFERENCE))];
const IN_ENVIRONMENT: Fields = &[("environment", Shape::Optional(REFERENCE))];
const PIPELINE: Fields = &[("pipelineName", TEXT), ("url", TEXT)];
const REPOSITORY: Fields = &[
    ("name", TEXT),
    ("owner", TEXT),
    ("url", TEXT),
    ("viewUrl", TEXT),
];
const INCIDENT: Fields = &[
    ("artifactId", MAYBE_PURL),
    ("description", TEXT),
    ("environment", Shape::Required(REFERENCE)),
    ("service", Shape::Optional(REFERENCE)),
];
const DEPLOYMENT: Fields = &[
    ("artifactId", Shape::Text(purl::is_purl)),
    ("environment", Shape::Required(REFERENCE)),
];
const TEST_CASE_RUN: Fields = &[
    ("environment", Shape::Required(REFERENCE)),
    ("testCase", TEST_CASE),
    ("testSuiteRun", Shape::Optional(REFERENCE)),
    ("trigger", TRIGGER),
];

const SBOM: Shape = Shape::Optional(&[("uri", FILLED)]);
const TEST_CASE: Shape = Shape::Optional(&[
    ("id", FILLED),
    ("name", TEXT),
    ("type", MAYBE_TEST_TYPE),
    ("uri", TEXT),
    ("version", TEXT),
]);
const TEST_SUITE: Shape = Shape::Optional(&[
    ("id", FILLED),
    ("name", TEXT),
    ("uri", TEXT),
    ("version", TEXT),
]);
const TRIGGER: Shape = Shape::Optional(&[("type", MAYBE_TRIGGER_TYPE), ("uri", TEXT)]);

/// The SDK refuses an empty one too, where the specification says that it is optional. That is an
/// accident of its tags, and whether it happens depends on which events came before; not so here.
const MAYBE_PURL: Shape = Shape::Text(|text| text.is_empty() || purl::is_purl(text));
const OUTCOME: Shape = Shape::Text(|text| matches!(text, "pass" | "fail" | "cancel" | "error"));
const OUTPUT_TYPE: Shape =
    Shape::Text(|text| matches!(text, "report" | "video" | "image" | "log" | "other"));
const MAYBE_SEVERITY: Shape =
    Shape::Text(|text| matches!(text, "" | "low" | "medium" | "high" | "critical"));
const MAYBE_TEST_TYPE: Shape = Shape::Text(|text| {
    matches!(
        text,
        "" | "performance"
            | "functional"
            | "unit"
            | "security"
            | "compliance"
            | "integration"
            | "e2e"
            | "other"
    )
});
const MAYBE_TRIGGER_TYPE: Shape = Shape::Text(|text| {
    matches!(
        text,
        "" | "manual" | "pipeline" | "event" | "schedule" | "other"
    )
});

const fn event(name: &'static str, subject: &'static str, content: Fields) -> Event {
    Event {
        name,
        subject,
        content,
    }
}
