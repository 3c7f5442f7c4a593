//! Whatever is missing or wrong, the gate is closed, and no other host of the same Contour is touched.

use std::path::Path;

use e2e::binaries::{self, ENVOY_WITHOUT_WASM};
use e2e::contour;
use e2e::controller::Addresses;
use e2e::hookgate::Hookgate;
use e2e::tls::Tls;
use e2e::trials::Trials;
use serde_json::json;
use tempfile::TempDir;

use crate::overlay::PLACEHOLDER;
use crate::site::{Plan, Site, Way};
use crate::stand::{FLAGS, Stand};

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .shared(
            "filter_and_table_come_over_mutual_tls_with_contours_own_certificate",
            mutual_tls,
        )
        .shared("without_the_overlay_no_hook_passes", no_overlay)
        .shared(
            "an_envoy_that_starts_before_the_controller_is_closed_and_opens_with_it",
            controller_comes_later,
        )
        .shared(
            "without_the_controller_forged_hooks_are_still_refused_and_genuine_ones_wait",
            controller_stops,
        )
        .shared("in_an_envoy_without_wasm_no_hook_passes", no_wasm)
        .shared(
            "a_route_to_another_service_than_the_overlays_is_closed",
            wrong_service,
        )
        .shared(
            "a_route_whose_settings_change_contours_cluster_name_is_closed_until_they_are_back",
            changed_policy,
        )
        .shared("a_filter_that_traps_answers_503_and_heals", trap)
}

fn no_overlay(stand: &Stand) {
    let plan = Plan {
        way: Way::Bare,
        ..Plan::default()
    };
    let site = Site::start(stand, "bare", &plan);
    site.is_closed();
}

fn mutual_tls(stand: &Stand) {
    let dir = TempDir::new().expect("a folder can be made");
    let tls = Tls::create(dir.path());
    let path = |file: &Path| file.display().to_string();
    // Contour's CA, by which its Envoys are known.
    let known = dir.path().join("contour");
    contour::mount_secret(&stand.cluster, "envoycert", &known);
    let flags = [
        FLAGS[0].to_owned(),
        format!("--xds-cert={}", path(tls.cert_file())),
        format!("--xds-key={}", path(tls.key_file())),
        format!("--xds-client-ca={}", path(&known.join("ca.crt"))),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let filter = binaries::filter_wasm().expect("the filter can be built");
    let addresses = Addresses::reserve();
    let hookgate = Hookgate::start_at(addresses, &filter, &stand.cluster, "mutual", &flags);
    let overlay = |ca: &Path| {
        let flags = [
            format!("--xds-ca={}", path(ca)),
            "--xds-server-name=localhost".to_owned(),
        ];
        Way::Pinned(flags.to_vec())
    };
    let plan = Plan {
        controller: Some(addresses),
        way: overlay(tls.ca_file()),
        ..Plan::default()
    };
    Site::start(stand, "mutual", &plan).is_open(&hookgate, "mutual");

    // A controller whose certificate another CA signed is not believed.
    let plan = Plan {
        way: overlay(&known.join("ca.crt")),
        ..plan
    };
    Site::start(stand, "stranger", &plan).is_closed();
}

fn controller_comes_later(stand: &Stand) {
    let addresses = Addresses::reserve();
    let plan = Plan {
        controller: Some(addresses),
        ..Plan::default()
    };
    let site = Site::start(stand, "early", &plan);
    site.is_closed();
    let filter = binaries::filter_wasm().expect("the filter can be built");
    let hookgate = Hookgate::start_at(addresses, &filter, &stand.cluster, "late", &FLAGS);
    site.is_open(&hookgate, "late");
}

fn controller_stops(stand: &Stand) {
    let filter = binaries::filter_wasm().expect("the filter can be built");
    let addresses = Addresses::reserve();
    let start = || Hookgate::start_at(addresses, &filter, &stand.cluster, "stopping", &FLAGS);
    let hookgate = start();
    let plan = Plan {
        controller: Some(addresses),
        ..Plan::default()
    };
    let site = Site::start(stand, "orphan", &plan);
    site.is_open(&hookgate, "stopping");
    hookgate.process.kill();
    for _ in 0..8 {
        assert_eq!(site.send(site.genuine()).status, 503);
        assert_eq!(site.send(site.forged()).status, 400);
        site.elsewhere().expect("no other host is touched");
    }
    site.is_open(&start(), "stopping");
}

fn no_wasm(stand: &Stand) {
    let plan = Plan {
        envoy: ENVOY_WITHOUT_WASM,
        ..Plan::default()
    };
    let site = Site::start(stand, "no-wasm", &plan);
    site.is_closed();
}

fn wrong_service(stand: &Stand) {
    let site = Site::without_routes(stand, "wrong", &Plan::default());
    stand.cluster.admin().apply(&json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "hookgaet", "namespace": e2e::cluster::NAMESPACE},
        "spec": {"ports": [{"name": "http", "port": 80}]},
    }));
    let services = |name: &str| json!({"services": [{"name": name, "port": 80}]});
    site.apply_route(&site.proxy(&services("hookgaet")));
    site.is_closed();
    site.apply_route(&site.proxy(&services(PLACEHOLDER)));
    site.is_open(&stand.hookgate, "hookgate");
}

fn changed_policy(stand: &Stand) {
    let site = Site::start(stand, "changed", &Plan::default());
    for settings in [
        json!({"loadBalancerPolicy": {"strategy": "Random"}}),
        json!({"timeoutPolicy": {"idleConnection": "30s"}}),
        json!({"services": [{"name": PLACEHOLDER, "port": 80, "protocol": "h2c"}]}),
    ] {
        site.is_open(&stand.hookgate, "hookgate");
        site.apply_route(&site.proxy(&settings));
        site.is_closed();
        site.apply_route(&site.proxy(&json!({})));
    }
    // These do not change the name.
    site.apply_route(&site.proxy(&json!({
        "timeoutPolicy": {"response": "20s", "idle": "25s"},
        "loadBalancerPolicy": {"strategy": "RoundRobin"},
        "requestHeadersPolicy": {"set": [{"name": "x-way", "value": "contour"}]},
    })));
    site.is_open(&stand.hookgate, "hookgate");
}

fn trap(stand: &Stand) {
    let filter = binaries::filter_wasm_trap().expect("the filter can be built");
    let addresses = Addresses::reserve();
    let hookgate = Hookgate::start_at(addresses, &filter, &stand.cluster, "trapping", &FLAGS);
    let plan = Plan {
        controller: Some(addresses),
        ..Plan::default()
    };
    let site = Site::start(stand, "trap", &plan);
    for _ in 0..2 {
        site.is_open(&hookgate, "trapping");
        for _ in 0..4 {
            let answer = site.send(site.genuine().header("x-trap-on-demand", "1"));
            assert_eq!(answer.status, 503);
            site.elsewhere().expect("no other host is touched");
        }
    }
    site.is_open(&hookgate, "trapping");
}
