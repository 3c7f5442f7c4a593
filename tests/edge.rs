//! Behind Contour: the overlay in real Envoys with a bootstrap shaped like Contour's, what `edge check` finds there, and the
//! rendered objects on a real API server. The real Contour has tests of its own.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

#[path = "edge/contour.rs"]
mod contour;
#[path = "edge/objects.rs"]
mod objects;

use std::process::ExitCode;

use e2e::binaries::{ENVOY, ENVOY_WITHOUT_WASM, OLDER_ENVOYS};
use e2e::trials::{Trials, expect, options};
use e2e::wait::{self, PATIENCE};
use e2e::{Request, World};
use serde_json::Value;

use crate::contour::{Contour, HOOKS, OTHERS};

fn main() -> ExitCode {
    let mut trials = Trials::on(options());
    for version in [ENVOY].into_iter().chain(OLDER_ENVOYS) {
        let name = format!("a_forged_hook_ends_in_contours_envoy_{version}");
        trials = trials.shared(name, move |world| refused(world, version));
    }
    trials
        .shared(
            "without_a_wasm_engine_hooks_get_503_and_others_go_on",
            no_wasm,
        )
        .shared(
            "without_the_overlay_hooks_get_503_and_others_go_on",
            no_overlay,
        )
        .alone(
            "without_the_controller_hooks_get_503_once_and_forged_ones_are_refused",
            no_controller,
        )
        .shared("check_tells_a_wiring_as_it_should_be_from_others", checked)
        .alone("the_api_server_takes_all_that_is_printed", objects::taken)
        .run()
}

fn refused(world: &World, version: &str) {
    let contour = Contour::start(world, version, true);
    let hook = world.hook("github");
    contour.await_status(&hook, 200);
    let before = contour.passed();
    let forged = Request::from(&hook.clone().forged());
    for request in [forged.clone(), forged.http2()] {
        expect("forged", &contour.send(request, HOOKS), 400);
    }
    let unknown = Request::new("POST", &format!("/hook/{}", "0".repeat(64))).body("{}");
    expect("unknown", &contour.send(unknown, HOOKS), 404);
    let marked = Request::from(&hook.clone().forged()).header("x-hookgate-verified", "1");
    expect("marked", &contour.send(marked, HOOKS), 400);
    assert_eq!(
        contour.passed(),
        before,
        "nothing forged came to the controller"
    );
    expect("genuine", &contour.send(&hook, HOOKS), 200);
    assert_eq!(contour.passed(), before + 1);
    // Plain HTTP on Contour's other port: the chain asks for x-forwarded-proto.
    expect("plain", &contour.send_plain(&hook), 403);
    expect("others", &contour.send(Request::get("/"), OTHERS), 200);
}

fn no_wasm(world: &World) {
    let contour = Contour::start(world, ENVOY_WITHOUT_WASM, true);
    expect("hook", &contour.send(world.hook("github"), HOOKS), 503);
    expect("others", &contour.send(Request::get("/"), OTHERS), 200);
    assert_eq!(contour.passed(), 0);
}

fn no_overlay(world: &World) {
    let contour = Contour::start(world, ENVOY, false);
    // Contour's Envoy answers by itself, and says nothing of a retry.
    assert_eq!(contour.send(world.hook("github"), HOOKS).status, 503);
    expect("others", &contour.send(Request::get("/"), OTHERS), 200);
}

fn no_controller() {
    let mut world = World::start(options());
    let hook = world.hook("github");
    let contour = Contour::start(&world, ENVOY, true);
    contour.await_status(&hook, 200);
    world.stop_controller();
    let before = contour.came_in();
    expect("genuine", &contour.send(&hook, HOOKS), 503);
    // The route of the bootstrap has a retry policy.
    assert_eq!(contour.came_in(), before + 1, "it was not sent again");
    expect("forged", &contour.send(hook.clone().forged(), HOOKS), 400);
    expect("others", &contour.send(Request::get("/"), OTHERS), 200);
    // And without one from the start.
    let fresh = Contour::start(&world, ENVOY, true);
    expect("at start", &fresh.send(&hook, HOOKS), 503);
    expect("others", &fresh.send(Request::get("/"), OTHERS), 200);
}

fn checked(world: &World) {
    let contour = Contour::start(world, ENVOY, true);
    contour.await_status(&world.hook("github"), 200);
    let (code, lines) = contour.check(&[]);
    assert_eq!(code, 0, "{lines}");
    for line in [
        format!("ok       version: Envoy {ENVOY}"),
        "ok       wasm: this Envoy has a Wasm engine".to_owned(),
        "ok       pin: flux-system/hookgate/80/da39a3ee5e leads to the gate".to_owned(),
        "ok       chain: the filter is there, 503 in its place until it comes, and the guard behind it".to_owned(),
    ] {
        assert!(lines.contains(&line), "{line}\n{lines}");
    }
    assert!(lines.contains("ok       table: the table is "), "{lines}");
    let (code, lines) = contour.check(&["--port=81"]);
    assert_eq!(code, 1, "{lines}");
    assert!(
        lines.contains(
            "FINDING  pin: this Envoy has no static cluster \"flux-system/hookgate/81/da39a3ee5e\""
        ),
        "{lines}"
    );
    // Looked at in a file, it is the same.
    let dump: Value = contour.config_dump();
    let file = world.dir().join("dump.json");
    std::fs::write(&file, dump.to_string()).expect("a file can be written");
    let file = file.to_str().expect("a path of text");
    let (code, lines) = contour::check(&["--config-dump", file, "--no-cluster"]);
    assert_eq!(code, 0, "{lines}");
    let (code, _) = contour::check(&["--config-dump=/nothing.json", "--no-cluster"]);
    assert_eq!(code, 2);

    let bare = Contour::start(world, ENVOY, false);
    let (code, lines) = bare.check(&[]);
    assert_eq!(code, 1, "{lines}");
    assert!(
        lines.contains("FINDING  pin: ") && lines.contains("FINDING  chain: "),
        "{lines}"
    );
    let weak = Contour::start(world, ENVOY_WITHOUT_WASM, true);
    let waited = wait::until("the finding", PATIENCE, || {
        let (_, lines) = weak.check(&[]);
        lines
            .contains("FINDING  wasm: this Envoy has no Wasm engine")
            .then_some(lines)
    });
    let lines = waited.unwrap_or_else(|error| panic!("{error}"));
    assert!(lines.contains("FINDING  table: "), "{lines}");
}
