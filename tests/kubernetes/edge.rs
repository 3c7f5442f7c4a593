//! Envoy in front of a cluster's `hookgate`: what it refuses is seen, and tokens are rotated without a gap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use e2e::client::{Client, Request, Version};
use e2e::controller::Edge;
use e2e::envoy::Envoy;
use e2e::manifests::Receiver;
use e2e::tls::Tls;
use e2e::trials::{Trials, expect};
use e2e::wait::{self, PATIENCE};
use e2e::{Cluster, Forge, binaries, ports};
use serde_json::json;
use tempfile::TempDir;

use crate::hookgate::{Hookgate, Stand, apply, apply_again, await_event, calls, ready};
use crate::table::{self, Stage};

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .alone("what_envoy_refuses_is_counted_told_and_explained", refused)
        .alone(
            "the_table_of_requests_has_the_same_answers_in_a_cluster",
            table,
        )
        .alone("a_token_is_rotated_through_envoy_without_a_gap", rotated)
}

/// A cluster, a `hookgate`, and an Envoy that takes its table.
pub(crate) struct Chain {
    envoy: Envoy,
    pub(crate) client: Client,
    pub(crate) hookgate: Hookgate,
    pub(crate) cluster: Cluster,
    _dir: TempDir,
}

impl Chain {
    fn start() -> Self {
        Self::start_with(&["--trigger-interval=200ms"])
    }

    /// With these flags of `hookgate`.
    pub(crate) fn start_with(flags: &[&str]) -> Self {
        let cluster = Cluster::start();
        let hookgate = Hookgate::start(&cluster, "hookgate", flags);
        let dir = TempDir::new().expect("a folder");
        let tls = Tls::create(dir.path());
        let edge = Edge {
            listener: ports::address(),
            admin: ports::address(),
            controller: hookgate.addresses,
            flags: Vec::new(),
        };
        let binary = binaries::hookgate().expect("hookgate is built");
        let bootstrap = edge.bootstrap(&binary, &tls).expect("a bootstrap");
        let envoy = Envoy::start(binaries::ENVOY, &bootstrap, dir.path()).expect("Envoy starts");
        Self {
            envoy,
            client: Client::tls(edge.listener, &tls),
            hookgate,
            cluster,
            _dir: dir,
        }
    }

    fn send(&self, hook: impl Into<Request>) -> u16 {
        self.client.send(hook).expect("Envoy answers").status
    }

    /// Waits until Envoy answers so, many times in a row: each worker has its own table.
    pub(crate) fn await_status<T: Into<Request> + Clone>(&self, hook: &T, status: u16) {
        let waited = wait::until("the status everywhere", PATIENCE, || {
            let mut answers = (0..16).map(|_| self.send(hook.clone()));
            answers.all(|held| held == status).then_some(())
        });
        waited.unwrap_or_else(|error| panic!("{status}: {error}"));
    }
}

fn refused() {
    let chain = Chain::start();
    let receiver = ready(&chain.cluster, Receiver::new("github", "edge"));
    let forge = Forge::new();
    chain.await_status(&forge.hook(&receiver), 200);
    let before = calls(&chain.cluster, &receiver.namespace);
    for _ in 0..40 {
        assert_eq!(chain.send(forge.hook(&receiver).forged()), 400);
    }
    let told = "Warning HookRefused hook refused: signature";
    await_event(&chain.cluster, &receiver, told);
    let labels = format!(
        "namespace=\"{}\",name=\"edge\",type=\"github\",outcome=\"signature\"",
        receiver.namespace
    );
    let counted = format!("hookgate_edge_hooks_total{{{labels}}} 40");
    let waited = wait::until("all are reported", PATIENCE, || {
        let lines = chain.hookgate.metrics(&["hookgate_edge_hooks_total"]);
        lines.contains(&counted).then_some(())
    });
    waited.expect("Envoy's reports are counted");
    let shown = chain
        .hookgate
        .explain(&chain.cluster, "hookgate", &receiver, None);
    assert_eq!(shown["activity"]["edgeCounts"]["signature"], 40);
    assert_eq!(shown["activity"]["refused"], "signature");
    // No forged hook came to the controller, or to the API server.
    assert_eq!(shown["activity"]["counts"]["signature"], json!(null));
    assert_eq!(calls(&chain.cluster, &receiver.namespace), before);
    let envoys = shown["table"]["envoys"].as_array().expect("a list");
    assert_eq!(envoys.len(), 1, "{shown}");
    assert_eq!(envoys[0]["has"], shown["table"]["version"]);
    assert_eq!(
        (&envoys[0]["connected"], &envoys[0]["refused"]),
        (&json!(true), &json!(null))
    );
}

fn table() {
    let chain = Chain::start();
    let direct = chain.hookgate.client();
    let ways = [
        ("edge1", &chain.client, Version::Http1),
        ("edge2", &chain.client, Version::Http2),
        ("direct", &direct, Version::Http1),
    ];
    for (way, client, version) in ways {
        let stage = Stage::build(&Forge::new(), way, |receiver| {
            let receiver = apply(&chain.cluster, receiver.clone());
            // Neither refused nor charged to any limit: the method alone is wrong.
            let status = if receiver.suspend { 503 } else { 405 };
            chain.await_status(&Request::get(&receiver.path()), status);
            receiver
        });
        table::ask(&stage, way, client, version);
    }
}

fn rotated() {
    let mut chain = Chain::start();
    let old = ready(&chain.cluster, Receiver::new("github", "rotated"));
    let token = String::from_utf8(old.token.clone()).expect("a token of text");
    let new = old
        .clone()
        .token("another token")
        .secret("token-previous", &token);
    let forge = Forge::new();
    chain.await_status(&forge.hook(&old), 200);

    // A sender that has not heard of the new token yet, and never stops.
    let stop = Arc::new(AtomicBool::new(false));
    let sender = thread::spawn({
        let (client, old, stop) = (chain.client.clone(), old.clone(), stop.clone());
        move || {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                let answer = client.send(Forge::new().hook(&old)).expect("Envoy answers");
                expect("a hook with the old token", &answer, 200);
                sent += 1;
                thread::sleep(Duration::from_millis(20));
            }
            sent
        }
    });
    apply_again(&chain.cluster, &new);
    chain.await_status(&forge.hook(&new), 200);
    let uses = |chain: &Chain| {
        let shown = chain
            .hookgate
            .explain(&chain.cluster, "hookgate", &old, None);
        shown["activity"]["keysUsed"].clone()
    };
    wait::until("the old token is seen", PATIENCE, || {
        (uses(&chain)["path"]["token-previous"].as_u64() > Some(0)).then_some(())
    })
    .expect("the old token is still used");
    stop.store(true, Ordering::Relaxed);
    assert!(sender.join().expect("no gap") > 0);
    // Nobody uses the old one any more: it may go.
    let last = uses(&chain);
    assert_eq!(chain.send(forge.hook(&new)), 200);
    assert_eq!(
        uses(&chain)["proof"]["token-previous"],
        last["proof"]["token-previous"]
    );
    let labels = [
        "hookgate_receiver_token_used_total",
        "key=\"token-previous\"",
        "use=\"path\"",
    ];
    let metric = chain.hookgate.metrics(&labels);
    let suffix = format!(" {}", last["path"]["token-previous"]);
    assert!(
        metric.len() == 1 && metric[0].ends_with(&suffix),
        "{metric:?}"
    );

    let path = format!("/api/v1/namespaces/{}/secrets/rotated-token", old.namespace);
    let removal = json!({"data": {"token-previous": null}});
    let answer = chain.cluster.admin().send("PATCH", &path, Some(&removal));
    assert_eq!(answer.status, 200);
    chain.await_status(&forge.hook(&old), 404);
    assert_eq!(chain.send(forge.hook(&new)), 200);
    assert!(chain.envoy.is_running());
}
