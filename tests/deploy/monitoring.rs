//! `envoy/controller/monitoring`: rules that fire when they should, and nothing that no replica measures.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use e2e::kustomize::Kustomization;
use e2e::trials::Trials;
use e2e::{Cluster, binaries, debian, readme};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{find, has_labels, list};

pub(crate) fn trials(trials: Trials<Cluster>) -> Trials<Cluster> {
    trials
        .alone(
            "each_alert_fires_when_something_is_wrong_and_only_then",
            rules,
        )
        .alone(
            "the_dashboard_asks_what_prometheus_understands",
            dashboard_parses,
        )
        .alone(
            "rules_and_dashboard_name_only_metrics_and_labels_that_there_are",
            names,
        )
        .alone("the_monitor_finds_the_service_and_its_port", monitor)
}

/// The controller with everything about watching it.
pub(crate) fn form() -> Kustomization {
    Kustomization::of("controller").with("controller/monitoring")
}

fn dashboard() -> Value {
    let objects = form().objects();
    let map = find(&objects, "ConfigMap", "hookgate-dashboard");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let text = map["data"]["hookgate.json"].as_str().expect("it is there");
    serde_json::from_str(text).expect("it is JSON")
}

/// Runs promtool in a folder; whether it is content, and what it says.
fn promtool(dir: &Path, arguments: &[&str]) -> (bool, String) {
    let promtool = debian::promtool().unwrap_or_else(|error| panic!("{error}"));
    let mut command = promtool.command();
    let output = command.args(arguments).current_dir(dir).output();
    let output = output.expect("promtool runs");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Writes the groups of rules where promtool reads them.
fn write_rules(dir: &Path, groups: &Value) {
    let text = json!({"groups": groups}).to_string();
    fs::write(dir.join("rules.yaml"), text).expect("a file can be written");
}

fn rules() {
    let dir = TempDir::new().expect("a folder can be made");
    let objects = form().objects();
    let groups = &find(&objects, "PrometheusRule", "hookgate")["spec"]["groups"];
    write_rules(dir.path(), groups);
    let (is_content, said) = promtool(dir.path(), &["check", "rules", "rules.yaml"]);
    assert!(is_content, "{said}");
    let tests = binaries::workspace().join("tests/deploy/rules.yaml");
    let tests = fs::read_to_string(tests).expect("the file can be read");
    fs::write(dir.path().join("tests.yaml"), &tests).expect("a file can be written");
    let (is_content, said) = promtool(dir.path(), &["test", "rules", "tests.yaml"]);
    assert!(is_content, "{said}");
    // Each is in both tests: silent in the first, and loud in the second.
    let alerts: BTreeSet<&str> = list(groups)
        .iter()
        .flat_map(|group| list(&group["rules"]))
        .filter_map(|rule| rule["alert"].as_str())
        .collect();
    let tests: Value = serde_saphyr::from_str(&tests).expect("it is YAML");
    for (test, is_loud) in [(0, false), (1, true)] {
        let tried: BTreeSet<&str> = list(&tests["tests"][test]["alert_rule_test"])
            .iter()
            .filter(|case| list(&case["exp_alerts"]).is_empty() != is_loud)
            .filter_map(|case| case["alertname"].as_str())
            .collect();
        assert_eq!(tried, alerts, "test {test}");
    }
}

/// What the dashboard's panels ask, as Grafana would ask it.
fn queries(dashboard: &Value) -> Vec<String> {
    let targets = list(&dashboard["panels"])
        .iter()
        .flat_map(|panel| list(&panel["targets"]));
    let asked = targets.filter_map(|target| target["expr"].as_str());
    asked
        .map(|query| query.replace("$__rate_interval", "5m"))
        .collect()
}

fn dashboard_parses() {
    let dir = TempDir::new().expect("a folder can be made");
    let dashboard = dashboard();
    let queries = queries(&dashboard);
    assert!(queries.len() >= list(&dashboard["panels"]).len());
    let numbered = queries.iter().enumerate();
    let rules: Vec<Value> = numbered
        .map(|(n, query)| json!({"record": format!("panel:{n}"), "expr": query}))
        .collect();
    write_rules(dir.path(), &json!([{"name": "dashboard", "rules": rules}]));
    let (is_content, said) = promtool(dir.path(), &["check", "rules", "rules.yaml"]);
    assert!(is_content, "{said}");
    // Panels side by side, none over another, each with a number of its own.
    let panels = list(&dashboard["panels"]);
    let ids: BTreeSet<u64> = panels
        .iter()
        .filter_map(|panel| panel["id"].as_u64())
        .collect();
    let places: BTreeSet<(u64, u64)> = panels
        .iter()
        .filter_map(|panel| {
            let place = &panel["gridPos"];
            Some((place["x"].as_u64()?, place["y"].as_u64()?))
        })
        .collect();
    assert_eq!((ids.len(), places.len()), (panels.len(), panels.len()));
}

/// Labels that Prometheus or a histogram adds.
const ADDED: [&str; 3] = ["job", "le", "pod"];

fn names() {
    let known = documented();
    let objects = form().objects();
    let groups = &find(&objects, "PrometheusRule", "hookgate")["spec"]["groups"];
    let rules = list(groups).iter().flat_map(|group| list(&group["rules"]));
    let mut asked: Vec<String> = rules
        .filter_map(|rule| rule["expr"].as_str())
        .map(str::to_owned)
        .collect();
    asked.extend(queries(&dashboard()));
    let mut used = BTreeSet::new();
    for query in &asked {
        for (metric, labels) in metrics(query) {
            // Of Prometheus itself.
            if metric == "up" {
                continue;
            }
            let parts = ["_bucket", "_count", "_sum"].iter();
            let stem = parts.fold(metric, |name, part| name.strip_suffix(part).unwrap_or(name));
            let Some((name, has)) = known.iter().find(|(name, _)| name == stem) else {
                panic!("no replica measures {metric}: {query}");
            };
            for label in labels {
                let is_known = has.iter().any(|known| known == label) || ADDED.contains(&label);
                assert!(is_known, "{metric} has no label {label}: {query}");
            }
            used.insert(name.as_str());
        }
    }
    assert!(used.len() > 20, "this finds the metrics: {used:?}");
}

/// The metrics of the README's table, which is rendered from the code, with their labels.
fn documented() -> Vec<(String, Vec<String>)> {
    let section = readme::section("Metrics");
    let rows = section.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.trim_end_matches('`').to_owned();
        let labels = cells.next()?.split(", ");
        let labels = labels.map(|label| label.trim_matches('`').to_owned());
        Some((name, labels.collect()))
    });
    rows.collect()
}

/// The metrics of a query, each with the labels that it is selected by.
fn metrics(query: &str) -> Vec<(&str, Vec<&str>)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = query[at..].find(is_part).map(|n| at + n) {
        let rest = &query[start..];
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        at = start + end;
        let is_metric = word == "up"
            || ["hookgate_", "gotk_", "leader_election_"]
                .iter()
                .any(|prefix| word.starts_with(prefix));
        if !is_metric {
            continue;
        }
        let selector = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let labels = selector.map_or(Vec::new(), |(inside, _)| {
            let matchers = inside.split(',');
            matchers
                .filter_map(|matcher| matcher.trim().split(['=', '!']).next())
                .collect()
        });
        at += selector.map_or(0, |(inside, _)| inside.len() + 2);
        found.push((word, labels));
    }
    found
}

fn monitor() {
    let objects = form().objects();
    let spec = &find(&objects, "ServiceMonitor", "hookgate")["spec"];
    let endpoints = list(&spec["endpoints"]);
    let ports: Vec<&str> = endpoints
        .iter()
        .filter_map(|endpoint| endpoint["port"].as_str())
        .collect();
    let found: Vec<&Value> = objects
        .iter()
        .filter(|object| object["kind"] == "Service")
        .filter(|service| {
            has_labels(
                &service["metadata"]["labels"],
                &spec["selector"]["matchLabels"],
            )
        })
        .filter(|service| {
            let of_service = list(&service["spec"]["ports"]).iter();
            let mut names = of_service.filter_map(|port| port["name"].as_str());
            names.any(|name| ports.contains(&name))
        })
        .map(|service| &service["metadata"]["name"])
        .collect();
    assert_eq!(
        (found, ports),
        (vec![&json!("hookgate-controller")], vec!["http-prom"])
    );
    // The rules look for this job.
    let service = find(&objects, "Service", "hookgate-controller");
    let label = spec["jobLabel"].as_str().expect("the job is a label");
    assert_eq!(service["metadata"]["labels"][label], "hookgate");
}
