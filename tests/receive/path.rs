//! Paths: exactly one form of each is a hook's, in front of an Envoy that leaves paths alone and of one that does not.

use e2e::forge::payload;
use e2e::trials::{Trials, expect, options};
use e2e::world::Options;
use e2e::{Hook, Receiver, Request, World};

pub(crate) fn trials(trials: Trials) -> Trials {
    trials
        .shared(
            "a_genuine_hook_on_any_other_form_of_its_path_is_unknown",
            |world| {
                unknown_in_any_other_form(world);
            },
        )
        .shared("paths_that_are_no_http_are_never_admitted", |world| {
            never_admitted(world)
        })
        .alone(
            "behind_an_envoy_that_normalises_paths_nothing_passes_unverified",
            normalised,
        )
}

/// Every way of writing a path that some part of a proxy chain might take for `/hook/DIGEST`.
fn tricks(path: &str) -> Vec<String> {
    let digest = path.trim_start_matches("/hook/");
    let (first, rest) = digest.split_at(1);
    let byte = first.as_bytes().first().copied().unwrap_or_default();
    vec![
        format!("//hook/{digest}"),
        format!("/hook//{digest}"),
        format!("///hook/{digest}"),
        format!("/./hook/{digest}"),
        format!("/hook/./{digest}"),
        format!("/x/../hook/{digest}"),
        format!("/hook/x/../{digest}"),
        format!("/hook%2f{digest}"),
        format!("/hook%2F{digest}"),
        format!("/%2fhook/{digest}"),
        format!("/hook/%2e/{digest}"),
        format!("/hook/%{byte:02x}{rest}"),
        format!("/%68ook/{digest}"),
        format!("/Hook/{digest}"),
        format!("/HOOK/{digest}"),
        format!("/hook/{}", digest.to_uppercase()),
        format!("/hook/{digest}/"),
        format!("/hook/{digest}/x"),
        format!("/hook/{digest}/.."),
        format!("/hook/{digest};x=1"),
        format!("/hook;x=1/{digest}"),
        format!("/hook/{digest}?"),
        format!("/hook/{digest}?x=1"),
        format!("/hook/{digest}%20"),
        format!("/hook/{digest}%3f"),
        format!("/hook/{digest}."),
        format!("/hook/{digest}0"),
        format!("/hook/{rest}"),
        format!("/hook/ {digest}").replace(' ', "+"),
        format!("/hook?{digest}"),
        format!("/hook/{digest}%0d%0a"),
        format!("/hook/{digest}%23"),
        "/hook/".to_owned(),
        "/hook".to_owned(),
        "/".to_owned(),
        "/index.html".to_owned(),
    ]
}

fn unknown_in_any_other_form(world: &World) {
    // With a path-only type nothing but the path stands in the way; with a signed one nothing but the signature.
    for receiver_type in ["generic", "github"] {
        let receiver = world.add(&Receiver::new(
            receiver_type,
            &format!("tricks-{receiver_type}"),
        ));
        let hook = world.forge.hook(&receiver);
        let direct = world.controller().client();
        for path in tricks(&receiver.path()) {
            let hook = hook.clone().with_path(&path);
            expect(&format!("{path:?}"), &world.send(&hook), 404);
            let answer = world.send(Request::from(&hook).http2());
            expect(&format!("{path:?} over HTTP/2"), &answer, 404);
            let answer = direct.send(&hook);
            let status = answer.map(|response| response.status);
            assert!(
                matches!(status, Ok(404)),
                "{path:?} at the controller: {status:?}"
            );
        }
        let absolute = Request::from(&hook).absolute_form();
        expect("the absolute form", &world.send(&absolute), 404);
        let status = direct.send(&absolute).map(|response| response.status);
        assert!(
            matches!(status, Ok(404)),
            "the absolute form at the controller: {status:?}"
        );
        expect("the path itself", &world.send(&hook), 200);
    }
}

/// What a strict parser refuses by itself: any refusal will do, and a closed connection too.
fn never_admitted(world: &World) {
    let receiver = world.add(&Receiver::new("generic", "no-http"));
    let path = receiver.path();
    let targets = [
        path.trim_start_matches('/').to_owned(),
        format!("\\hook\\{}", path.trim_start_matches("/hook/")),
        format!("{path}\\"),
        format!("{path}\u{e9}"),
        format!("{path}\u{7f}"),
        format!("{path}%"),
        format!("{path}%00"),
        format!("{path} x"),
        "*".to_owned(),
        String::new(),
        format!("/{}", "a".repeat(100_000)),
    ];
    let odd_methods = ["BREW", "post"].map(|method| Request::new(method, &path));
    let odd_targets = targets.map(|target| Request::new("POST", &target).body(payload::GENERIC));
    for request in odd_methods.iter().chain(&odd_targets) {
        for client in [world.client(), world.controller().client()] {
            let status = client.send(request).map_or(0, |response| response.status);
            assert!(
                status == 0 || (400..500).contains(&status),
                "{}: {status}",
                format!("{request:?}").chars().take(200).collect::<String>()
            );
        }
    }
    // The part behind # never leaves a client that is no attacker's. Envoy refuses it.
    let request = Request::new("POST", &format!("{path}#x")).body(payload::GENERIC);
    let status = world.send(request).status;
    assert!((400..500).contains(&status), "a fragment: {status}");
    expect(
        "the path itself",
        &world.send(world.forge.hook(&receiver)),
        200,
    );
}

fn normalised() {
    let replace = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let world = World::start(Options {
        edit_bootstrap: vec![
            replace("normalize_path: false", "normalize_path: true"),
            replace("merge_slashes: false", "merge_slashes: true"),
            replace("KEEP_UNCHANGED", "UNESCAPE_AND_FORWARD"),
        ],
        ..options()
    });
    let receiver = world.receiver("generic-hmac");
    let genuine = world.forge.hook(receiver);
    let decided = || world.controller().metric("hookgate_hooks_total", &[]);
    assert!(decided() == 0.0);
    let send = |hook: &Hook, http2: bool| {
        let request = Request::from(hook);
        world.send(if http2 { request.http2() } else { request })
    };
    for path in tricks(&receiver.path()) {
        for http2 in [false, true] {
            for spoiled in [genuine.clone().forged(), genuine.clone().unsigned()] {
                let status = send(&spoiled.with_path(&path), http2).status;
                assert!(
                    (400..500).contains(&status),
                    "{path:?} unverified: {status}"
                );
            }
        }
    }
    assert!(decided() == 0.0, "the controller saw an unverified hook");
    for path in tricks(&receiver.path()) {
        let status = send(&genuine.clone().with_path(&path), false).status;
        // Normalised first, then verified: both verdicts are of the path that the controller gets.
        assert!(matches!(status, 200 | 400..=499), "{path:?}: {status}");
    }
    let status = send(&genuine.with_path(&format!("/{}", receiver.path())), false).status;
    assert_eq!(status, 200, "two slashes are one here");
}
