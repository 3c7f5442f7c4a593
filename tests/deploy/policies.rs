//! Who reaches which port of the controller, by all the NetworkPolicies of the namespace together.

use e2e::Cluster;
use e2e::cluster::NAMESPACE;
use e2e::kustomize::Kustomization;
use e2e::trials::Trials;
use serde_json::{Value, json};

use crate::base::flux_policies;
use crate::edge::{gate_form, pinned_form};
use crate::{has_labels, list, workload};

pub(crate) fn trials(trials: Trials<Cluster>) -> Trials<Cluster> {
    trials
        .alone(
            "only_envoys_namespaces_bring_hooks_and_fetch_the_table_and_only_flux_sends_events",
            who_reaches_what,
        )
        .alone(
            "flux_lets_everybody_in_where_its_policy_is_moved_and_not_narrowed",
            not_narrowed,
        )
}

/// Where a connection comes from: a namespace, and the Pod's label `app`.
const SOURCES: [(&str, &str); 6] = [
    ("projectcontour", "envoy"),
    ("projectcontour", "contour"),
    (NAMESPACE, "hookgate-gate"),
    (NAMESPACE, "kustomize-controller"),
    ("monitoring", "prometheus"),
    ("apps", "web"),
];

fn who_reaches_what() {
    let base = Kustomization::of("controller").objects();
    let alone = [
        "projectcontour/envoy: http-prom",
        "projectcontour/contour: http-prom",
        "flux-system/hookgate-gate: http http-prom",
        "flux-system/kustomize-controller: http http-prom",
        "monitoring/prometheus: http-prom",
        "apps/web: http-prom",
    ];
    assert_eq!(reached(&base, &base), alone);
    // Flux lets in its own namespace.
    let everything = "http http-webhook http-prom healthz xds";
    let mut gate = alone.map(str::to_owned);
    gate[2] = format!("flux-system/hookgate-gate: {everything}");
    gate[3] = format!("flux-system/kustomize-controller: {everything}");
    assert_eq!(reached(&base, &gate_form().objects()), gate);
    let mut pinned = gate.clone();
    pinned[0] = "projectcontour/envoy: http-webhook http-prom xds".to_owned();
    pinned[1] = "projectcontour/contour: http-webhook http-prom xds".to_owned();
    assert_eq!(reached(&base, &pinned_form().objects()), pinned);
    // Without a gate, Contour leads to the controller itself.
    let mut direct = gate;
    direct[0] = "projectcontour/envoy: http-webhook http-prom".to_owned();
    direct[1] = "projectcontour/contour: http-webhook http-prom".to_owned();
    let mut all = flux_policies(true);
    all.extend(base.iter().cloned());
    assert_eq!(reached(&base, &all), direct);
}

fn not_narrowed() {
    let ours = Kustomization::of("controller").objects();
    let mut all = flux_policies(false);
    for policy in &mut all {
        if policy["metadata"]["name"] == "allow-webhooks" {
            policy["spec"]["podSelector"]["matchLabels"]["app"] = json!("hookgate");
        }
    }
    all.extend(ours.iter().cloned());
    let reached = reached(&ours, &all);
    assert_eq!(
        reached.last().map(String::as_str),
        Some("apps/web: http http-webhook http-prom healthz xds")
    );
}

/// Which ports of the workload each source reaches.
fn reached(ours: &[Value], all: &[Value]) -> Vec<String> {
    let template = &workload(ours)["spec"]["template"];
    let labels = &template["metadata"]["labels"];
    let of_these_pods: Vec<&Value> = all
        .iter()
        .filter(|object| object["kind"] == "NetworkPolicy")
        .filter(|policy| selects(&policy["spec"]["podSelector"], labels))
        .collect();
    assert!(!of_these_pods.is_empty(), "without one everybody gets in");
    let line = |(namespace, app): (&str, &str)| {
        let ports = list(&template["spec"]["containers"][0]["ports"]).iter();
        let open = ports.filter(|port| {
            let mut rules = of_these_pods
                .iter()
                .flat_map(|policy| list(&policy["spec"]["ingress"]));
            rules.any(|rule| lets_in(rule, namespace, app) && leads_to(rule, port))
        });
        let names: Vec<&str> = open.filter_map(|port| port["name"].as_str()).collect();
        format!("{namespace}/{app}: {}", names.join(" "))
    };
    SOURCES.map(line).to_vec()
}

/// Whether a selector takes these labels; only `matchLabels` is known.
fn selects(selector: &Value, labels: &Value) -> bool {
    let known = selector
        .as_object()
        .is_some_and(|selector| selector.keys().all(|key| key == "matchLabels"));
    assert!(known, "{selector}");
    has_labels(labels, &selector["matchLabels"])
}

fn lets_in(rule: &Value, namespace: &str, app: &str) -> bool {
    let of_namespace = json!({"kubernetes.io/metadata.name": namespace});
    list(&rule["from"]).iter().any(|peer| {
        let namespaces = &peer["namespaceSelector"];
        let is_namespace = if namespaces.is_null() {
            // That of the policy.
            namespace == NAMESPACE
        } else {
            selects(namespaces, &of_namespace)
        };
        let pods = &peer["podSelector"];
        let is_pod = pods.is_null() || selects(pods, &json!({"app": app}));
        is_namespace && is_pod
    })
}

fn leads_to(rule: &Value, port: &Value) -> bool {
    let ports = list(&rule["ports"]);
    let is_it =
        |open: &Value| open["port"] == port["name"] || open["port"] == port["containerPort"];
    ports.is_empty() || ports.iter().any(is_it)
}
