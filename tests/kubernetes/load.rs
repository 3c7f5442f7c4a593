//! Many hooks at once cost few calls, and many Receivers come to be ready.

use std::time::{Duration, Instant};

use e2e::client::Request;
use e2e::manifests::{Receiver, Resource};
use e2e::trials::{Trials, statuses};
use e2e::wait;
use e2e::{Cluster, Forge};
use serde_json::{Value, json};

use crate::hookgate::{API_VERSION, Hookgate, Stand, apply, await_ready, calls, condition};

const HOOKS: usize = 2_000;
const RECEIVERS: usize = 1_000;

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .alone(
            "two_thousand_hooks_at_once_cost_two_patches_a_resource_and_one_for_each_second",
            bursts,
        )
        .alone("a_thousand_receivers_come_to_be_ready", thousand)
}

fn bursts() {
    let cluster = Cluster::start();
    let hookgate = Hookgate::start(&cluster, "hookgate", &[]);
    for (name, width) in [("burst", 1), ("burst-wide", 50)] {
        let resources = (0..width).map(|n| Resource::new("GitRepository", &format!("r-{n}")));
        let receiver = Receiver::new("github", name).resources(resources.collect());
        let receiver = apply(&cluster, receiver);
        await_ready(&cluster, &receiver);
        let before = calls(&cluster, &receiver.namespace).len();
        let hooks: Vec<Request> = vec![Forge::new().hook(&receiver).into(); HOOKS];
        let client = hookgate.client().timeout(Duration::from_secs(10));
        let begin = Instant::now();
        let answered = statuses(&client, hooks, HOOKS);
        let took = begin.elapsed();
        let refused: Vec<u16> = answered
            .into_iter()
            .filter(|status| *status != 200)
            .collect();
        assert_eq!(refused, Vec::<u16>::new(), "{name}");
        let made = calls(&cluster, &receiver.namespace);
        let patches = made[before..]
            .iter()
            .filter(|call| *call == "patch gitrepositories")
            .count();
        // One for the first hook, one for those that came meanwhile, and one more for each second, the interval, that
        // the burst lasted: on a busy machine 2,000 senders need several.
        let most = width * (2 + usize::try_from(took.as_secs()).expect("a few"));
        assert!(
            (width..=most).contains(&patches),
            "{name}: {patches} PATCHes in {took:?}"
        );
        assert_eq!(patches, made.len() - before, "{name}: no other calls");
        println!("{name}: {HOOKS} hooks, {patches} PATCHes in {took:?}");
    }
}

fn thousand() {
    let cluster = Cluster::start();
    let hookgate = Hookgate::start(&cluster, "hookgate", &["--concurrent=16"]);
    let namespace = cluster.namespace("thousand");
    let admin = cluster.admin();
    let secret = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "token", "namespace": namespace}, "stringData": {"token": "t"}});
    admin.apply(&secret);
    let begin = Instant::now();
    for n in 0..RECEIVERS {
        let receiver = json!({"apiVersion": API_VERSION, "kind": "Receiver",
            "metadata": {"name": format!("r-{n}"), "namespace": namespace},
            "spec": {"type": "github", "secretRef": {"name": "token"},
                     "resources": [{"kind": "GitRepository", "name": format!("r-{n}")}]}});
        assert_eq!(admin.create(&receiver).status, 201);
    }
    let created = begin.elapsed();
    let list = e2e::api::collection(API_VERSION, "Receiver", Some(&namespace));
    let ready = || {
        let list = admin.get(&list).body;
        let items = list["items"].as_array().map_or(&[][..], Vec::as_slice);
        let is_ready = |item: &&Value| condition(&item["status"], "Ready")["status"] == "True";
        items.iter().filter(is_ready).count()
    };
    let waited = wait::until("all are ready", Duration::from_secs(90), || {
        (ready() == RECEIVERS).then_some(())
    });
    assert!(waited.is_ok(), "{} are ready", ready());
    println!(
        "{RECEIVERS} Receivers: created in {created:?}, ready after {:?}; {} KiB resident",
        begin.elapsed(),
        hookgate.process.resident_bytes() / 1024
    );
    let made = calls(&cluster, &namespace);
    let count = |call: &str| made.iter().filter(|made| *made == call).count();
    assert_eq!(count("get secrets"), 1);
    assert_eq!(count("patch receivers"), RECEIVERS);
    assert_eq!(count("patch receivers/status"), RECEIVERS);
    let log = hookgate.process.log();
    let tables = log
        .lines()
        .filter(|line| line.contains("table compiled"))
        .count();
    assert!(tables < RECEIVERS / 4, "{tables} tables");
}
