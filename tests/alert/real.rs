//! Providers that are real servers.

use e2e::Tunnel;
use e2e::alertmanager::{self, Alertmanager};
use e2e::controller::Controller;
use e2e::events::{self, Event};
use e2e::mail::{self, MailServer};
use e2e::matrix::Homeserver;
use e2e::nats::{self, Nats};
use e2e::otel::Collector;
use e2e::rabbitmq::{self, RabbitMq};
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
            "an_event_reaches_a_real_server_of_amqp_as_it_would_a_hub",
            amqp,
        )
        .alone(
            "a_wrong_key_for_a_real_server_of_amqp_makes_a_dead_letter_that_does_not_hold_it",
            wrong_key_for_amqp,
        )
        .alone(
            "an_event_fires_in_a_real_alertmanager_and_an_info_resolves_it",
            alertmanager,
        )
        .alone(
            "a_wrong_password_for_alertmanager_makes_a_dead_letter_that_does_not_hold_it",
            wrong_password_for_alertmanager,
        )
        .alone(
            "an_event_is_a_mail_whose_header_is_ours_alone_at_a_server_that_wants_tls_and_a_password",
            mail,
        )
        .alone(
            "a_wrong_password_for_mail_makes_a_dead_letter_that_does_not_hold_it",
            wrong_password_for_mail,
        )
        .alone("an_event_is_a_span_of_a_real_collector", otel)
        .alone(
            "a_path_that_a_collector_does_not_have_makes_a_dead_letter",
            wrong_path,
        )
        .alone(
            "events_reach_a_real_matrix_room_once_and_in_order_although_an_answer_is_lost_and_their_rate_limited",
            matrix,
        )
        .alone(
            "a_room_that_a_real_matrix_homeserver_does_not_have_makes_a_dead_letter",
            wrong_room,
        )
}

/// A Provider called `real` with its Secret, and an Alert for it.
pub(crate) fn real(spec: Value, secret: &Value, annotation: Option<(&str, &str)>) -> Vec<Value> {
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
pub(crate) fn is_hushed(stand: &Stand, secret: &str) -> bool {
    let log = stand.controller.as_ref().map(Controller::log);
    log.is_some_and(|log| !log.contains(secret))
}

/// Posts an event that the Provider `real` can't take; the dead letter that it becomes, which has this in it.
fn dead_letter(stand: &Stand, said: &str) -> String {
    stand.post("webapp", "validation failed");
    let list = |state: &str| stand.alerts(&["list", state, "--provider=apps/real", "--json"]);
    let dead = until("a dead letter", PATIENCE, || {
        Some(list("--state=dead")).filter(|dead| dead.contains("apps/real"))
    })
    .unwrap_or_else(|error| panic!("{error}: {}", list("--state=pending")));
    assert!(dead.contains(said), "{dead}");
    dead
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

/// A Provider of Event Hubs whose hub is a queue of RabbitMQ.
fn hub(server: &RabbitMq, key: &str) -> Vec<Value> {
    let spec = json!({"type": "azureeventhub", "certSecretRef": {"name": "hub-ca"}});
    let mut objects = real(
        spec,
        &json!({"address": server.connection_string(key)}),
        None,
    );
    objects.push(events::ca(NAMESPACE, "hub-ca", &server.ca()));
    objects
}

fn amqp() {
    let dir = folder();
    let server = RabbitMq::start(dir.path());
    let stand = Stand::with(dir, &hub(&server, rabbitmq::PASSWORD));
    for message in ["validation failed", "still failing"] {
        stand.post("webapp", message);
        let event = server.next_json();
        assert_eq!(
            (&event["message"], &event["involvedObject"]["name"]),
            (&json!(message), &json!("webapp"))
        );
    }
    stand.await_quiet();
    assert!(is_hushed(&stand, rabbitmq::PASSWORD));
}

fn wrong_key_for_amqp() {
    let dir = folder();
    let server = RabbitMq::start(dir.path());
    let stand = Stand::with(dir, &hub(&server, "wrong-hush-password"));
    let told = dead_letter(&stand, "it does not accept the login");
    assert!(!told.contains("hush-password"), "{told}");
    assert!(is_hushed(&stand, "hush-password"));
}

/// A Provider of Alertmanager, which resolves what it has fired.
fn pager(server: &Alertmanager, password: &str) -> Vec<Value> {
    let spec = json!({"type": "alertmanager", "address": server.url()});
    let secret = json!({"username": alertmanager::USER, "password": password});
    real(spec, &secret, Some(("hookgate.dev/resolve", "true")))
}

fn alertmanager() {
    let dir = folder();
    let server = Alertmanager::start(dir.path());
    let stand = Stand::with(dir, &pager(&server, alertmanager::PASSWORD));
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
    assert!(is_hushed(&stand, alertmanager::PASSWORD));
}

fn wrong_password_for_alertmanager() {
    let dir = folder();
    let server = Alertmanager::start(dir.path());
    let stand = Stand::with(dir, &pager(&server, "wrong-hush-password"));
    let told = dead_letter(&stand, "401");
    assert!(!told.contains("hush-password"), "{told}");
    assert!(is_hushed(&stand, "hush-password"));
    assert_eq!(server.firing(), Vec::<Value>::new());
}

/// A Provider of mail, and what it takes: the server's authority in a Secret of its own.
fn mailer(server: &MailServer, password: &str) -> Vec<Value> {
    let mut spec = json!({"type": "generic", "address": server.url(), "channel": "oncall@acme.test, web@acme.test"});
    spec["certSecretRef"] = json!({"name": "mail-ca"});
    let secret = json!({"username": mail::USER, "password": password});
    let mut objects = real(spec, &secret, Some(("hookgate.dev/provider-type", "smtp")));
    objects.push(events::ca(NAMESPACE, "mail-ca", &server.ca()));
    objects
}

fn mail() {
    let dir = folder();
    let server = MailServer::start(dir.path());
    let stand = Stand::with(dir, &mailer(&server, mail::PASSWORD));
    // What would be fields, if it stood in the header as it is: the reason is a part of the subject.
    let event = Event::failed(NAMESPACE, "webapp", "no\r\nBcc: all@acme.test\r\n.\r\nüber");
    let event = event.reason("Failed\r\nBcc: all@acme.test\r\n\r\nü");
    assert_eq!(event.post(stand.options.addresses.events), 202);
    let mail = server.await_mails(1).remove(0);
    assert_eq!(
        (mail.from.as_str(), mail.to),
        (
            mail::USER,
            vec!["oncall@acme.test".to_owned(), "web@acme.test".to_owned()]
        )
    );
    let fields = [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
        "Auto-Submitted",
    ];
    assert_eq!(
        (mail.fields, mail.subject.as_str()),
        (
            fields.map(str::to_owned).to_vec(),
            "[error] kustomization/webapp.apps: FailedBcc: all@acme.testü"
        )
    );
    let text = mail.text.replace("\r\n", "\n");
    assert!(
        text.contains("no\nBcc: all@acme.test\n.\nüber\n"),
        "{text:?}"
    );
    stand.await_quiet();
    assert!(is_hushed(&stand, mail::PASSWORD));
}

fn wrong_password_for_mail() {
    let dir = folder();
    let server = MailServer::start(dir.path());
    let stand = Stand::with(dir, &mailer(&server, "wrong-hush-password"));
    let told = dead_letter(&stand, "535");
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

fn wrong_path() {
    let dir = folder();
    let server = Collector::start(dir.path());
    let spec = json!({"type": "otel", "address": format!("{}/elsewhere", server.url())});
    let stand = Stand::with(dir, &real(spec, &json!({"token": "unused"}), None));
    let _dead = dead_letter(&stand, "404");
}

fn wrong_room() {
    let dir = folder();
    let server = Homeserver::start(dir.path());
    let spec = json!({"type": "matrix", "address": server.url(), "channel": "!nowhere:acme.test"});
    let stand = Stand::with(dir, &real(spec, &json!({"token": server.token()}), None));
    let _dead = dead_letter(&stand, "403");
    assert!(is_hushed(&stand, server.token()));
}

fn matrix() {
    let dir = folder();
    let server = Homeserver::start(dir.path());
    // The homeserver has the first message, and hookgate doesn't know: it is sent again.
    let tunnel = Tunnel::to(server.address());
    tunnel.lose_answers(1);
    let address = format!("http://{}", tunnel.address());
    let spec = json!({"type": "matrix", "address": address, "channel": server.room()});
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
    assert_eq!(tunnel.answers_to_lose(), 0);
    let controller = stand.controller.as_ref().expect("it runs");
    // The homeserver has asked for a pause, and an answer was lost.
    for outcome in ["outcome=\"limited\"", "outcome=\"exchange\""] {
        let labels = [outcome, "name=\"real\""];
        let attempts = controller.metric("hookgate_alert_attempts_total", &labels);
        assert!(attempts > 0.0, "{outcome}: {}", controller.log());
    }
    assert!(is_hushed(&stand, server.token()));
}
