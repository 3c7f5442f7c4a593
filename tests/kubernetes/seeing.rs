//! What became of a Receiver's hooks: in metrics, in an Event, and in `hookgate explain receiver`.

use e2e::Forge;
use e2e::manifests::{Receiver, Resource};
use e2e::trials::Trials;
use e2e::wait::{self, PATIENCE};
use serde_json::{Value, json};

use crate::hookgate::{
    API_VERSION, Hookgate, Stand, apply_again, await_event, await_ready, events,
};

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .shared(
            "the_first_failure_after_a_success_is_an_event_and_the_flood_after_it_is_none",
            failure,
        )
        .shared(
            "a_receiver_is_explained_without_its_path_or_token",
            explained,
        )
        .shared(
            "a_receiver_that_changes_its_type_or_goes_leaves_no_series",
            series,
        )
}

const REFUSED: &str = "Warning HookRefused hook refused: signature";

fn failure(stand: &Stand) {
    let receiver = stand.receiver(Receiver::new("github", "failure"));
    let forge = Forge::new();
    let flood = || {
        for _ in 0..20 {
            assert_eq!(stand.send(forge.hook(&receiver).forged()).status, 400);
        }
    };
    flood();
    assert_eq!(stand.send(forge.hook(&receiver)).status, 200);
    let told = |event: &str| {
        let told = events(&stand.cluster, &receiver).into_iter();
        told.filter(|told| told.starts_with(event)).count()
    };
    assert_eq!(told("Warning"), 0, "nothing worked before the first flood");
    flood();
    await_event(&stand.cluster, &receiver, REFUSED);
    // A mended sender, and one who forges on: not told again so soon.
    assert_eq!(stand.send(forge.hook(&receiver)).status, 200);
    flood();
    assert_eq!(told("Warning"), 1);
    let path = format!("/api/v1/namespaces/{}/events", receiver.namespace);
    let list = stand.cluster.admin().get(&path).body;
    let items = list["items"].as_array().expect("a list");
    let refused = items.iter().find(|event| event["reason"] == "HookRefused");
    assert_eq!(refused.expect("it was told")["count"], 1);
}

fn explained(stand: &Stand) {
    let receiver = Receiver::new("github", "shown").resources(vec![
        Resource::new("GitRepository", "one"),
        Resource::new("GitRepository", "two"),
    ]);
    let receiver = stand.receiver(receiver);
    let gone = e2e::flux::object("GitRepository", &receiver.namespace, "two");
    stand.cluster.admin().delete(&gone);
    let forge = Forge::new();
    assert_eq!(stand.send(forge.hook(&receiver).forged()).status, 400);
    assert_eq!(stand.send(forge.hook(&receiver)).status, 500);
    let explain = |flag| {
        stand
            .hookgate
            .explain(&stand.cluster, "hookgate", &receiver, flag)
    };
    let mut shown = explain(None);
    let namespace = &receiver.namespace;
    let said = shown.to_string();
    let digest = receiver.path().replace("/hook/", "");
    assert!(!said.contains(&digest), "{said}");
    let token = String::from_utf8(receiver.token.clone()).expect("a token of text");
    assert!(!said.contains(&token), "{said}");
    let activity = shown["activity"].take();
    assert_eq!(activity["refused"], "signature");
    let delivery = &activity["deliveries"][0];
    assert_eq!(
        (&delivery["outcome"], &delivery["resources"]),
        (&json!("failed"), &json!("1 of 2 requested, not_found: 1"))
    );
    assert!(activity["admittedAt"].is_string() && activity["refusedAt"].is_string());
    assert_eq!(activity["counts"], json!({"admitted": 1, "signature": 1}));
    assert_eq!(
        activity["keysUsed"],
        json!({"path": {"token": 1}, "proof": {"token": 1}})
    );
    shown["table"]["version"] = Value::Null;
    assert_eq!(
        shown,
        json!({
            "name": format!("{namespace}/shown"),
            "type": "github",
            "path": "/hook/…",
            "suspended": false,
            "ready": true,
            "reason": null,
            "message": null,
            "warnings": [],
            "table": {"version": null, "envoys": []},
            "resources": {
                "count": 2,
                "first": [
                    format!("GitRepository/{namespace}/one"),
                    format!("GitRepository/{namespace}/two"),
                ],
                "filtered": false,
                "problems": [],
            },
            "activity": null,
        })
    );
    assert_eq!(explain(Some("--show-path"))["path"], receiver.path());
}

fn series(stand: &Stand) {
    let receiver = stand.receiver(Receiver::new("github", "series"));
    assert_eq!(stand.send(Forge::new().hook(&receiver)).status, 200);
    let namespace = format!("namespace=\"{}\"", receiver.namespace);
    let hooks =
        |hookgate: &Hookgate| hookgate.metrics(&["hookgate_receiver", "_total{", &namespace]);
    let before = hooks(&stand.hookgate);
    let labels = format!("{namespace},name=\"series\",type=\"github\",outcome=\"admitted\"");
    let admitted = format!("hookgate_receiver_hooks_total{{{labels}}} 1");
    assert!(before.contains(&admitted), "{before:?}");
    let mut other = Receiver::new("gitlab", "series");
    other.namespace.clone_from(&receiver.namespace);
    apply_again(&stand.cluster, &other);
    let none = || {
        let waited = wait::until("no series", PATIENCE, || {
            hooks(&stand.hookgate).is_empty().then_some(())
        });
        assert!(waited.is_ok(), "{:?}", hooks(&stand.hookgate));
    };
    none();
    await_ready(&stand.cluster, &other);
    assert_eq!(stand.send(Forge::new().hook(&other)).status, 200);
    let after = hooks(&stand.hookgate);
    assert!(
        after.iter().any(|line| line.contains("type=\"gitlab\"")),
        "{after:?}"
    );
    let object = json!({"apiVersion": API_VERSION, "kind": "Receiver",
        "metadata": {"name": "series", "namespace": receiver.namespace}});
    stand.cluster.admin().delete(&object);
    none();
}
