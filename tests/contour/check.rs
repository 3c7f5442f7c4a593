//! `hookgate edge check` on the real Contour: what it says is what hooks meet.

use std::process::Command;

use e2e::binaries;
use e2e::cluster::NAMESPACE;
use e2e::trials::Trials;
use e2e::wait::{self, PATIENCE};
use serde_json::json;

use crate::overlay;
use crate::site::{Plan, Site, Way};
use crate::stand::Stand;

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        // Every Contour has the routes of all trials, and those of others are wrong on purpose.
        .alone("a_check_finds_the_gate_in_contours_envoy", in_the_path)
        .shared("a_check_finds_that_the_overlay_is_missing", no_overlay)
        .shared("a_check_that_may_not_read_everything_says_so", few_rights)
        .shared("a_pin_is_laid_on_once", twice)
        .shared(
            "a_check_names_the_setting_that_changes_contours_cluster_name",
            changed_policy,
        )
}

/// Its exit code, and what it says of the Envoy behind this Contour, whose read-only admin listener it asks.
fn check(site: &Site<'_>, flags: &[&str]) -> (Option<i32>, String) {
    let admin = site.contour.addresses().admin.to_string();
    run(&[&["--admin-addr", &admin], flags].concat())
}

/// The same with these flags alone.
fn run(flags: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binaries::hookgate().expect("hookgate can be built"))
        .args(["edge", "check"])
        .args(flags)
        .output()
        .expect("hookgate runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout);
    assert_eq!(text(&output.stderr), "", "{said}");
    (output.status.code(), said)
}

fn in_the_path() {
    let stand = Stand::try_start().unwrap_or_else(|error| panic!("{error}"));
    let site = Site::start(&stand, "checked", &Plan::default());
    site.is_open(&stand.hookgate, "hookgate");
    let (code, said) = check(&site, &["--no-cluster"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains(&site.receiver.path()), "{said}");
}

fn no_overlay(stand: &Stand) {
    let plan = Plan {
        way: Way::Bare,
        ..Plan::default()
    };
    let site = Site::start(stand, "unchecked", &plan);
    site.is_closed();
    let (code, said) = check(&site, &["--no-cluster"]);
    assert_eq!(code, Some(1), "{said}");
}

fn changed_policy(stand: &Stand) {
    let site = Site::start(stand, "checked-route", &Plan::default());
    let random = json!({"loadBalancerPolicy": {"strategy": "Random"}});
    site.apply_route(&site.proxy(&random));
    site.is_closed();
    let config = stand.cluster.dir().join("check.kubeconfig");
    let admin = stand.cluster.admin();
    std::fs::write(&config, stand.cluster.kubeconfig_of(admin.token()))
        .expect("a file can be written");
    let kubeconfig = format!("--kubeconfig={}", config.display());
    let (code, said) = check(&site, &[&kubeconfig]);
    assert_eq!(code, Some(1), "{said}");
    let named = said
        .lines()
        .any(|line| line.contains(&site.receiver.name) && line.contains("loadBalancerPolicy"));
    assert!(named, "{said}");
}

/// With a user who may read one kind of route, and nothing else.
fn few_rights(stand: &Stand) {
    let admin = stand.cluster.admin();
    for object in [
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "looker", "namespace": NAMESPACE},
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "looker"},
            "rules": [{
                "apiGroups": ["gateway.networking.k8s.io"], "resources": ["httproutes"], "verbs": ["list"],
            }],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "looker"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "looker"},
            "subjects": [{"kind": "ServiceAccount", "name": "looker", "namespace": NAMESPACE}],
        }),
    ] {
        admin.apply(&object);
    }
    let token = admin.service_account_token(NAMESPACE, "looker");
    let config = stand.cluster.dir().join("looker.kubeconfig");
    let text = stand.cluster.kubeconfig_of(&token.expect("it has a token"));
    std::fs::write(&config, text).expect("a file can be written");
    let kubeconfig = format!("--kubeconfig={}", config.display());
    let mut last = None;
    // The role holds a moment after it is given.
    let waited = wait::until("the rights hold", PATIENCE, || {
        let (code, said) = run(&["--no-envoy", &kubeconfig]);
        let unknown = said.lines().filter(|line| line.starts_with("UNKNOWN"));
        let words = unknown.filter_map(|line| line.split(' ').nth(3).map(str::to_owned));
        last = Some((code, words.collect::<Vec<_>>()));
        let kinds = [
            "httpproxies",
            "ingresses",
            "services",
            "endpointslices",
            "networkpolicies",
        ];
        (last == Some((Some(2), kinds.map(str::to_owned).to_vec()))).then_some(())
    });
    waited.unwrap_or_else(|error| panic!("{error}: {last:?}"));
}

/// Envoy takes --config-yaml once: a patch that is laid on again is refused.
fn twice(stand: &Stand) {
    let flags = ["--xds-insecure".to_owned()];
    let daemon_set = overlay::pinned(
        &stand.cluster,
        "envoy-twice",
        stand.hookgate.addresses,
        &flags,
    );
    let answer = overlay::lay_on(
        &stand.cluster,
        "envoy-twice",
        stand.hookgate.addresses,
        &flags,
    );
    assert_eq!(answer.status, 422, "{}", answer.body);
    let held = stand
        .cluster
        .admin()
        .get(&e2e::api::path_of(&daemon_set))
        .body;
    assert_eq!(held["spec"], daemon_set["spec"]);
}
