//! Bodies: cut anywhere, without an end that is announced, with trailers, empty, as large as may be and a byte larger.

use e2e::client::{Response, Version};
use e2e::trials::{Trials, expect, options, statuses};
use e2e::world::Options;
use e2e::{Hook, Receiver, Request, World};

const DEFAULT_LIMIT: usize = 3_145_728;
const HIGHEST_LIMIT: usize = 26_214_400;

pub(crate) fn trials(mut trials: Trials) -> Trials {
    for (name, version) in [("http1", Version::Http1), ("http2", Version::Http2)] {
        trials = trials
            .shared(format!("a_body_may_be_cut_anywhere_{name}"), move |world| {
                cut_anywhere(world, name, version);
            })
            .shared(format!("a_body_may_be_chunked_{name}"), move |world| {
                chunked(world, name, version);
            })
            .shared(
                format!("a_body_of_3_mib_and_not_a_byte_more_{name}"),
                move |world| {
                    let receiver = Receiver::new("generic-hmac", &format!("limit-{name}"));
                    largest(world, &world.add(&receiver), version, DEFAULT_LIMIT);
                },
            )
            .shared(
                format!("a_body_of_a_hook_that_its_head_admits_is_limited_too_{name}"),
                move |world| admitted_by_the_head(world, name, version),
            )
            .shared(format!("a_slow_body_is_waited_for_{name}"), move |world| {
                slow(world, name, version);
            });
    }
    trials
        .shared("trailers_end_a_body_over_http2", |world| {
            trailers_http2(world)
        })
        .shared("trailers_end_a_body_over_http1", |world| {
            trailers_http1(world)
        })
        .shared("a_sender_that_expects_100_continue_is_served", |world| {
            expect_continue(world)
        })
        .alone("a_body_of_25_mib_and_not_a_byte_more", largest_of_all)
}

/// Cut, chunked, slow, and as large as may be.
pub(crate) fn in_every_form(world: &World, name: &str, version: Version) {
    cut_anywhere(world, name, version);
    chunked(world, name, version);
    slow(world, name, version);
    let receiver = hmac(world, &format!("limit-{name}"));
    largest(world, &receiver, version, DEFAULT_LIMIT);
    admitted_by_the_head(world, name, version);
}

fn hmac(world: &World, name: &str) -> Receiver {
    world.add(&Receiver::new("generic-hmac", name))
}

/// Bytes without a pattern of the hash's block size.
fn noise(size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| (at.wrapping_mul(31) % 251) as u8)
        .collect()
}

fn cut_anywhere(world: &World, name: &str, version: Version) {
    let receiver = hmac(world, &format!("cut-{name}"));
    let hook = world.forge.hook_with(&receiver, &noise(200));
    let forged = hook.clone().forged();
    let cut =
        |hook: &Hook, at: &[usize]| Request::from(hook).version(version).chunked().split_at(at);
    let mut requests: Vec<Request> = (1..=130).map(|at| cut(&hook, &[at])).collect();
    for size in [1, 63, 64, 65, 127, 128, 129] {
        requests.push(
            Request::from(&hook)
                .version(version)
                .chunked()
                .split_every(size),
        );
        requests.push(Request::from(&hook).version(version).split_every(size));
    }
    requests.push(cut(&hook, &[63, 64, 65, 127, 128, 129]));
    let count = requests.len();
    assert_eq!(statuses(&world.client(), requests, 8), vec![200; count]);
    let requests: Vec<Request> = [1, 55, 56, 63, 64, 65, 128]
        .map(|at| cut(&forged, &[at]))
        .into();
    assert_eq!(statuses(&world.client(), requests, 4), [400; 7]);
    // A length at each edge of the padding of a block.
    let lengths = (0..=2).flat_map(|blocks| [0, 1, 55, 56, 63].map(|more| blocks * 64 + more));
    let requests: Vec<Request> = lengths
        .map(|length| {
            let hook = world.forge.hook_with(&receiver, &noise(length));
            Request::from(&hook).version(version)
        })
        .collect();
    assert_eq!(statuses(&world.client(), requests, 4), [200; 15]);
}

fn chunked(world: &World, name: &str, version: Version) {
    let receiver = hmac(world, &format!("chunked-{name}"));
    for size in [0, 1, 64, 10_000, 1_000_000] {
        let hook = world.forge.hook_with(&receiver, &noise(size));
        let send = |hook: &Hook| {
            world.send(
                Request::from(hook)
                    .version(version)
                    .chunked()
                    .split_every(4_096),
            )
        };
        expect(&format!("{size} bytes"), &send(&hook), 200);
        expect(&format!("{size} bytes, forged"), &send(&hook.forged()), 400);
    }
}

fn slow(world: &World, name: &str, version: Version) {
    let receiver = hmac(world, &format!("slow-{name}"));
    let pause = std::time::Duration::from_millis(100);
    let hook = world.forge.hook_with(&receiver, &noise(500));
    let send = |hook: &Hook| {
        world.send(
            Request::from(hook)
                .version(version)
                .split_every(100)
                .paced(pause),
        )
    };
    expect("slow", &send(&hook), 200);
    expect("slow and forged", &send(&hook.forged()), 400);
}

pub(crate) fn trailers_http2(world: &World) {
    let receiver = hmac(world, "trailers-http2");
    let hook = world.forge.hook_with(&receiver, &noise(1_000));
    let send = |hook: &Hook| -> Response {
        world.send(
            Request::from(hook)
                .http2()
                .split_every(100)
                .trailer("x-end", "1"),
        )
    };
    expect("genuine", &send(&hook), 200);
    expect("forged", &send(&hook.clone().forged()), 400);
    expect(
        "another body",
        &send(&hook.clone().with_body(noise(999))),
        400,
    );
    // Headers, then trailers: no body at all.
    let bodiless = |hook: &Hook| {
        let mut request = Request::new("POST", &hook.path)
            .http2()
            .trailer("x-end", "1");
        for (name, value) in &hook.headers {
            request = request.header(name, value);
        }
        world.send(request)
    };
    expect("no body, forged", &bodiless(&hook), 400);
    let empty = world.forge.hook_with(&receiver, b"");
    expect("no body, genuine", &bodiless(&empty), 200);
    expect("no body, unsigned", &bodiless(&empty.unsigned()), 400);
    // A signature in a trailer is none.
    let signature = hook.header("X-Signature").unwrap_or_default().to_vec();
    let late = Request::from(&hook.unsigned())
        .http2()
        .trailer("x-signature", signature);
    expect("a late signature", &world.send(late), 400);
}

pub(crate) fn trailers_http1(world: &World) {
    let receiver = hmac(world, "trailers-http1");
    let hook = world.forge.hook_with(&receiver, &noise(1_000));
    let send = |hook: &Hook| world.send(Request::from(hook).trailer("X-End", "1"));
    expect("genuine", &send(&hook), 200);
    expect("forged", &send(&hook.clone().forged()), 400);
    let signature = hook.header("X-Signature").unwrap_or_default().to_vec();
    let late = Request::from(&hook.unsigned()).trailer("X-Signature", signature);
    expect("a late signature", &world.send(late), 400);
}

fn expect_continue(world: &World) {
    let receiver = hmac(world, "expects");
    let hook = world.forge.hook_with(&receiver, &noise(10_000));
    for (what, hook, status) in [
        ("genuine", hook.clone(), 200),
        ("forged", hook.clone().forged(), 400),
        ("unknown", hook.with_path("/hook/unknown"), 404),
    ] {
        let request = Request::from(&hook).expect_continue();
        expect(what, &world.send(&request), status);
        let direct = world.controller().client().send(&request);
        let status_of = direct.map(|response| response.status);
        assert!(
            matches!(status_of, Ok(held) if held == status),
            "{what}: {status_of:?}"
        );
    }
}

/// The limit to the byte, through Envoy and past it, with a length and without.
fn largest(world: &World, receiver: &Receiver, version: Version, limit: usize) {
    let direct = world.controller().client();
    for (size, status) in [(limit, 200), (limit + 1, 413)] {
        let hook = world.forge.hook_with(receiver, &noise(size));
        let declared = Request::from(&hook).version(version);
        let streamed = declared.clone().chunked().split_every(60_000);
        for (what, request) in [("declared", declared), ("streamed", streamed)] {
            let what = format!("{size} bytes, {what}");
            expect(&what, &world.send(&request), status);
            if version == Version::Http1 {
                let answer = direct.send(&request);
                let held = answer.map(|response| response.status);
                assert!(
                    matches!(held, Ok(held) if held == status),
                    "{what}, direct: {held:?}"
                );
            }
        }
        if status == 200 {
            let forged = Request::from(&hook.forged()).version(version);
            expect("as large, forged", &world.send(forged), 400);
        }
    }
}

/// The upstream has the head already: the sender gets 413, the upstream a cut connection, and nothing is triggered.
fn admitted_by_the_head(world: &World, name: &str, version: Version) {
    for receiver_type in ["gitlab", "generic"] {
        let name = format!("head-{receiver_type}-{name}");
        let receiver = world.add(&Receiver::new(receiver_type, &name));
        let resource = receiver.resource_names().remove(0);
        let streamed = |size: usize| {
            let hook = world.forge.hook_with(&receiver, &noise(size));
            let request = Request::from(&hook).version(version);
            request.chunked().split_every(60_000)
        };
        let refused_by_envoy = || {
            let stats = world.envoy().stats(&format!("{name}.outcome.refused"));
            stats.iter().map(|(_, n)| n).sum::<u64>()
        };
        // Before it knew the path it was asked for it.
        let before = refused_by_envoy();
        expect(receiver_type, &world.send(streamed(DEFAULT_LIMIT + 1)), 413);
        expect(receiver_type, &world.send(streamed(2 * DEFAULT_LIMIT)), 413);
        assert_eq!(
            refused_by_envoy() - before,
            2,
            "{receiver_type}: Envoy's own 413"
        );
        assert_eq!(world.requested(&resource), 0, "{receiver_type}");
        expect(receiver_type, &world.send(streamed(DEFAULT_LIMIT)), 200);
        assert_eq!(world.requested(&resource), 1, "{receiver_type}");
    }
}

fn largest_of_all() {
    let flag = vec![format!("--max-hook-bytes={HIGHEST_LIMIT}")];
    let mut all = options();
    all.controller_flags.extend(flag.clone());
    let world = World::start(Options {
        edge_flags: flag,
        ..all
    });
    let receiver = hmac(&world, "largest");
    for version in [Version::Http1, Version::Http2] {
        largest(&world, &receiver, version, HIGHEST_LIMIT);
    }
}
