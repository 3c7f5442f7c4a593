//! What changes for an Alert and a Provider.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Changes, Outlook, Plans, Today};

/// Keeps an object until its controller has let it go.
const FINALIZER: &str = "finalizers.fluxcd.io";

pub(super) fn alert(alert: &Value, today: &Today<'_>, plans: &Plans<'_>) -> Outlook {
    let (namespace, name) = names(alert);
    let spec = &alert["spec"];
    let is_suspended = spec["suspend"] == true;
    let mut changes = Changes::default();
    if !plans.sends_alerts && !is_suspended {
        changes.act("this hookgate sends no alerts: keep notification-controller for them");
    }
    if plans.sends_alerts && !is_suspended {
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
    common(alert, plans, &mut changes);
    changes.of(format!("Alert {namespace}/{name}"))
}

pub(super) fn provider(provider: &Value, plans: &Plans<'_>) -> Outlook {
    let (namespace, name) = names(provider);
    let mut changes = Changes::default();
    common(provider, plans, &mut changes);
    let r#type = provider["spec"]["type"].as_str().unwrap_or_default();
    changes.of(format!("Provider {namespace}/{name} ({})", r#type))
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
            if regex::Regex::new(expression).is_err() {
                changes.act(format!(
                    "spec.{list}[{i}] is no regular expression here; write it another way"
                ));
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

fn common(object: &Value, plans: &Plans<'_>, changes: &mut Changes) {
    let metadata = &object["metadata"];
    let annotations: BTreeMap<String, Value> =
        serde_json::from_value(metadata["annotations"].clone()).unwrap_or_default();
    if !plans.sends_alerts {
        let ours = annotations
            .keys()
            .filter(|name| name.starts_with("hookgate.dev/"));
        for name in ours {
            changes.act(format!("annotation {name} has no effect"));
        }
    }
    let finalizers = metadata["finalizers"].as_array();
    let is_held = finalizers.is_some_and(|all| all.iter().any(|one| one == FINALIZER));
    if is_held && !plans.sends_alerts {
        changes.act(format!(
            "it has the finalizer {FINALIZER}, which nobody takes off where notification-controller is gone: once deleted, it would stay"
        ));
    }
}
