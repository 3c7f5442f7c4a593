//! What a genuine hook does: which resources are asked to reconcile, how often, and what the commands say about it.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a trial fails by panicking, and measures how long a burst took"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use rustix::process::Signal;

use e2e::controller::hookgate;
use e2e::forge::jwt::Algorithm;
use e2e::forge::payload;
use e2e::manifests::{Resource, git_repository};
use e2e::trials::{Trials, expect, options, statuses};
use e2e::wait::{PATIENCE, until};
use e2e::{Hook, Receiver, Request, World};

fn main() -> ExitCode {
    Trials::on(options())
        .shared("filters_choose_by_request_and_resource", filters)
        .shared("a_wildcard_chooses_by_labels", wildcard)
        .shared(
            "a_missing_resource_is_500_and_the_others_are_asked",
            missing,
        )
        .shared("a_burst_is_answered_whole_and_asks_a_few_times", burst)
        .shared("a_replayed_hook_is_answered_and_triggers_nothing", replay)
        .shared("every_algorithm_of_an_issuer_is_verified", algorithms)
        .shared("tokens_that_are_not_for_us_are_refused", tokens)
        .shared("the_commands_agree_with_the_senders", commands)
        .alone("an_issuer_that_rotates_its_keys_is_followed", keys_rotate)
        .alone("a_graceful_stop_answers_what_is_in_flight", graceful_stop)
        .alone(
            "wrong_arguments_end_with_2_and_name_the_right_ones",
            wrong_arguments,
        )
        .run()
}

fn send_json(world: &World, receiver: &Receiver, body: &str, status: u16) {
    let hook = world.forge.hook_with(receiver, body.as_bytes());
    expect(body, &world.send(&hook), status);
}

fn filters(world: &World) {
    let mut tagged = Resource::new("GitRepository", "filtered-tagged");
    tagged.filter = Some("req.tag.startsWith('v')".to_owned());
    let mut named = Resource::new("GitRepository", "filtered-named");
    named.filter = Some("res.metadata.name == req.name".to_owned());
    let receiver = Receiver::new("generic-hmac", "filtered")
        .resources(vec![tagged, named])
        .resource_filter("req.branch == 'main'");
    let receiver = world.add(&receiver);
    let asked = || {
        receiver
            .resource_names()
            .iter()
            .map(|r| world.requested(r))
            .collect::<Vec<_>>()
    };
    for (body, want) in [
        (
            r#"{"branch":"other","tag":"v1","name":"filtered-named"}"#,
            [0, 0],
        ),
        (r#"{"branch":"main","tag":"v1","name":"x"}"#, [1, 0]),
        (
            r#"{"branch":"main","tag":"1","name":"filtered-named"}"#,
            [1, 1],
        ),
        (
            r#"{"branch":"main","tag":"v2","name":"filtered-named"}"#,
            [2, 2],
        ),
    ] {
        send_json(world, &receiver, body, 200);
        assert_eq!(asked(), want, "{body}");
    }
    send_json(world, &receiver, r#"{"branch":"main"}"#, 500);
    send_json(world, &receiver, "no json", 500);
    assert_eq!(asked(), [2, 2]);
}

fn wildcard(world: &World) {
    let label = |value: &str| vec![("team".to_owned(), value.to_owned())];
    for (name, team) in [
        ("wild-a", "lights"),
        ("wild-b", "lights"),
        ("wild-c", "ships"),
    ] {
        let yaml = git_repository("apps", name, &label(team));
        world.manifests.write(&format!("labelled-{name}"), &yaml);
    }
    let mut all = Resource::new("GitRepository", "*");
    all.match_labels = label("lights");
    let receiver = world.add(&Receiver::new("generic", "wild").resources(vec![all]));
    expect("wildcard", &world.send(world.forge.hook(&receiver)), 200);
    let asked =
        ["wild-a", "wild-b", "wild-c"].map(|n| world.requested(&format!("GitRepository/apps/{n}")));
    assert_eq!(asked, [1, 1, 0]);
}

fn missing(world: &World) {
    let receiver = Receiver::new("generic", "half-there").resources(vec![
        Resource::new("GitRepository", "half-there"),
        Resource::new("HelmRelease", "not-there"),
    ]);
    let receiver = world.add(&receiver);
    expect("half", &world.send(world.forge.hook(&receiver)), 500);
    assert_eq!(world.requested("GitRepository/apps/half-there"), 1);
}

fn burst(world: &World) {
    let receiver =
        Receiver::new("github", "burst").annotation("hookgate.dev/trigger-interval", "1s");
    let receiver = world.add(&receiver);
    let request = Request::from(&world.forge.hook(&receiver));
    let start = Instant::now();
    let seen = statuses(&world.client(), vec![request; 2_000], 500);
    let seconds = start.elapsed().as_secs() as usize;
    let good = seen.iter().filter(|status| **status == 200).count();
    assert_eq!(
        good,
        2_000,
        "{:?}",
        seen.iter().find(|status| **status != 200)
    );
    let asked = world.requested("GitRepository/apps/burst");
    assert!(
        (1..=seconds + 2).contains(&asked),
        "{asked} requests in {seconds} s"
    );
}

fn replay(world: &World) {
    let receiver =
        Receiver::new("generic-hmac", "replayed").annotation("hookgate.dev/replay-window", "5m");
    let receiver = world.add(&receiver);
    let hook = world.forge.hook(&receiver);
    for _ in 0..3 {
        expect("again", &world.send(&hook), 200);
    }
    assert_eq!(world.requested("GitRepository/apps/replayed"), 1);
    send_json(world, &receiver, "{}", 200);
    assert_eq!(world.requested("GitRepository/apps/replayed"), 2);
}

fn oidc(world: &World, name: &str) -> Receiver {
    let receiver = world.add(&Receiver::new("generic-oidc", name).oidc_provider(""));
    world.await_everywhere(world.forge.hook(&receiver), 200);
    receiver
}

fn algorithms(world: &World) {
    let receiver = oidc(world, "algorithms");
    for algorithm in Algorithm::ALL {
        let claims = world
            .forge
            .claims(&world.issuer.url(), "notification-controller");
        let token = world.issuer.keys().sign(algorithm, &claims);
        let hook = world.forge.bearer(&receiver, payload::GENERIC, &token);
        let request = Request::from(&hook);
        expect(algorithm.name(), &world.send(&request), 200);
        expect(algorithm.name(), &world.send(request.http2()), 200);
        expect(algorithm.name(), &world.send(hook.forged()), 400);
    }
}

fn tokens(world: &World) {
    let receiver = oidc(world, "tokens");
    let (url, ours) = (world.issuer.url(), "notification-controller");
    let keys = world.issuer.keys();
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut claims = world.forge.claims(&url, ours);
        change(&mut claims);
        keys.sign(Algorithm::Rs256, &claims)
    };
    let cases = [
        ("another audience", with(&|c| c["aud"] = "somebody".into())),
        (
            "another issuer",
            with(&|c| c["iss"] = "https://other.example".into()),
        ),
        (
            "expired",
            with(&|c| c["exp"] = (world.forge.now() - 600).into()),
        ),
        (
            "not yet valid",
            with(&|c| c["nbf"] = (world.forge.now() + 600).into()),
        ),
        (
            "another repository",
            with(&|c| c["repository"] = "x/y".into()),
        ),
        ("no token", String::new()),
        ("no JWT", "a.b.c".to_owned()),
    ];
    for (what, token) in cases {
        let hook = world.forge.bearer(&receiver, payload::GENERIC, &token);
        expect(what, &world.send(&hook), 400);
    }
    let none = serde_json::json!({"alg": "none", "typ": "JWT"});
    let claims = world.forge.claims(&url, ours);
    let token = keys.sign_with_header(Algorithm::Rs256, &none, &claims);
    let hook = world.forge.bearer(&receiver, payload::GENERIC, &token);
    expect("alg none", &world.send(&hook), 400);
}

fn keys_rotate() {
    let world = World::start(options());
    for name in ["generic-oidc", "gcr"] {
        world.await_everywhere(world.hook(name), 200);
    }
    let fetches = world.issuer.key_fetches();
    world.issuer.rotate(2);
    for name in ["generic-oidc", "gcr"] {
        world.await_everywhere(world.hook(name), 200);
    }
    let more = world.issuer.key_fetches() - fetches;
    assert!((1..=10).contains(&more), "fetched {more} times");
}

fn file(world: &World, name: &str, bytes: &[u8]) -> PathBuf {
    let path = world.dir().join(name);
    fs::write(&path, bytes).expect("a file of ours can be written");
    path
}

fn run(arguments: &[&str]) -> String {
    hookgate(arguments).unwrap_or_else(|error| panic!("{error}"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of ours are text")
}

fn commands(world: &World) {
    let body = file(world, "command.body", payload::GITHUB_PUSH);
    for receiver_type in [
        "github",
        "gitlab",
        "bitbucket",
        "harbor",
        "nexus",
        "generic-hmac",
        "generic",
    ] {
        let receiver = world.add(&Receiver::new(
            receiver_type,
            &format!("command-{receiver_type}"),
        ));
        let token = file(
            world,
            &format!("command-{receiver_type}.token"),
            &receiver.token,
        );
        let path = run(&[
            "path",
            "--name",
            &receiver.name,
            "--namespace",
            &receiver.namespace,
            "--token-file",
            text(&token),
        ]);
        assert_eq!(path.trim_end(), receiver.path(), "{receiver_type}");
        let headers = run(&[
            "sign",
            "--type",
            receiver_type,
            "--token-file",
            text(&token),
            "--body",
            text(&body),
        ]);
        let mut request = Request::new("POST", path.trim_end()).body(payload::GITHUB_PUSH);
        for (name, value) in headers.lines().filter_map(|line| line.split_once(": ")) {
            request = request.header(name, value);
        }
        expect(receiver_type, &world.send(request), 200);
        let genuine = world.forge.hook(&receiver);
        let story = explain(world, &genuine);
        let resource = format!("GitRepository/apps/{}", receiver.name);
        assert!(
            story.contains("admitted") && story.contains(&resource),
            "{story}"
        );
        let story = explain(world, &genuine.forged());
        assert!(!story.contains("admitted"), "{story}");
    }
}

fn explain(world: &World, hook: &Hook) -> String {
    let mut captured = format!("{} {} HTTP/1.1\r\n", hook.method, hook.path).into_bytes();
    for (name, value) in &hook.headers {
        captured.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    captured.extend_from_slice(b"\r\n");
    captured.extend_from_slice(&hook.body);
    let captured = file(world, "captured.http", &captured);
    run(&[
        "explain",
        "request",
        text(&captured),
        "--manifests",
        text(world.manifests.dir()),
    ])
}

fn graceful_stop() {
    let mut world = World::start(options());
    let receiver =
        Receiver::new("github", "in-flight").annotation("hookgate.dev/trigger-interval", "5s");
    let receiver = world.add(&receiver);
    let request = Request::from(&world.forge.hook(&receiver));
    expect("the first is asked at once", &world.send(&request), 200);
    let clients = [world.client(), world.controller().client()];
    let waiting = clients.map(|client| {
        let request = request.clone();
        thread::spawn(move || client.send(&request).map(|response| response.status))
    });
    let inflight = || {
        world
            .controller()
            .metric("gotk_receiver_http_requests_inflight", &[])
    };
    let seen = until("both to wait", PATIENCE, || {
        (inflight() >= 2.0).then_some(())
    });
    assert!(seen.is_ok(), "{seen:?}");
    world.controller_mut().signal(Signal::TERM);
    for hook in waiting {
        let status = hook
            .join()
            .unwrap_or_else(|_| panic!("a sender ended badly"));
        assert!(matches!(status, Ok(200)), "{status:?}");
    }
    let ended = until("the controller's end", PATIENCE, || {
        (!world.controller_mut().is_running()).then_some(())
    });
    assert!(ended.is_ok(), "{ended:?}");
}

fn wrong_arguments() {
    for (arguments, hint) in [
        (
            vec!["run", "--manifests", ".", "--max-hook-bytes=26214401"],
            "26214400",
        ),
        (vec!["run", "--manifests", ".", "--hook-rate=0"], "1..="),
        (
            vec!["run", "--manifests", ".", "--filtered-hook-status=201"],
            "200, 202 or 400",
        ),
        (
            vec!["run", "--manifests", ".", "--min-signature-hash=md5"],
            "sha1, sha256 or sha512",
        ),
        (
            vec!["run", "--manifests", ".", "--receiverAddr=nowhere"],
            "127.0.0.1:9292",
        ),
        (vec!["sign", "--type", "svn"], "generic-hmac"),
        (vec!["brew"], "--help"),
    ] {
        let error = hookgate(&arguments).expect_err("it is wrong").to_string();
        assert!(
            error.contains("exit status: 2") && error.contains(hint),
            "{arguments:?}: {error}"
        );
    }
}
