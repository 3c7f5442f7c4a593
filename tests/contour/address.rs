//! The sender's address behind Contour: what `hookgate.dev/allowed-addresses` compares.

use std::net::{IpAddr, Ipv4Addr};

use e2e::client::Request;
use e2e::trials::Trials;
use serde_json::json;

use crate::site::{Plan, Site, Way};
use crate::stand::Stand;

/// The sender whose hooks are taken.
const SENDER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));

/// Somebody else; or the load balancer in front.
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .shared(
            "a_sender_is_known_by_its_address_and_not_by_what_it_says",
            |stand| no_hops(stand, "no-hops", &plan(0)),
        )
        .shared(
            "behind_a_load_balancer_a_sender_is_known_by_the_address_that_that_tells",
            |stand| one_hop(stand, "one-hop", &plan(1)),
        )
        .shared(
            "a_gate_knows_a_sender_by_its_address_and_not_by_what_it_says",
            |stand| no_hops(stand, "gate-no-hops", &behind_contour(plan(0))),
        )
        .shared(
            "behind_a_load_balancer_a_gate_knows_a_sender_by_the_address_that_that_tells",
            |stand| one_hop(stand, "gate-one-hop", &behind_contour(plan(1))),
        )
}

fn plan(hops: u32) -> Plan {
    Plan {
        contour: json!({"network": {"num-trusted-hops": hops}}),
        shape: |receiver| receiver.annotation("hookgate.dev/allowed-addresses", "127.0.0.5/32"),
        ..Plan::default()
    }
}

fn behind_contour(plan: Plan) -> Plan {
    Plan {
        way: Way::Gate,
        ..plan
    }
}

/// Waits until the table is there, by a hook that is answered as soon as it is.
fn await_table(site: &Site<'_>) {
    let unknown = format!("/hook/{}", "0".repeat(64));
    site.await_status(&Request::get(&unknown), 404);
}

fn forwarded(site: &Site<'_>, addresses: &str) -> Request {
    site.genuine().header("x-forwarded-for", addresses)
}

fn no_hops(stand: &Stand, name: &str, plan: &Plan) {
    let site = Site::start(stand, name, plan);
    await_table(&site);
    assert_eq!(site.status_from(SENDER, site.genuine()), 200);
    assert_eq!(site.status_from(SENDER, forwarded(&site, "127.0.0.6")), 200);
    for request in [
        site.genuine(),
        forwarded(&site, "127.0.0.5"),
        forwarded(&site, "127.0.0.5, 127.0.0.5"),
        site.genuine()
            .header("x-envoy-external-address", "127.0.0.5"),
        site.genuine().header("x-real-ip", "127.0.0.5"),
    ] {
        assert_eq!(site.status_from(OTHER, &request), 403, "{request:?}");
    }
}

fn one_hop(stand: &Stand, name: &str, plan: &Plan) {
    let site = Site::start(stand, name, plan);
    await_table(&site);
    let from_the_balancer = |addresses: &str| site.status_from(OTHER, forwarded(&site, addresses));
    assert_eq!(from_the_balancer("127.0.0.5"), 200);
    assert_eq!(from_the_balancer("127.0.0.6, 127.0.0.5"), 200);
    assert_eq!(from_the_balancer("127.0.0.6"), 403);
    // The balancer adds the address that it sees to what a sender forges.
    assert_eq!(from_the_balancer("127.0.0.5, 127.0.0.6"), 403);
    let forged = forwarded(&site, "127.0.0.6").header("x-envoy-external-address", "127.0.0.5");
    assert_eq!(site.status_from(OTHER, forged), 403);
}
