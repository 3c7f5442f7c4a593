//! `Receiver`, notification.toolkit.fluxcd.io/v1.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::duration;
use crate::api::meta::{ObjectMeta, is_label, is_object_name};

/// The API group and version of Receivers.
pub const API_VERSION: &str = "notification.toolkit.fluxcd.io/v1";

/// The kinds of resources that the custom resource's schema takes, and the API version of each
/// where nc has a default.
pub const RESOURCE_KINDS: &[(&str, Option<&str>)] = &[
    ("Bucket", Some("source.toolkit.fluxcd.io/v1")),
    ("GitRepository", Some("source.toolkit.fluxcd.io/v1")),
    ("Kustomization", None),
    ("HelmRelease", None),
    ("HelmChart", Some("source.toolkit.fluxcd.io/v1")),
    ("HelmRepository", Some("source.toolkit.fluxcd.io/v1")),
    ("ImageRepository", Some("image.toolkit.fluxcd.io/v1")),
    ("ImagePolicy", None),
    ("ImageUpdateAutomation", None),
    ("OCIRepository", Some("source.toolkit.fluxcd.io/v1")),
    (
        "ArtifactGenerator",
        Some("source.extensions.fluxcd.io/v1beta1"),
    ),
    ("ExternalArtifact", None),
];

/// A Receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receiver {
    /// Metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Spec.
    pub spec: ReceiverSpec,
}

/// `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiverSpec {
    /// The receiver type's name.
    pub r#type: String,
    /// How often it is reconciled, a Go duration.
    #[serde(default)]
    pub interval: Option<String>,
    /// Events that are let through; empty for all.
    #[serde(default)]
    pub events: Vec<String>,
    /// What hooks reconcile.
    pub resources: Vec<ResourceSpec>,
    /// CEL over every resource.
    #[serde(default)]
    pub resource_filter: Option<String>,
    /// The Secret, in the Receiver's namespace.
    #[serde(default)]
    pub secret_ref: Option<SecretRef>,
    /// Issuers of `generic-oidc`.
    #[serde(default)]
    pub oidc_providers: Vec<OidcProvider>,
    /// Whether hooks are refused for now.
    #[serde(default)]
    pub suspend: bool,
}

/// `spec.secretRef`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// Name.
    pub name: String,
}

/// `spec.resources[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceSpec {
    /// `group/version`; some kinds have a default.
    #[serde(default)]
    pub api_version: Option<String>,
    /// Kind.
    pub kind: String,
    /// Name, or `*` for all that `match_labels` match.
    pub name: String,
    /// Namespace; the Receiver's if empty.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Labels, with `*`.
    #[serde(default)]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// CEL over this entry's resources.
    #[serde(default)]
    pub filter: Option<String>,
}

/// `spec.oidcProviders[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OidcProvider {
    /// Issuer.
    #[serde(rename = "issuerURL")]
    pub issuer_url: String,
    /// Audience; `notification-controller` if empty.
    #[serde(default)]
    pub audience: Option<String>,
    /// Named expressions.
    #[serde(default)]
    pub variables: Vec<Variable>,
    /// What must hold.
    #[serde(default)]
    pub validations: Vec<Validation>,
}

/// `spec.oidcProviders[].variables[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Name.
    pub name: String,
    /// CEL.
    pub expression: String,
}

/// `spec.oidcProviders[].validations[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// CEL.
    pub expression: String,
    /// What is said when it does not hold.
    pub message: String,
}

/// A field, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// As `spec.resources[0].kind`; empty where the message stands for itself.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

/// How often a Receiver is reconciled that does not say: the custom resource's default.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(600);

impl Receiver {
    /// How often it is reconciled; zero for never.
    pub fn interval(&self) -> Duration {
        let given = self.spec.interval.as_deref();
        given.map_or(DEFAULT_INTERVAL, |text| {
            duration::parse(text).unwrap_or(DEFAULT_INTERVAL)
        })
    }

    /// Checks what the custom resource's schema and nc's reconciler check. With `any_kind` it is
    /// left to the API server's schema, which may be newer, what kinds there are.
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn validate(&self, any_kind: bool) -> Result<(), Vec<FieldError>> {
        let mut errors = Errors::default();
        let spec = &self.spec;
        if let Some(interval) = &spec.interval
            && duration::parse(interval).is_err()
        {
            errors.add("spec.interval", &duration::DurationError.to_string());
        }
        credentials(spec, &mut errors);
        for (i, entry) in spec.resources.iter().enumerate() {
            let at = format!("spec.resources[{i}]");
            kind(&entry.kind, any_kind, &at, &mut errors);
            resource(entry, &at, &mut errors);
        }
        providers(&spec.oidc_providers, &mut errors);
        errors.done()
    }
}

#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, field: &str, message: &str) {
        self.0.push(FieldError {
            field: field.to_owned(),
            message: message.to_owned(),
        });
    }

    fn done(self) -> Result<(), Vec<FieldError>> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.0)
        }
    }
}

fn credentials(spec: &ReceiverSpec, errors: &mut Errors) {
    let is_oidc = spec.r#type == "generic-oidc";
    let rules = [
        (
            is_oidc && spec.oidc_providers.is_empty(),
            "generic-oidc receiver requires at least one oidcProvider",
        ),
        (
            !is_oidc && !spec.oidc_providers.is_empty(),
            "oidcProviders can only be set when type is generic-oidc",
        ),
        (
            is_oidc && spec.secret_ref.is_some(),
            "secretRef cannot be set when type is generic-oidc",
        ),
        (
            !is_oidc && spec.secret_ref.is_none(),
            "secretRef is required when type is not generic-oidc",
        ),
    ];
    for (is_broken, message) in rules {
        if is_broken {
            errors.add("", message);
        }
    }
}

fn kind(name: &str, any_kind: bool, at: &str, errors: &mut Errors) {
    let kinds = RESOURCE_KINDS.iter().map(|(kind, _)| *kind);
    if any_kind && !is_kind(name) {
        errors.add(&format!("{at}.kind"), "not the name of a kind");
    } else if !any_kind && !kinds.clone().any(|kind| kind == name) {
        let kinds: Vec<_> = kinds.collect();
        let message = format!("{name:?} is not one of {}", kinds.join(", "));
        errors.add(&format!("{at}.kind"), &message);
    }
}

fn is_kind(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn resource(entry: &ResourceSpec, at: &str, errors: &mut Errors) {
    if entry.name != "*" && !is_object_name(&entry.name) {
        errors.add(
            &format!("{at}.name"),
            "not a name of 1 to 253 characters, and not \"*\"",
        );
    }
    if entry
        .namespace
        .as_ref()
        .is_some_and(|namespace| !is_label(namespace))
    {
        errors.add(&format!("{at}.namespace"), "not the name of a namespace");
    }
    if entry
        .api_version
        .as_ref()
        .is_some_and(|version| !version.is_empty() && !is_api_version(version))
    {
        errors.add(
            &format!("{at}.apiVersion"),
            "not group/version, such as source.toolkit.fluxcd.io/v1",
        );
    }
}

/// Whether an API version can be put into a URL as it is.
fn is_api_version(text: &str) -> bool {
    let mut parts = text.split('/');
    let (first, second, third) = (parts.next(), parts.next(), parts.next());
    first.is_some_and(is_object_name) && second.is_none_or(is_label) && third.is_none()
}

fn providers(providers: &[OidcProvider], errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, provider) in providers.iter().enumerate() {
        let at = format!("spec.oidcProviders[{i}]");
        let url = &provider.issuer_url;
        if url.is_empty() {
            errors.add(&format!("{at}.issuerURL"), "issuerURL is required");
        } else if !url.starts_with("https://") && !url.starts_with("http://") {
            errors.add(
                &format!("{at}.issuerURL"),
                "issuerURL must start with http:// or https://",
            );
        } else if !seen.insert(url) {
            errors.add(&format!("{at}.issuerURL"), "issuerURL is a duplicate");
        }
        if provider.validations.is_empty() {
            errors.add(
                &format!("{at}.validations"),
                "at least one validation is required",
            );
        }
        for (n, variable) in provider.variables.iter().enumerate() {
            if variable.name.is_empty() || variable.expression.is_empty() {
                errors.add(
                    &format!("{at}.variables[{n}]"),
                    "name and expression are required",
                );
            }
        }
        for (n, validation) in provider.validations.iter().enumerate() {
            if validation.expression.is_empty() || validation.message.is_empty() {
                errors.add(
                    &format!("{at}.validations[{n}]"),
                    "expression and message are required",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(change: impl FnOnce(&mut ReceiverSpec)) -> Vec<String> {
        let mut receiver = Receiver::default();
        receiver.spec.r#type = "github".to_owned();
        receiver.spec.secret_ref = Some(SecretRef {
            name: "token".to_owned(),
        });
        receiver.spec.resources = vec![ResourceSpec {
            kind: "GitRepository".to_owned(),
            name: "app".to_owned(),
            ..ResourceSpec::default()
        }];
        change(&mut receiver.spec);
        let errors = receiver.validate(false).err().unwrap_or_default();
        errors.iter().map(ToString::to_string).collect()
    }

    fn provider() -> OidcProvider {
        OidcProvider {
            issuer_url: "https://issuer".to_owned(),
            validations: vec![Validation {
                expression: "true".to_owned(),
                message: "m".to_owned(),
            }],
            ..OidcProvider::default()
        }
    }

    #[test]
    fn a_sound_receiver_passes() {
        assert!(errors(|_| {}).is_empty());
    }

    #[test]
    fn each_broken_rule_is_named_with_its_field() {
        assert_eq!(
            errors(|spec| spec.resources[0].kind = "Pod".to_owned())[0]
                .split(" is not")
                .next(),
            Some("spec.resources[0].kind: \"Pod\"")
        );
        assert_eq!(
            errors(|spec| spec.resources[0].api_version = Some("a/b/../c".to_owned())),
            [
                "spec.resources[0].apiVersion: not group/version, such as source.toolkit.fluxcd.io/v1"
            ]
        );
        assert_eq!(
            errors(|spec| spec.resources[0].namespace = Some("a/b".to_owned())),
            ["spec.resources[0].namespace: not the name of a namespace"]
        );
        assert_eq!(
            errors(|spec| spec.interval = Some("10".to_owned())),
            ["spec.interval: not a duration such as 10m, 1h30m or 1.5s, of at most a year"]
        );
        assert_eq!(
            errors(|spec| spec.oidc_providers = vec![provider(), provider()]),
            [
                "oidcProviders can only be set when type is generic-oidc",
                "spec.oidcProviders[1].issuerURL: issuerURL is a duplicate"
            ]
        );
    }

    #[test]
    fn credentials_and_type_belong_together() {
        assert_eq!(
            errors(|spec| spec.secret_ref = None),
            ["secretRef is required when type is not generic-oidc"]
        );
        assert_eq!(
            errors(|spec| spec.r#type = "generic-oidc".to_owned()),
            [
                "generic-oidc receiver requires at least one oidcProvider",
                "secretRef cannot be set when type is generic-oidc"
            ]
        );
    }
}
