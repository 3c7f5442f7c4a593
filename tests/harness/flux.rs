//! The kinds that Flux's other controllers own, as custom resources whose content nobody checks.

use serde_json::{Value, json};

use crate::api::plural;

/// Kind, group and version, as Flux serves them.
pub const KINDS: [(&str, &str, &str); 12] = [
    (
        "ArtifactGenerator",
        "source.extensions.fluxcd.io",
        "v1beta1",
    ),
    ("Bucket", "source.toolkit.fluxcd.io", "v1"),
    ("ExternalArtifact", "source.toolkit.fluxcd.io", "v1"),
    ("GitRepository", "source.toolkit.fluxcd.io", "v1"),
    ("HelmChart", "source.toolkit.fluxcd.io", "v1"),
    ("HelmRelease", "helm.toolkit.fluxcd.io", "v2"),
    ("HelmRepository", "source.toolkit.fluxcd.io", "v1"),
    ("ImagePolicy", "image.toolkit.fluxcd.io", "v1"),
    ("ImageRepository", "image.toolkit.fluxcd.io", "v1"),
    ("ImageUpdateAutomation", "image.toolkit.fluxcd.io", "v1"),
    ("Kustomization", "kustomize.toolkit.fluxcd.io", "v1"),
    ("OCIRepository", "source.toolkit.fluxcd.io", "v1"),
];

/// The definitions of all [`KINDS`].
#[must_use]
pub fn definitions() -> Vec<Value> {
    KINDS
        .map(|(kind, group, version)| definition(kind, group, version))
        .into()
}

/// An object of one of the [`KINDS`].
///
/// # Panics
///
/// When it is none of them.
#[must_use]
pub fn object(kind: &str, namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": api_version(kind),
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
    })
}

/// `group/version` of one of the [`KINDS`].
///
/// # Panics
///
/// When it is none of them.
#[must_use]
pub fn api_version(kind: &str) -> String {
    let (_, group, version) = KINDS
        .iter()
        .find(|(name, ..)| *name == kind)
        .unwrap_or_else(|| panic!("{kind:?} is no kind of Flux"));
    format!("{group}/{version}")
}

fn definition(kind: &str, group: &str, version: &str) -> Value {
    let plural = plural(kind);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "names": {
                "kind": kind,
                "listKind": format!("{kind}List"),
                "plural": plural,
                "singular": kind.to_lowercase(),
            },
            "scope": "Namespaced",
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": true,
                }},
            }],
        },
    })
}

/// What Flux installs, as far as the README's patches touch it.
#[must_use]
pub fn components() -> [Value; 4] {
    let labels = json!({"app": "notification-controller"});
    [
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "notification-controller", "namespace": "flux-system"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "manager", "image": "none"}]},
                },
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "webhook-receiver", "namespace": "flux-system"},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": "http-webhook"}]},
        }),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "notification-controller", "namespace": "flux-system"},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": "http"}]},
        }),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "allow-webhooks", "namespace": "flux-system"},
            "spec": {
                "podSelector": {"matchLabels": labels},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"namespaceSelector": {}}]}],
            },
        }),
    ]
}
