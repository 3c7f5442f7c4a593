//! In an Envoy of Envoy Gateway: the filter holds no headers, and fetches its table from the controller.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a trial fails by panicking"
)]

#[path = "gateway/stage.rs"]
mod stage;

use std::process::ExitCode;

use e2e::binaries::{ENVOY, OLDER_ENVOYS};
use e2e::client::Version;
use e2e::tls::Tls;
use e2e::trials::{Trials, expect};
use e2e::wait::{self, PATIENCE};
use e2e::{Hook, Receiver, Request};
use tempfile::TempDir;

use self::stage::Gateway;

/// `--max-hook-bytes`, if nobody says otherwise.
const MAX_HOOK: usize = 3 << 20;

fn main() -> ExitCode {
    let mut trials = Trials::started_by(|| Ok(Gateway::start(ENVOY, |_| {})));
    for version in OLDER_ENVOYS {
        trials = trials.alone(
            format!("an_envoy_{version}_of_a_gateway_verifies_hooks"),
            move || verifies(&Gateway::start(version, |_| {})),
        );
    }
    trials
        .shared("an_envoy_of_a_gateway_verifies_hooks", verifies)
        .shared("a_body_passes_whole_or_not_at_all", bodies)
        .shared("a_changed_table_is_fetched", changes)
        .alone(
            "without_a_table_no_hook_passes_and_the_last_one_outlives_the_controller",
            controller_comes_and_goes,
        )
        .alone(
            "an_envoy_without_a_certificate_of_the_client_ca_gets_no_table",
            wrong_certificate,
        )
        .alone("a_filter_that_trapped_lets_no_hook_pass", trapped)
        .run()
}

/// Of every type a genuine hook triggers, and a forged one nothing: where the head shows it, before the controller has any of it,
/// else when the body ends.
fn verifies(gateway: &Gateway) {
    let world = &gateway.world;
    for receiver in world.receivers() {
        let (name, resource) = (&receiver.name, receiver.resource_names().remove(0));
        gateway.await_status(&world.hook(name), 200);
        for version in [Version::Http1, Version::Http2] {
            let send = |hook: &Hook| gateway.send(Request::from(hook).version(version));
            let before = world.requested(&resource);
            let forged = world.hook(name).forged();
            if forged.path == receiver.path() {
                expect(name, &send(&forged), 400);
                expect(name, &send(&world.hook(name).unsigned()), 400);
            } else {
                // The path is all there is to know.
                expect(name, &send(&forged), 404);
            }
            assert_eq!(
                world.requested(&resource),
                before,
                "{name}: a forged hook triggers"
            );
            expect(name, &send(&world.hook(name)), 200);
            world.expect_requested_more_than(&resource, before);
        }
    }
}

fn bodies(gateway: &Gateway) {
    let world = &gateway.world;
    let receiver = world.add(&Receiver::new("generic-hmac", "bodies"));
    gateway.await_status(&world.forge.hook(&receiver), 200);
    for size in [0, 1, 32_768, 32_769, 200_000, MAX_HOOK - 1, MAX_HOOK] {
        let hook = world.forge.hook_with(&receiver, &vec![b' '; size]);
        for version in [Version::Http1, Version::Http2] {
            for request in [Request::from(&hook), Request::from(&hook).chunked()] {
                let what = format!("{size} bytes by {version:?}");
                expect(&what, &gateway.send(request.version(version)), 200);
            }
            let forged = Request::from(&hook.clone().forged()).version(version);
            expect("forged", &gateway.send(forged), 400);
        }
    }
    let resource = receiver.resource_names().remove(0);
    let before = world.requested(&resource);
    let large = world.forge.hook_with(&receiver, &vec![b' '; MAX_HOOK + 1]);
    expect("too large", &gateway.send(&large), 413);
    expect(
        "too large",
        &gateway.send(Request::from(&large).chunked()),
        413,
    );
    assert_eq!(world.requested(&resource), before);
}

fn changes(gateway: &Gateway) {
    let world = &gateway.world;
    let receiver = Receiver::new("github", "later");
    let hook = world.forge.hook(&world.add(&receiver));
    gateway.await_status(&hook, 200);
}

fn controller_comes_and_goes() {
    let mut gateway = Gateway::without_envoy(|_| {});
    let hook = gateway.world.hook("github");
    gateway.world.stop_controller();
    gateway.has_code();
    let identity = gateway.identity();
    gateway.start_envoy(ENVOY, &identity);
    for request in [hook.clone(), hook.clone().forged()] {
        expect("there is no table yet", &gateway.send(&request), 503);
    }
    gateway.world.start_controller();
    gateway.await_status(&hook, 200);
    gateway.world.stop_controller();
    gateway.await_status(&hook.clone().forged(), 400);
    // Envoy's own answer: what was verified has nowhere to go.
    gateway.await_status(&hook, 503);
    gateway.world.start_controller();
    gateway.await_status(&hook, 200);
}

fn wrong_certificate() {
    let mut gateway = Gateway::without_envoy(|_| {});
    let other = TempDir::new().expect("a folder can be made");
    let _tls = Tls::create_for(other.path(), &["envoy"]);
    gateway.start_envoy(ENVOY, other.path());
    let hook = gateway.world.hook("github");
    gateway.await_status(&hook, 503);
    // It has been asked for many times by then, and never given.
    let failed = || gateway.refusals() > 3;
    wait::until("the table is refused", PATIENCE, || failed().then_some(())).expect("it is");
    expect("a genuine hook", &gateway.send(&hook), 503);
    assert_eq!(gateway.world.requested(&resource_of(&gateway, "github")), 0);
}

fn trapped() {
    let gateway = Gateway::start(ENVOY, |options| options.trapping_filter = true);
    let hook = gateway.world.hook("github");
    gateway.await_status(&hook, 200);
    let resource = resource_of(&gateway, "github");
    let before = gateway.world.requested(&resource);
    let trap = Request::from(&hook).header("x-trap-on-demand", "1");
    // Every worker has met it in the end.
    gateway.await_status(&trap, 503);
    gateway.await_status(&hook, 503);
    gateway.await_status(&hook.forged(), 503);
    assert_eq!(gateway.world.requested(&resource), before);
}

fn resource_of(gateway: &Gateway, receiver: &str) -> String {
    let receiver = gateway.world.receiver(receiver);
    receiver.resource_names().remove(0)
}
