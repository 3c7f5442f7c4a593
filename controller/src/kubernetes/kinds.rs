//! How a kind goes by in URLs: known for Flux's kinds, discovered for others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::api::{Api, ApiError};
use crate::api::meta::{is_label, is_object_name};
use crate::api::receiver::RESOURCE_KINDS;

/// Kinds that are remembered; more than any cluster has.
const MAX_KINDS: usize = 1_000;

/// Kinds and their plurals.
#[derive(Clone, Debug)]
pub(super) struct Kinds {
    api: Api,
    found: Arc<Mutex<HashMap<(String, String), String>>>,
}

impl Kinds {
    pub(super) fn new(api: Api) -> Self {
        Self {
            api,
            found: Arc::default(),
        }
    }

    /// The plural of a kind. Only kinds that are not Flux's cost a request, and that once.
    ///
    /// # Errors
    /// [`ApiError::NotServed`] if there is no such kind in that version, or it is not namespaced.
    pub(super) async fn plural(&self, api_version: &str, kind: &str) -> Result<String, ApiError> {
        if let Some(plural) = known(kind) {
            return Ok(plural);
        }
        let key = (api_version.to_owned(), kind.to_owned());
        if let Some(plural) = self.lock().get(&key) {
            return Ok(plural.clone());
        }
        let path = discovery_path(api_version)
            .ok_or_else(|| ApiError::NotServed(format!("{api_version:?} is not a version")))?;
        let list = self.api.get(&path).await?;
        let plural = find(&list, kind)
            .ok_or_else(|| ApiError::NotServed(format!("{kind} in {api_version}")))?;
        let mut found = self.lock();
        if found.len() < MAX_KINDS {
            found.insert(key, plural.clone());
        }
        Ok(plural)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), String>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The plural of one of Flux's kinds, which all follow the rule.
fn known(kind: &str) -> Option<String> {
    RESOURCE_KINDS.iter().find(|(known, _)| *known == kind)?;
    let lower = kind.to_ascii_lowercase();
    Some(match lower.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{lower}s"),
    })
}

fn discovery_path(api_version: &str) -> Option<String> {
    match api_version.split_once('/') {
        Some((group, version)) if is_object_name(group) && is_label(version) => {
            Some(format!("/apis/{group}/{version}"))
        }
        None if is_label(api_version) => Some(format!("/api/{api_version}")),
        Some(_) | None => None,
    }
}

/// Finds a namespaced kind in an APIResourceList; not its subresources, which have its kind too.
fn find(list: &Value, kind: &str) -> Option<String> {
    let resources = list.get("resources")?.as_array()?;
    let found = resources.iter().find(|resource| {
        resource["kind"] == kind
            && resource["namespaced"] == true
            && resource["name"].as_str().is_some_and(is_label)
    })?;
    found["name"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fluxs_kinds_are_known_without_asking() {
        for (kind, want) in [
            ("GitRepository", Some("gitrepositories")),
            ("OCIRepository", Some("ocirepositories")),
            ("ImagePolicy", Some("imagepolicies")),
            ("Bucket", Some("buckets")),
            ("HelmRelease", Some("helmreleases")),
            ("ImageUpdateAutomation", Some("imageupdateautomations")),
            ("Pod", None),
        ] {
            assert_eq!(known(kind).as_deref(), want);
        }
    }

    #[test]
    fn a_discovered_kind_is_namespaced_and_no_subresource() {
        let list = json!({"resources": [
            {"name": "widgets/status", "kind": "Widget", "namespaced": true},
            {"name": "widgets", "kind": "Widget", "namespaced": true},
            {"name": "nodes", "kind": "Node", "namespaced": false},
        ]});
        assert_eq!(find(&list, "Widget").as_deref(), Some("widgets"));
        assert_eq!(find(&list, "Node"), None);
        assert_eq!(find(&json!({}), "Widget"), None);
        assert_eq!(discovery_path("a/../b"), None);
    }
}
