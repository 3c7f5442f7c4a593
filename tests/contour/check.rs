//! `hookgate edge check` on the real Contour: what it says is what hooks meet.

use std::process::Command;

use e2e::binaries;
use e2e::trials::Trials;
use serde_json::json;

use crate::site::{Plan, Site, Way};
use crate::stand::Stand;

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        // Every Contour has the routes of all trials, and those of others are wrong on purpose.
        .alone("a_check_finds_the_gate_in_contours_envoy", in_the_path)
        .shared("a_check_finds_that_the_overlay_is_missing", no_overlay)
        .shared(
            "a_check_names_the_setting_that_changes_contours_cluster_name",
            changed_policy,
        )
}

/// Its exit code, and what it says of the Envoy behind this Contour, whose read-only admin listener it asks.
fn check(site: &Site<'_>, flags: &[&str]) -> (Option<i32>, String) {
    let admin = site.contour.addresses().admin.to_string();
    let output = Command::new(binaries::hookgate().expect("hookgate can be built"))
        .args(["edge", "check", "--admin-addr", &admin])
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
