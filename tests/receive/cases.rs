//! The table of requests and answers, asked of Envoy over HTTP/1.1 and HTTP/2 and of :9292 directly.

use e2e::client::{Client, Version};
use e2e::trials::{Trials, expect};
use e2e::{Receiver, World};

use crate::table::{self, Stage};

pub(crate) fn trials(trials: Trials) -> Trials {
    trials
        .shared("cases_through_envoy_over_http1", |world| {
            ask(world, "edge1", &world.client(), Version::Http1);
        })
        .shared("cases_through_envoy_over_http2", |world| {
            ask(world, "edge2", &world.client(), Version::Http2);
        })
        .shared("cases_at_the_controller_directly", |world| {
            ask(
                world,
                "direct",
                &world.controller().client(),
                Version::Http1,
            );
        })
        .shared(
            "an_event_that_is_not_listed_is_answered_and_not_triggered",
            |world| {
                ignored(world);
            },
        )
}

/// Asks the whole table of Receivers of its own.
pub(crate) fn ask(world: &World, way: &str, client: &Client, version: Version) {
    let stage = Stage::build(&world.forge, way, |receiver| world.add(receiver));
    table::ask(&stage, way, client, version);
}

fn ignored(world: &World) {
    let receiver = world.add(&Receiver::new("gitlab", "ignored").event("Push Hook"));
    let resource = receiver.resource_names().remove(0);
    let hook = world.forge.hook(&receiver).with_event("Note Hook");
    for _ in 0..4 {
        expect("ignored", &world.send(&hook), 200);
    }
    let name = ["name=\"ignored\""];
    let seen = world
        .controller()
        .metric("hookgate_receiver_hooks_total", &name);
    assert!(seen == 0.0, "the controller saw {seen} ignored hooks");
    expect("listed", &world.send(world.forge.hook(&receiver)), 200);
    assert_eq!(world.requested(&resource), 1);
}
