//! A Pod's files and arguments, as a kubelet makes them of a workload that is in the cluster.
//!
//! What is mounted in a Pod stands in a folder of this machine; arguments and ConfigMaps that name it are told where.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::Cluster;

/// A Pod of a workload, with one of its containers. Dropping it removes its files.
#[derive(Debug)]
pub struct Pod {
    /// Of the Pod.
    pub labels: Value,
    container: Value,
    namespace: String,
    mounts: Vec<Mount>,
    dir: TempDir,
}

/// A volume in the container.
#[derive(Debug)]
struct Mount {
    /// Where it is in the container.
    path: String,
    /// Where it is here.
    folder: PathBuf,
    volume: Value,
}

impl Pod {
    /// A Pod of this Deployment, StatefulSet or DaemonSet, with its container of this name.
    ///
    /// # Panics
    ///
    /// When there is no such container, or a volume needs what the cluster does not have: a real Pod would not start.
    #[must_use]
    pub fn of(cluster: &Cluster, workload: &Value, container: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("hookgate-pod-").tempdir();
        let dir = dir.expect("a folder can be made");
        let template = &workload["spec"]["template"];
        let container = list(&template["spec"]["containers"])
            .iter()
            .find(|held| held["name"] == container)
            .unwrap_or_else(|| panic!("no container {container:?}"));
        let namespace = text(&workload["metadata"]["namespace"]);
        let mut mounts = Vec::new();
        for mount in list(&container["volumeMounts"]) {
            let name = text(&mount["name"]);
            let volumes = list(&template["spec"]["volumes"]);
            let volume = volumes.iter().find(|held| held["name"] == name);
            let volume = volume.unwrap_or_else(|| panic!("no volume {name:?}"));
            if volume["emptyDir"].is_object() {
                // This machine has its own `/tmp`.
                continue;
            }
            let folder = dir.path().join(name);
            fs::create_dir_all(&folder).expect("a folder can be made");
            mounts.push(Mount {
                path: text(&mount["mountPath"]).to_owned(),
                folder,
                volume: volume.clone(),
            });
        }
        let pod = Self {
            labels: template["metadata"]["labels"].clone(),
            container: container.clone(),
            namespace: namespace.to_owned(),
            mounts,
            dir,
        };
        pod.refresh(cluster);
        pod
    }

    /// Writes its files as they are in the cluster now, all of a volume at once, as a kubelet does a minute after a change.
    ///
    /// # Panics
    ///
    /// When what it mounts is not there any more.
    pub fn refresh(&self, cluster: &Cluster) {
        for mount in &self.mounts {
            let Some(mut files) = files(cluster, &self.namespace, &mount.volume) else {
                continue;
            };
            if mount.volume["configMap"].is_object() {
                for (_, held) in &mut files {
                    *held = self.here(&String::from_utf8_lossy(held)).into_bytes();
                }
            }
            swap(&mount.folder, &files);
        }
    }

    /// The arguments of its container.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let words = list(&self.container["args"]).iter().map(text);
        words.map(|word| self.here(word)).collect()
    }

    /// A file that its container reads.
    ///
    /// # Panics
    ///
    /// When it is not mounted.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        let file = self.here(path);
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The number of its container's port of this name.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<u64> {
        let ports = list(&self.container["ports"]).iter();
        let mut named = ports.filter(|port| port["name"] == name);
        named.next()?["containerPort"].as_u64()
    }

    /// Where its files are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn here(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for Mount { path, folder, .. } in &self.mounts {
            let folder = folder.display();
            let changed = text
                .replace(&format!("{path}/"), &format!("{folder}/"))
                .replace(&format!("\"{path}\""), &format!("\"{folder}\""));
            text = match changed.strip_suffix(path.as_str()) {
                Some(start) => format!("{start}{folder}"),
                None => changed,
            };
        }
        text
    }
}

/// What a volume holds, by name; `None` where the Pod writes it.
fn files(cluster: &Cluster, namespace: &str, volume: &Value) -> Option<Vec<(String, Vec<u8>)>> {
    let data = |kind: &str, name: &Value| {
        let object = cluster.admin().object("v1", kind, namespace, text(name));
        let data = object["data"].as_object().cloned();
        data.unwrap_or_else(|| panic!("{kind} {name} is empty"))
    };
    if let Some(map) = volume.get("configMap") {
        let held = data("ConfigMap", &map["name"]).into_iter();
        return Some(
            held.map(|(key, value)| (key, text(&value).into()))
                .collect(),
        );
    }
    if let Some(secret) = volume.get("secret") {
        let held = data("Secret", &secret["secretName"]).into_iter();
        return Some(held.map(|(key, value)| (key, decoded(&value))).collect());
    }
    if let Some(projected) = volume.get("projected") {
        let sources = list(&projected["sources"]).iter();
        let files = sources.flat_map(|source| {
            let held = data("Secret", &source["secret"]["name"]);
            let items = list(&source["secret"]["items"]).iter();
            let file = |item: &Value| {
                let value = held.get(text(&item["key"])).unwrap_or(&Value::Null);
                (text(&item["path"]).to_owned(), decoded(value))
            };
            items.map(file).collect::<Vec<_>>()
        });
        return Some(files.collect());
    }
    assert!(
        volume["persistentVolumeClaim"].is_object(),
        "what is {volume}?"
    );
    None
}

/// A kubelet's way: the files are links into `..data`, itself a link, which is renamed. Who watches the folder sees one change.
fn swap(folder: &Path, files: &[(String, Vec<u8>)]) {
    let written = tempfile::Builder::new().prefix("..").tempdir_in(folder);
    let written = written.expect("a folder can be made").keep();
    for (name, held) in files {
        fs::write(written.join(name), held).expect("a file can be written");
    }
    let (next, data) = (folder.join("..data_tmp"), folder.join("..data"));
    symlink(&written, &next).expect("a link can be made");
    fs::rename(&next, &data).expect("a link can be renamed");
    for (name, _) in files {
        let file = folder.join(name);
        if !file.is_symlink() {
            symlink(Path::new("..data").join(name), file).expect("a link can be made");
        }
    }
}

fn decoded(value: &Value) -> Vec<u8> {
    let held = value.as_str().and_then(|text| STANDARD.decode(text).ok());
    held.expect("the values of Secrets that a Pod mounts are there, in base64")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
