//! An Envoy that can't hold heads (`--hold-headers=false`): the controller has each head before the verdict. The answers
//! are the same, and nothing that is not genuine triggers anything.

use std::time::Duration;

use e2e::client::Version;
use e2e::trials::{Trials, expect, options};
use e2e::{Receiver, Request, World};

use crate::{body, cases};

const VERSIONS: [(&str, Version); 2] = [("http1", Version::Http1), ("http2", Version::Http2)];

pub(crate) fn trials(trials: Trials) -> Trials {
    trials.alone(
        "without_holding_heads_answers_are_the_same_and_nothing_forged_triggers",
        || {
            let world = start();
            for (name, version) in VERSIONS {
                the_head_goes_first(&world, name, version);
                cases::ask(&world, name, &world.client(), version);
                body::in_every_form(&world, name, version);
            }
            body::trailers_http1(&world);
            body::trailers_http2(&world);
        },
    )
}

fn start() -> World {
    let mut unheld = options();
    unheld
        .controller_flags
        .push("--hold-headers=false".to_owned());
    World::start(unheld)
}

/// Heads that reached the controller, of whatever came of them.
fn heads(world: &World) -> u64 {
    let stat = world
        .envoy()
        .stat("cluster.hookgate_controller.upstream_rq_total");
    stat.unwrap_or_default()
}

/// The mode is what it says it is; and what the controller has the head of, it does not act on.
fn the_head_goes_first(world: &World, name: &str, version: Version) {
    let receiver = world.add(&Receiver::new("generic-hmac", &format!("unheld-{name}")));
    let resource = receiver.resource_names().remove(0);
    let genuine = world.forge.hook_with(&receiver, &[b'x'; 300]);
    let slowly = |request: Request| {
        let slow = request.version(version).chunked().split_every(100);
        slow.paced(Duration::from_millis(100))
    };
    // Leaves a connection to the controller, so that a head has no need to wait for one.
    expect(
        name,
        &world.send(slowly(Request::from(&genuine.clone().with_body("")))),
        400,
    );
    let forged = genuine.clone().forged();
    let before = heads(world);
    expect("forged", &world.send(slowly(Request::from(&forged))), 400);
    expect(
        "with trailers",
        &world.send(slowly(Request::from(&forged).trailer("x-end", "1"))),
        400,
    );
    assert_eq!(heads(world) - before, 2, "{name}: the heads went on");
    assert_eq!(world.requested(&resource), 0, "{name}: forged");
    expect("genuine", &world.send(slowly(Request::from(&genuine))), 200);
    world.expect_requested(&resource);
    assert_eq!(world.requested(&resource), 1, "{name}: genuine");
}
