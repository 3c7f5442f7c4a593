//! Statuses, finalizers and Events, to the letter.

use e2e::Forge;
use e2e::manifests::{Receiver, Resource};
use e2e::trials::Trials;
use e2e::wait::{self, PATIENCE};
use serde_json::{Value, json};

use crate::hookgate::{
    Stand, apply, apply_again, await_event, await_ready, await_status, calls, condition, events,
    get, objects, patch, request,
};

const FINISHED: &str = "Normal Succeeded Reconciliation finished, next run in 10m0s";

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .shared("a_good_receiver_is_ready_to_the_letter", good)
        .shared(
            "a_receiver_waits_for_its_secret_to_the_letter",
            missing_secret,
        )
        .shared("bad_cel_stalls_to_the_letter_until_it_is_mended", bad_cel)
        .shared(
            "a_suspended_receiver_answers_503_and_keeps_its_status",
            suspended,
        )
        .shared("a_request_to_reconcile_is_handled", requested)
        .shared("nothing_is_written_when_nothing_has_changed", quiet)
        .shared("a_deleted_receiver_is_let_go_and_answers_404", deleted)
        .shared("what_only_a_hook_would_find_out_is_told_at_once", warned)
        .shared(
            "an_unknown_annotation_is_told_without_a_new_generation",
            annotated,
        )
        .shared("a_wiped_status_comes_back", wiped)
}

/// A status without what differs from run to run.
fn timeless(mut status: Value) -> Value {
    if let Some(conditions) = status["conditions"].as_array_mut() {
        for condition in conditions {
            let time = condition["lastTransitionTime"].take();
            assert!(
                time.as_str().is_some_and(|time| time.ends_with('Z')),
                "{time}"
            );
            condition
                .as_object_mut()
                .expect("a condition")
                .remove("lastTransitionTime");
        }
    }
    status
}

fn good(stand: &Stand) {
    let receiver = stand.receiver(Receiver::new("github", "good"));
    let object = get(&stand.cluster, &receiver);
    assert_eq!(
        timeless(object["status"].clone()),
        json!({
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Succeeded", "observedGeneration": 1,
                "message": format!("Receiver initialized for path: {}", receiver.path()),
            }],
            "observedGeneration": 1,
            "webhookPath": receiver.path(),
        })
    );
    assert_eq!(
        object["metadata"]["finalizers"],
        json!(["finalizers.fluxcd.io"])
    );
    await_event(&stand.cluster, &receiver, FINISHED);
}

fn missing_secret(stand: &Stand) {
    let cluster = &stand.cluster;
    let mut receiver = Receiver::new("github", "waits");
    receiver.namespace = cluster.namespace("waits");
    let [secret, object] = <[Value; 2]>::try_from(objects(&receiver.manifest())).expect("two");
    cluster.admin().apply(&object);
    let message = format!(
        "unable to read token from secret '{}/waits-token' error: Secret \"waits-token\" not found",
        receiver.namespace
    );
    let status = await_status(cluster, &receiver, "a condition", |status| {
        !condition(status, "Ready").is_null()
    });
    assert_eq!(
        timeless(status),
        json!({
            "conditions": [
                {"type": "Reconciling", "status": "True", "reason": "ProgressingWithRetry",
                 "message": "Reconciliation in progress", "observedGeneration": 1},
                {"type": "Ready", "status": "False", "reason": "TokenNotFound",
                 "message": message, "observedGeneration": 1},
            ],
            "observedGeneration": -1,
        })
    );
    await_event(cluster, &receiver, &format!("Warning Failed {message}"));
    assert_eq!(stand.send(Forge::new().hook(&receiver)).status, 404);
    cluster.admin().apply(&secret);
    await_ready(cluster, &receiver);
    assert_eq!(
        get(cluster, &receiver)["status"]["conditions"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

fn bad_cel(stand: &Stand) {
    let cluster = &stand.cluster;
    let receiver = stand.receiver(Receiver::new("github", "cel"));
    apply_again(cluster, &receiver.clone().resource_filter("req.flag"));
    let status = await_status(cluster, &receiver, "Stalled", |status| {
        condition(status, "Stalled")["status"] == "True"
    });
    let message = condition(&status, "Ready")["message"].clone();
    let text = message.as_str().unwrap_or_default();
    let prefix = "Reconciliation failed terminally due to configuration error: invalid resourceFilter expression: ";
    assert!(text.starts_with(prefix), "{text}");
    assert_eq!(
        timeless(status),
        json!({
            "conditions": [
                {"type": "Stalled", "status": "True", "reason": "InvalidCELExpression",
                 "message": message, "observedGeneration": 2},
                {"type": "Ready", "status": "False", "reason": "InvalidCELExpression",
                 "message": message, "observedGeneration": 2},
            ],
            "observedGeneration": 2,
            "webhookPath": receiver.path(),
        })
    );
    await_event(
        cluster,
        &receiver,
        &format!("Warning InvalidCELExpression {text}"),
    );
    assert_eq!(stand.send(Forge::new().hook(&receiver)).status, 503);
    patch(
        cluster,
        &receiver,
        &json!({"spec": {"resourceFilter": null}}),
    );
    await_ready(cluster, &receiver);
    assert_eq!(stand.send(Forge::new().hook(&receiver)).status, 200);
}

fn suspended(stand: &Stand) {
    let cluster = &stand.cluster;
    let receiver = stand.receiver(Receiver::new("github", "suspended"));
    let before = get(cluster, &receiver)["status"].clone();
    patch(cluster, &receiver, &json!({"spec": {"suspend": true}}));
    request(cluster, &receiver, "while-suspended");
    let status = await_status(cluster, &receiver, "the request is handled", |status| {
        status["lastHandledReconcileAt"] == "while-suspended"
    });
    assert_eq!(status["conditions"], before["conditions"]);
    assert_eq!(status["observedGeneration"], 2);
    assert_eq!(stand.send(Forge::new().hook(&receiver)).status, 503);
    patch(cluster, &receiver, &json!({"spec": {"suspend": false}}));
    await_status(cluster, &receiver, "it is resumed", |status| {
        condition(status, "Ready")["observedGeneration"] == 3
    });
    assert_eq!(stand.send(Forge::new().hook(&receiver)).status, 200);
}

fn requested(stand: &Stand) {
    let cluster = &stand.cluster;
    let receiver = stand.receiver(Receiver::new("github", "requested"));
    for at in ["2026-08-07T12:00:00.123456789Z", "again"] {
        request(cluster, &receiver, at);
        let status = await_status(cluster, &receiver, "the request is handled", |status| {
            status["lastHandledReconcileAt"] == at
        });
        assert_eq!(condition(&status, "Ready")["status"], "True");
    }
}

fn quiet(stand: &Stand) {
    let cluster = &stand.cluster;
    let receiver = stand.receiver(Receiver::new("github", "quiet"));
    let before = calls(cluster, &receiver.namespace);
    assert_eq!(
        before,
        ["get secrets", "patch receivers", "patch receivers/status"],
        "a new Receiver costs three calls"
    );
    patch(
        cluster,
        &receiver,
        &json!({"metadata": {"labels": {"touched": "true"}}}),
    );
    // What comes after it in the same watch shows that it was seen.
    request(cluster, &receiver, "now");
    await_status(cluster, &receiver, "the request is handled", |status| {
        status["lastHandledReconcileAt"] == "now"
    });
    let after = calls(cluster, &receiver.namespace);
    assert_eq!(after[before.len()..], ["patch receivers/status"]);
}

fn deleted(stand: &Stand) {
    let cluster = &stand.cluster;
    let receiver = stand.receiver(Receiver::new("github", "deleted"));
    assert_eq!(stand.send(Forge::new().hook(&receiver)).status, 200);
    let object = get(cluster, &receiver);
    cluster.admin().delete(&object);
    let path = e2e::api::path_of(&object);
    wait::until("the Receiver is gone", PATIENCE, || {
        (cluster.admin().get(&path).status == 404).then_some(())
    })
    .expect("the finalizer is removed");
    wait::until("its path is gone", PATIENCE, || {
        (stand.send(Forge::new().hook(&receiver)).status == 404).then_some(())
    })
    .expect("its path is gone");
}

fn warned(stand: &Stand) {
    let cluster = &stand.cluster;
    let wildcard =
        Receiver::new("github", "wildcard").resources(vec![Resource::new("GitRepository", "*")]);
    let receiver = stand.receiver(wildcard);
    let warning = "resources[0]: matchLabels field not set when using wildcard '*' as name";
    let status = get(cluster, &receiver)["status"].clone();
    assert_eq!(
        condition(&status, "Ready")["message"],
        format!(
            "Receiver initialized for path: {}, but {warning}",
            receiver.path()
        )
    );
    await_event(
        cluster,
        &receiver,
        &format!("Warning Misconfigured {warning}"),
    );
    assert_eq!(stand.send(Forge::new().hook(&receiver)).status, 500);

    let mut gcr = Receiver::new("gcr", "gcr-keys");
    gcr.secret.clear();
    let gcr = stand.receiver(gcr);
    let warning = "no hook can pass: the Secret lacks email and audience";
    await_event(cluster, &gcr, &format!("Warning Misconfigured {warning}"));
}

fn annotated(stand: &Stand) {
    let cluster = &stand.cluster;
    let receiver = stand.receiver(Receiver::new("github", "annotated"));
    let annotations = json!({"hookgate.dev/rates": "1"});
    patch(
        cluster,
        &receiver,
        &json!({"metadata": {"annotations": annotations}}),
    );
    let warning = "annotation hookgate.dev/rates is not known";
    let message = format!(
        "Receiver initialized for path: {}, but {warning}",
        receiver.path()
    );
    await_status(cluster, &receiver, "the warning", |status| {
        condition(status, "Ready")["message"] == message
    });
    await_event(
        cluster,
        &receiver,
        &format!("Warning Misconfigured {warning}"),
    );
    assert!(
        !events(cluster, &receiver)
            .iter()
            .any(|event| event.contains("/hook/"))
    );
}

fn wiped(stand: &Stand) {
    let cluster = &stand.cluster;
    let receiver = apply(cluster, Receiver::new("github", "wiped"));
    await_ready(cluster, &receiver);
    let path = format!("{}/status", e2e::api::path_of(&get(cluster, &receiver)));
    let wipe = json!({"status": {"conditions": null, "webhookPath": null}});
    assert_eq!(
        cluster.admin().send("PATCH", &path, Some(&wipe)).status,
        200
    );
    // Not before a minute has passed by itself; a request does it at once.
    request(cluster, &receiver, "mend");
    await_ready(cluster, &receiver);
}
