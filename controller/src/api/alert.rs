//! `Alert`, notification.toolkit.fluxcd.io/v1beta3: which events go to which Provider.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::meta::ObjectMeta;

/// The API group and version of Alerts and Providers.
pub const API_VERSION: &str = "notification.toolkit.fluxcd.io/v1beta3";

/// An Alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Spec; the schema does not ask for one.
    #[serde(default)]
    pub spec: AlertSpec,
}

/// `spec`. Unknown fields are passed over: the API server prunes what its schema does not know.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertSpec {
    /// The Provider, in the Alert's namespace.
    pub provider_ref: ProviderRef,
    /// What events are about; the first that matches counts.
    pub event_sources: Vec<EventSource>,
    /// `info` takes every event, `error` only errors.
    #[serde(default = "info")]
    pub event_severity: String,
    /// Regular expressions of which one must match the message; empty for all.
    #[serde(default)]
    pub inclusion_list: Vec<String>,
    /// Regular expressions of which none may match the message.
    #[serde(default)]
    pub exclusion_list: Vec<String>,
    /// Added to the event's metadata.
    #[serde(default)]
    pub event_metadata: BTreeMap<String, String>,
    /// Deprecated: `summary` of the event's metadata.
    #[serde(default)]
    pub summary: String,
    /// Whether it takes no events for now.
    #[serde(default)]
    pub suspend: bool,
}

impl Default for AlertSpec {
    fn default() -> Self {
        Self {
            provider_ref: ProviderRef::default(),
            event_sources: Vec::new(),
            event_severity: info(),
            inclusion_list: Vec::new(),
            exclusion_list: Vec::new(),
            event_metadata: BTreeMap::new(),
            summary: String::new(),
            suspend: false,
        }
    }
}

/// `spec.providerRef`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct ProviderRef {
    /// Name.
    pub name: String,
}

/// `spec.eventSources[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventSource {
    /// Kept, but not compared: nc does not either.
    #[serde(default)]
    pub api_version: Option<String>,
    /// Kind.
    pub kind: String,
    /// Name, or `*`.
    pub name: String,
    /// Namespace; the Alert's if empty.
    #[serde(default)]
    pub namespace: String,
    /// Labels of the live object. Present but empty is not the same as absent: the object must
    /// then exist.
    #[serde(default)]
    pub match_labels: Option<BTreeMap<String, String>>,
}

fn info() -> String {
    "info".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_read_as_its_schema_describes_it() {
        let alert: Alert = serde_json::from_str(
            r#"{"apiVersion":"notification.toolkit.fluxcd.io/v1beta3","kind":"Alert",
                "metadata":{"name":"on-call","namespace":"apps"},"status":{},
                "spec":{"providerRef":{"name":"slack"},"eventMetadata":{"cluster":"prod"},"new":1,
                  "eventSources":[{"kind":"Kustomization","name":"*","matchLabels":{}}]}}"#,
        )
        .unwrap();
        let want = AlertSpec {
            provider_ref: ProviderRef {
                name: "slack".to_owned(),
            },
            event_sources: vec![EventSource {
                kind: "Kustomization".to_owned(),
                name: "*".to_owned(),
                match_labels: Some(BTreeMap::new()),
                ..EventSource::default()
            }],
            event_severity: "info".to_owned(),
            event_metadata: [("cluster".to_owned(), "prod".to_owned())].into(),
            ..AlertSpec::default()
        };
        assert_eq!(alert.spec, want);
        let bare: Alert = serde_json::from_str(r#"{"metadata":{"name":"a"}}"#).unwrap();
        assert_eq!(bare.spec, AlertSpec::default());
    }
}
