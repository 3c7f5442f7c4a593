//! Limits: exact across workers, and never turned against the genuine sender.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a trial fails by panicking"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use e2e::binaries::ENVOY;
use e2e::envoy::Envoy;
use e2e::ratelimit::RateLimit;
use e2e::trials::{Trials, expect, options, statuses};
use e2e::world::Options;
use e2e::{Client, Hook, Receiver, Request, World, ports, readme};
use tempfile::TempDir;

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
        .alone(
            "a_shared_limit_holds_over_all_envoys_and_loses_no_hook_when_it_is_away",
            shared,
        )
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
    let admitted = |client: &Client, hook: &Hook, what: &str| match client.send(hook) {
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

fn shared() {
    let dir = TempDir::new().expect("a folder");
    // A day's window: that of a minute would end within the trial.
    let limits = readme::blocks(&readme::section("Limits"), "yaml")
        .concat()
        .replace("requests_per_unit: 600", "requests_per_unit: 20")
        .replace("unit: minute", "unit: day");
    let service = RateLimit::start(&limits, dir.path()).expect("the service starts");
    let world = World::start(Options {
        edge_flags: vec![format!("--rate-limit-addr={}", service.address())],
        ..options()
    });
    let listener = ports::address();
    let [ours, theirs] =
        [world.listener(), listener].map(|at| format!("port_value: {}", at.port()));
    let [admin, other] = [world.envoy().admin_address(), ports::address()]
        .map(|at| format!("port_value: {}", at.port()));
    let bootstrap = world.bootstrap().replace(&ours, &theirs);
    let bootstrap = bootstrap.replace(&admin, &other);
    let second = Envoy::start(ENVOY, &bootstrap, dir.path()).expect("another Envoy");
    let clients =
        |last| [world.client(), Client::tls(listener, &world.tls)].map(|c| c.from(from(last)));
    let hook = world.hook("generic-hmac");
    let genuine = Request::from(&hook);
    let taken = || {
        e2e::wait::until("the table", e2e::wait::PATIENCE, || {
            let [_, client] = clients(50);
            client
                .get("/")
                .is_ok_and(|answer| answer.status == 404)
                .then_some(())
        })
    };
    taken().expect("the second Envoy has the table");

    let [first, other] = clients(51);
    assert_eq!(statuses(&first, vec![genuine.clone(); 15], 1), [200; 15]);
    let seen = statuses(&other, vec![genuine.clone(); 15], 1);
    assert_eq!(seen, [[200; 5].as_slice(), &[429; 10]].concat());
    for client in [&first, &other] {
        let answer = client.send(&hook).expect("an answer");
        expect("above the shared limit", &answer, 429);
    }
    let [first, other] = clients(52);
    let forged = Request::from(&hook.clone().forged());
    assert_eq!(statuses(&first, vec![forged; 20], 4), [400; 20]);
    assert_eq!(
        statuses(&other, vec![genuine.clone(); 2], 1),
        [429; 2],
        "forged ones count"
    );

    drop(service);
    let [first, other] = clients(51);
    for client in [first, other] {
        assert_eq!(statuses(&client, vec![genuine.clone(); 5], 1), [200; 5]);
        assert_eq!(
            client
                .send(hook.clone().forged())
                .expect("an answer")
                .status,
            400
        );
    }
    drop(second);
}
