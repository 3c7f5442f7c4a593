//! An entry of `spec.resources` → the resources that it means. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::receiver::{RESOURCE_KINDS, ResourceSpec};
use crate::api::reference::ResourceRef;
use crate::objects::{ObjectRecord, Objects, Pending, Scope};

/// Whether an object passes the filters, or why that can't be told.
pub type Filter<'a> = dyn Fn(&ObjectRecord) -> Result<bool, String> + 'a;

/// What an entry came to. One object's error leaves the others alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// To be asked to reconcile.
    pub resources: Vec<ResourceRef>,
    /// What stood in the way.
    pub errors: Vec<String>,
    /// What could not be told yet.
    pub later: Vec<String>,
}

/// Where a Receiver's resources may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Not outside the Receiver's namespace.
    pub no_cross_namespace_refs: bool,
    /// In this namespace only.
    pub only_namespace: Option<String>,
}

impl Reach {
    /// What is wrong with a resource in `namespace`, named by a Receiver in `home`.
    fn refusal(&self, namespace: &str, home: &str) -> Option<String> {
        if self.no_cross_namespace_refs && namespace != home {
            return Some("cross-namespace references are not allowed".to_owned());
        }
        let only = self.only_namespace.as_deref()?;
        (only != namespace).then(|| {
            format!("namespace {namespace:?} is not watched, as --watch-all-namespaces is false")
        })
    }
}

/// Selects the resources of one entry. A named one without a filter is not looked up: whether it is
/// there, the request to reconcile will tell.
pub fn select(
    entry: &ResourceSpec,
    receiver_namespace: &str,
    reach: &Reach,
    objects: &Objects,
    filter: Option<&Filter<'_>>,
) -> Selection {
    if let Some(error) = static_error(entry, receiver_namespace, reach) {
        return failed(entry, &error);
    }
    let scope = scope(entry, receiver_namespace);
    let needs_list = entry.name == "*" || filter.is_some();
    if let Some(pending) = objects.pending.get(&scope).filter(|_| needs_list) {
        return not_listed(&scope, pending);
    }
    let mut selection = Selection::default();
    match (entry.name.as_str(), filter) {
        ("*", filter) => {
            let labels = entry.match_labels.clone().unwrap_or_default();
            for (reference, record) in &objects.records {
                if is_in(reference, &scope) && has_labels(record, &labels) {
                    selection.add(scope.resource(&reference.name), record, filter);
                }
            }
        }
        (name, None) => selection.resources.push(scope.resource(name)),
        (name, Some(filter)) => {
            let reference = scope.resource(name);
            match objects.object(&reference) {
                Some(record) => selection.add(reference, record, Some(filter)),
                None => selection.errors.push(format!("{reference}: not found")),
            }
        }
    }
    selection
}

/// The kind and namespace of an entry's resources.
pub fn scope(entry: &ResourceSpec, receiver_namespace: &str) -> Scope {
    Scope {
        api_version: api_version(entry).unwrap_or_default().to_owned(),
        kind: entry.kind.clone(),
        namespace: entry
            .namespace
            .as_deref()
            .unwrap_or(receiver_namespace)
            .to_owned(),
    }
}

/// What is wrong with an entry whatever hook comes.
pub fn static_error(
    entry: &ResourceSpec,
    receiver_namespace: &str,
    reach: &Reach,
) -> Option<String> {
    let namespace = entry.namespace.as_deref().unwrap_or(receiver_namespace);
    if let Some(refusal) = reach.refusal(namespace, receiver_namespace) {
        return Some(refusal);
    }
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
    Selection {
        errors: vec![format!("{}/{}: {error}", entry.kind, entry.name)],
        ..Selection::default()
    }
}

fn not_listed(scope: &Scope, pending: &Pending) -> Selection {
    let text = vec![format!("{scope}: not listed: {}", pending.message)];
    if pending.is_temporary {
        Selection {
            later: text,
            ..Selection::default()
        }
    } else {
        Selection {
            errors: text,
            ..Selection::default()
        }
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

/// In whatever version it is known.
fn is_in(reference: &ResourceRef, scope: &Scope) -> bool {
    reference.is_kind_of(&scope.resource("")) && reference.namespace == scope.namespace
}

fn has_labels(record: &ObjectRecord, labels: &BTreeMap<String, String>) -> bool {
    labels
        .iter()
        .all(|(key, value)| record.metadata.labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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

    fn objects(objects: &[(&str, &str, &str)]) -> Objects {
        let record = |label: &str| {
            Arc::new(ObjectRecord {
                metadata: ObjectMeta {
                    labels: BTreeMap::from([("app".to_owned(), label.to_owned())]),
                    ..ObjectMeta::default()
                },
                json: json!({"label": label}),
            })
        };
        let objects = objects.iter();
        let records = objects
            .map(|(ns, name, label)| (reference(ns, name), record(label)))
            .collect();
        Objects {
            records,
            ..Objects::default()
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
            ..Selection::default()
        }
    }

    fn error(text: &str) -> Selection {
        Selection {
            errors: vec![text.to_owned()],
            ..Selection::default()
        }
    }

    #[test]
    fn a_name_is_taken_without_a_look_and_its_labels_do_not_count() {
        let entry = entry("app", Some(&[("no", "match")]));
        let got = select(&entry, "ns", &Reach::default(), &Objects::default(), None);
        assert_eq!(got, chosen(vec![reference("ns", "app")]));
    }

    #[test]
    fn a_wildcard_takes_what_its_labels_match_in_one_namespace() {
        let all = objects(&[("ns", "a", "x"), ("ns", "b", "y"), ("other", "c", "x")]);
        let got = select(
            &entry("*", Some(&[("app", "x")])),
            "ns",
            &Reach::default(),
            &all,
            None,
        );
        assert_eq!(got, chosen(vec![reference("ns", "a")]));
        let got = select(&entry("*", Some(&[])), "ns", &Reach::default(), &all, None);
        assert_eq!(
            got,
            chosen(vec![reference("ns", "a"), reference("ns", "b")])
        );
        let got = select(
            &entry("*", Some(&[("app", "z")])),
            "ns",
            &Reach::default(),
            &all,
            None,
        );
        assert_eq!(got, chosen(Vec::new()));
    }

    #[test]
    fn an_object_of_another_version_is_seen_and_asked_in_the_version_that_the_entry_names() {
        let mut all = objects(&[("ns", "a", "x")]);
        for record in all.records.values_mut() {
            let json = json!({"apiVersion": GIT, "kind": "GitRepository"});
            Arc::make_mut(record).json = json;
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
            let got = select(&entry, "ns", &Reach::default(), &all, Some(&filter));
            assert_eq!(got, chosen(vec![wanted.clone()]), "{name}");
            entry.api_version = Some("other.example/v1".to_owned());
            let got = select(&entry, "ns", &Reach::default(), &all, Some(&filter));
            assert_eq!(got.resources, [], "{name}");
        }
    }

    #[test]
    fn one_object_whose_filter_fails_leaves_the_others_alone() {
        let all = objects(&[("ns", "a", "x"), ("ns", "b", "y"), ("ns", "c", "z")]);
        let filter = |record: &ObjectRecord| match record.json["label"].as_str() {
            Some("x") => Ok(true),
            Some("y") => Err("no such key".to_owned()),
            _ => Ok(false),
        };
        let got = select(
            &entry("*", Some(&[])),
            "ns",
            &Reach::default(),
            &all,
            Some(&filter),
        );
        assert_eq!(got.resources, [reference("ns", "a")]);
        assert_eq!(got.errors, ["GitRepository/ns/b: no such key"]);
    }

    #[test]
    fn what_cannot_be_selected_says_why() {
        let none = Objects::default();
        let reach = Reach::default();
        let pass = |_: &ObjectRecord| Ok(true);
        assert_eq!(
            select(&entry("app", None), "ns", &reach, &none, Some(&pass)),
            error("GitRepository/ns/app: not found")
        );
        assert_eq!(
            select(&entry("*", None), "ns", &reach, &none, None),
            error("GitRepository/*: matchLabels field not set when using wildcard '*' as name")
        );
        let mut other = entry("app", None);
        other.kind = "HelmRelease".to_owned();
        assert_eq!(
            select(&other, "ns", &reach, &none, None),
            error("HelmRelease/app: apiVersion must be specified for kind \"HelmRelease\"")
        );
        let strict = Reach {
            no_cross_namespace_refs: true,
            ..Reach::default()
        };
        let mut cross = entry("app", None);
        cross.namespace = Some("other".to_owned());
        assert_eq!(
            select(&cross, "ns", &strict, &none, None),
            error("GitRepository/app: cross-namespace references are not allowed")
        );
        cross.namespace = Some("ns".to_owned());
        assert_eq!(
            select(&cross, "ns", &strict, &none, None),
            chosen(vec![reference("ns", "app")])
        );
    }

    #[test]
    fn a_receiver_reaches_no_namespace_that_is_not_watched() {
        let reach = Reach {
            only_namespace: Some("ns".to_owned()),
            ..Reach::default()
        };
        let mut entry = entry("app", None);
        entry.namespace = Some("other".to_owned());
        assert_eq!(
            select(&entry, "ns", &reach, &Objects::default(), None),
            error(
                "GitRepository/app: namespace \"other\" is not watched, as --watch-all-namespaces is false"
            )
        );
    }

    #[test]
    fn a_list_that_is_not_complete_selects_nothing_and_a_name_needs_no_list() {
        let pending = |is_temporary| Objects {
            pending: BTreeMap::from([(
                scope(&entry("*", None), "ns"),
                Pending {
                    message: "the list is being read".to_owned(),
                    is_temporary,
                },
            )]),
            ..Objects::default()
        };
        let select = |name, is_temporary| {
            let entry = entry(name, Some(&[]));
            select(
                &entry,
                "ns",
                &Reach::default(),
                &pending(is_temporary),
                None,
            )
        };
        let text = "GitRepository/ns: not listed: the list is being read";
        assert_eq!(select("*", false), error(text));
        let later = Selection {
            later: vec![text.to_owned()],
            ..Selection::default()
        };
        assert_eq!(select("*", true), later);
        assert_eq!(select("app", true), chosen(vec![reference("ns", "app")]));
    }
}
