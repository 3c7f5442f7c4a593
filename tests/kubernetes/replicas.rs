//! Two replicas: both serve the same table, one writes.

use std::time::Duration;

use e2e::manifests::Receiver;
use e2e::trials::Trials;
use e2e::wait::{self, PATIENCE};
use e2e::{Cluster, Forge};
use serde_json::Value;

use crate::hookgate::{Hookgate, Stand, await_event, await_ready, ready};

const FLAGS: [&str; 4] = [
    "--enable-leader-election",
    "--leader-election-lease-duration=4s",
    "--leader-election-renew-deadline=3s",
    "--leader-election-retry-period=500ms",
];

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .alone(
            "two_replicas_serve_one_table_tell_what_they_see_and_a_killed_leader_is_followed",
            failover,
        )
        .alone("a_leader_that_stops_gives_its_lease_away", released)
}

fn holder(cluster: &Cluster) -> String {
    let path = "/apis/coordination.k8s.io/v1/namespaces/flux-system/leases/notification-controller-leader-election";
    let lease: Value = cluster.admin().get(path).body;
    lease["spec"]["holderIdentity"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn leads(hookgate: &Hookgate) -> bool {
    let log = hookgate.process.log();
    let last = log.lines().rfind(|line| line.contains("leader election"));
    last.is_some_and(|line| line.contains("\"leads\":true"))
}

/// The leader, and the other.
fn pair(cluster: &Cluster) -> (Hookgate, Hookgate) {
    let first = Hookgate::start(cluster, "first", &FLAGS);
    wait::until("a leader", PATIENCE, || leads(&first).then_some(())).expect("the first leads");
    let second = Hookgate::start(cluster, "second", &FLAGS);
    (first, second)
}

fn failover() {
    let cluster = Cluster::start();
    let (leader, other) = pair(&cluster);
    let receiver = ready(&cluster, Receiver::new("github", "replicas"));
    wait::until("equal tables", PATIENCE, || {
        (leader.table().is_some() && leader.table() == other.table()).then_some(())
    })
    .expect("equal inputs make equal tables");
    let forge = Forge::new();
    for replica in [&leader, &other] {
        let answer = replica.client().send(forge.hook(&receiver));
        assert_eq!(answer.expect("it answers").status, 200);
    }
    assert!(leads(&leader) && !leads(&other));
    // Who does not lead writes no status, and tells what it saw.
    let refused = other.client().send(forge.hook(&receiver).forged());
    assert_eq!(refused.expect("it answers").status, 400);
    await_event(
        &cluster,
        &receiver,
        "Warning HookRefused hook refused: signature",
    );
    let held = holder(&cluster);
    leader.process.kill();
    wait::until("another leader", PATIENCE, || leads(&other).then_some(()))
        .expect("the other follows");
    assert_ne!(holder(&cluster), held);
    let another = ready(&cluster, Receiver::new("github", "failover"));
    assert_eq!(
        other
            .client()
            .send(forge.hook(&another))
            .expect("it answers")
            .status,
        200
    );
}

fn released() {
    let cluster = Cluster::start();
    let (leader, other) = pair(&cluster);
    assert!(leader.process.stop().is_some_and(|status| status.success()));
    // Sooner than the lease would run out.
    wait::until("another leader", Duration::from_secs(3), || {
        leads(&other).then_some(())
    })
    .expect("a lease that was given away is taken at once");
    let receiver = ready(&cluster, Receiver::new("github", "released"));
    await_ready(&cluster, &receiver);
}
