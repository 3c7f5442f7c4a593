//! Reads a folder of manifests into a Snapshot.
//!
//! A document that can't be read is a problem that names its file, document and place; all others
//! count. Of two objects of one name the first counts, in the order of file names.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::alert::{self, Alert};
use crate::api::meta::{ObjectMeta, is_label, is_object_name};
use crate::api::provider::Provider;
use crate::api::receiver::{API_VERSION, Receiver};
use crate::api::reference::{ResourceRef, group};
use crate::api::secret::{RawSecret, Secret};
use crate::objects::{ObjectRecord, Objects, Problem, Snapshot};

/// Bytes of one file.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Files in the folder.
const MAX_FILES: usize = 10_000;
/// Folders within folders.
const MAX_DEPTH: usize = 8;
/// Problems that are told; a folder of junk must not fill the log.
const MAX_PROBLEMS: usize = 100;

/// Why a folder can't be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ManifestsError {
    /// It is not there, or not a folder.
    #[error("failed to read the folder of manifests {path:?}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Reads a folder once.
///
/// # Errors
/// [`ManifestsError::Folder`] if there is no such folder. What is wrong inside it is in
/// [`Snapshot::problems`].
pub fn read(folder: &Path) -> Result<Snapshot, ManifestsError> {
    Ok(Folder::new(folder).read()?.unwrap_or_default())
}

/// The whole objects of one API version and kind in a folder. Documents that can't be read are left
/// out: [`read`] tells of them.
///
/// # Errors
/// [`ManifestsError::Folder`] if there is no such folder.
pub fn objects(folder: &Path, api_version: &str, kind: &str) -> Result<Vec<Value>, ManifestsError> {
    let files = files(folder)?;
    let texts = files.values().filter_map(|text| text.as_ref().ok());
    Ok(texts
        .flat_map(|text| documents(text))
        .filter_map(|document| yaml::<Value>(document).ok())
        .filter(|object| object["apiVersion"] == api_version && object["kind"] == kind)
        .map(|mut object| {
            if object["metadata"]["namespace"].is_null() {
                object["metadata"]["namespace"] = "default".into();
            }
            object
        })
        .collect())
}

/// A folder that is read again and again.
pub(super) struct Folder {
    path: PathBuf,
    files: Option<BTreeMap<String, Text>>,
    /// The text of each file when all of it could last be read.
    good: BTreeMap<String, String>,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            files: None,
            good: BTreeMap::new(),
        }
    }

    /// The folder as it is now, or `None` if nothing has changed since it was last read.
    pub(super) fn read(&mut self) -> Result<Option<Snapshot>, ManifestsError> {
        let files = files(&self.path)?;
        if self.files.as_ref() == Some(&files) {
            return Ok(None);
        }
        self.good.retain(|name, _| files.contains_key(name));
        let mut reader = Reader::default();
        for (name, text) in &files {
            self.file(&mut reader, name, text);
        }
        self.files = Some(files);
        reader.snapshot.objects.store(reader.objects);
        reader.snapshot.has_alerts = true;
        Ok(Some(reader.snapshot))
    }

    fn file(&mut self, reader: &mut Reader, name: &str, text: &Text) {
        let parsed = match text {
            Ok(text) => parse(text),
            Err(message) => vec![(0, Err(message.clone()))],
        };
        let good = parsed.iter().all(|(_, document)| document.is_ok());
        reader.file(name, parsed);
        if let (true, Ok(text)) = (good, text) {
            self.good.insert(name.to_owned(), text.clone());
        } else if let Some(good) = self.good.get(name) {
            reader.fill(name, good);
        }
        reader.snapshot.problems.truncate(MAX_PROBLEMS);
    }
}

/// A file's text, or why it can't be had.
type Text = Result<String, String>;

/// The manifests in a folder by their name relative to it.
fn files(folder: &Path) -> Result<BTreeMap<String, Text>, ManifestsError> {
    let mut found = BTreeMap::new();
    list(folder, folder, 0, &mut found).map_err(|source| ManifestsError::Folder {
        path: folder.to_owned(),
        source,
    })?;
    Ok(found)
}

fn list(
    root: &Path,
    folder: &Path,
    depth: usize,
    found: &mut BTreeMap<String, Text>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .map(|name| name.to_string_lossy())
            .is_none_or(|name| name.starts_with('.') || name == "kustomization.yaml");
        // Hidden ones are editors' and, as `..data`, a ConfigMap volume's own.
        if hidden || found.len() >= MAX_FILES {
            continue;
        }
        if path.is_dir() && depth < MAX_DEPTH {
            // A folder that goes away while it is read is read without.
            let _ = list(root, &path, depth + 1, found);
        } else if path
            .extension()
            .is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
        {
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .display()
                .to_string();
            found.insert(name, text(&path));
        }
    }
    Ok(())
}

fn text(path: &Path) -> Text {
    let file = fs::File::open(path).map_err(|error| format!("failed to read it: {error}"))?;
    let mut text = String::new();
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
    match read {
        Err(error) => Err(format!("failed to read it: {error}")),
        Ok(n) if n as u64 > MAX_FILE => Err(format!("larger than {MAX_FILE} bytes; split it")),
        Ok(_) => Ok(text),
    }
}

/// Which object a document is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: String,
    kind: String,
    #[serde(default)]
    metadata: ObjectMeta,
}

/// Group, kind, namespace and name: what there is one of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    group: String,
    kind: String,
    namespace: String,
    name: String,
}

/// What a document says.
enum Object {
    Receiver(Box<Receiver>),
    Alert(Box<Alert>),
    Provider(Box<Provider>),
    Secret(Secret),
    Other(ResourceRef, Box<ObjectRecord>),
}

/// The objects of a file, or what is wrong with them, by the number of their document from 1; 0 for the
/// file.
type Parsed = Vec<(usize, Result<(Name, Object), String>)>;

fn parse(text: &str) -> Parsed {
    (1..)
        .zip(documents(text))
        .filter_map(|(n, text)| Some((n, document(text).transpose()?)))
        .collect()
}

/// The object of a document, if there is anything in it.
fn document(text: &str) -> Result<Option<(Name, Object)>, String> {
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.starts_with('#'))
    {
        return Ok(None);
    }
    // The message of a head could quote a Secret's value, so it tells the place only.
    let head: Head = yaml(text).map_err(|(place, _)| {
        format!("{place}: not a Kubernetes object with apiVersion, kind and metadata")
    })?;
    let mut metadata = head.metadata;
    if metadata.namespace.is_empty() {
        "default".clone_into(&mut metadata.namespace);
    }
    if !is_object_name(&metadata.name) {
        return Err(format!(
            "metadata.name: {:?} is not a name",
            short(&metadata.name)
        ));
    }
    if !is_label(&metadata.namespace) {
        return Err(format!(
            "metadata.namespace: {:?} is not a name",
            short(&metadata.namespace)
        ));
    }
    let name = Name {
        group: group(&head.api_version).to_owned(),
        kind: head.kind.clone(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
    };
    let object = match (head.api_version.as_str(), head.kind.as_str()) {
        (API_VERSION, "Receiver") => {
            let receiver: Receiver =
                yaml(text).map_err(|(place, message)| format!("Receiver, {place}: {message}"))?;
            Object::Receiver(Box::new(Receiver {
                metadata,
                ..receiver
            }))
        }
        (alert::API_VERSION, "Alert") => {
            let alert: Alert =
                yaml(text).map_err(|(place, message)| format!("Alert, {place}: {message}"))?;
            Object::Alert(Box::new(Alert { metadata, ..alert }))
        }
        (alert::API_VERSION, "Provider") => {
            // An address may be a secret, so the message tells the place only.
            let provider: Provider = yaml(text).map_err(|(place, _)| {
                format!("Provider, {place}: the spec is not that of a Provider")
            })?;
            Object::Provider(Box::new(Provider {
                metadata,
                ..provider
            }))
        }
        ("v1", "Secret") => {
            let raw: RawSecret = yaml(text).map_err(|(place, _)| {
                format!("Secret, {place}: data and stringData are maps of keys to strings")
            })?;
            Object::Secret(Secret::try_from(raw).map_err(|error| format!("Secret: {error}"))?)
        }
        (version, kind @ ("Alert" | "Provider" | "Receiver" | "Secret")) => {
            return Err(format!(
                "apiVersion {:?} of kind {kind} is not served",
                short(version)
            ));
        }
        (version, kind) => {
            let reference = ResourceRef {
                api_version: version.to_owned(),
                kind: kind.to_owned(),
                namespace: metadata.namespace.clone(),
                name: metadata.name.clone(),
            };
            let json =
                json!({"apiVersion": version, "kind": kind, "metadata": meta_json(&metadata)});
            Object::Other(reference, Box::new(ObjectRecord { metadata, json }))
        }
    };
    Ok(Some((name, object)))
}

#[derive(Default)]
struct Reader {
    snapshot: Snapshot,
    objects: Objects,
    /// Which file each object stands in.
    names: BTreeMap<Name, String>,
}

impl Reader {
    fn file(&mut self, file: &str, parsed: Parsed) {
        for (document, parsed) in parsed {
            let taken = parsed.and_then(|(name, object)| self.take(file, name, object));
            if let Err(message) = taken {
                self.snapshot.problems.push(Problem {
                    file: file.to_owned(),
                    document,
                    message,
                });
            }
        }
    }

    /// Takes the objects that are not there already from what a file said before it broke.
    fn fill(&mut self, file: &str, good: &str) {
        for (name, object) in parse(good)
            .into_iter()
            .filter_map(|(_, parsed)| parsed.ok())
        {
            // What is there already counts, and what was wrong has been told.
            let _ = self.take(file, name, object);
        }
    }

    fn take(&mut self, file: &str, name: Name, object: Object) -> Result<(), String> {
        if let Some(first) = self.names.get(&name) {
            return Err(format!(
                "{}/{}/{} stands in {first} already, which counts",
                name.kind, name.namespace, name.name
            ));
        }
        match object {
            Object::Receiver(receiver) => self.snapshot.receivers.push(receiver.into()),
            Object::Alert(alert) => self.snapshot.alerts.push(alert.into()),
            Object::Provider(provider) => self.snapshot.providers.push(provider.into()),
            Object::Secret(secret) => {
                let key = (name.namespace.clone(), name.name.clone());
                self.snapshot.secrets.insert(key, secret);
            }
            Object::Other(reference, record) => {
                self.objects.records.insert(reference, record.into());
            }
        }
        self.names.insert(name, file.to_owned());
        Ok(())
    }
}

/// Metadata as an API server shows it: what is empty is not there, so that `has()` tells.
fn meta_json(metadata: &ObjectMeta) -> Value {
    let mut json = json!(metadata);
    if let Value::Object(map) = &mut json {
        map.retain(|_, value| !value.is_null() && *value != json!({}));
    }
    json
}

/// Splits a file at its `---` lines.
fn documents(text: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        if line.trim_end() == "---" || line.starts_with("--- #") {
            documents.push(text.get(start..at).unwrap_or_default());
            start = at + line.len();
        }
        at += line.len();
    }
    documents.push(text.get(start..).unwrap_or_default());
    documents
}

/// Parses one document; an error is its place and what is wrong there.
fn yaml<T: DeserializeOwned>(document: &str) -> Result<T, (String, String)> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(document, options).map_err(|error| {
        let place = error.location().map_or_else(
            || "unknown place".to_owned(),
            |location| format!("line {}, column {}", location.line(), location.column()),
        );
        (
            place,
            short(
                error
                    .without_snippet()
                    .to_string()
                    .lines()
                    .next()
                    .unwrap_or_default(),
            ),
        )
    })
}

/// What a file may put into a message.
fn short(text: &str) -> String {
    text.chars()
        .take(200)
        .flat_map(char::escape_debug)
        .collect()
}

#[cfg(test)]
mod tests;
