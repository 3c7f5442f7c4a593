//! Which lists Alerts look at for the labels of event sources. Pure.

use crate::api::alert::{Alert, EventSource};
use crate::api::meta::is_label;
use crate::api::reference::group;
use crate::notify::select;
use crate::objects::Scope;
use crate::trigger::select::Reach;

/// The kinds of event sources, in the version that Flux 2.8 serves.
const VERSIONS: [(&str, &str); 12] = [
    ("ArtifactGenerator", "source.extensions.fluxcd.io/v1beta1"),
    ("Bucket", "source.toolkit.fluxcd.io/v1"),
    ("ExternalArtifact", "source.toolkit.fluxcd.io/v1"),
    ("GitRepository", "source.toolkit.fluxcd.io/v1"),
    ("HelmChart", "source.toolkit.fluxcd.io/v1"),
    ("HelmRelease", "helm.toolkit.fluxcd.io/v2"),
    ("HelmRepository", "source.toolkit.fluxcd.io/v1"),
    ("ImagePolicy", "image.toolkit.fluxcd.io/v1"),
    ("ImageRepository", "image.toolkit.fluxcd.io/v1"),
    ("ImageUpdateAutomation", "image.toolkit.fluxcd.io/v1"),
    ("Kustomization", "kustomize.toolkit.fluxcd.io/v1"),
    ("OCIRepository", "source.toolkit.fluxcd.io/v1"),
];

/// The lists that the labels of an Alert's sources are looked up in.
pub(super) fn scopes(alert: &Alert, reach: &Reach) -> Vec<Scope> {
    if alert.spec.suspend {
        return Vec::new();
    }
    let labelled = select::labelled(alert, reach.no_cross_namespace_refs);
    let scopes = labelled.into_iter().filter_map(|(source, place)| {
        let namespace = match (place, &reach.only_namespace) {
            (None, None) => String::new(),
            (None, Some(only)) => only.clone(),
            (Some(place), Some(only)) if place != *only => return None,
            // What is not valid may not get into a URL.
            (Some(place), _) => is_label(&place).then_some(place)?,
        };
        Some(Scope {
            api_version: version(source)?.to_owned(),
            kind: source.kind.clone(),
            namespace,
        })
    });
    scopes.collect()
}

/// The version that the source names, if it is one of its kind's group; else the usual one.
fn version(source: &EventSource) -> Option<&str> {
    let (_, usual) = VERSIONS.iter().find(|(kind, _)| *kind == source.kind)?;
    let named = source.api_version.as_deref().filter(|named| {
        group(named) == group(usual) && named.split_once('/').is_some_and(|(_, v)| is_label(v))
    });
    Some(named.unwrap_or(usual))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::receiver::RESOURCE_KINDS;

    fn alert(source: &serde_json::Value) -> Alert {
        let spec = json!({"providerRef": {"name": "p"}, "eventSources": [source]});
        let mut alert = Alert {
            spec: serde_json::from_value(spec).unwrap(),
            ..Alert::default()
        };
        alert.metadata.namespace = "ns".to_owned();
        alert
    }

    fn shown(alert: &Alert, reach: &Reach) -> Vec<String> {
        let scopes = scopes(alert, reach).into_iter();
        scopes
            .map(|s| format!("{} {} {}", s.api_version, s.kind, s.namespace))
            .collect()
    }

    #[test]
    fn every_kind_of_flux_has_a_version() {
        let mut kinds: Vec<&str> = RESOURCE_KINDS.iter().map(|(kind, _)| *kind).collect();
        kinds.sort_unstable();
        assert_eq!(VERSIONS.map(|(kind, _)| kind).to_vec(), kinds);
    }

    #[test]
    fn only_sources_with_labels_are_watched_and_only_where_they_may_be() {
        let free = Reach::default();
        let bound = Reach {
            only_namespace: Some("ns".to_owned()),
            ..Reach::default()
        };
        let labels = json!({"app": "x"});
        let source = |more: serde_json::Value| {
            let mut source = json!({"kind": "Kustomization", "name": "*", "matchLabels": labels});
            for (key, value) in more.as_object().unwrap() {
                source[key] = value.clone();
            }
            alert(&source)
        };
        let none: [&str; 0] = [];
        let there = source(json!({}));
        assert_eq!(
            shown(&there, &free),
            ["kustomize.toolkit.fluxcd.io/v1 Kustomization ns"]
        );
        assert_eq!(shown(&source(json!({"matchLabels": null})), &free), none);
        assert_eq!(shown(&source(json!({"kind": "Goose"})), &free), none);
        assert_eq!(shown(&source(json!({"namespace": "../x"})), &free), none);
        let elsewhere = source(json!({"namespace": "b"}));
        assert_eq!(
            shown(&elsewhere, &free),
            ["kustomize.toolkit.fluxcd.io/v1 Kustomization b"]
        );
        assert_eq!(shown(&elsewhere, &bound), none);
        for (named, want) in [
            (
                "kustomize.toolkit.fluxcd.io/v1beta2",
                "kustomize.toolkit.fluxcd.io/v1beta2",
            ),
            ("apps/v1", "kustomize.toolkit.fluxcd.io/v1"),
            (
                "kustomize.toolkit.fluxcd.io/..",
                "kustomize.toolkit.fluxcd.io/v1",
            ),
        ] {
            let named = source(json!({"apiVersion": named}));
            assert_eq!(shown(&named, &free), [format!("{want} Kustomization ns")]);
        }
        let mut everywhere = source(json!({}));
        let annotations = &mut everywhere.metadata.annotations;
        annotations.insert("hookgate.dev/namespaces".to_owned(), "*".to_owned());
        assert_eq!(
            shown(&everywhere, &free),
            ["kustomize.toolkit.fluxcd.io/v1 Kustomization "]
        );
        assert_eq!(
            shown(&everywhere, &bound),
            ["kustomize.toolkit.fluxcd.io/v1 Kustomization ns"]
        );
        everywhere.spec.suspend = true;
        assert_eq!(shown(&everywhere, &free), none);
    }
}
