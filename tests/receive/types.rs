//! Each receiver type, genuine and forged.

use e2e::client::Version;
use e2e::forge::payload;
use e2e::manifests::{TYPES, signing_token};
use e2e::trials::{Trials, expect, options};
use e2e::{Hook, Receiver, Request, World};

const VERSIONS: [(&str, Version); 2] = [("http1", Version::Http1), ("http2", Version::Http2)];

/// Types whose path is all there is to know: a forged one has another path.
const PATH_ONLY: [&str; 5] = ["acr", "cdevents", "dockerhub", "generic", "quay"];

pub(crate) fn trials(mut trials: Trials) -> Trials {
    for (version_name, version) in VERSIONS {
        for receiver_type in TYPES {
            let name = format!("type_{receiver_type}_{version_name}");
            trials = trials.shared(name, move |world| {
                let receiver = world.add(&receiver(receiver_type, version_name));
                genuine_is_admitted_and_forged_ends_at_the_edge(world, &receiver, version);
            });
        }
        for receiver_type in ["gitlab", "generic-hmac"] {
            let name = format!("type_{receiver_type}_with_a_signing_token_{version_name}");
            trials = trials.shared(name, move |world| {
                let name = format!("signed-{receiver_type}-{version_name}");
                let token = signing_token(&name);
                let receiver =
                    world.add(&Receiver::new(receiver_type, &name).secret("signing-token", &token));
                genuine_is_admitted_and_forged_ends_at_the_edge(world, &receiver, version);
                unsigned_credentials_no_longer_pass(world, &receiver, version);
                stale_timestamps_are_refused_both_ways(world, &receiver, version);
            });
        }
    }
    trials
        .shared("github_as_gitea_form_and_sha1_deliver", |world| {
            github_as_others_deliver(world);
        })
        .alone("no_forged_hook_of_any_type_reaches_the_controller", || {
            no_forged_hook_reaches_the_controller();
        })
}

fn receiver(receiver_type: &str, version: &str) -> Receiver {
    let receiver = Receiver::new(receiver_type, &format!("type-{receiver_type}-{version}"));
    if receiver_type == "generic-oidc" {
        receiver.oidc_provider("")
    } else {
        receiver
    }
}

fn genuine_is_admitted_and_forged_ends_at_the_edge(
    world: &World,
    receiver: &Receiver,
    version: Version,
) {
    let resource = receiver.resource_names().remove(0);
    let send = |hook: &Hook| world.send(Request::from(hook).version(version));
    let forged_status = if PATH_ONLY.contains(&receiver.receiver_type.as_str()) {
        404
    } else {
        400
    };
    // Keys of issuers arrive a moment after the Receiver.
    world.await_everywhere(
        Request::from(&world.forge.hook(receiver)).version(version),
        200,
    );
    let decided = decided_by_the_controller(world, receiver);
    for spoil in [Hook::forged, Hook::unsigned] {
        let hook = spoil(world.forge.hook(receiver));
        if forged_status == 404 && hook.path == receiver.path() {
            continue; // Nothing to leave out.
        }
        expect("forged", &send(&hook), forged_status);
    }
    assert_eq!(
        decided_by_the_controller(world, receiver),
        decided,
        "the controller saw a forged hook"
    );
    let requested = world.requested(&resource);
    expect("genuine", &send(&world.forge.hook(receiver)), 200);
    world.expect_requested_more_than(&resource, requested);
    assert!(decided_by_the_controller(world, receiver) > decided);
}

fn decided_by_the_controller(world: &World, receiver: &Receiver) -> f64 {
    let name = format!("name=\"{}\"", receiver.name);
    world
        .controller()
        .metric("hookgate_receiver_hooks_total", &[&name])
}

fn unsigned_credentials_no_longer_pass(world: &World, receiver: &Receiver, version: Version) {
    let plain = if receiver.receiver_type == "gitlab" {
        world.forge.gitlab(receiver, payload::GITLAB_PUSH)
    } else {
        world
            .forge
            .generic_hmac(receiver, "sha256", payload::GENERIC)
    };
    let answer = world.send(Request::from(&plain).version(version));
    expect("the plain credential", &answer, 400);
}

fn stale_timestamps_are_refused_both_ways(world: &World, receiver: &Receiver, version: Version) {
    for (ahead, status) in [(-600, 400), (600, 400), (-240, 200), (240, 200)] {
        let hook = world.forge.ahead(ahead).hook(receiver);
        let answer = world.send(Request::from(&hook).version(version));
        expect(&format!("{ahead} s ahead"), &answer, status);
    }
    // One of several signatures is enough: that is how keys are rotated.
    let hook = world.forge.hook(receiver);
    let good = hook
        .header("webhook-signature")
        .expect("it is signed")
        .to_vec();
    let other = [b"v1,AAAA".as_slice(), b" v2,eA== ", &good].concat();
    let answer = world.send(Request::from(&hook.with("webhook-signature", other)).version(version));
    expect("the second signature", &answer, 200);
}

fn github_as_others_deliver(world: &World) {
    let receiver = world.add(&Receiver::new("github", "github-flavours").event("push"));
    let (forge, body) = (&world.forge, payload::GITHUB_PUSH);
    // Gogs sends its own headers only; its signature stands in for the credential.
    let gogs = |hook: Hook| {
        [
            "X-Hub-Signature",
            "X-Hub-Signature-256",
            "X-GitHub-Event",
            "X-GitHub-Delivery",
        ]
        .into_iter()
        .chain([
            "X-Gitea-Delivery",
            "X-Gitea-Event",
            "X-Gitea-Event-Type",
            "X-Gitea-Signature",
        ])
        .fold(hook, Hook::without)
    };
    let flavours = [
        ("gitea", forge.gitea(&receiver, "push", body)),
        ("gogs", gogs(forge.gitea(&receiver, "push", body))),
        ("form", forge.github_form(&receiver, "push", body)),
        ("sha1", forge.github_sha1(&receiver, "push", body)),
    ];
    for (name, hook) in flavours {
        for (_, version) in VERSIONS {
            let send = |hook: &Hook| world.send(Request::from(hook).version(version));
            expect(name, &send(&hook), 200);
            if name != "gogs" {
                expect(name, &send(&hook.clone().forged()), 400);
            }
            let cut = hook.clone().with_body(&hook.body[1..]);
            expect(name, &send(&cut), 400);
        }
    }
    let weak = world.controller().metric(
        "hookgate_receiver_weak_signatures_total",
        &["name=\"github-flavours\""],
    );
    assert!(weak >= 2.0, "SHA-1 is counted as weak: {weak}");
}

/// In a World of its own: not one request arrives at :9292, of no type and over no version.
fn no_forged_hook_reaches_the_controller() {
    let world = World::start(options());
    for receiver in world.receivers() {
        if matches!(receiver.receiver_type.as_str(), "gcr" | "generic-oidc") {
            world.await_everywhere(world.forge.hook(receiver).with_method("GET"), 405);
        }
        for (_, version) in VERSIONS {
            let forged = world.forge.hook(receiver).forged();
            let status = world.send(Request::from(&forged).version(version)).status;
            assert!(
                matches!(status, 400 | 404 | 503),
                "{}: {status}",
                receiver.name
            );
        }
    }
    let arrived = world
        .controller()
        .metric("gotk_receiver_http_request_duration_seconds_count", &[]);
    let decided = world.controller().metric("hookgate_hooks_total", &[]);
    assert!(
        arrived == 0.0 && decided == 0.0,
        "{arrived} arrived, {decided} decided"
    );
    world.send(world.hook("github"));
    let arrived = world
        .controller()
        .metric("gotk_receiver_http_request_duration_seconds_count", &[]);
    assert!(arrived > 0.5, "the metric would have told");
}
