//! Secrets: read when they change and not by hooks; a rotated or revoked token takes effect at once.

use e2e::Forge;
use e2e::manifests::Receiver;
use e2e::trials::Trials;
use e2e::wait::{self, PATIENCE};
use serde_json::json;

use crate::hookgate::{
    Stand, apply_again, await_ready, await_status, calls, condition, requested_at,
};

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .shared("a_genuine_hook_annotates_and_costs_one_patch", genuine)
        .shared("a_forged_or_unknown_hook_costs_no_call", forged)
        .shared("a_rotated_token_takes_effect_without_a_label", rotated)
        .shared("both_tokens_pass_while_there_is_a_previous_one", both)
        .shared("a_deleted_secret_takes_its_path_away", revoked)
        .shared(
            "a_secret_of_a_mebibyte_is_read_and_an_empty_token_is_refused",
            odd,
        )
}

fn genuine(stand: &Stand) {
    let receiver = stand.receiver(Receiver::new("github", "genuine"));
    let before = calls(&stand.cluster, &receiver.namespace).len();
    assert_eq!(stand.send(Forge::new().hook(&receiver)).status, 200);
    let at = requested_at(
        &stand.cluster,
        "GitRepository",
        &receiver.namespace,
        "genuine",
    );
    assert!(at.is_some_and(|at| at.ends_with('Z')));
    let calls = calls(&stand.cluster, &receiver.namespace);
    assert_eq!(calls[before..], ["patch gitrepositories"]);
}

fn forged(stand: &Stand) {
    let receiver = stand.receiver(Receiver::new("github", "forged"));
    let forge = Forge::new();
    let before = calls(&stand.cluster, &receiver.namespace);
    for _ in 0..20 {
        assert_eq!(stand.send(forge.hook(&receiver).forged()).status, 400);
        let unknown = receiver.path_with(b"another token");
        assert_eq!(
            stand.send(forge.hook(&receiver).with_path(&unknown)).status,
            404
        );
    }
    // The last call of a genuine one shows that the log is not behind.
    assert_eq!(stand.send(forge.hook(&receiver)).status, 200);
    let after = calls(&stand.cluster, &receiver.namespace);
    assert_eq!(after[before.len()..], ["patch gitrepositories"]);
}

fn rotated(stand: &Stand) {
    let old = stand.receiver(Receiver::new("github", "rotated"));
    let new = old.clone().token("another token");
    apply_again(&stand.cluster, &new);
    await_ready(&stand.cluster, &new);
    let forge = Forge::new();
    assert_eq!(stand.send(forge.hook(&new)).status, 200);
    assert_eq!(stand.send(forge.hook(&old)).status, 404);
}

fn both(stand: &Stand) {
    let old = stand.receiver(Receiver::new("github", "both"));
    let token = String::from_utf8(old.token.clone()).expect("a token of text");
    let new = old
        .clone()
        .token("another token")
        .secret("token-previous", &token);
    apply_again(&stand.cluster, &new);
    let forge = Forge::new();
    // No moment without an answer of 200 to the old one.
    let waited = wait::until("the new token passes", PATIENCE, || {
        assert_eq!(stand.send(forge.hook(&old)).status, 200);
        (stand.send(forge.hook(&new)).status == 200).then_some(())
    });
    waited.expect("the new token passes");
    assert_eq!(stand.send(forge.hook(&old)).status, 200);
    let path = format!("/api/v1/namespaces/{}/secrets/both-token", old.namespace);
    let removal = json!({"data": {"token-previous": null}});
    assert_eq!(
        stand
            .cluster
            .admin()
            .send("PATCH", &path, Some(&removal))
            .status,
        200
    );
    wait::until("the old token is refused", PATIENCE, || {
        (stand.send(forge.hook(&old)).status == 404).then_some(())
    })
    .expect("the old token is refused");
    assert_eq!(stand.send(forge.hook(&new)).status, 200);
}

fn revoked(stand: &Stand) {
    let receiver = stand.receiver(Receiver::new("github", "revoked"));
    let path = format!(
        "/api/v1/namespaces/{}/secrets/revoked-token",
        receiver.namespace
    );
    assert_eq!(
        stand.cluster.admin().send("DELETE", &path, None).status,
        200
    );
    let status = await_status(&stand.cluster, &receiver, "the token is missed", |status| {
        condition(status, "Ready")["reason"] == "TokenNotFound"
    });
    assert!(status["webhookPath"].is_null(), "{status}");
    assert_eq!(stand.send(Forge::new().hook(&receiver)).status, 404);
}

fn odd(stand: &Stand) {
    let filler = "x".repeat(1024 * 1024 - 2_048);
    let large = Receiver::new("github", "large").secret("filler", &filler);
    let receiver = stand.receiver(large);
    assert_eq!(stand.send(Forge::new().hook(&receiver)).status, 200);

    apply_again(&stand.cluster, &receiver.clone().token(""));
    let status = await_status(
        &stand.cluster,
        &receiver,
        "the token is refused",
        |status| condition(status, "Ready")["reason"] == "TokenNotFound",
    );
    let message = condition(&status, "Ready")["message"].clone();
    assert!(
        message
            .as_str()
            .is_some_and(|text| text.contains("'token' is empty")),
        "{message}"
    );
}
