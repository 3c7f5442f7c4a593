//! What the API server says → the objects that the rest of the controller knows. Pure.

use serde_json::{Map, Value, json};

use super::live::{Live, LiveStatus};
use crate::api::alert::{Alert, AlertSpec};
use crate::api::meta::ObjectMeta;
use crate::api::provider::Provider;
use crate::api::receiver::{Receiver, ReceiverSpec};
use crate::api::secret::{RawSecret, Secret};
use crate::objects::{ObjectRecord, Scope};

/// Asks Flux to reconcile.
pub(super) const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";

/// The keys of Secrets that Receivers use; no other value is kept.
const KEYS: [&str; 5] = [
    "token",
    "token-previous",
    "signing-token",
    "email",
    "audience",
];

/// Why a Receiver's spec means nothing here. The API server's schema should not have let it pass.
pub(super) type Problem = String;

/// A Receiver, twice: what it asks for, without what changes all the time, and how it stands.
pub(super) fn receiver(metadata: &Value, mut data: Value) -> (Receiver, Live, Option<Problem>) {
    let meta: ObjectMeta = serde_json::from_value(metadata.clone()).unwrap_or_default();
    let spec = data.get_mut("spec").map(Value::take).unwrap_or_default();
    let (spec, problem) = match self::spec(spec) {
        Ok(spec) => (spec, None),
        Err(problem) => (ReceiverSpec::default(), Some(problem)),
    };
    let status = data.get_mut("status").map(Value::take).unwrap_or_default();
    let strings = |field: &str| -> Vec<String> {
        serde_json::from_value(metadata[field].clone()).unwrap_or_default()
    };
    let live = Live {
        key: (meta.namespace.clone(), meta.name.clone()),
        uid: meta.uid.clone().unwrap_or_default(),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or_default(),
        is_deleting: !metadata["deletionTimestamp"].is_null(),
        finalizers: strings("finalizers"),
        requested_at: meta.annotations.get(REQUESTED_AT).cloned(),
        secret: spec.secret_ref.as_ref().map(|secret| secret.name.clone()),
        status: serde_json::from_value::<LiveStatus>(status).unwrap_or_default(),
    };
    let ours = |(name, _): &(String, String)| name.starts_with("hookgate.dev/");
    let metadata = ObjectMeta {
        labels: Default::default(),
        annotations: meta.annotations.into_iter().filter(ours).collect(),
        resource_version: None,
        ..meta
    };
    (Receiver { metadata, spec }, live, problem)
}

/// How a Receiver stands, from the object that the API server gave.
pub fn live_of(mut object: Value) -> Live {
    let metadata = object
        .get_mut("metadata")
        .map(Value::take)
        .unwrap_or_default();
    let (_, live, _) = receiver(&metadata, object);
    live
}

/// A spec. Fields of a newer schema are left out, as they would be by notification-controller.
fn spec(mut spec: Value) -> Result<ReceiverSpec, Problem> {
    keep(
        &mut spec,
        &[
            "type",
            "interval",
            "events",
            "resources",
            "resourceFilter",
            "secretRef",
            "oidcProviders",
            "suspend",
        ],
    );
    if let Some(secret) = spec.get_mut("secretRef") {
        keep(secret, &["name"]);
    }
    let resource = [
        "apiVersion",
        "kind",
        "name",
        "namespace",
        "matchLabels",
        "filter",
    ];
    each(&mut spec, "resources", |entry| keep(entry, &resource));
    each(&mut spec, "oidcProviders", |provider| {
        keep(
            provider,
            &["issuerURL", "audience", "variables", "validations"],
        );
        each(provider, "variables", |v| keep(v, &["name", "expression"]));
        each(provider, "validations", |v| {
            keep(v, &["expression", "message"])
        });
    });
    if !spec.is_object() || spec["type"].is_null() {
        return Err("it has no spec.type".to_owned());
    }
    // The message of a parse error may quote the value, which is no secret in a Receiver.
    serde_json::from_value(spec).map_err(|error| error.to_string())
}

fn keep(value: &mut Value, fields: &[&str]) {
    if let Value::Object(map) = value {
        map.retain(|name, value| fields.contains(&name.as_str()) && !value.is_null());
    }
}

fn each(value: &mut Value, field: &str, change: impl Fn(&mut Value)) {
    if let Some(Value::Array(items)) = value.get_mut(field) {
        items.iter_mut().for_each(change);
    }
}

/// A Receiver's Secret, or why it can't be used. Never names a value.
pub(super) fn secret(object: Value) -> Result<Secret, String> {
    let mut secret = whole_secret(object)?;
    secret.keep_only(&KEYS);
    Ok(secret)
}

/// A Secret with all its keys, or why it can't be used. Never names a value.
pub(super) fn whole_secret(object: Value) -> Result<Secret, String> {
    let raw: RawSecret = serde_json::from_value(object)
        .map_err(|_| "its data is not a map of keys to base64".to_owned())?;
    Secret::try_from(raw).map_err(|error| error.to_string())
}

/// An Alert, or why its spec means nothing here.
pub(super) fn alert(metadata: &Value, data: Value) -> Result<Alert, Problem> {
    let spec = alerting_spec(data);
    let spec = if spec.is_null() {
        // The schema does not ask for one.
        AlertSpec::default()
    } else {
        // Nothing in an Alert is a secret.
        serde_json::from_value(spec).map_err(|error| error.to_string())?
    };
    let metadata = steady(metadata);
    Ok(Alert { metadata, spec })
}

/// A Provider, or why its spec means nothing here. An address may be a secret.
pub(super) fn provider(metadata: &Value, data: Value) -> Result<Provider, Problem> {
    let spec = alerting_spec(data);
    let spec = serde_json::from_value(spec)
        .map_err(|_| "the spec is not that of a Provider".to_owned())?;
    let metadata = steady(metadata);
    Ok(Provider { metadata, spec })
}

fn alerting_spec(mut data: Value) -> Value {
    let mut spec = data.get_mut("spec").map(Value::take).unwrap_or_default();
    drop_nulls(&mut spec);
    spec
}

/// Metadata without what changes with every write.
fn steady(metadata: &Value) -> ObjectMeta {
    let meta: ObjectMeta = serde_json::from_value(metadata.clone()).unwrap_or_default();
    let is_meant = |(name, _): &(String, String)| !name.starts_with("kubectl.kubernetes.io/");
    ObjectMeta {
        annotations: meta.annotations.into_iter().filter(is_meant).collect(),
        resource_version: None,
        ..meta
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Name and metadata of an object of a scope.
pub(super) fn record(scope: &Scope, metadata: &Value) -> (String, ObjectRecord) {
    let parsed: ObjectMeta = serde_json::from_value(metadata.clone()).unwrap_or_default();
    let name = parsed.name.clone();
    // `res.metadata` holds the rest; what labels select by is held apart.
    let kept = ObjectMeta {
        name: parsed.name,
        namespace: parsed.namespace,
        labels: parsed.labels,
        ..ObjectMeta::default()
    };
    let json = json!({
        "apiVersion": scope.api_version,
        "kind": scope.kind,
        "metadata": metadata,
    });
    let record = ObjectRecord {
        metadata: kept,
        json,
    };
    (name, record)
}

/// Merge patch of an annotation.
pub(super) fn requested_at_patch(value: &str) -> Value {
    let annotations = Map::from_iter([(REQUESTED_AT.to_owned(), Value::from(value))]);
    json!({"metadata": {"annotations": annotations}})
}

#[cfg(test)]
mod tests {
    use super::receiver as parse;
    use super::*;

    fn metadata() -> Value {
        json!({
            "name": "app", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"a": "b"},
            "finalizers": ["finalizers.fluxcd.io"],
            "annotations": {"reconcile.fluxcd.io/requestedAt": "now", "hookgate.dev/rate": "1"},
        })
    }

    #[test]
    fn what_changes_all_the_time_is_not_part_of_what_a_receiver_asks_for() {
        let data =
            || json!({"spec": {"type": "generic", "secretRef": {"name": "s"}, "resources": []}});
        let (receiver, live, problem) = parse(&metadata(), data());
        let mut other = metadata();
        other["resourceVersion"] = json!("8");
        other["annotations"]["reconcile.fluxcd.io/requestedAt"] = json!("later");
        assert_eq!(parse(&other, data()).0, receiver);
        assert_eq!(problem, None);
        assert_eq!(receiver.metadata.annotations.len(), 1);
        assert_eq!(
            live,
            Live {
                key: ("ns".to_owned(), "app".to_owned()),
                uid: "u".to_owned(),
                resource_version: "7".to_owned(),
                generation: 3,
                is_deleting: false,
                finalizers: vec!["finalizers.fluxcd.io".to_owned()],
                requested_at: Some("now".to_owned()),
                secret: Some("s".to_owned()),
                status: LiveStatus::default(),
            }
        );
    }

    #[test]
    fn fields_of_a_newer_schema_are_left_out() {
        let data = json!({"spec": {
            "type": "generic-oidc", "new": 1, "events": null,
            "resources": [{"kind": "Bucket", "name": "b", "new": {}}],
            "oidcProviders": [{"issuerURL": "https://i", "new": 1,
                "validations": [{"expression": "true", "message": "m", "new": 1}]}],
        }});
        let (receiver, _, problem) = parse(&metadata(), data);
        assert_eq!(problem, None);
        assert_eq!(receiver.spec.resources[0].name, "b");
        assert_eq!(receiver.spec.oidc_providers[0].validations.len(), 1);
    }

    #[test]
    fn a_receiver_without_a_spec_is_a_problem_and_not_a_panic() {
        for data in [
            json!({}),
            json!({"spec": 7}),
            json!({"spec": {"type": []}}),
            Value::Null,
        ] {
            let (receiver, _, problem) = parse(&metadata(), data);
            assert!(problem.is_some());
            assert_eq!(receiver.spec, ReceiverSpec::default());
        }
    }

    #[test]
    fn an_alert_and_a_provider_are_read_without_what_changes_all_the_time() {
        let data = || {
            json!({"spec": {"providerRef": {"name": "chat"}, "summary": null, "new": 1,
                "eventSources": [{"kind": "Bucket", "name": "*", "matchLabels": null}]}})
        };
        let read = alert(&metadata(), data()).unwrap();
        let mut other = metadata();
        other["resourceVersion"] = json!("8");
        other["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = json!("{}");
        assert_eq!(alert(&other, data()).unwrap(), read);
        assert_eq!(read.spec.event_severity, "info");
        assert_eq!(read.spec.event_sources[0].match_labels, None);
        let chat = json!({"spec": {"type": "slack", "address": "https://a.test", "proxy": null}});
        assert_eq!(provider(&metadata(), chat).unwrap().spec.r#type, "slack");
        for bad in [
            json!({"spec": {"type": ["hunter2"]}}),
            json!({}),
            Value::Null,
        ] {
            let problem = provider(&metadata(), bad.clone()).unwrap_err();
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        assert!(alert(&metadata(), json!({"spec": {"eventSources": 1}})).is_err());
        assert_eq!(
            alert(&metadata(), json!({})).unwrap().spec,
            AlertSpec::default()
        );
    }

    #[test]
    fn a_secret_that_cannot_be_decoded_says_so_without_its_value() {
        let good = json!({"data": {"token": "dG9rZW4=", "other": "dG9rZW4=", "empty": null}});
        let secret_read = secret(good).unwrap();
        assert_eq!(secret_read.get("token"), Some(&b"token"[..]));
        assert_eq!(secret_read.get("other"), None);
        for bad in [
            json!({"data": {"token": "!hunter2"}}),
            json!({"data": ["hunter2"]}),
        ] {
            let message = secret(bad).unwrap_err();
            assert!(!message.contains("hunter2"), "{message}");
        }
        let large = "A".repeat(2 * 1024 * 1024);
        assert!(secret(json!({"data": {"token": large}})).is_err());
    }
}
