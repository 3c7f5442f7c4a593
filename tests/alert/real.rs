//! Providers that are real servers.

use e2e::alertmanager::Alertmanager;
use e2e::controller::Controller;
use e2e::events;
use e2e::mail::{self, MailServer};
use e2e::matrix::Homeserver;
use e2e::nats::{self, Nats};
use e2e::otel::Collector;
use e2e::trials::Trials;
use e2e::wait::{PATIENCE, until};
use serde_json::{Value, json};

use crate::{NAMESPACE, Stand, folder};

pub(crate) fn trials(trials: Trials) -> Trials {
    trials
        .alone(
            "an_event_reaches_a_real_nats_server_that_asks_for_a_password",
            nats,
        )
        .alone(
            "an_event_fires_in_a_real_alertmanager_and_an_info_resolves_it",
            alertmanager,
        )
        .alone(
            "an_event_is_a_mail_of_a_real_server_that_wants_tls_and_a_password",
            mail,
        )
        .alone(
            "a_wrong_password_for_mail_is_told_without_it_and_tried_again",
            wrong_password,
        )
        .alone("an_event_is_a_span_of_a_real_collector", otel)
        .alone(
            "events_reach_a_real_matrix_room_in_order_although_it_limits_their_rate",
            matrix,
        )
}

/// A Provider called `real` with its Secret, and an Alert for it.
fn real(spec: Value, secret: &Value, annotation: Option<(&str, &str)>) -> Vec<Value> {
    let mut provider = events::provider(NAMESPACE, "real", spec);
    if let Some((name, value)) = annotation {
        provider["metadata"]["annotations"] = json!({name: value});
    }
    vec![
        provider,
        events::auth(NAMESPACE, "real", secret),
        events::alert(NAMESPACE, "real"),
    ]
}

/// What nobody may see, in no log.
fn is_hushed(stand: &Stand, secret: &str) -> bool {
    let log = stand.controller.as_ref().map(Controller::log);
    log.is_some_and(|log| !log.contains(secret))
}

fn nats() {
    let dir = folder();
    let server = Nats::start(dir.path()).expect("the NATS server starts");
    let mut subscription = server.subscribe("flux.>");
    let spec = json!({"type": "nats", "address": server.url(), "channel": "flux.alerts"});
    let secret = json!({"username": nats::USER, "password": nats::PASSWORD});
    let stand = Stand::with(dir, &real(spec, &secret, None));
    for message in ["validation failed", "still failing"] {
        stand.post("webapp", message);
        let event = subscription.next_json();
        assert_eq!(
            (&event["message"], &event["involvedObject"]["name"]),
            (&json!(message), &json!("webapp"))
        );
    }
    stand.await_quiet();
    assert!(is_hushed(&stand, nats::PASSWORD));
}

fn alertmanager() {
    let dir = folder();
    let server = Alertmanager::start(dir.path());
    let spec = json!({"type": "alertmanager", "address": server.url()});
    let resolves = Some(("hookgate.dev/resolve", "true"));
    let stand = Stand::with(dir, &real(spec, &json!({"token": "unused"}), resolves));
    stand.post("webapp", "validation failed");
    let firing = |count: usize| {
        until("the alerts that fire", PATIENCE, || {
            let firing = server.firing();
            (firing.len() == count).then_some(firing)
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}", server.firing()))
    };
    let alert = firing(1).remove(0);
    assert_eq!(
        (
            &alert["labels"]["name"],
            &alert["labels"]["namespace"],
            &alert["annotations"]["message"]
        ),
        (
            &json!("webapp"),
            &json!(NAMESPACE),
            &json!("validation failed")
        ),
        "{alert}"
    );
    stand.post_info("webapp", "applied");
    let _none = firing(0);
    stand.await_quiet();
}

/// A Provider of mail, and what it takes: the server's authority in a Secret of its own.
fn mailer(server: &MailServer, password: &str) -> Vec<Value> {
    let mut spec = json!({"type": "generic", "address": server.url(), "channel": "oncall@acme.test, web@acme.test"});
    spec["certSecretRef"] = json!({"name": "mail-ca"});
    let secret = json!({"username": mail::USER, "password": password});
    let mut objects = real(spec, &secret, Some(("hookgate.dev/provider-type", "smtp")));
    objects.push(json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": {"ca.crt": server.ca()},
        "metadata": {"name": "mail-ca", "namespace": NAMESPACE},
    }));
    objects
}

fn mail() {
    let dir = folder();
    let server = MailServer::start(dir.path());
    let stand = Stand::with(dir, &mailer(&server, mail::PASSWORD));
    stand.post(
        "webapp",
        "validation failed\r\nBcc: everybody@acme.test\r\n.\r\nüber",
    );
    let mail = server.await_mails(1).remove(0);
    assert_eq!(
        (mail.from.as_str(), mail.to),
        (
            mail::USER,
            vec!["oncall@acme.test".to_owned(), "web@acme.test".to_owned()]
        )
    );
    let (head, _) = mail
        .content
        .split_once("\r\n\r\n")
        .expect("a header and a body");
    let fields: Vec<&str> = head
        .lines()
        .filter(|line| !line.starts_with([' ', '\t']))
        .map(|line| line.split(':').next().unwrap_or_default())
        .collect();
    assert!(
        fields.contains(&"Subject") && !fields.contains(&"Bcc"),
        "{head}"
    );
    assert!(head.contains("webapp"), "{head}");
    stand.await_quiet();
    assert!(is_hushed(&stand, mail::PASSWORD));
}

fn wrong_password() {
    let dir = folder();
    let server = MailServer::start(dir.path());
    let stand = Stand::with(dir, &mailer(&server, "wrong-hush-password"));
    stand.post("webapp", "validation failed");
    let told = until("it is told", PATIENCE, || {
        let listed = stand.alerts(&["list", "--provider=apps/real", "--json"]);
        listed.contains("535").then_some(listed)
    });
    let told = told.unwrap_or_else(|error| {
        panic!(
            "{error}: {}",
            stand.alerts(&["list", "--provider=apps/real", "--json"])
        )
    });
    assert!(!told.contains("hush-password"), "{told}");
    assert!(is_hushed(&stand, "hush-password"));
}

fn otel() {
    let dir = folder();
    let server = Collector::start(dir.path());
    let spec = json!({"type": "otel", "address": server.url()});
    let stand = Stand::with(dir, &real(spec, &json!({"token": "unused"}), None));
    stand.post("webapp", "validation failed");
    let span = server.await_spans(1).remove(0);
    let attributes = span["attributes"].as_array().cloned().unwrap_or_default();
    let has = |key: &str, value: &str| {
        attributes.contains(&json!({"key": key, "value": {"stringValue": value}}))
    };
    assert!(
        has("object.name", "webapp") && has("object.namespace", NAMESPACE),
        "{span}"
    );
    assert_eq!(
        (&span["status"]["code"], &span["status"]["message"]),
        (&json!(2), &json!("validation failed")),
        "{span}"
    );
    stand.await_quiet();
}

fn matrix() {
    let dir = folder();
    let server = Homeserver::start(dir.path());
    let spec = json!({"type": "matrix", "address": server.url(), "channel": server.room()});
    let stand = Stand::with(dir, &real(spec, &json!({"token": server.token()}), None));
    let messages: Vec<String> = (0..5).map(|n| format!("failure {n}")).collect();
    for message in &messages {
        stand.post("webapp", message);
    }
    let taken = server.await_messages(messages.len());
    stand.await_quiet();
    let found: Vec<bool> = taken
        .iter()
        .zip(&messages)
        .map(|(taken, sent)| taken.contains(sent))
        .collect();
    assert_eq!(
        (found, taken.len()),
        (vec![true; 5], 5),
        "each once, and in order: {taken:?}"
    );
    let attempts = stand.controller.as_ref().expect("it runs");
    let limited = attempts.metric(
        "hookgate_alert_attempts_total",
        &["outcome=\"limited\"", "name=\"real\""],
    );
    assert!(
        limited > 0.0,
        "the homeserver has asked for a pause: {}",
        attempts.log()
    );
    assert!(is_hushed(&stand, server.token()));
}
