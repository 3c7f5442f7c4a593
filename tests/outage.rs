//! Outages: whatever is gone, the gate is closed or keeps what it last knew, and heals by itself.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a trial fails by panicking"
)]

use std::fs;
use std::process::ExitCode;

use e2e::binaries::ENVOY_WITHOUT_WASM;
use e2e::trials::{Trials, expect, options, statuses};
use e2e::wait::{PATIENCE, until};
use e2e::world::Options;
use e2e::{Client, Request, World, ports};

fn main() -> ExitCode {
    Trials::on(options())
        .alone(
            "without_the_controller_the_gate_keeps_its_table",
            controller_stops,
        )
        .alone(
            "an_envoy_that_starts_without_the_controller_is_closed_and_heals",
            envoy_starts_alone,
        )
        .alone("a_filter_that_traps_answers_503_and_heals", trap)
        .alone(
            "a_filter_that_is_none_is_refused_and_the_last_one_kept",
            bad_filter,
        )
        .alone(
            "an_envoy_without_wasm_is_closed_and_its_other_listeners_serve",
            without_wasm,
        )
        .run()
}

fn controller_stops() {
    let mut world = World::start(options());
    let genuine = world.hook("github");
    expect("before", &world.send(&genuine), 200);
    world.kill_controller();
    for _ in 0..8 {
        expect("forged", &world.send(genuine.clone().forged()), 400);
        expect(
            "unknown",
            &world.send(Request::new("POST", "/hook/x").body("")),
            404,
        );
        expect("genuine", &world.send(&genuine), 503);
        expect(
            "genuine over HTTP/2",
            &world.send(Request::from(&genuine).http2()),
            503,
        );
    }
    world.start_controller();
    world.await_everywhere(&genuine, 200);
    expect("forged, after", &world.send(genuine.forged()), 400);
}

fn envoy_starts_alone() {
    let mut world = World::start(options());
    let genuine = world.hook("generic");
    world.stop_controller();
    world.restart_envoy();
    for request in [Request::from(&genuine), Request::from(&genuine).http2()] {
        expect("closed", &world.send(request), 503);
    }
    let spoofed = Request::from(&genuine).header("x-hookgate-verified", "1");
    expect(
        "closed to who says to be verified",
        &world.send(spoofed),
        503,
    );
    world.start_controller();
    world.await_everywhere(&genuine, 200);
    expect(
        "forged, after",
        &world.send(world.hook("github").forged()),
        400,
    );
}

fn trap() {
    let mut world = World::start(Options {
        trapping_filter: true,
        ..options()
    });
    let genuine = world.hook("github");
    for round in 0..3 {
        let seen = statuses(
            &world.client(),
            vec![Request::from(&genuine).header("x-trap-on-demand", "1"); 8],
            2,
        );
        assert_eq!(seen, [503; 8], "round {round}: a trap is closed");
        world.await_everywhere(&genuine, 200);
        expect("forged", &world.send(genuine.clone().forged()), 400);
    }
    assert!(world.controller_mut().is_running());
}

fn bad_filter() {
    let mut world = World::start(options());
    let genuine = world.hook("github");
    let good = world.filter().to_owned();
    let junk = world.dir().join("junk.wasm");
    fs::write(&junk, b"\0asm\x01\0\0\0this is no module").expect("the junk can be written");
    world.start_controller_with_filter(&junk);
    let nacks = || world.controller().metric("hookgate_xds_nacks_total", &[]);
    let seen = until("a NACK", PATIENCE, || (nacks() > 0.0).then_some(()));
    assert!(seen.is_ok(), "{seen:?}: {}", world.controller().metrics());
    world.await_everywhere(&genuine, 200);
    expect("forged", &world.send(genuine.clone().forged()), 400);
    world.start_controller_with_filter(&good);
    let acks = || world.controller().metric("hookgate_xds_acks_total", &[]);
    let seen = until("an ACK", PATIENCE, || (acks() > 0.0).then_some(()));
    assert!(seen.is_ok(), "{seen:?}: {}", world.controller().metrics());
    world.await_everywhere(&genuine, 200);
}

fn without_wasm() {
    let other = ports::address();
    let listener = format!(
        "static_resources:\n  listeners:\n  - name: other\n    address:\n      socket_address: {{address: \"127.0.0.1\", port_value: {}}}\n    filter_chains:\n    - filters:\n      - name: hcm\n        typed_config:\n          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n          stat_prefix: other\n          route_config:\n            virtual_hosts:\n            - name: all\n              domains: [\"*\"]\n              routes:\n              - match: {{prefix: /}}\n                direct_response: {{status: 204}}\n          http_filters:\n          - name: router\n            typed_config:\n              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router\n",
        other.port()
    );
    let world = World::start(Options {
        envoy: ENVOY_WITHOUT_WASM.to_owned(),
        edit_bootstrap: vec![("static_resources:\n  listeners:\n".to_owned(), listener)],
        await_table: false,
        ..options()
    });
    for receiver in world.receivers() {
        let hook = world.forge.hook(receiver);
        expect(&receiver.name, &world.send(&hook), 503);
        expect(
            &receiver.name,
            &world.send(Request::from(&hook.forged()).http2()),
            503,
        );
    }
    match Client::plain(other).get("/") {
        Ok(response) => assert_eq!(response.status, 204),
        Err(error) => panic!("the other listener: {error:?}"),
    }
}
