//! The forge against the senders' published vectors.

use super::*;
use crate::manifests;

#[test]
fn signatures_equal_the_published_vectors() {
    let key = b"It's a Secret to Everybody";
    let nexus_like = mac(
        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        b"token",
        br#"{"action":"push"}"#,
    );
    assert_eq!(
        [
            prefixed("sha256", key, b"Hello, World!"),
            prefixed("sha256", key, b"Hello World!"),
            standard_signature(
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "1614265330",
                br#"{"test": 2432232314}"#,
            ),
            hex(&nexus_like),
        ],
        [
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9",
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            "0a23fffb3dd66539440cf881ae6fdfbc8ccae4a9",
        ]
    );
}

#[test]
fn every_receiver_of_the_standard_folder_gets_a_hook_and_a_forged_one_differs_in_one_place() {
    let issuer = Arc::new(Issuer::start());
    let forge = Forge::with_issuer(Arc::clone(&issuer));
    for receiver in manifests::standard(&issuer.url()) {
        let hook = forge.hook(&receiver);
        let forged = hook.clone().forged();
        let differing = hook
            .headers
            .iter()
            .zip(&forged.headers)
            .filter(|(a, b)| a != b)
            .count()
            + usize::from(hook.path != forged.path);
        assert_eq!(
            (differing, &hook.body),
            (1, &forged.body),
            "{}",
            receiver.name
        );
    }
}

#[test]
fn payloads_have_the_size_that_senders_send() {
    assert!((8_000..12_000).contains(&payload::GITHUB_PUSH.len()));
}

#[test]
fn a_form_carries_the_payload_escaped() {
    let receiver = Receiver::new("github", "web");
    let hook = Forge::new().github_form(&receiver, "push", br#"{"a b":"+"}"#);
    assert_eq!(hook.body, b"payload=%7B%22a%20b%22%3A%22%2B%22%7D");
}

#[test]
fn a_forge_whose_clock_is_behind_signs_stale_timestamps() {
    let receiver =
        Receiver::new("gitlab", "web").secret("signing-token", &manifests::signing_token("web"));
    let (now, stale) = (
        Forge::new().hook(&receiver),
        Forge::new().ahead(-600).hook(&receiver),
    );
    let seconds = |hook: &Hook| {
        let value = hook.header("webhook-timestamp").unwrap();
        std::str::from_utf8(value).unwrap().parse::<i64>().unwrap()
    };
    assert!((595..=605).contains(&(seconds(&now) - seconds(&stale))));
}

#[test]
fn a_wrong_event_leaves_the_signature_alone() {
    let receiver = Receiver::new("github", "web");
    let hook = Forge::new().hook(&receiver);
    let other = hook.clone().with_event("issues");
    assert_eq!(other.header("X-GitHub-Event"), Some(&b"issues"[..]));
    assert_eq!(
        other.header("X-Hub-Signature-256"),
        hook.header("X-Hub-Signature-256")
    );
}
