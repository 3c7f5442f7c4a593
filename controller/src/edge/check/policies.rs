//! Whether the pod network reaches the controller's hook port around the gate. Policies add up: one that is open is enough.

use serde_json::{Value, json};

use super::{Objects, Point, Way, Wiring, list, text};
use crate::edge::gate::GATE;
use crate::edge::objects::{CONTROLLER_APP, HOOKS_PORT};

pub(super) fn points(objects: &Objects, wiring: &Wiring) -> Vec<Point> {
    let Some(policies) = &objects.policies else {
        let so_that = "who reaches the hook port";
        return vec![Point::unreadable("network", "networkpolicies", so_that)];
    };
    let mine: Vec<&Value> = policies
        .iter()
        .filter(|policy| text(policy, "/metadata/namespace") == wiring.namespace)
        .filter(|policy| selects_controller(policy) && is_for_ingress(policy))
        .collect();
    if mine.is_empty() {
        return vec![Point::finding(
            "network",
            format!(
                "no NetworkPolicy in {} selects the Pods with app: {CONTROLLER_APP}, so that every Pod of the cluster reaches the hook port",
                wiring.namespace
            ),
            "apply the NetworkPolicies that `hookgate edge overlay` or `hookgate edge gate` prints",
        )];
    }
    let open: Vec<Point> = mine
        .iter()
        .filter(|policy| is_open(policy, wiring))
        .map(|policy| {
            let name = text(policy, "/metadata/name");
            let change = match name {
                "allow-webhooks" => "patch it as `hookgate edge overlay` and `hookgate edge gate` print it, in Flux's kustomization".to_owned(),
                _ => format!("let in only {}", allowed(wiring)),
            };
            Point::finding(
                "network",
                format!("NetworkPolicy {name} lets others reach the hook port around the gate"),
                change,
            )
        })
        .collect();
    if open.is_empty() {
        return vec![Point::fine(
            "network",
            format!(
                "only {} and {} itself reach the hook port",
                allowed(wiring),
                wiring.namespace
            ),
        )];
    }
    open
}

fn allowed(wiring: &Wiring) -> String {
    match wiring.way {
        Way::Pinned => format!("the namespace {}", wiring.contour_namespace),
        Way::Gate => format!("Pods with app: {GATE}"),
    }
}

fn selects_controller(policy: &Value) -> bool {
    let labels = policy.pointer("/spec/podSelector/matchLabels");
    let expressions = list(policy, "/spec/podSelector/matchExpressions");
    let app = labels.and_then(|labels| labels.get("app"));
    // What is not understood is taken as selecting: a finding too many is better than one too few.
    app.is_none_or(|app| app == CONTROLLER_APP) || !expressions.is_empty()
}

fn is_for_ingress(policy: &Value) -> bool {
    let types = list(policy, "/spec/policyTypes");
    types.is_empty() || types.contains(&Value::from("Ingress"))
}

fn is_open(policy: &Value, wiring: &Wiring) -> bool {
    list(policy, "/spec/ingress")
        .iter()
        .filter(|rule| covers_hooks(rule))
        .any(|rule| {
            let from = list(rule, "/from");
            // Without a list everybody is meant.
            from.is_empty() || from.iter().any(|peer| !is_expected(peer, wiring))
        })
}

fn covers_hooks(rule: &Value) -> bool {
    let ports = list(rule, "/ports");
    ports.is_empty()
        || ports.iter().any(|port| {
            let end = port.pointer("/endPort").and_then(Value::as_u64);
            match port.pointer("/port") {
                None => true,
                Some(Value::String(name)) => name == "http-webhook",
                Some(number) => number.as_u64().is_none_or(|first| {
                    let hooks = u64::from(HOOKS_PORT);
                    (first..=end.unwrap_or(first)).contains(&hooks)
                }),
            }
        })
}

/// Flux's own namespace is trusted, as its policy `allow-egress` has it; and what the way needs.
fn is_expected(peer: &Value, wiring: &Wiring) -> bool {
    let Some(namespaces) = peer.pointer("/namespaceSelector") else {
        return peer.pointer("/podSelector").is_some();
    };
    let of = |namespace: &str| {
        json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}}) == *namespaces
    };
    of(&wiring.namespace) || (wiring.way == Way::Pinned && of(&wiring.contour_namespace))
}
