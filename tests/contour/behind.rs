//! The gate's way: an Envoy of our own as an ordinary Service behind Contour, whose own Envoy is as it comes.

use e2e::binaries::{self, ENVOY, ENVOY_WITHOUT_WASM, OLDER_ENVOYS};
use e2e::controller::Addresses;
use e2e::hookgate::Hookgate;
use e2e::trials::Trials;
use serde_json::json;

use crate::site::{Plan, Site, Way};
use crate::stand::{FLAGS, Stand};
use crate::{change, routes};

pub(crate) fn trials(mut trials: Trials<Stand>) -> Trials<Stand> {
    for version in [ENVOY].into_iter().chain(OLDER_ENVOYS) {
        trials = trials
            .shared(
                format!("hooks_by_an_http_proxy_are_verified_in_a_gate_{version}"),
                move |stand| routes::http_proxy(stand, "gated", &plan(version)),
            )
            .shared(
                format!("hooks_by_an_ingress_are_verified_in_a_gate_{version}"),
                move |stand| routes::ingress(stand, "gated-in", &plan(version)),
            );
    }
    trials
        .shared("hooks_by_an_http_route_are_verified_in_a_gate", |stand| {
            routes::http_route(stand, "gate-route", &plan(ENVOY));
        })
        .shared(
            "a_certificate_is_rotated_without_a_gap_in_front_of_a_gate",
            |stand| change::certificate(stand, "gate-rotated", &plan(ENVOY)),
        )
        .shared("without_its_gate_no_hook_passes", gate_stops)
        .shared(
            "a_gate_that_starts_before_the_controller_is_closed_and_opens_with_it",
            controller_comes_later,
        )
        .shared("in_a_gate_without_wasm_no_hook_passes", no_wasm)
        .shared(
            "settings_that_change_contours_cluster_name_do_not_matter_to_a_gate",
            changed_policy,
        )
}

fn plan(version: &'static str) -> Plan {
    Plan {
        envoy: version,
        way: Way::Gate,
        ..Plan::default()
    }
}

fn gate_stops(stand: &Stand) {
    let mut site = Site::start(stand, "gate-stops", &plan(ENVOY));
    site.is_open(&stand.hookgate, "hookgate");
    site.gate().stop();
    site.is_closed();
    site.gate().start_again();
    site.is_open(&stand.hookgate, "hookgate");
}

fn controller_comes_later(stand: &Stand) {
    let addresses = Addresses::reserve();
    let plan = Plan {
        controller: Some(addresses),
        ..plan(ENVOY)
    };
    let site = Site::start(stand, "gate-early", &plan);
    site.is_closed();
    let filter = binaries::filter_wasm().expect("the filter can be built");
    let hookgate = Hookgate::start_at(addresses, &filter, &stand.cluster, "gate-late", &FLAGS);
    site.is_open(&hookgate, "gate-late");
}

fn no_wasm(stand: &Stand) {
    Site::start(stand, "gate-no-wasm", &plan(ENVOY_WITHOUT_WASM)).is_closed();
}

fn changed_policy(stand: &Stand) {
    let site = Site::start(stand, "gate-changed", &plan(ENVOY));
    site.apply_route(&site.proxy(&json!({
        "loadBalancerPolicy": {"strategy": "Random"},
        "timeoutPolicy": {"idleConnection": "30s"},
    })));
    site.is_open(&stand.hookgate, "hookgate");
}
