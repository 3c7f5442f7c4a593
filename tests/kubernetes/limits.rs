//! Objects as large, as long and as hostile as an API server takes them.

use std::time::{Duration, Instant};

use e2e::manifests::{Receiver, Resource};
use e2e::trials::Trials;
use e2e::wait::{self, PATIENCE};
use e2e::{Forge, flux};
use serde_json::{Map, Value, json};

use crate::hookgate::{
    Stand, apply_again, await_event, await_ready, await_status, condition, requested_at,
};

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .shared("names_may_be_as_long_as_kubernetes_allows", names)
        .shared("thousands_of_labels_are_matched", labels)
        .shared("cel_that_would_explode_stalls_and_says_why", explosive)
        .shared(
            "cel_that_explodes_on_a_hook_is_500_within_a_second",
            runaway,
        )
}

fn names(stand: &Stand) {
    let long = |length: usize| "a".repeat(length);
    let namespace = stand.cluster.namespace(&long(60));
    let secret = format!("{}-token", long(247));
    let mut receiver = Receiver::new("github", &long(247));
    receiver.namespace = namespace;
    receiver.resources = vec![Resource::new("GitRepository", &long(253))];
    assert_eq!(receiver.secret_name(), secret);
    let object = flux::object("GitRepository", &receiver.namespace, &long(253));
    stand.cluster.admin().apply(&object);
    apply_again(&stand.cluster, &receiver);
    await_ready(&stand.cluster, &receiver);
    await_event(
        &stand.cluster,
        &receiver,
        "Normal Succeeded Reconciliation finished, next run in 10m0s",
    );
    assert_eq!(stand.send(Forge::new().hook(&receiver)).status, 200);
    let asked = requested_at(
        &stand.cluster,
        "GitRepository",
        &receiver.namespace,
        &long(253),
    );
    assert!(asked.is_some());
    let shown = stand
        .hookgate
        .explain(&stand.cluster, "hookgate", &receiver, None);
    assert_eq!(shown["activity"]["counts"], json!({"admitted": 1}));
}

fn labels(stand: &Stand) {
    let many: Vec<_> = (0..2_000)
        .map(|n| (format!("example.com/label-{n}"), format!("value-{n}")))
        .collect();
    let mut any = Resource::new("GitRepository", "*");
    any.match_labels = many[..1_000].to_vec();
    let receiver = stand.receiver(Receiver::new("github", "labelled").resources(vec![any]));
    for (name, skipped) in [("all", 0), ("all-but-one", 1)] {
        let mut object = flux::object("GitRepository", &receiver.namespace, name);
        let labels: Map<String, Value> = many
            .iter()
            .skip(skipped)
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect();
        object["metadata"]["labels"] = labels.into();
        stand.cluster.admin().apply(&object);
    }
    let asked = |name| requested_at(&stand.cluster, "GitRepository", &receiver.namespace, name);
    wait::until("the object with all labels is asked", PATIENCE, || {
        let status = stand.send(Forge::new().hook(&receiver)).status;
        assert!([200, 503].contains(&status), "{status}");
        asked("all").map(drop)
    })
    .expect("it is asked");
    assert_eq!(asked("all-but-one"), None);
}

fn explosive(stand: &Stand) {
    let receiver = stand.receiver(Receiver::new("github", "explosive"));
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    for expression in [
        nested("(", "true", ")", 2_000),
        nested("[", "", "]", 2_000) + " == []",
        nested("req.a.all(x, ", "true", ")", 250),
        format!("{}true", "true || ".repeat(100_000)),
        "'a'.matches('((a{1000}){1000}){1000}')".to_owned(),
    ] {
        let start: String = expression.chars().take(40).collect();
        apply_again(
            &stand.cluster,
            &receiver.clone().resource_filter(&expression),
        );
        let status = await_status(&stand.cluster, &receiver, &start, |status| {
            let object = crate::hookgate::get(&stand.cluster, &receiver);
            let ready = condition(status, "Ready");
            ready["observedGeneration"] == object["metadata"]["generation"]
                && ready["status"] == "False"
        });
        let ready = condition(&status, "Ready");
        assert_eq!(ready["reason"], "InvalidCELExpression", "{start}");
        let message = ready["message"].as_str().expect("a message");
        assert!(
            message.contains("invalid resourceFilter expression: "),
            "{message}"
        );
        assert!(message.len() < 1_000, "{start}: {} bytes", message.len());
        assert_eq!(stand.send(Forge::new().hook(&receiver)).status, 503);
    }
}

fn runaway(stand: &Stand) {
    let filter = "req.n.all(a, req.n.all(b, req.n.all(c, a + b + c >= 0)))";
    let receiver = stand.receiver(Receiver::new("github", "runaway").resource_filter(filter));
    let body = json!({"n": vec![0; 2_000]}).to_string();
    let hook = || Forge::new().github(&receiver, "push", body.as_bytes());
    let waited = wait::until("500", PATIENCE, || {
        let begin = Instant::now();
        let status = stand.send(hook()).status;
        assert!([500, 503].contains(&status), "{status}");
        assert!(
            begin.elapsed() < Duration::from_secs(3),
            "{:?}",
            begin.elapsed()
        );
        (status == 500).then_some(())
    });
    waited.expect("500, once the objects are listed");
    let asked = requested_at(
        &stand.cluster,
        "GitRepository",
        &receiver.namespace,
        "runaway",
    );
    assert_eq!(asked, None);
    let shown = stand
        .hookgate
        .explain(&stand.cluster, "hookgate", &receiver, None);
    let deliveries = shown["activity"]["deliveries"].as_array().expect("a list");
    let last = deliveries.last().expect("a delivery");
    assert_eq!(last["resources"], "0 of 1 requested, not_selected: 1");
}
