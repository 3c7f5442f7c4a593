//! The definitions that `hookgate crds` prints, as an API server takes and shows them; and how the tables of objects are checked.

use e2e::Cluster;
use e2e::cluster::product_definitions;
use e2e::trials::Trials;
use e2e::wait::{PATIENCE, until};
use serde_json::{Value, json};

const GROUP: &str = "notification.toolkit.fluxcd.io";

pub(crate) fn trials(trials: Trials<Cluster>) -> Trials<Cluster> {
    trials
        .shared("the_definitions_become_established", established)
        .shared(
            "the_definitions_are_those_of_flux_in_names_categories_and_columns",
            names,
        )
        .shared(
            "the_definitions_can_be_applied_over_themselves",
            applied_twice,
        )
}

fn established(cluster: &Cluster) {
    for plural in ["alerts", "providers", "receivers"] {
        let target =
            format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.{GROUP}");
        let admin = cluster.admin();
        let mut conditions = json!(null);
        let seen = until("Established", PATIENCE, || {
            let definition = admin.get(&target).body;
            conditions = definition["status"]["conditions"].clone();
            let held: Vec<(&str, &str)> = conditions
                .as_array()?
                .iter()
                .filter_map(|held| Some((held["type"].as_str()?, held["status"].as_str()?)))
                .collect();
            // Anything else, such as NonStructuralSchema, is a complaint.
            (held == [("NamesAccepted", "True"), ("Established", "True")]).then_some(())
        });
        assert!(seen.is_ok(), "{plural}: {seen:?}: {conditions}");
    }
}

fn names(cluster: &Cluster) {
    let categories = json!(["all", "fluxcd", "fluxcd-notifications"]);
    for (version, plural, kind, subresources, columns) in [
        (
            "v1",
            "receivers",
            "Receiver",
            &["receivers/status"][..],
            &["Name", "Age", "Ready", "Status"][..],
        ),
        ("v1beta3", "alerts", "Alert", &[], &["Name", "Age"]),
        ("v1beta3", "providers", "Provider", &[], &["Name", "Age"]),
    ] {
        let admin = cluster.admin();
        let group = admin.get(&format!("/apis/{GROUP}/{version}")).body;
        let empty = Vec::new();
        let listed = group["resources"].as_array().unwrap_or(&empty);
        let of_kind: Vec<&Value> = listed.iter().filter(|held| held["kind"] == kind).collect();
        let parts: Vec<&str> = of_kind
            .iter()
            .filter_map(|held| held["name"].as_str())
            .filter(|name| name.contains('/'))
            .collect();
        assert_eq!(parts, subresources, "{kind}");
        let Some(whole) = of_kind.iter().find(|held| held["name"] == plural) else {
            panic!("{version} has no {plural}: {group}");
        };
        assert_eq!(
            (
                &whole["singularName"],
                &whole["namespaced"],
                &whole["categories"],
                &whole["shortNames"]
            ),
            (
                &json!(kind.to_lowercase()),
                &json!(true),
                &categories,
                &json!(null)
            ),
            "{kind}"
        );
        let table = admin.table(&format!("/apis/{GROUP}/{version}/{plural}"));
        let shown: Vec<&str> = table["columnDefinitions"]
            .as_array()
            .unwrap_or(&empty)
            .iter()
            .filter_map(|column| column["name"].as_str())
            .collect();
        assert_eq!(shown, columns, "{kind}: {table}");
    }
}

fn applied_twice(cluster: &Cluster) {
    let definitions = product_definitions().expect("`hookgate crds` prints YAML");
    for definition in definitions {
        let before = cluster.admin().apply(&definition);
        let after = cluster.admin().apply(&definition);
        assert_eq!(
            before["metadata"]["generation"], after["metadata"]["generation"],
            "{}",
            definition["metadata"]["name"]
        );
    }
}

/// A kind, as the API server checks it.
pub(crate) struct Kind {
    pub(crate) kind: &'static str,
    pub(crate) version: &'static str,
}

impl Kind {
    /// An object with this spec.
    pub(crate) fn object(&self, namespace: &str, name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": format!("{GROUP}/{}", self.version),
            "kind": self.kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        })
    }

    /// Checks that an object with this spec would be taken, and as what.
    pub(crate) fn accepts(&self, cluster: &Cluster, what: &str, spec: &Value, stored: &Value) {
        let answer = cluster.admin().dry_run(&self.object("default", "x", spec));
        assert_eq!(
            (answer.status, &answer.body["spec"]),
            (201, stored),
            "{} {what}: {}",
            self.kind,
            answer.body
        );
    }

    /// Checks that an object with this spec would be refused, and for which causes: `FIELD: MESSAGE`.
    pub(crate) fn refuses(&self, cluster: &Cluster, what: &str, spec: &Value, causes: &[&str]) {
        let answer = cluster.admin().dry_run(&self.object("default", "x", spec));
        assert_eq!(
            (answer.status, answer.causes()),
            (422, causes.iter().map(ToString::to_string).collect()),
            "{} {what}: {}",
            self.kind,
            answer.body
        );
    }
}

/// `base` with these fields instead; one that is null is taken away.
pub(crate) fn with(base: &Value, fields: Value) -> Value {
    let mut object = base.as_object().cloned().unwrap_or_default();
    if let Value::Object(fields) = fields {
        for (name, value) in fields {
            if value.is_null() {
                object.remove(&name);
            } else {
                object.insert(name, value);
            }
        }
    }
    Value::Object(object)
}

/// The message for a string that none of these is.
pub(crate) fn unsupported(field: &str, value: &str, choices: &[&str]) -> String {
    let choices: Vec<String> = choices.iter().map(|choice| format!("{choice:?}")).collect();
    format!(
        "{field}: Unsupported value: {value:?}: supported values: {}",
        choices.join(", ")
    )
}

/// The kinds that Receivers and Alerts may name.
pub(crate) const KINDS: [&str; 12] = [
    "Bucket",
    "GitRepository",
    "Kustomization",
    "HelmRelease",
    "HelmChart",
    "HelmRepository",
    "ImageRepository",
    "ImagePolicy",
    "ImageUpdateAutomation",
    "OCIRepository",
    "ArtifactGenerator",
    "ExternalArtifact",
];
