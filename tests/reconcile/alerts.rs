//! What an API server takes for an Alert, and what it refuses.

use e2e::Cluster;
use e2e::trials::Trials;
use serde_json::{Value, json};

use crate::schema::{KINDS, Kind, unsupported, with};

const ALERT: Kind = Kind {
    kind: "Alert",
    version: "v1beta3",
};

pub(crate) fn trials(trials: Trials<Cluster>) -> Trials<Cluster> {
    trials
        .shared("an_alert_that_flux_takes_is_taken", accepted)
        .shared("an_alert_that_flux_refuses_is_refused", refused)
}

fn base() -> Value {
    json!({"providerRef": {"name": "chat"}, "eventSources": []})
}

fn accepted(cluster: &Cluster) {
    let takes = |what: &str, fields: Value| {
        let spec = with(&base(), fields);
        // The only default.
        let stored = with(&json!({"eventSeverity": "info"}), spec.clone());
        ALERT.accepts(cluster, what, &spec, &stored);
    };
    takes("no sources", json!({}));
    takes("info", json!({"eventSeverity": "info"}));
    takes("error", json!({"eventSeverity": "error"}));
    takes(
        "expressions that are none",
        json!({"inclusionList": ["(("], "exclusionList": ["", "(("]}),
    );
    takes(
        "metadata",
        json!({"eventMetadata": {"cluster": "one", "": ""}}),
    );
    takes("a summary", json!({"summary": "s".repeat(255)}));
    takes("suspend", json!({"suspend": true}));
    for kind in KINDS {
        let sources = json!([
            {"kind": kind, "name": "app"},
            {
                "apiVersion": "x/v1", "kind": kind, "name": "*", "namespace": "apps",
                "matchLabels": {"app": "x"},
            },
            {"kind": kind, "name": "n".repeat(253), "namespace": "n".repeat(253)},
        ]);
        takes(kind, json!({"eventSources": sources}));
    }
}

fn refused(cluster: &Cluster) {
    let refuses = |what: &str, fields: Value, cause: &str| {
        ALERT.refuses(cluster, what, &with(&base(), fields), &[cause]);
    };
    refuses(
        "no provider",
        json!({"providerRef": null}),
        "spec.providerRef: Required value",
    );
    refuses(
        "a provider without a name",
        json!({"providerRef": {}}),
        "spec.providerRef.name: Required value",
    );
    refuses(
        "no list of sources",
        json!({"eventSources": null}),
        "spec.eventSources: Required value",
    );
    refuses(
        "another severity",
        json!({"eventSeverity": "warning"}),
        &unsupported("spec.eventSeverity", "warning", &["info", "error"]),
    );
    refuses(
        "a long summary",
        json!({"summary": "s".repeat(256)}),
        "spec.summary: Too long: may not be more than 255 bytes",
    );
    refuses(
        "a number in the metadata",
        json!({"eventMetadata": {"n": 1}}),
        "spec.eventMetadata.n: Invalid value: \"integer\": spec.eventMetadata.n in body must be of type string: \"integer\"",
    );
    let refuses = |what: &str, source: Value, cause: &str| {
        refuses(what, json!({"eventSources": [source]}), cause);
    };
    refuses(
        "no kind",
        json!({"name": "x"}),
        "spec.eventSources[0].kind: Required value",
    );
    refuses(
        "no name",
        json!({"kind": "Bucket"}),
        "spec.eventSources[0].name: Required value",
    );
    refuses(
        "another kind",
        json!({"kind": "Receiver", "name": "x"}),
        &unsupported("spec.eventSources[0].kind", "Receiver", &KINDS),
    );
    for field in ["name", "namespace"] {
        let at = format!("spec.eventSources[0].{field}");
        let source = with(&json!({"kind": "Bucket", "name": "x"}), json!({field: ""}));
        let cause =
            format!("{at}: Invalid value: \"\": {at} in body should be at least 1 chars long");
        refuses(field, source, &cause);
        let long = with(
            &json!({"kind": "Bucket", "name": "x"}),
            json!({field: "n".repeat(254)}),
        );
        refuses(
            field,
            long,
            &format!("{at}: Too long: may not be more than 253 bytes"),
        );
    }
}
