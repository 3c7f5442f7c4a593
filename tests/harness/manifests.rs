//! A folder of YAML manifests, as an operator would keep it, and the Receivers that tests write into it.

mod receiver;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};

pub use self::receiver::{OidcProvider, Receiver, Resource};

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
