//! The older Envoys that are supported: what depends on Envoy, in short.

use std::process::ExitCode;

use e2e::binaries::OLDER_ENVOYS;
use e2e::client::Version;
use e2e::trials::{Trials, expect, options, statuses};
use e2e::world::Options;
use e2e::{Receiver, Request, World};

fn main() -> ExitCode {
    let mut trials = Trials::on(options());
    for version in OLDER_ENVOYS {
        trials = trials.alone(format!("envoy_{version}"), move || reduced(version));
    }
    trials.run()
}

fn reduced(version: &str) {
    let world = World::start(Options {
        envoy: version.to_owned(),
        ..options()
    });
    for http in [Version::Http1, Version::Http2] {
        each_type(&world, http);
        bodies(&world, http);
    }
    paths(&world);
    limit(&world);
}

fn each_type(world: &World, http: Version) {
    for receiver in world.receivers() {
        let hook = world.forge.hook(receiver);
        world.await_everywhere(Request::from(&hook).version(http), 200);
        let forged = Request::from(&hook.forged()).version(http);
        let status = world.send(forged).status;
        assert!(matches!(status, 400 | 404), "{}: {status}", receiver.name);
    }
}

fn bodies(world: &World, http: Version) {
    let receiver = world.receiver("generic-hmac");
    let hook = world.forge.hook_with(receiver, &[b'x'; 200]);
    let request = Request::from(&hook).version(http);
    let requests: Vec<Request> = [1, 63, 64, 65, 128]
        .map(|at| request.clone().chunked().split_at(&[at]))
        .into();
    assert_eq!(statuses(&world.client(), requests, 2), [200; 5]);
    expect("trailers", &world.send(request.trailer("x-end", "1")), 200);
    let forged = Request::from(&hook.forged()).version(http);
    expect(
        "trailers, forged",
        &world.send(forged.trailer("x-end", "1")),
        400,
    );
    for (size, status) in [(3_145_728, 200), (3_145_729, 413)] {
        let hook = world.forge.hook_with(receiver, &vec![b'x'; size]);
        let answer = world.send(Request::from(&hook).version(http));
        expect(&format!("{size} bytes"), &answer, status);
    }
    let empty = world.forge.hook_with(receiver, b"");
    expect(
        "empty",
        &world.send(Request::from(&empty).version(http)),
        200,
    );
}

fn paths(world: &World) {
    let hook = world.hook("generic");
    for path in [
        format!("/{}", hook.path),
        format!("{}?x=1", hook.path),
        format!("{}/", hook.path),
        hook.path.replace("/hook/", "/hook%2f"),
    ] {
        let status = world.send(hook.clone().with_path(&path));
        expect(&path, &status, 404);
    }
    expect("GET", &world.send(hook.with_method("GET")), 405);
}

fn limit(world: &World) {
    let receiver = Receiver::new("generic-hmac", "limited")
        .annotation("hookgate.dev/rate", "0.001")
        .annotation("hookgate.dev/burst", "10");
    let receiver = world.add(&receiver);
    let request = Request::from(&world.forge.hook(&receiver));
    let mut seen = statuses(&world.client(), vec![request.clone(); 40], 8);
    seen.sort_unstable();
    assert_eq!(seen, [[200; 10].as_slice(), &[429; 30]].concat());
    expect("limited", &world.send(&request), 429);
}
