//! What changes for an Alert and a Provider.

use serde_json::Value;

use super::{Changes, Outlook, Plans, Today};
use crate::notify::go_regex;

pub(super) fn alert(alert: &Value, today: &Today<'_>, plans: &Plans<'_>) -> Outlook {
    let (namespace, name) = names(alert);
    let spec = &alert["spec"];
    let mut changes = Changes::default();
    if spec["suspend"] != true {
        changes.note(
            "alerts are tried for hours where they were tried for seconds, and may arrive twice",
        );
        let provider = spec["providerRef"]["name"].as_str().unwrap_or_default();
        let is_it = |object: &&Value| names(object) == (namespace, provider);
        if !today.providers.iter().any(|object| is_it(&object)) {
            changes.act(format!("its Provider {provider:?} is not there"));
        }
        expressions(spec, &mut changes);
    }
    sources(spec, namespace, plans, &mut changes);
    changes.of(format!("Alert {namespace}/{name}"))
}

pub(super) fn provider(provider: &Value) -> Outlook {
    let (namespace, name) = names(provider);
    let r#type = provider["spec"]["type"].as_str().unwrap_or_default();
    Changes::default().of(format!("Provider {namespace}/{name} ({})", r#type))
}

fn names(object: &Value) -> (&str, &str) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    (text("namespace"), text("name"))
}

/// Regular expressions that Go reads and we don't.
fn expressions(spec: &Value, changes: &mut Changes) {
    for list in ["inclusionList", "exclusionList"] {
        let entries = spec[list].as_array().into_iter().flatten();
        for (i, entry) in entries.enumerate() {
            let expression = entry.as_str().unwrap_or_default();
            if let Err(error) = go_regex::compile(expression) {
                changes.act(format!("spec.{list}[{i}]: {error}"));
            }
        }
    }
}

fn sources(spec: &Value, home: &str, plans: &Plans<'_>, changes: &mut Changes) {
    let entries = spec["eventSources"].as_array().into_iter().flatten();
    for (i, entry) in entries.enumerate() {
        let namespace = entry["namespace"].as_str().unwrap_or(home);
        if plans.options.reach.no_cross_namespace_refs && namespace != home {
            changes.act(format!(
                "spec.eventSources[{i}] is in another namespace, which --no-cross-namespace-refs does not allow"
            ));
        }
    }
}
