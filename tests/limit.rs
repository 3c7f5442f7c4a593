//! Limits: exact across workers, and never turned against the genuine sender.
#![expect(clippy::panic, reason = "a trial fails by panicking")]

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use e2e::trials::{Trials, expect, options, statuses};
use e2e::world::Options;
use e2e::{Hook, Receiver, Request, World};

/// Above the size up to which anybody's body is tried while the failure bucket is empty (64 KiB).
const LARGE: usize = 200_000;

fn main() -> ExitCode {
    Trials::on(options())
        .shared("a_hooks_limit_is_exact_across_workers_http1", |world| {
            exact(world, false)
        })
        .shared("a_hooks_limit_is_exact_across_workers_http2", |world| {
            exact(world, true)
        })
        .shared(
            "forged_hooks_do_not_use_up_the_limit",
            forged_are_not_charged,
        )
        .shared(
            "a_failure_flood_never_locks_the_genuine_sender_out",
            failure_flood,
        )
        .shared("a_flood_of_unknown_paths_delays_nobody", unknown_flood)
        .alone("an_address_is_limited_and_told_when_to_come_back", address)
        .run()
}

fn from(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|held| **held == status).count()
}

fn exact(world: &World, http2: bool) {
    let name = format!("exact-{http2}");
    // A token comes back every 1,000 seconds: not within this trial.
    let receiver = Receiver::new("generic-hmac", &name)
        .annotation("hookgate.dev/rate", "0.001")
        .annotation("hookgate.dev/burst", "20");
    let receiver = world.add(&receiver);
    let request = Request::from(&world.forge.hook(&receiver));
    let request = if http2 { request.http2() } else { request };
    let seen = statuses(&world.client(), vec![request.clone(); 120], 24);
    assert_eq!(
        (count(&seen, 200), count(&seen, 429)),
        (20, 100),
        "{seen:?}"
    );
    expect("above the limit", &world.send(&request), 429);
    let answer = world
        .controller()
        .client()
        .send(Request::from(&world.forge.hook(&receiver)));
    let status = answer.map(|response| response.status);
    assert!(
        matches!(status, Ok(429)),
        "the controller holds the same limit: {status:?}"
    );
}

fn forged_are_not_charged(world: &World) {
    let receiver = Receiver::new("generic-hmac", "not-charged")
        .annotation("hookgate.dev/rate", "0.001")
        .annotation("hookgate.dev/burst", "3");
    let receiver = world.add(&receiver);
    let genuine = world.forge.hook(&receiver);
    let forged = Request::from(&genuine.clone().forged());
    let seen = statuses(&world.client(), vec![forged; 50], 8);
    assert_eq!(count(&seen, 400), 50, "{seen:?}");
    let seen = statuses(&world.client(), vec![Request::from(&genuine); 5], 1);
    assert_eq!(seen, [200, 200, 200, 429, 429]);
}

fn failure_flood(world: &World) {
    let receiver = world.add(&Receiver::new("generic-hmac", "flooded"));
    let small = world.forge.hook(&receiver);
    let large = world.forge.hook_with(&receiver, &vec![b'x'; LARGE]);
    let sender = world.client().from(from(21));
    let stranger = world.client().from(from(22));
    let attacker = world.client().from(from(23));
    let admitted = |client: &e2e::Client, hook: &Hook, what: &str| match client.send(hook) {
        Ok(response) => expect(what, &response, 200),
        Err(error) => panic!("{what}: {error:?}"),
    };
    admitted(&sender, &large, "before the flood");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let tally = attacker.flood(Request::from(&large.clone().forged()), 600, 16);
            over.store(true, Ordering::SeqCst);
            tally
        });
        while !over.load(Ordering::SeqCst) {
            admitted(
                &sender,
                &large,
                "large, from an address that was admitted before",
            );
            admitted(&stranger, &small, "small, from a stranger");
        }
        let tally = flood
            .join()
            .unwrap_or_else(|_| panic!("the flood ended badly"));
        assert!(tally.count(400) >= 100, "the first are hashed: {tally:?}");
        assert!(tally.count(429) > 0, "the rest are not: {tally:?}");
        assert_eq!(tally.count(200), 0);
    });
    let forged = Request::from(&large.forged());
    match attacker.send(&forged) {
        Ok(response) if response.status == 429 => expect("the flood's end", &response, 429),
        // A failure a tenth of a second is allowed.
        Ok(response) => expect("the flood's end", &response, 400),
        Err(error) => panic!("the flood's end: {error:?}"),
    }
}

fn unknown_flood(world: &World) {
    let receiver = world.add(&Receiver::new("github", "beside-unknown"));
    let unknown = Request::new("POST", &format!("/hook/{}", "f".repeat(64))).body("{}");
    let flooder = world.client().from(from(31));
    thread::scope(|scope| {
        let flood = scope.spawn(|| flooder.flood(&unknown, 2_000, 16));
        while !flood.is_finished() {
            expect("genuine", &world.send(world.forge.hook(&receiver)), 200);
        }
        let tally = flood
            .join()
            .unwrap_or_else(|_| panic!("the flood ended badly"));
        assert_eq!((tally.count(404), tally.failed), (2_000, 0), "{tally:?}");
    });
}

fn address() {
    let flags = ["--address-rate=60", "--address-burst=5"].map(str::to_owned);
    let world = World::start(Options {
        edge_flags: flags.to_vec(),
        ..options()
    });
    let unknown = Request::new("POST", "/hook/unknown").body("{}");
    let client = world.client().from(from(41));
    let seen = statuses(&client, vec![unknown.clone(); 40], 8);
    let passed = count(&seen, 404);
    // One more comes back each second.
    assert!((5..=10).contains(&passed), "{seen:?}");
    assert_eq!(count(&seen, 429), 40 - passed, "{seen:?}");
    match client.send(&unknown) {
        Ok(response) if response.status == 429 => expect("limited", &response, 429),
        other => panic!("limited: {other:?}"),
    }
    for receiver in ["github", "generic"] {
        let answer = world.client().from(from(42)).send(world.hook(receiver));
        match answer {
            Ok(response) => expect("another address", &response, 200),
            Err(error) => panic!("another address: {error:?}"),
        }
    }
}
