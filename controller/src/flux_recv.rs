//! A configuration of flux-recv (Flux v1) and its key files → Receivers and Secrets that keep its URLs alive. Pure.
//!
//! The old path is derived from the Secret by the annotation `hookgate.dev/flux-recv`; it is never written down.

mod sources;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hook::digest::Digest;
use serde_json::Value;

use self::sources::{SOURCES, Source, UNVERIFIED_GCR};
use crate::annotations;

/// Endpoints of one configuration.
const MAX_ENDPOINTS: usize = 1_000;

/// What is wrong with a configuration: the field, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct ConfigError {
    /// As `endpoints[0].keyPath`, or a place in the text.
    field: String,
    /// What is wrong.
    message: String,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    source: &'static Source,
    key_path: String,
    registry_host: String,
    audience: Option<String>,
}

impl Endpoint {
    /// The file of its key, relative to the folder of keys and never outside of it.
    pub fn key_path(&self) -> &str {
        &self.key_path
    }
}

/// A configuration that can be imported.
#[derive(Clone, Debug)]
pub struct Config {
    /// The endpoints, in order.
    pub endpoints: Vec<Endpoint>,
    api: Option<String>,
}

/// What the configuration does not say.
#[derive(Clone, Debug)]
pub struct Names {
    /// Where everything will be.
    pub namespace: String,
    /// The GitRepository that Git's hooks reconcile; `*` for all of the namespace.
    pub git_repository: String,
    /// The ImageRepository that images' hooks reconcile; `*` for all of the namespace.
    pub image_repository: String,
    /// Who signs the tokens of Google's Pub/Sub.
    pub gcr_email: Option<String>,
}

/// What a configuration came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Secrets and Receivers as YAML. Holds the keys.
    pub manifests: String,
    /// What has no equivalent or is another way now. Holds no key.
    pub notes: Vec<String>,
}

/// Reads a configuration.
///
/// # Errors
/// The first field that is wrong.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    let options = serde_saphyr::options! { with_snippet: false };
    let config: Value = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map_or_else(
            || "the file".to_owned(),
            |at| format!("line {}, column {}", at.line(), at.column()),
        );
        let message = error.without_snippet().to_string();
        wrong(&place, message.lines().next().unwrap_or_default())
    })?;
    if config["fluxRecvVersion"] != 1 {
        return Err(wrong("fluxRecvVersion", "must be 1"));
    }
    let endpoints = match &config["endpoints"] {
        Value::Null => &[],
        Value::Array(endpoints) if endpoints.len() <= MAX_ENDPOINTS => endpoints.as_slice(),
        Value::Array(_) => {
            return Err(wrong("endpoints", &format!("more than {MAX_ENDPOINTS}")));
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            return Err(wrong("endpoints", "must be a list"));
        }
    };
    let endpoints = endpoints.iter().enumerate();
    Ok(Config {
        endpoints: endpoints
            .map(|(i, value)| endpoint(&format!("endpoints[{i}]"), value))
            .collect::<Result<_, _>>()?,
        api: string("api", &config["api"])?,
    })
}

fn endpoint(at: &str, value: &Value) -> Result<Endpoint, ConfigError> {
    let text = |field: &str| string(&format!("{at}.{field}"), &value[field]);
    let required = |field: &str| {
        text(field)?
            .ok_or_else(|| wrong(&format!("{at}.{field}"), "must be given, and not be empty"))
    };
    let source = required("source")?;
    let source = SOURCES
        .iter()
        .find(|known| known.name == source)
        .ok_or_else(|| {
            let names: Vec<_> = SOURCES.iter().map(|known| known.name).collect();
            let message = format!("{:?} is not one of {}", short(&source), names.join(", "));
            wrong(&format!("{at}.source"), &message)
        })?;
    let key_path = required("keyPath")?;
    let is_inside = key_path
        .split('/')
        .all(|part| part != ".." && !part.contains('\0'));
    if key_path.starts_with('/') || !is_inside {
        let message = "must be a relative path without ..; copy the keys into one folder and give it as --keys";
        return Err(wrong(&format!("{at}.keyPath"), message));
    }
    let registry_host = text("registryHost")?.unwrap_or_default();
    if annotations::flux_recv(&registry_host).is_none() {
        let message = "must be a host, or host:port: another can't be carried over";
        return Err(wrong(&format!("{at}.registryHost"), message));
    }
    let gcr = &value["gcr"];
    let audience = string(&format!("{at}.gcr.audience"), &gcr["audience"])?;
    if !gcr.is_null() && audience.is_none() && source.name == "GoogleContainerRegistry" {
        let message = "must be given: without one every token of Google would do";
        return Err(wrong(&format!("{at}.gcr.audience"), message));
    }
    Ok(Endpoint {
        source,
        key_path,
        registry_host,
        audience,
    })
}

/// A string that is not empty.
fn string(field: &str, value: &Value) -> Result<Option<String>, ConfigError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(wrong(field, "must be a string"))
        }
    }
}

/// Makes the manifests. `keys` has the bytes of each key file by its `keyPath`.
///
/// # Errors
/// The first endpoint that can't be served.
pub fn import(
    config: &Config,
    keys: &BTreeMap<String, Vec<u8>>,
    names: &Names,
) -> Result<Imported, ConfigError> {
    let mut notes = general_notes(config);
    let mut manifests = String::new();
    let mut taken: BTreeMap<[u8; 32], usize> = BTreeMap::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, endpoint) in config.endpoints.iter().enumerate() {
        let at = format!("endpoints[{i}]");
        let key = keys.get(&endpoint.key_path).map_or(&[][..], Vec::as_slice);
        if key.is_empty() {
            let message =
                "the file is empty, so that anybody could compute the path; make a new key";
            return Err(wrong(&format!("{at}.keyPath"), message));
        }
        let path = Digest::of_flux_recv(key, &endpoint.registry_host).id().0;
        if let Some(first) = taken.insert(path, i) {
            let message = format!(
                "has the key and registryHost of endpoints[{first}], and so its path: flux-recv does not start with that; remove one"
            );
            return Err(wrong(&at, &message));
        }
        let count = counts.entry(endpoint.source.slug).or_default();
        *count += 1;
        let name = match count {
            1 => endpoint.source.slug.to_owned(),
            n => format!("{}-{n}", endpoint.source.slug),
        };
        let target = Target::of(endpoint, names, &at)?;
        write_secret(&mut manifests, &name, key, &target, names);
        write_receiver(&mut manifests, &name, endpoint, &target, names);
        notes.extend(endpoint_notes(&at, &name, endpoint, key, &target));
    }
    Ok(Imported { manifests, notes })
}

/// What an endpoint becomes.
struct Target<'a> {
    source: &'static Source,
    email_and_audience: Option<(&'a str, &'a str)>,
    kind: &'static str,
    resource: &'a str,
}

impl<'a> Target<'a> {
    fn of(endpoint: &'a Endpoint, names: &'a Names, at: &str) -> Result<Self, ConfigError> {
        let mut source = endpoint.source;
        let mut email_and_audience = None;
        if source.name == "GoogleContainerRegistry" {
            match (&endpoint.audience, &names.gcr_email) {
                (None, _) => source = &UNVERIFIED_GCR,
                (Some(audience), Some(email)) => {
                    email_and_audience = Some((email.as_str(), audience.as_str()));
                }
                (Some(_), None) => {
                    let message = "its tokens are checked for who they are from, too; give --gcr-email, the service account of the Pub/Sub subscription";
                    return Err(wrong(&format!("{at}.gcr"), message));
                }
            }
        }
        let (kind, resource) = if source.is_git {
            ("GitRepository", &names.git_repository)
        } else {
            ("ImageRepository", &names.image_repository)
        };
        Ok(Self {
            source,
            email_and_audience,
            kind,
            resource,
        })
    }
}

fn write_secret(out: &mut String, name: &str, key: &[u8], target: &Target<'_>, names: &Names) {
    // Writing to a String does not fail.
    let _ = write!(
        out,
        "---
apiVersion: v1
kind: Secret
metadata:
  name: {name}-token
  namespace: {namespace}
  labels:
    reconcile.fluxcd.io/watch: Enabled
data:
  token: {token}
",
        namespace = quoted(&names.namespace),
        token = STANDARD.encode(key),
    );
    if let Some((email, audience)) = target.email_and_audience {
        let (email, audience) = (STANDARD.encode(email), STANDARD.encode(audience));
        let _ = write!(out, "  email: {email}\n  audience: {audience}\n");
    }
}

fn write_receiver(
    out: &mut String,
    name: &str,
    endpoint: &Endpoint,
    target: &Target<'_>,
    names: &Names,
) {
    let source = target.source;
    let annotation = annotations::flux_recv(&endpoint.registry_host).unwrap_or_default();
    let _ = write!(
        out,
        "---
apiVersion: notification.toolkit.fluxcd.io/v1
kind: Receiver
metadata:
  name: {name}
  namespace: {namespace}
  annotations:
    hookgate.dev/flux-recv: {annotation}
spec:
  type: {receiver_type}
  secretRef:
    name: {name}-token
",
        namespace = quoted(&names.namespace),
        annotation = quoted(&annotation),
        receiver_type = source.receiver_type,
    );
    if !source.events.is_empty() {
        out.push_str("  events:\n");
        for event in source.events {
            let _ = writeln!(out, "  - {}", quoted(event));
        }
    }
    if let Some(filter) = source.filter {
        let _ = writeln!(out, "  resourceFilter: {}", quoted(filter));
    }
    let _ = write!(
        out,
        "  resources:\n  - kind: {}\n    name: {}\n",
        target.kind,
        quoted(target.resource)
    );
    if target.resource == "*" {
        out.push_str("    matchLabels: {}\n");
    }
}

fn general_notes(config: &Config) -> Vec<String> {
    if config.endpoints.is_empty() {
        return vec!["endpoints: there are none, so there is nothing to import".to_owned()];
    }
    let mut notes = vec![
        "what a hook says about a repository, branch or image is not looked at any more: it asks the named resources to reconcile, and those find out"
            .to_owned(),
        "refused hooks get 400 where flux-recv said 401, and /health is on the health port as /healthz".to_owned(),
    ];
    if config.api.is_some() {
        notes.push("api: has no equivalent, as no fluxd is called".to_owned());
    }
    notes
}

fn endpoint_notes(
    at: &str,
    name: &str,
    endpoint: &Endpoint,
    key: &[u8],
    target: &Target<'_>,
) -> Vec<String> {
    let source = target.source;
    let mut notes = vec![match target.resource {
        "*" => format!(
            "{at}: {} becomes the Receiver {name}, for all {} objects of its namespace",
            source.name, target.kind
        ),
        resource => format!(
            "{at}: {} becomes the Receiver {name}, for {}/{resource}",
            source.name, target.kind
        ),
    }];
    notes.extend(source.notes.iter().map(|note| format!("{at}: {note}")));
    let newline = key.ends_with(b"\n") && matches!(source.receiver_type, "gitlab" | "harbor");
    if newline {
        notes.push(format!(
            "{at}.keyPath: the key ends with a newline, which no header can carry: no hook passes, as none did before; the old path goes with this key"
        ));
    }
    if endpoint.audience.is_some() && source.receiver_type != "gcr" {
        notes.push(format!(
            "{at}.gcr: is for GoogleContainerRegistry only, and was never looked at"
        ));
    }
    notes
}

/// A YAML double-quoted scalar: JSON's are.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn wrong(field: &str, message: &str) -> ConfigError {
    ConfigError {
        field: field.to_owned(),
        message: message.to_owned(),
    }
}

/// What a file may put into a message.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
