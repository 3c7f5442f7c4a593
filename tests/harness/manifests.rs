//! A folder of YAML manifests, as an operator would keep it, and the Receivers that tests write into it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};

use crate::forge::hex;

/// The 13 receiver types of Flux, in alphabetical order.
pub const TYPES: [&str; 13] = [
    "acr",
    "bitbucket",
    "cdevents",
    "dockerhub",
    "gcr",
    "generic",
    "generic-hmac",
    "generic-oidc",
    "github",
    "gitlab",
    "harbor",
    "nexus",
    "quay",
];

/// The namespace that [`standard`] Receivers live in.
pub const NAMESPACE: &str = "apps";

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

/// One Receiver of each type, named after it, and `gitlab-signed` and `generic-hmac-signed`, whose Secrets hold a
/// `signing-token`. The generic-oidc one trusts `issuer_url`.
#[must_use]
pub fn standard(issuer_url: &str) -> Vec<Receiver> {
    let mut receivers: Vec<Receiver> = TYPES
        .iter()
        .map(|receiver_type| {
            let receiver = Receiver::new(receiver_type, receiver_type);
            match *receiver_type {
                "generic-oidc" => receiver.oidc_provider(issuer_url),
                "github" => receiver.event("push").event("ping"),
                "gitlab" => receiver.event("Push Hook").event("Tag Push Hook"),
                "bitbucket" => receiver.event("repo:refs_changed"),
                _ => receiver,
            }
        })
        .collect();
    for receiver_type in ["gitlab", "generic-hmac"] {
        let name = format!("{receiver_type}-signed");
        receivers.push(
            Receiver::new(receiver_type, &name).secret("signing-token", &signing_token(&name)),
        );
    }
    receivers
}

/// A `whsec_` key of 32 bytes, as GitLab and Standard Webhooks senders make them.
#[must_use]
pub fn signing_token(seed: &str) -> String {
    use base64::Engine as _;
    let key = digest(&SHA256, format!("signing token of {seed}").as_bytes());
    format!(
        "whsec_{}",
        base64::engine::general_purpose::STANDARD.encode(key)
    )
}

/// A GitRepository, as one that a Receiver names or selects.
#[must_use]
pub fn git_repository(namespace: &str, name: &str, labels: &[(String, String)]) -> String {
    let mut yaml = head(
        "source.toolkit.fluxcd.io/v1",
        "GitRepository",
        namespace,
        name,
    );
    map(&mut yaml, "  labels", labels);
    let _infallible = write!(
        yaml,
        "spec:\n  interval: 10m\n  url: https://git.harbour-lights.example/ops/{name}.git\n  ref:\n    branch: main\n"
    );
    yaml
}

/// An Opaque Secret. Text stands in `stringData`, anything else as base64 in `data`.
#[must_use]
pub fn secret(namespace: &str, name: &str, keys: &[(String, Vec<u8>)]) -> String {
    use base64::Engine as _;
    let mut yaml = head("v1", "Secret", namespace, name);
    yaml.push_str("type: Opaque\n");
    let (mut text, mut data) = (Vec::new(), Vec::new());
    for (key, value) in keys {
        match std::str::from_utf8(value) {
            Ok(value) => text.push((key.clone(), value.to_owned())),
            Err(_) => data.push((
                key.clone(),
                base64::engine::general_purpose::STANDARD.encode(value),
            )),
        }
    }
    map(&mut yaml, "stringData", &text);
    map(&mut yaml, "data", &data);
    yaml
}

/// The folder. It is only written to by whole files: by rename, as a careful operator (or git) does.
#[derive(Clone, Debug)]
pub struct Manifests {
    dir: PathBuf,
}

impl Manifests {
    /// Makes the folder if it is not there.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn create(dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("the manifests folder can be made");
        Self {
            dir: dir.to_owned(),
        }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes or replaces `NAME.yaml`, by rename: a reader sees the old file or the new one, never a part.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn write(&self, name: &str, yaml: &str) {
        let partial = self.dir.join(format!(".{name}.partial"));
        fs::write(&partial, yaml).expect("a manifest can be written");
        fs::rename(&partial, self.file(name)).expect("a manifest can be renamed");
    }

    /// Writes or replaces a Receiver and its Secret, in one file named after the Receiver.
    pub fn apply(&self, receiver: &Receiver) {
        self.write(&receiver.name, &receiver.manifest());
    }

    /// Writes the named resources of a Receiver as GitRepository manifests.
    pub fn apply_resources(&self, receiver: &Receiver) {
        for resource in &receiver.resources {
            if resource.kind == "GitRepository" && resource.name != "*" {
                let namespace = resource.namespace.as_ref().unwrap_or(&receiver.namespace);
                let yaml = git_repository(namespace, &resource.name, &[]);
                self.write(
                    &format!("gitrepository-{namespace}-{}", resource.name),
                    &yaml,
                );
            }
        }
    }

    /// Deletes `NAME.yaml`.
    ///
    /// # Panics
    ///
    /// When it is not there.
    pub fn delete(&self, name: &str) {
        fs::remove_file(self.file(name)).expect("a manifest can be deleted");
    }

    /// The path of `NAME.yaml`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.yaml"))
    }
}

fn head(api_version: &str, kind: &str, namespace: &str, name: &str) -> String {
    format!(
        "apiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: {namespace}\n"
    )
}

/// A map of strings; `key` carries its own indentation. Nothing when empty.
fn map(yaml: &mut String, key: &str, entries: &[(String, String)]) {
    if entries.is_empty() {
        return;
    }
    let indent = " ".repeat(key.len() - key.trim_start().len() + 2);
    let _infallible = writeln!(yaml, "{key}:");
    for (name, value) in entries {
        let _infallible = writeln!(yaml, "{indent}{name}: {}", quoted(value));
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

/// A YAML double-quoted scalar: JSON's strings are a subset.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_one_that_flux_computes() {
        let mut receiver = Receiver::new("generic", "receiver-secret").token("test-token");
        receiver.namespace = "my-namespace".to_owned();
        assert_eq!(
            receiver.path(),
            "/hook/106120121d366c2f67e93200f6c1dbe938235eb588daa5e8c0516d3a77ac1dee"
        );
    }

    #[test]
    fn the_path_of_an_oidc_receiver_hashes_no_token() {
        let mut receiver = Receiver::new("generic-oidc", "generic-oidc-receiver");
        receiver.namespace = "default".to_owned();
        assert_eq!(
            receiver.path(),
            "/hook/4399e88762a0abe9a87e588d0c42b27f13ac7a4fb04bb1ed28be8cb4b2fb4f31"
        );
    }

    #[test]
    fn a_receiver_is_written_as_an_operator_would() {
        let receiver = Receiver::new("github", "web")
            .token("s3cret")
            .event("push")
            .annotation("hookgate.dev/rate", "5");
        assert_eq!(
            receiver.manifest(),
            r#"apiVersion: notification.toolkit.fluxcd.io/v1
kind: Receiver
metadata:
  name: web
  namespace: apps
  annotations:
    hookgate.dev/rate: "5"
spec:
  type: github
  events:
    - "push"
  secretRef:
    name: web-token
  resources:
    - kind: GitRepository
      name: "web"
      apiVersion: source.toolkit.fluxcd.io/v1
---
apiVersion: v1
kind: Secret
metadata:
  name: web-token
  namespace: apps
type: Opaque
stringData:
  token: "s3cret"
"#
        );
    }

    #[test]
    fn a_token_that_is_no_text_is_written_as_base64() {
        let yaml = secret("apps", "web-token", &[("token".to_owned(), vec![0xff])]);
        assert!(yaml.ends_with("data:\n  token: \"/w==\"\n"), "{yaml}");
    }

    #[test]
    fn the_standard_receivers_are_one_of_each_type_and_two_signed_ones_on_paths_of_their_own() {
        let receivers = standard("http://127.0.0.1:1");
        let paths: std::collections::BTreeSet<String> =
            receivers.iter().map(Receiver::path).collect();
        assert_eq!((receivers.len(), paths.len()), (15, 15));
    }

    #[test]
    fn a_manifest_is_replaced_whole_and_deleted() {
        let dir = tempfile::TempDir::new().unwrap();
        let manifests = Manifests::create(dir.path());
        manifests.write("a", "one");
        manifests.write("a", "two");
        let held = fs::read_to_string(manifests.file("a")).unwrap();
        manifests.delete("a");
        assert_eq!(
            (held.as_str(), fs::read_dir(dir.path()).unwrap().count()),
            ("two", 0)
        );
    }
}
