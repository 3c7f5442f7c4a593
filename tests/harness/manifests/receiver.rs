//! A Receiver with its Secret, as a value: what the manifests say, and what a sender must know.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};

use super::{NAMESPACE, head, map, quoted, secret};
use crate::forge::hex;

/// An issuer that a generic-oidc Receiver trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcProvider {
    /// `issuerURL`.
    pub issuer_url: String,
    /// `audience`; Flux's default is `notification-controller`.
    pub audience: Option<String>,
    /// CEL over `claims`, each with the message of its failure.
    pub validations: Vec<(String, String)>,
}

/// An object that a Receiver names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its kind; the apiVersion follows from it.
    pub kind: String,
    /// Its namespace; the Receiver's if `None`.
    pub namespace: Option<String>,
    /// Its name, or `*`.
    pub name: String,
    /// Labels that `*` selects by.
    pub match_labels: Vec<(String, String)>,
    /// A CEL filter of its own.
    pub filter: Option<String>,
}

impl Resource {
    /// An object of the Receiver's namespace, by name.
    #[must_use]
    pub fn new(kind: &str, name: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            namespace: None,
            name: name.to_owned(),
            match_labels: Vec::new(),
            filter: None,
        }
    }
}

/// A Receiver with its Secret: what the manifests say, and what a sender must know to sign for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.type`.
    pub receiver_type: String,
    /// The Secret's `token`.
    pub token: Vec<u8>,
    /// The Secret's other keys, such as `signing-token`, `token-previous`, `email`, `audience`.
    pub secret: Vec<(String, String)>,
    /// `metadata.annotations`.
    pub annotations: Vec<(String, String)>,
    /// `spec.events`.
    pub events: Vec<String>,
    /// `spec.resources`.
    pub resources: Vec<Resource>,
    /// `spec.resourceFilter`.
    pub resource_filter: Option<String>,
    /// `spec.oidcProviders`; a Receiver that has some has no Secret.
    pub oidc_providers: Vec<OidcProvider>,
    /// `spec.suspend`.
    pub suspend: bool,
}

impl Receiver {
    /// A Receiver of [`NAMESPACE`] that names the GitRepository of its own name, with a token of its own and what
    /// else its type cannot do without (an OIDC provider apart: [`Receiver::oidc_provider`]).
    #[must_use]
    pub fn new(receiver_type: &str, name: &str) -> Self {
        let salt = digest(&SHA256, format!("token of {name}").as_bytes());
        let receiver = Self {
            namespace: NAMESPACE.to_owned(),
            name: name.to_owned(),
            receiver_type: receiver_type.to_owned(),
            token: hex(&salt.as_ref()[..20]).into_bytes(),
            secret: Vec::new(),
            annotations: Vec::new(),
            events: Vec::new(),
            resources: vec![Resource::new("GitRepository", name)],
            resource_filter: None,
            oidc_providers: Vec::new(),
            suspend: false,
        };
        match receiver_type {
            "gcr" => receiver
                .secret(
                    "email",
                    "pubsub-push@harbour-lights.iam.gserviceaccount.com",
                )
                .secret("audience", "https://hooks.harbour-lights.example/hook"),
            // Its path hashes no token.
            "generic-oidc" => receiver.token(""),
            _ => receiver,
        }
    }

    /// Another token.
    #[must_use]
    pub fn token(mut self, token: impl AsRef<[u8]>) -> Self {
        self.token = token.as_ref().to_vec();
        self
    }

    /// Another key of the Secret, replaced if there.
    #[must_use]
    pub fn secret(mut self, key: &str, value: &str) -> Self {
        self.secret.retain(|(held, _)| held != key);
        self.secret.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The value of another key of the Secret.
    #[must_use]
    pub fn secret_value(&self, key: &str) -> Option<&str> {
        self.secret
            .iter()
            .find(|(held, _)| held == key)
            .map(|(_, value)| value.as_str())
    }

    /// An annotation, replaced if there.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.retain(|(held, _)| held != key);
        self.annotations.push((key.to_owned(), value.to_owned()));
        self
    }

    /// One more event of the allow-list.
    #[must_use]
    pub fn event(mut self, event: &str) -> Self {
        self.events.push(event.to_owned());
        self
    }

    /// These resources instead.
    #[must_use]
    pub fn resources(mut self, resources: Vec<Resource>) -> Self {
        self.resources = resources;
        self
    }

    /// A `resourceFilter`.
    #[must_use]
    pub fn resource_filter(mut self, expression: &str) -> Self {
        self.resource_filter = Some(expression.to_owned());
        self
    }

    /// One more trusted issuer, with a validation that any token of ours passes.
    #[must_use]
    pub fn oidc_provider(mut self, issuer_url: &str) -> Self {
        self.oidc_providers.push(OidcProvider {
            issuer_url: issuer_url.to_owned(),
            audience: None,
            validations: vec![(
                "claims.repository == 'harbour-lights/fleet'".to_owned(),
                "the token is not of this repository".to_owned(),
            )],
        });
        self
    }

    /// Suspended.
    #[must_use]
    pub fn suspended(mut self) -> Self {
        self.suspend = true;
        self
    }

    /// The path of its hooks: `/hook/` and SHA-256 over token, name and namespace in lower-case hex.
    #[must_use]
    pub fn path(&self) -> String {
        self.path_with(&self.token)
    }

    /// The path that another token gives, such as `token-previous`.
    #[must_use]
    pub fn path_with(&self, token: &[u8]) -> String {
        let salted = [token, self.name.as_bytes(), self.namespace.as_bytes()].concat();
        format!("/hook/{}", hex(digest(&SHA256, &salted).as_ref()))
    }

    /// `GitRepository/namespace/name` for each resource that is named, as reconcile requests are listed.
    #[must_use]
    pub fn resource_names(&self) -> Vec<String> {
        self.resources
            .iter()
            .map(|resource| {
                let namespace = resource.namespace.as_ref().unwrap_or(&self.namespace);
                format!("{}/{namespace}/{}", resource.kind, resource.name)
            })
            .collect()
    }

    /// The Receiver and its Secret as one YAML file.
    #[must_use]
    pub fn manifest(&self) -> String {
        if self.oidc_providers.is_empty() && self.receiver_type != "generic-oidc" {
            format!(
                "{}---\n{}",
                self.receiver_manifest(),
                self.secret_manifest()
            )
        } else {
            self.receiver_manifest()
        }
    }

    /// The Receiver alone.
    #[must_use]
    pub fn receiver_manifest(&self) -> String {
        let mut yaml = head(
            "notification.toolkit.fluxcd.io/v1",
            "Receiver",
            self.namespace.as_str(),
            &self.name,
        );
        map(&mut yaml, "  annotations", &self.annotations);
        let _infallible = write!(yaml, "spec:\n  type: {}\n", self.receiver_type);
        if self.suspend {
            yaml.push_str("  suspend: true\n");
        }
        if !self.events.is_empty() {
            yaml.push_str("  events:\n");
            for event in &self.events {
                let _infallible = writeln!(yaml, "    - {}", quoted(event));
            }
        }
        if let Some(filter) = &self.resource_filter {
            let _infallible = writeln!(yaml, "  resourceFilter: {}", quoted(filter));
        }
        if self.receiver_type != "generic-oidc" {
            let _infallible = write!(yaml, "  secretRef:\n    name: {}\n", self.secret_name());
        }
        if !self.oidc_providers.is_empty() {
            yaml.push_str("  oidcProviders:\n");
            for provider in &self.oidc_providers {
                push_provider(&mut yaml, provider);
            }
        }
        yaml.push_str(if self.resources.is_empty() {
            "  resources: []\n"
        } else {
            "  resources:\n"
        });
        for resource in &self.resources {
            push_resource(&mut yaml, resource);
        }
        yaml
    }

    /// The Secret alone.
    #[must_use]
    pub fn secret_manifest(&self) -> String {
        let mut keys = vec![("token".to_owned(), self.token.clone())];
        keys.extend(
            self.secret
                .iter()
                .map(|(key, value)| (key.clone(), value.clone().into_bytes())),
        );
        secret(&self.namespace, &self.secret_name(), &keys)
    }

    /// The name of its Secret.
    #[must_use]
    pub fn secret_name(&self) -> String {
        format!("{}-token", self.name)
    }
}

fn push_resource(yaml: &mut String, resource: &Resource) {
    let _infallible = writeln!(
        yaml,
        "    - kind: {}\n      name: {}",
        resource.kind,
        quoted(&resource.name)
    );
    let group = match resource.kind.as_str() {
        "Kustomization" => "kustomize.toolkit.fluxcd.io/v1",
        "HelmRelease" => "helm.toolkit.fluxcd.io/v2",
        "ImageRepository" | "ImagePolicy" | "ImageUpdateAutomation" => "image.toolkit.fluxcd.io/v1",
        _ => "source.toolkit.fluxcd.io/v1",
    };
    let _infallible = writeln!(yaml, "      apiVersion: {group}");
    if let Some(namespace) = &resource.namespace {
        let _infallible = writeln!(yaml, "      namespace: {}", quoted(namespace));
    }
    map(yaml, "      matchLabels", &resource.match_labels);
    if let Some(filter) = &resource.filter {
        let _infallible = writeln!(yaml, "      filter: {}", quoted(filter));
    }
}

fn push_provider(yaml: &mut String, provider: &OidcProvider) {
    let _infallible = writeln!(yaml, "    - issuerURL: {}", quoted(&provider.issuer_url));
    if let Some(audience) = &provider.audience {
        let _infallible = writeln!(yaml, "      audience: {}", quoted(audience));
    }
    yaml.push_str("      validations:\n");
    for (expression, message) in &provider.validations {
        let (expression, message) = (quoted(expression), quoted(message));
        let _infallible = writeln!(
            yaml,
            "        - expression: {expression}\n          message: {message}"
        );
    }
}
