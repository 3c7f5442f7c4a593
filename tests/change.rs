//! Changes: the table follows the manifests, and no hook is lost on the way.
#![expect(clippy::panic, reason = "a trial fails by panicking")]

use std::fs;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use e2e::binaries;
use e2e::client::Tally;
use e2e::envoy::Envoy;
use e2e::trials::{self, Trials, expect, statuses};
use e2e::wait::{PATIENCE, until};
use e2e::{Receiver, Request, World};
use serde_json::{Value, json};

fn main() -> ExitCode {
    Trials::on(trials::options())
        .shared(
            "the_table_changes_under_load_without_one_failed_request",
            under_load,
        )
        .shared("a_token_is_rotated_without_a_gap", rotation)
        .shared("a_revoked_token_is_refused_within_moments", revoked)
        .shared(
            "a_bad_manifest_keeps_what_the_last_good_one_said",
            bad_manifest,
        )
        .shared("a_bad_annotation_is_never_a_default", bad_annotation)
        .shared("a_deleted_receiver_is_unknown", deleted)
        .shared("a_suspended_receiver_answers_503_and_resumes", suspended)
        .shared("an_empty_token_is_no_token", empty_token)
        .shared(
            "of_two_receivers_on_one_path_one_is_served",
            two_on_one_path,
        )
        .alone("a_bad_table_is_refused_and_the_last_one_kept", bad_table)
        .run()
}

/// Sends one request over and over until `work` is done.
fn while_sending(world: &World, request: &Request, work: impl FnOnce()) -> Tally {
    let done = AtomicBool::new(false);
    let mut total = Tally::default();
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut total = Tally::default();
            while !done.load(Ordering::SeqCst) {
                let part = world.client().flood(request, 50, 4);
                total.failed += part.failed;
                for (status, count) in part.statuses {
                    *total.statuses.entry(status).or_default() += count;
                }
            }
            total
        });
        work();
        done.store(true, Ordering::SeqCst);
        total = sender
            .join()
            .unwrap_or_else(|_| panic!("the sender ended badly"));
    });
    total
}

fn expect_all(what: &str, tally: &Tally, status: u16) {
    let all: usize = tally.statuses.values().sum();
    assert!(
        all > 0 && all == tally.count(status) && tally.failed == 0,
        "{what}: {tally:?}"
    );
}

/// A limit that no load of ours reaches.
fn unlimited(receiver: Receiver) -> Receiver {
    receiver
        .annotation("hookgate.dev/rate", "1000")
        .annotation("hookgate.dev/burst", "30000")
}

fn under_load(world: &World) {
    let receiver = world.add(&unlimited(Receiver::new("github", "loaded")));
    let request = Request::from(&world.forge.hook(&receiver));
    let acks = || world.controller().metric("hookgate_xds_acks_total", &[]);
    let before = acks();
    let tally = while_sending(world, &request, || {
        for number in 0..8 {
            let other = Receiver::new("generic", &format!("passing-{number}"));
            let added = world.add(&other);
            expect("added", &world.send(world.forge.hook(&added)), 200);
        }
        for number in 0..8 {
            world.manifests.delete(&format!("passing-{number}"));
        }
        let last = Receiver::new("generic", "passing-7");
        world.await_everywhere(Request::get(&last.path()), 404);
    });
    expect_all("under load", &tally, 200);
    assert!(acks() - before >= 9.0, "Envoy took a table for each change");
}

fn rotation(world: &World) {
    let old = unlimited(Receiver::new("generic-hmac", "rotated"));
    let old_token = String::from_utf8_lossy(&old.token).into_owned();
    let new = old
        .clone()
        .token("the next token")
        .secret("token-previous", &old_token);
    let old = world.add(&old);
    let (by_old, by_new) = (world.forge.hook(&old), world.forge.hook(&new));
    // Senders with the old token while the new one comes.
    let tally = while_sending(world, &Request::from(&by_old), || {
        let _written = world.add(&new);
        world.await_everywhere(&by_new, 200);
    });
    expect_all("the old token while both are there", &tally, 200);
    // Either token on either path: a sender changes one after the other.
    let crossed = by_new.clone().with_path(&old.path());
    expect("the new token on the old path", &world.send(&crossed), 200);
    let crossed = by_old.clone().with_path(&new.path());
    expect("the old token on the new path", &world.send(&crossed), 200);
    // Senders with the new token while the old one goes.
    let finished = unlimited(Receiver::new("generic-hmac", "rotated")).token("the next token");
    let tally = while_sending(world, &Request::from(&by_new), || {
        let _written = world.add(&finished);
        world.await_everywhere(&by_old, 404);
    });
    expect_all("the new token while the old one goes", &tally, 200);
    expect(
        "the old proof",
        &world.send(by_old.with_path(&finished.path())),
        400,
    );
    let used = |key: &str| {
        let key = format!("key=\"{key}\"");
        world.controller().metric(
            "hookgate_receiver_token_used_total",
            &["name=\"rotated\"", &key],
        )
    };
    assert!(
        used("token") > 0.0 && used("token-previous") > 0.0,
        "both uses are counted"
    );
}

fn revoked(world: &World) {
    let receiver = world.add(&Receiver::new("gitlab", "revoked"));
    let by_old = world.forge.hook(&receiver);
    expect("before", &world.send(&by_old), 200);
    let changed = world.add(&receiver.token("another"));
    world.await_everywhere(&by_old, 404);
    let on_new_path = by_old.with_path(&changed.path());
    expect(
        "the old token on the new path",
        &world.send(&on_new_path),
        400,
    );
    expect(
        "the new token",
        &world.send(world.forge.hook(&changed)),
        200,
    );
    let direct = world
        .controller()
        .client()
        .send(&on_new_path)
        .map(|r| r.status);
    assert!(matches!(direct, Ok(400)), "{direct:?}");
}

fn bad_manifest(world: &World) {
    let receiver = world.add(&Receiver::new("github", "kept"));
    let hook = world.forge.hook(&receiver);
    let problems = || world.controller().metric("hookgate_manifest_problems", &[]);
    for (number, text) in [
        "kind: Receiver\n  metadata: [half a file",
        "\u{0}\u{1}",
        "apiVersion: notification.toolkit.fluxcd.io/v1\nkind: Receiver\nmetadata: 7\n",
    ]
    .into_iter()
    .enumerate()
    {
        world.manifests.write("kept", text);
        let seen = until("the problem to be counted", PATIENCE, || {
            (problems() > 0.0).then_some(())
        });
        assert!(seen.is_ok(), "{seen:?} for {text:?}");
        // The rest goes on, and its coming shows that the bad file was read.
        let other = world.add(&Receiver::new("generic", &format!("beside-kept-{number}")));
        expect("the rest", &world.send(world.forge.hook(&other)), 200);
        expect("what it said last", &world.send(&hook), 200);
        assert!(
            world.controller().log().contains("kept.yaml"),
            "the log names the file"
        );
        let _mended = world.add(&receiver);
    }
}

/// The controller makes no bad table, so this Envoy reads filter and table from a file.
fn bad_table() {
    let mut world = World::start(trials::options());
    let genuine = world.hook("github");
    let dump = world.envoy().config_dump();
    let resource = extension(&dump).unwrap_or_else(|| panic!("no filter in the dump"));
    let file = world.dir().join("ecds.json");
    // Envoy notices a file that is renamed over the old one.
    let put = |table: &str| {
        let mut resource = resource.clone();
        resource["typed_config"]["config"]["configuration"]["value"] = table.into();
        let partial = file.with_extension("partial");
        let text = json!({"resources": [resource]}).to_string();
        let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, &file));
        assert!(written.is_ok(), "{written:?}");
    };
    let table = &resource["typed_config"]["config"]["configuration"]["value"];
    let table = table.as_str().unwrap_or_default().to_owned();
    put(&table);
    let from = world
        .bootstrap()
        .lines()
        .skip_while(|line| !line.ends_with("api_config_source:"));
    let from: Vec<&str> = from.take(6).collect();
    let indent = from[0].len() - from[0].trim_start().len();
    let path = file.display();
    let to = format!(
        "{}path_config_source: {{path: \"{path}\"}}",
        " ".repeat(indent)
    );
    let bootstrap = world.bootstrap().replace(&from.join("\n"), &to);
    assert!(
        bootstrap.contains("path_config_source"),
        "the source is replaced"
    );
    world.stop_envoy();
    let envoy = match Envoy::start(binaries::ENVOY, &bootstrap, world.dir()) {
        Ok(envoy) => envoy,
        Err(error) => panic!("{error}"),
    };
    world.await_everywhere(&genuine, 200);
    let rejected = || {
        let stats = envoy.stats("config_fail");
        stats.iter().map(|(_, count)| count).sum::<u64>()
    };
    for (n, bad) in (1..).zip([
        "",
        "{",
        "{}",
        r#"{"version":999999}"#,
        &table.replace("\"hooks\":[", "\"hooks\":[7,"),
        &table.replacen('{', "{\"surprise\":1,", 1),
    ]) {
        put(bad);
        let shown: String = bad.chars().take(60).collect();
        let seen = until("the refusal", PATIENCE, || (rejected() >= n).then_some(()));
        assert!(seen.is_ok(), "{shown}: {seen:?}: {:?}", envoy.stats("ecds"));
        world.await_everywhere(&genuine, 200);
        expect(&shown, &world.send(genuine.clone().forged()), 400);
    }
    // A good one is taken again.
    put(&table.replace("\"apps/github\"", "\"apps/renamed\""));
    let renamed = || {
        envoy
            .config_dump()
            .to_string()
            .contains("apps/renamed")
            .then_some(())
    };
    let seen = until("the good table", PATIENCE, renamed);
    assert!(seen.is_ok(), "{seen:?}");
    expect("forged", &world.send(genuine.forged()), 400);
}

/// The filter's resource in a dump of Envoy's configuration.
fn extension(dump: &Value) -> Option<&Value> {
    let configs = dump["configs"].as_array()?;
    let filters = configs
        .iter()
        .filter_map(|config| config["ecds_filters"].as_array());
    filters
        .flatten()
        .map(|filter| &filter["ecds_filter"])
        .find(|resource| resource["name"] == "hookgate")
}

fn bad_annotation(world: &World) {
    let receiver = Receiver::new("github", "annotated");
    world.manifests.apply_resources(&receiver);
    let bad = receiver.clone().annotation("hookgate.dev/rate", "fast");
    world.manifests.apply(&bad);
    world.await_everywhere(world.forge.hook(&bad), 503);
    let mended = world.add(&receiver);
    expect("mended", &world.send(world.forge.hook(&mended)), 200);
}

fn deleted(world: &World) {
    let receiver = world.add(&Receiver::new("generic", "deleted"));
    let hook = world.forge.hook(&receiver);
    expect("there", &world.send(&hook), 200);
    world.manifests.delete("deleted");
    world.await_everywhere(&hook, 404);
    let direct = world.controller().client().send(&hook).map(|r| r.status);
    assert!(matches!(direct, Ok(404)), "{direct:?}");
    let added = world.add(&receiver);
    expect("again", &world.send(world.forge.hook(&added)), 200);
}

fn suspended(world: &World) {
    let receiver = world.add(&Receiver::new("github", "suspended"));
    let hook = world.forge.hook(&receiver);
    expect("running", &world.send(&hook), 200);
    let _written = world.add(&receiver.clone().suspended());
    expect("suspended", &world.send(&hook), 503);
    expect("suspended, forged", &world.send(hook.clone().forged()), 503);
    let _written = world.add(&receiver);
    expect("resumed", &world.send(&hook), 200);
}

fn empty_token(world: &World) {
    let receiver = Receiver::new("generic", "tokenless").token("");
    world.manifests.apply_resources(&receiver);
    world.manifests.apply(&receiver);
    // What was written after it has arrived, so it has been read.
    let _later = world.add(&Receiver::new("generic", "after-tokenless"));
    let status = world.send(world.forge.hook(&receiver)).status;
    assert!(matches!(status, 404 | 503), "{status}");
}

/// Token, name and namespace are hashed as one text, so that two of them can be cut in two ways.
fn two_on_one_path(world: &World) {
    let first = Receiver::new("generic-hmac", "doubled").token("0123456789-");
    let second = Receiver::new("generic-hmac", "9-doubled").token("012345678");
    assert_eq!(first.path(), second.path());
    let first = world.add(&first);
    world.manifests.apply_resources(&second);
    world.manifests.apply(&second);
    let _later = world.add(&Receiver::new("generic", "after-doubled"));
    let ask = |receiver: &Receiver| {
        let mut seen = statuses(
            &world.client(),
            vec![Request::from(&world.forge.hook(receiver)); 16],
            4,
        );
        seen.dedup();
        seen
    };
    let (winner, loser) = match (ask(&first).as_slice(), ask(&second).as_slice()) {
        ([200], [400]) => (&first, &second),
        ([400], [200]) => (&second, &first),
        other => panic!("one is served, on both workers: {other:?}"),
    };
    let unready = world
        .controller()
        .metric("hookgate_receivers", &["ready=\"false\""]);
    assert!(unready >= 1.0, "the other one says so");
    world.manifests.delete(&winner.name);
    world.await_everywhere(world.forge.hook(loser), 200);
}
