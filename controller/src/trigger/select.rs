//! An entry of `spec.resources` → the resources that it means. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::receiver::{RESOURCE_KINDS, ResourceSpec};
use crate::api::reference::ResourceRef;
use crate::objects::{ObjectRecord, Snapshot};

/// Whether an object passes the filters, or why that can't be told.
pub type Filter<'a> = dyn Fn(&ObjectRecord) -> Result<bool, String> + 'a;

/// What an entry came to. One object's error leaves the others alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// To be asked to reconcile.
    pub resources: Vec<ResourceRef>,
    /// What stood in the way.
    pub errors: Vec<String>,
}

/// Selects the resources of one entry. A named one without a filter is not looked up: whether it is
/// there, the request to reconcile will tell.
pub fn select(
    entry: &ResourceSpec,
    receiver_namespace: &str,
    no_cross_namespace_refs: bool,
    snapshot: &Snapshot,
    filter: Option<&Filter<'_>>,
) -> Selection {
    let namespace = entry.namespace.as_deref().unwrap_or(receiver_namespace);
    if no_cross_namespace_refs && namespace != receiver_namespace {
        return failed(entry, "cross-namespace references are not allowed");
    }
    if let Some(error) = static_error(entry) {
        return failed(entry, &error);
    }
    let resource = |name: &str| ResourceRef {
        api_version: api_version(entry).unwrap_or_default().to_owned(),
        kind: entry.kind.clone(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let mut selection = Selection::default();
    match (entry.name.as_str(), filter) {
        ("*", filter) => {
            let labels = entry.match_labels.clone().unwrap_or_default();
            let probe = resource("");
            for (reference, record) in &snapshot.objects {
                if reference.is_kind_of(&probe)
                    && reference.namespace == namespace
                    && has_labels(record, &labels)
                {
                    selection.add(resource(&reference.name), record, filter);
                }
            }
        }
        (name, None) => selection.resources.push(resource(name)),
        (name, Some(filter)) => {
            let reference = resource(name);
            match snapshot.object(&reference) {
                Some(record) => selection.add(reference, record, Some(filter)),
                None => selection.errors.push(format!("{reference}: not found")),
            }
        }
    }
    selection
}

/// What is wrong with an entry whatever hook comes.
pub fn static_error(entry: &ResourceSpec) -> Option<String> {
    if entry.name == "*" && entry.match_labels.is_none() {
        return Some("matchLabels field not set when using wildcard '*' as name".to_owned());
    }
    if api_version(entry).is_none() {
        return Some(format!(
            "apiVersion must be specified for kind {:?}",
            entry.kind
        ));
    }
    None
}

impl Selection {
    /// The object is asked, and its filter sees it, in the version that the entry names, as from an
    /// API server.
    fn add(&mut self, reference: ResourceRef, record: &ObjectRecord, filter: Option<&Filter<'_>>) {
        let passes = |filter: &Filter<'_>| {
            let stands = record.json.get("apiVersion").and_then(Value::as_str);
            if stands.is_none_or(|version| version == reference.api_version) {
                filter(record)
            } else {
                filter(&record.in_version(&reference.api_version))
            }
        };
        match filter.map_or(Ok(true), passes) {
            Ok(true) => self.resources.push(reference),
            Ok(false) => {}
            Err(error) => self.errors.push(format!("{reference}: {error}")),
        }
    }
}

fn failed(entry: &ResourceSpec, error: &str) -> Selection {
    let errors = vec![format!("{}/{}: {error}", entry.kind, entry.name)];
    Selection {
        resources: Vec::new(),
        errors,
    }
}

fn api_version(entry: &ResourceSpec) -> Option<&str> {
    let given = entry
        .api_version
        .as_deref()
        .filter(|version| !version.is_empty());
    given.or_else(|| {
        RESOURCE_KINDS
            .iter()
            .find(|(kind, _)| *kind == entry.kind)
            .and_then(|(_, version)| *version)
    })
}

fn has_labels(record: &ObjectRecord, labels: &BTreeMap<String, String>) -> bool {
    labels
        .iter()
        .all(|(key, value)| record.metadata.labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::meta::ObjectMeta;

    const GIT: &str = "source.toolkit.fluxcd.io/v1";

    fn reference(namespace: &str, name: &str) -> ResourceRef {
        ResourceRef {
            api_version: GIT.to_owned(),
            kind: "GitRepository".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    fn snapshot(objects: &[(&str, &str, &str)]) -> Snapshot {
        let record = |label: &str| ObjectRecord {
            metadata: ObjectMeta {
                labels: BTreeMap::from([("app".to_owned(), label.to_owned())]),
                ..ObjectMeta::default()
            },
            json: json!({"label": label}),
        };
        let objects = objects.iter();
        let objects = objects
            .map(|(ns, name, label)| (reference(ns, name), record(label)))
            .collect();
        Snapshot {
            objects,
            ..Snapshot::default()
        }
    }

    fn entry(name: &str, labels: Option<&[(&str, &str)]>) -> ResourceSpec {
        ResourceSpec {
            kind: "GitRepository".to_owned(),
            name: name.to_owned(),
            match_labels: labels.map(|labels| {
                labels
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect()
            }),
            ..ResourceSpec::default()
        }
    }

    fn chosen(resources: Vec<ResourceRef>) -> Selection {
        Selection {
            resources,
            errors: Vec::new(),
        }
    }

    fn error(text: &str) -> Selection {
        Selection {
            resources: Vec::new(),
            errors: vec![text.to_owned()],
        }
    }

    #[test]
    fn a_name_is_taken_without_a_look_and_its_labels_do_not_count() {
        let entry = entry("app", Some(&[("no", "match")]));
        let got = select(&entry, "ns", false, &Snapshot::default(), None);
        assert_eq!(got, chosen(vec![reference("ns", "app")]));
    }

    #[test]
    fn a_wildcard_takes_what_its_labels_match_in_one_namespace() {
        let all = snapshot(&[("ns", "a", "x"), ("ns", "b", "y"), ("other", "c", "x")]);
        let got = select(&entry("*", Some(&[("app", "x")])), "ns", false, &all, None);
        assert_eq!(got, chosen(vec![reference("ns", "a")]));
        let got = select(&entry("*", Some(&[])), "ns", false, &all, None);
        assert_eq!(
            got,
            chosen(vec![reference("ns", "a"), reference("ns", "b")])
        );
        let got = select(&entry("*", Some(&[("app", "z")])), "ns", false, &all, None);
        assert_eq!(got, chosen(Vec::new()));
    }

    #[test]
    fn an_object_of_another_version_is_seen_and_asked_in_the_version_that_the_entry_names() {
        let mut all = snapshot(&[("ns", "a", "x")]);
        for record in all.objects.values_mut() {
            record.json = json!({"apiVersion": GIT, "kind": "GitRepository"});
        }
        let old = "source.toolkit.fluxcd.io/v1beta2";
        let wanted = ResourceRef {
            api_version: old.to_owned(),
            ..reference("ns", "a")
        };
        let filter = |record: &ObjectRecord| Ok(record.json["apiVersion"] == old);
        for name in ["a", "*"] {
            let mut entry = entry(name, Some(&[]));
            entry.api_version = Some(old.to_owned());
            let got = select(&entry, "ns", false, &all, Some(&filter));
            assert_eq!(got, chosen(vec![wanted.clone()]), "{name}");
            entry.api_version = Some("other.example/v1".to_owned());
            let got = select(&entry, "ns", false, &all, Some(&filter));
            assert_eq!(got.resources, [], "{name}");
        }
    }

    #[test]
    fn one_object_whose_filter_fails_leaves_the_others_alone() {
        let all = snapshot(&[("ns", "a", "x"), ("ns", "b", "y"), ("ns", "c", "z")]);
        let filter = |record: &ObjectRecord| match record.json["label"].as_str() {
            Some("x") => Ok(true),
            Some("y") => Err("no such key".to_owned()),
            _ => Ok(false),
        };
        let got = select(&entry("*", Some(&[])), "ns", false, &all, Some(&filter));
        assert_eq!(got.resources, [reference("ns", "a")]);
        assert_eq!(got.errors, ["GitRepository/ns/b: no such key"]);
    }

    #[test]
    fn what_cannot_be_selected_says_why() {
        let none = Snapshot::default();
        let pass = |_: &ObjectRecord| Ok(true);
        assert_eq!(
            select(&entry("app", None), "ns", false, &none, Some(&pass)),
            error("GitRepository/ns/app: not found")
        );
        assert_eq!(
            select(&entry("*", None), "ns", false, &none, None),
            error("GitRepository/*: matchLabels field not set when using wildcard '*' as name")
        );
        let mut other = entry("app", None);
        other.kind = "HelmRelease".to_owned();
        assert_eq!(
            select(&other, "ns", false, &none, None),
            error("HelmRelease/app: apiVersion must be specified for kind \"HelmRelease\"")
        );
        let mut cross = entry("app", None);
        cross.namespace = Some("other".to_owned());
        assert_eq!(
            select(&cross, "ns", true, &none, None),
            error("GitRepository/app: cross-namespace references are not allowed")
        );
        cross.namespace = Some("ns".to_owned());
        assert_eq!(
            select(&cross, "ns", true, &none, None),
            chosen(vec![reference("ns", "app")])
        );
    }
}
