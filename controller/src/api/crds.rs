//! The custom resource definitions of the objects we read, one file of YAML each: in names, schema, rules and columns
//! what Flux installs.

/// Receiver, `notification.toolkit.fluxcd.io/v1`.
pub const RECEIVERS: &str = include_str!("crds/receivers.yaml");

/// Alert, `notification.toolkit.fluxcd.io/v1beta3`.
pub const ALERTS: &str = include_str!("crds/alerts.yaml");

/// Provider, `notification.toolkit.fluxcd.io/v1beta3`.
pub const PROVIDERS: &str = include_str!("crds/providers.yaml");

/// All three as one stream of YAML documents.
#[must_use]
pub fn manifest() -> String {
    [ALERTS, PROVIDERS, RECEIVERS]
        .map(|document| format!("---\n{document}"))
        .concat()
}

#[cfg(test)]
mod tests {
    use hook::receiver::RECEIVER_TYPES;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::receiver;
    use crate::provider::{self, PROVIDER_TYPES};

    fn parse(document: &str) -> Value {
        serde_saphyr::from_str(document).unwrap()
    }

    /// The schema of `spec` of the only version.
    fn spec(document: &str) -> Value {
        let crd = parse(document);
        let versions = crd["spec"]["versions"].as_array().unwrap();
        assert_eq!(versions.len(), 1);
        versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
    }

    #[test]
    fn the_manifest_holds_a_definition_of_each_kind() {
        let manifest = manifest();
        let named: Vec<(Value, Value)> = manifest
            .split("---\n")
            .filter(|document| !document.is_empty())
            .map(parse)
            .map(|crd| {
                let served = format!(
                    "{}/{} {}",
                    crd["spec"]["group"].as_str().unwrap(),
                    crd["spec"]["versions"][0]["name"].as_str().unwrap(),
                    crd["spec"]["names"]["kind"].as_str().unwrap()
                );
                (crd["metadata"]["name"].clone(), json!(served))
            })
            .collect();
        let group = "notification.toolkit.fluxcd.io";
        assert_eq!(
            named,
            [
                (
                    json!(format!("alerts.{group}")),
                    json!(format!("{group}/v1beta3 Alert"))
                ),
                (
                    json!(format!("providers.{group}")),
                    json!(format!("{group}/v1beta3 Provider"))
                ),
                (
                    json!(format!("receivers.{group}")),
                    json!(format!("{} Receiver", receiver::API_VERSION))
                ),
            ]
        );
    }

    #[test]
    fn the_receiver_types_are_those_of_the_core() {
        let names: Vec<&str> = RECEIVER_TYPES.iter().map(|held| held.name()).collect();
        assert_eq!(spec(RECEIVERS)["properties"]["type"]["enum"], json!(names));
    }

    #[test]
    fn the_kinds_of_resources_and_of_event_sources_are_those_that_we_read() {
        let kinds: Vec<&str> = receiver::RESOURCE_KINDS
            .iter()
            .map(|(kind, _)| *kind)
            .collect();
        let resources = &spec(RECEIVERS)["properties"]["resources"];
        let sources = &spec(ALERTS)["properties"]["eventSources"];
        assert_eq!(
            [resources, sources].map(|list| list["items"]["properties"]["kind"]["enum"].clone()),
            [json!(kinds), json!(kinds)]
        );
    }

    #[test]
    fn the_provider_types_are_the_thirty_four_of_flux_and_ours() {
        let types = &spec(PROVIDERS)["properties"]["type"]["enum"];
        let mut known: Vec<&str> = types
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        assert_eq!(known.len(), 34);
        known.extend(provider::EXTRA_TYPES);
        known.sort_unstable();
        let mut held: Vec<&str> = PROVIDER_TYPES.iter().map(|held| held.name()).collect();
        held.sort_unstable();
        assert_eq!(held, known);
    }

    #[test]
    fn a_receiver_with_every_field_of_the_schema_is_one_that_we_read() {
        let filled = fill(&spec(RECEIVERS));
        let read: receiver::ReceiverSpec = serde_json::from_value(filled.clone()).unwrap();
        assert_eq!(
            (
                read.r#type.as_str(),
                read.oidc_providers.len(),
                read.suspend
            ),
            ("generic", 1, true),
            "{filled}"
        );
    }

    /// A value with every property that a schema names.
    fn fill(schema: &Value) -> Value {
        match schema["type"].as_str().unwrap() {
            "array" => json!([fill(&schema["items"])]),
            "boolean" => json!(true),
            "object" => match schema["properties"].as_object() {
                Some(properties) => properties
                    .iter()
                    .map(|(name, schema)| (name.clone(), fill(schema)))
                    .collect(),
                None => json!({}),
            },
            _ => schema["enum"].get(0).cloned().unwrap_or_else(|| json!("x")),
        }
    }
}
