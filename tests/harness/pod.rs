//! A Pod's files and arguments, as a kubelet makes them of a workload that is in the cluster.
//!
//! What is mounted in a Pod stands in a folder of this machine, and texts that name it are told where.

use std::fs;
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
    /// Where a path of the container is here.
    mounts: Vec<(String, PathBuf)>,
    dir: TempDir,
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
            fill(cluster, namespace, volume, &folder);
            mounts.push((text(&mount["mountPath"]).to_owned(), folder));
        }
        Self {
            labels: template["metadata"]["labels"].clone(),
            container: container.clone(),
            mounts,
            dir,
        }
    }

    /// The arguments of its container.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let words = list(&self.container["args"]).iter().map(text);
        words.map(|word| self.here(word)).collect()
    }

    /// A file that its container reads, with the paths in it as they are here.
    ///
    /// # Panics
    ///
    /// When it is not mounted.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        let file = self.here(path);
        let held = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
        self.here(&held)
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
        for (path, folder) in &self.mounts {
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

/// Writes what a volume holds.
fn fill(cluster: &Cluster, namespace: &str, volume: &Value, folder: &Path) {
    let get = |kind: &str, name: &Value| cluster.admin().object("v1", kind, namespace, text(name));
    if let Some(map) = volume.get("configMap") {
        for (key, value) in entries(&get("ConfigMap", &map["name"])["data"]) {
            fs::write(folder.join(key), text(value)).expect("a file can be written");
        }
    } else if let Some(secret) = volume.get("secret") {
        for (key, value) in entries(&get("Secret", &secret["secretName"])["data"]) {
            write_secret(&folder.join(key), value);
        }
    } else if let Some(projected) = volume.get("projected") {
        for source in list(&projected["sources"]) {
            let secret = get("Secret", &source["secret"]["name"]);
            for item in list(&source["secret"]["items"]) {
                let held = &secret["data"][text(&item["key"])];
                write_secret(&folder.join(text(&item["path"])), held);
            }
        }
    } else {
        assert!(
            volume["persistentVolumeClaim"].is_object(),
            "what is {volume}?"
        );
    }
}

fn write_secret(file: &Path, value: &Value) {
    let held = value.as_str().and_then(|text| STANDARD.decode(text).ok());
    let held = held.unwrap_or_else(|| panic!("{} is in no Secret", file.display()));
    fs::write(file, held).expect("a file can be written");
}

fn entries(map: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let map = map
        .as_object()
        .expect("a Pod's ConfigMaps and Secrets are there");
    map.iter()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
