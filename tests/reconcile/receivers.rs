//! What an API server takes for a Receiver, and what it refuses.

use e2e::Cluster;
use e2e::trials::Trials;
use serde_json::{Value, json};

use crate::schema::{KINDS, Kind, unsupported, with};

const RECEIVER: Kind = Kind {
    kind: "Receiver",
    version: "v1",
};

const TYPES: [&str; 13] = [
    "generic",
    "generic-hmac",
    "generic-oidc",
    "github",
    "gitlab",
    "bitbucket",
    "harbor",
    "dockerhub",
    "quay",
    "gcr",
    "nexus",
    "acr",
    "cdevents",
];

const NEEDS_PROVIDER: &str =
    "spec: Invalid value: generic-oidc receivers must define at least one oidcProvider";
const NO_PROVIDERS: &str =
    "spec: Invalid value: oidcProviders can only be set when type is generic-oidc";
const NO_SECRET: &str = "spec: Invalid value: secretRef cannot be set when type is generic-oidc";
const NEEDS_SECRET: &str =
    "spec: Invalid value: secretRef is required when type is not generic-oidc";

pub(crate) fn trials(trials: Trials<Cluster>) -> Trials<Cluster> {
    trials
        .shared("a_receiver_that_flux_takes_is_taken", accepted)
        .shared("a_receiver_that_flux_refuses_is_refused", refused)
        .shared(
            "a_receiver_of_generic_oidc_has_providers_and_no_secret",
            oidc,
        )
        .shared(
            "a_receiver_of_any_other_type_has_a_secret_and_no_providers",
            secrets,
        )
        .shared(
            "a_receiver_without_a_spec_gets_only_the_default_status",
            bare,
        )
        .shared("the_status_of_a_receiver_is_a_subresource", status)
}

fn github() -> Value {
    json!({"type": "github", "resources": [], "secretRef": {"name": "token"}})
}

fn provider() -> Value {
    json!({"issuerURL": "https://issuer.example", "validations": [{"expression": "true", "message": "no"}]})
}

fn accepted(cluster: &Cluster) {
    let takes = |what: &str, spec: &Value| {
        // The only default.
        let stored = with(&json!({"interval": "10m"}), spec.clone());
        RECEIVER.accepts(cluster, what, spec, &stored);
    };
    takes("no resources", &github());
    for interval in ["0s", "1.5h", "1h30m", "500ms", "10m"] {
        takes(interval, &with(&github(), json!({"interval": interval})));
    }
    takes(
        "events",
        &with(&github(), json!({"events": ["push", "push", ""]})),
    );
    takes("suspend", &with(&github(), json!({"suspend": true})));
    takes(
        "a filter that is no CEL",
        &with(&github(), json!({"resourceFilter": "(("})),
    );
    for kind in KINDS {
        let resources = json!([
            {"kind": kind, "name": "app"},
            {
                "apiVersion": "x/v1", "kind": kind, "name": "*", "namespace": "apps",
                "matchLabels": {"app": "x"}, "filter": "true",
            },
            {"kind": kind, "name": "n".repeat(253), "namespace": "n".repeat(253)},
        ]);
        takes(kind, &with(&github(), json!({"resources": resources})));
    }
}

fn refused(cluster: &Cluster) {
    let refuses = |what: &str, fields: Value, cause: &str| {
        RECEIVER.refuses(cluster, what, &with(&github(), fields), &[cause]);
    };
    refuses(
        "no type",
        json!({"type": null}),
        "spec.type: Required value",
    );
    refuses(
        "another type",
        json!({"type": "svn"}),
        &unsupported("spec.type", "svn", &TYPES),
    );
    refuses(
        "no list of resources",
        json!({"resources": null}),
        "spec.resources: Required value",
    );
    refuses(
        "a secret without a name",
        json!({"secretRef": {}}),
        "spec.secretRef.name: Required value",
    );
    refuses(
        "a word for a flag",
        json!({"suspend": "yes"}),
        "spec.suspend: Invalid value: \"string\": spec.suspend in body must be of type boolean: \"string\"",
    );
    for interval in ["", "1d", "10", "1us", "-1s", "1m "] {
        let cause = format!(
            "spec.interval: Invalid value: {interval:?}: spec.interval in body should match '^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$'"
        );
        refuses(interval, json!({"interval": interval}), &cause);
    }
    let refuses = |what: &str, resource: Value, cause: &str| {
        refuses(what, json!({"resources": [resource]}), cause);
    };
    refuses(
        "no kind",
        json!({"name": "x"}),
        "spec.resources[0].kind: Required value",
    );
    refuses(
        "no name",
        json!({"kind": "Bucket"}),
        "spec.resources[0].name: Required value",
    );
    refuses(
        "another kind",
        json!({"kind": "Pod", "name": "x"}),
        &unsupported("spec.resources[0].kind", "Pod", &KINDS),
    );
    for field in ["name", "namespace"] {
        let at = format!("spec.resources[0].{field}");
        let resource = with(&json!({"kind": "Bucket", "name": "x"}), json!({field: ""}));
        let cause =
            format!("{at}: Invalid value: \"\": {at} in body should be at least 1 chars long");
        refuses(field, resource, &cause);
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

fn oidc(cluster: &Cluster) {
    let base = json!({"type": "generic-oidc", "resources": [], "oidcProviders": [provider()]});
    let stored = |spec: &Value| with(spec, json!({"interval": "10m"}));
    RECEIVER.accepts(cluster, "one provider", &base, &stored(&base));
    let full = with(
        &provider(),
        json!({
            "issuerURL": "http://issuer.example",
            "audience": "us",
            "variables": [{"name": "not an identifier", "expression": "claims.sub"}],
        }),
    );
    let two = with(&base, json!({"oidcProviders": [provider(), full]}));
    RECEIVER.accepts(cluster, "two providers", &two, &stored(&two));

    let refuses = |what: &str, fields: Value, causes: &[&str]| {
        RECEIVER.refuses(cluster, what, &with(&base, fields), causes);
    };
    refuses(
        "no providers",
        json!({"oidcProviders": null}),
        &[NEEDS_PROVIDER],
    );
    refuses(
        "no provider",
        json!({"oidcProviders": []}),
        &[NEEDS_PROVIDER],
    );
    refuses(
        "a secret",
        json!({"secretRef": {"name": "token"}}),
        &[NO_SECRET],
    );
    refuses(
        "a secret and no provider",
        json!({"secretRef": {"name": "token"}, "oidcProviders": null}),
        &[NEEDS_PROVIDER, NO_SECRET],
    );
    refuses(
        "the same issuer twice",
        json!({"oidcProviders": [provider(), provider()]}),
        &["spec.oidcProviders[1]: Duplicate value: {\"issuerURL\":\"https://issuer.example\"}"],
    );
    let refuses = |what: &str, fields: Value, cause: &str| {
        let provider = with(&provider(), fields);
        refuses(what, json!({"oidcProviders": [provider]}), &[cause]);
    };
    let at = "spec.oidcProviders[0]";
    refuses(
        "another scheme",
        json!({"issuerURL": "ftp://x"}),
        &format!(
            "{at}.issuerURL: Invalid value: \"ftp://x\": {at}.issuerURL in body should match '^https?://'"
        ),
    );
    refuses(
        "no validations",
        json!({"validations": null}),
        &format!("{at}.validations: Required value"),
    );
    refuses(
        "no validation",
        json!({"validations": []}),
        &format!(
            "{at}.validations: Invalid value: 0: {at}.validations in body should have at least 1 items"
        ),
    );
    refuses(
        "no message",
        json!({"validations": [{"expression": "true"}]}),
        &format!("{at}.validations[0].message: Required value"),
    );
    refuses(
        "no expression",
        json!({"variables": [{"name": "x"}]}),
        &format!("{at}.variables[0].expression: Required value"),
    );
}

fn secrets(cluster: &Cluster) {
    for name in TYPES.into_iter().filter(|name| *name != "generic-oidc") {
        let base = with(&github(), json!({"type": name}));
        RECEIVER.accepts(
            cluster,
            name,
            &base,
            &with(&base, json!({"interval": "10m"})),
        );
        RECEIVER.refuses(
            cluster,
            name,
            &with(&base, json!({"secretRef": null})),
            &[NEEDS_SECRET],
        );
        RECEIVER.refuses(
            cluster,
            name,
            &with(&base, json!({"oidcProviders": [provider()]})),
            &[NO_PROVIDERS],
        );
        let none = with(&base, json!({"oidcProviders": []}));
        RECEIVER.accepts(
            cluster,
            name,
            &none,
            &with(&none, json!({"interval": "10m"})),
        );
    }
}

fn bare(cluster: &Cluster) {
    let namespace = cluster.namespace("bare");
    let mut object = RECEIVER.object(&namespace, "bare", &json!(null));
    if let Some(object) = object.as_object_mut() {
        object.remove("spec");
    }
    let answer = cluster.admin().create(&object);
    assert_eq!(
        (answer.status, &answer.body["spec"], &answer.body["status"]),
        (201, &json!(null), &json!({"observedGeneration": -1})),
        "{}",
        answer.body
    );
}

fn status(cluster: &Cluster) {
    let namespace = cluster.namespace("status");
    let object = RECEIVER.object(&namespace, "app", &github());
    let admin = cluster.admin();
    assert_eq!(admin.create(&object).status, 201);
    let at = e2e::api::path_of(&object);
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "Succeeded", "message": "",
        "observedGeneration": 1, "lastTransitionTime": "2026-08-07T12:00:00Z",
    });
    let status = json!({
        "conditions": [condition],
        "lastHandledReconcileAt": "now",
        "observedGeneration": 1,
        "webhookPath": "/hook/x",
    });
    let through_the_object = admin.send("PATCH", &at, Some(&json!({"status": status})));
    assert_eq!(
        through_the_object.body["status"],
        json!({"observedGeneration": -1}),
        "the object's own patch must not change the status"
    );
    let through_the_part = admin.send(
        "PATCH",
        &format!("{at}/status"),
        Some(&json!({"status": status, "spec": {"suspend": true}})),
    );
    let (body, suspend) = (
        &through_the_part.body,
        &through_the_part.body["spec"]["suspend"],
    );
    assert_eq!(
        (&body["status"], suspend, &body["metadata"]["generation"]),
        (&status, &json!(null), &json!(1)),
        "the status alone is changed, and no generation begins"
    );
    for (what, fields, cause) in [
        (
            "status",
            json!({"status": "Yes"}),
            unsupported("status.conditions[0].status", "Yes", &["True", "False", "Unknown"]),
        ),
        (
            "reason",
            json!({"reason": "no word"}),
            "status.conditions[0].reason: Invalid value: \"no word\": conditions[0].reason in body should match '^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$'".to_owned(),
        ),
        (
            "no reason",
            json!({"reason": null}),
            "status.conditions[0].reason: Required value".to_owned(),
        ),
        (
            "message",
            json!({"message": "m".repeat(32_769)}),
            "status.conditions[0].message: Too long: may not be more than 32768 bytes".to_owned(),
        ),
    ] {
        let body = json!({"status": {"conditions": [with(&condition, fields)]}});
        let answer = admin.send("PATCH", &format!("{at}/status"), Some(&body));
        assert_eq!((answer.status, answer.causes()), (422, vec![cause]), "{what}");
    }
}
