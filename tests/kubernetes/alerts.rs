//! Alerts and Providers of a cluster: an event reaches its provider with the Secret as it is then, trouble is told on the
//! Alert, and notification-controller's finalizer comes off.

use e2e::api::path_of;
use e2e::cluster::product_definitions;
use e2e::events::{self, Event};
use e2e::manifests::Receiver;
use e2e::trials::Trials;
use e2e::wait::{PATIENCE, until};
use e2e::{Cluster, Forge, Sink, flux};
use serde_json::{Value, json};

use crate::hookgate::{Hookgate, Stand, ready};

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .shared(
            "an_event_reaches_its_provider_with_the_secret_as_it_is_then",
            delivered,
        )
        .shared("the_labels_of_an_object_decide", labels)
        .shared("what_can_not_be_sent_is_told_on_the_alert", told)
        .shared(
            "a_preview_shows_what_would_be_sent_with_the_secret_as_it_is_then_and_sends_nothing",
            preview,
        )
        .shared(
            "the_finalizer_comes_off_alerts_and_deleted_providers",
            finalizers,
        )
        .alone(
            "hooks_are_served_where_alerts_are_not_known_and_events_when_they_are",
            without_definitions,
        )
}

/// A chat at `address`, and its Alert.
fn chat(cluster: &Cluster, namespace: &str, address: &str) {
    let admin = cluster.admin();
    admin.apply(&events::auth(
        namespace,
        "chat",
        &json!({"address": address}),
    ));
    let spec = json!({"type": "generic"});
    admin.apply(&events::provider(namespace, "chat", spec));
    admin.apply(&events::alert(namespace, "chat"));
}

fn without_definitions() {
    let cluster = Cluster::start();
    let admin = cluster.admin();
    let definitions = product_definitions().expect("`hookgate crds` works");
    let alerting = definitions.iter().filter(|definition| {
        let kind = definition["spec"]["names"]["kind"].as_str();
        matches!(kind, Some("Alert" | "Provider"))
    });
    let alerting: Vec<_> = alerting.collect();
    assert_eq!(alerting.len(), 2);
    for definition in &alerting {
        assert_eq!(admin.delete(definition).status, 200);
    }
    let gone = |definition: &&&Value| admin.get(&path_of(definition)).status == 404;
    until("the definitions are gone", PATIENCE, || {
        (alerting.iter().filter(gone).count() == 2).then_some(())
    })
    .expect("they go");
    let hookgate = Hookgate::start(&cluster, "hookgate", &[]);
    let receiver = ready(&cluster, Receiver::new("github", "alone"));
    let hook = hookgate.client().send(Forge::new().hook(&receiver));
    assert_eq!(hook.expect("it is answered").status, 200);
    let post = |n: usize| {
        let event = Event::failed(&receiver.namespace, "webapp", &format!("failure {n}"));
        event.post(hookgate.addresses.events)
    };
    assert_eq!(post(0), 503);
    for definition in &alerting {
        admin.apply(definition);
    }
    let mut n = 0;
    until("events are taken", PATIENCE, || {
        n += 1;
        (post(n) == 202).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {}", hookgate.process.log()));
}

/// Posts events that differ until the sink has taken one of them under `path`.
fn post_until_taken(stand: &Stand, sink: &Sink, namespace: &str, path: &str) -> Value {
    let mut n = 0;
    until("the Alert is known", PATIENCE, || {
        n += 1;
        let event = Event::failed(namespace, "webapp", &format!("{path} failure {n}"));
        let status = event.post(stand.hookgate.addresses.events);
        assert!(status == 202 || status == 503, "{status}");
        sink.taken(path).first().cloned()
    })
    .unwrap_or_else(|error| panic!("{error}: {}", stand.hookgate.process.log()))
    .json()
}

fn delivered(stand: &Stand) {
    let namespace = stand.cluster.namespace("delivered");
    let sink = Sink::start();
    chat(&stand.cluster, &namespace, &format!("{}/first", sink.url()));
    let event = post_until_taken(stand, &sink, &namespace, "/first");
    assert_eq!(event["involvedObject"]["namespace"], json!(namespace));
    // No watch brings it: the next delivery reads it.
    let rotated = json!({"address": format!("{}/second", sink.url())});
    let secret = events::auth(&namespace, "chat", &rotated);
    stand.cluster.admin().apply(&secret);
    let event = Event::failed(&namespace, "webapp", "after the rotation");
    assert_eq!(event.post(stand.hookgate.addresses.events), 202);
    // An event of before may come there, too: those that were still waiting.
    until("the event is at the second address", PATIENCE, || {
        let taken = sink.taken("/second");
        let is_it = |call: &&e2e::sink::Call| call.json()["message"] == "after the rotation";
        taken.iter().find(is_it).map(|_| ())
    })
    .unwrap_or_else(|error| panic!("{error}: {}", stand.hookgate.process.log()));
    // Its own duplicate window, like notification-controller's.
    assert_eq!(event.post(stand.hookgate.addresses.events), 429);
}

fn labels(stand: &Stand) {
    let namespace = stand.cluster.namespace("labels");
    let sink = Sink::start();
    let admin = stand.cluster.admin();
    for (name, team) in [("ours", "lights"), ("theirs", "ships")] {
        let mut object = flux::object("Kustomization", &namespace, name);
        object["metadata"]["labels"] = json!({"team": team});
        admin.apply(&object);
    }
    let address = json!({"address": format!("{}/labels", sink.url())});
    admin.apply(&events::auth(&namespace, "chat", &address));
    admin.apply(&events::provider(
        &namespace,
        "chat",
        json!({"type": "generic"}),
    ));
    let mut alert = events::alert(&namespace, "chat");
    alert["spec"]["eventSources"][0]["matchLabels"] = json!({"team": "lights"});
    admin.apply(&alert);
    let mut n = 0;
    until("the Alert and the labels are known", PATIENCE, || {
        n += 1;
        for name in ["theirs", "ours"] {
            let event = Event::failed(&namespace, name, &format!("failure {n}"));
            let status = event.post(stand.hookgate.addresses.events);
            assert!(status == 202 || status == 503, "{status}");
        }
        (sink.taken("/labels").len() > 2).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {}", stand.hookgate.process.log()));
    for call in sink.taken("/labels") {
        assert_eq!(call.json()["involvedObject"]["name"], "ours");
    }
}

fn told(stand: &Stand) {
    let namespace = stand.cluster.namespace("told");
    let admin = stand.cluster.admin();
    admin.apply(&events::provider(
        &namespace,
        "chat",
        json!({"type": "generic"}),
    ));
    let mut alert = events::alert(&namespace, "chat");
    alert["spec"]["exclusionList"] = json!(["(("]);
    admin.apply(&alert);
    let wanted = [
        "Warning InvalidConfig failed to compile exclusion regex: ((",
        "Warning NotificationDispatchFailed failed to dispatch notification for Kustomization/",
    ];
    let mut n = 0;
    until("Events on the Alert", PATIENCE, || {
        n += 1;
        let event = Event::failed(&namespace, "webapp", &format!("failure {n}"));
        let _status = event.post(stand.hookgate.addresses.events);
        let told = told_of(&stand.cluster, &namespace);
        wanted
            .iter()
            .all(|wanted| told.iter().any(|told| told.starts_with(wanted)))
            .then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}", told_of(&stand.cluster, &namespace)));
}

fn preview(stand: &Stand) {
    let namespace = stand.cluster.namespace("preview");
    let sink = Sink::start();
    let file = stand.cluster.dir().join("preview.json");
    let event = Event::failed(&namespace, "webapp", "validation failed");
    std::fs::write(&file, event.body()).expect("the event can be written");
    let file = file.display().to_string();
    let ask = || {
        let arguments = ["preview", "chat", "-n", &namespace, "--event", &file];
        stand
            .hookgate
            .alerts(&stand.cluster, "hookgate", &arguments)
    };
    chat(
        &stand.cluster,
        &namespace,
        &format!("{}/hush-path", sink.url()),
    );
    let told = until("the Alert and its Provider are known", PATIENCE, || {
        ask().ok().filter(|told| told.contains("\nsends"))
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}", ask()));
    let (head, body) = told
        .split_once("\n\n{")
        .unwrap_or_else(|| panic!("there is no body in {told}"));
    assert_eq!(
        head,
        format!(
            "alert     {namespace}/chat\n\
             takes     yes\n\
             provider  {namespace}/chat (generic)\n\
             sends     first this request\n\n\
             POST {}/*****\n\
             content-type: application/json\n\
             gotk-component: kustomize-controller",
            sink.url()
        )
    );
    let body: Value = serde_json::from_str(&format!("{{{body}")).expect("the body is JSON");
    let mut sent: Value = serde_json::from_str(&event.body()).expect("the event is JSON");
    let revision = &mut sent["metadata"];
    let value = revision["kustomize.toolkit.fluxcd.io/revision"].take();
    *revision = json!({"revision": value});
    assert_eq!(body, sent);

    // No watch brings Secrets: it is read for each question.
    let path = format!("/api/v1/namespaces/{namespace}/secrets/chat-auth");
    let gone = stand.cluster.admin().send("DELETE", &path, None);
    assert_eq!(gone.status, 200, "{}", gone.body);
    let told = ask().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        told.lines().last(),
        Some(
            format!("provider  not ready: failed to get secret '{namespace}/chat-auth': not found")
                .as_str()
        ),
        "{told}"
    );
    assert_eq!(sink.count(), 0);
}

/// The Events of a namespace, as `TYPE REASON MESSAGE`.
fn told_of(cluster: &Cluster, namespace: &str) -> Vec<String> {
    let path = format!("/api/v1/namespaces/{namespace}/events");
    let list = cluster.admin().get(&path).body;
    let items = list["items"].as_array().into_iter().flatten();
    items
        .filter(|event| event["involvedObject"]["kind"] == "Alert")
        .map(|event| {
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", text("type"), text("reason"), text("message"))
        })
        .collect()
}

fn finalizers(stand: &Stand) {
    let namespace = stand.cluster.namespace("finalizers");
    let admin = stand.cluster.admin();
    let finalizer = json!(["finalizers.fluxcd.io"]);
    let mut provider = events::provider(&namespace, "chat", json!({"type": "generic"}));
    let mut alert = events::alert(&namespace, "chat");
    for object in [&mut provider, &mut alert] {
        object["metadata"]["finalizers"] = finalizer.clone();
        assert_eq!(admin.create(object).status, 201);
    }
    until("the Alert's finalizer comes off", PATIENCE, || {
        let found = admin.get(&path_of(&alert)).body;
        found["metadata"]["finalizers"].is_null().then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}"));
    let migrated = "Normal Migration removed finalizer from Alert to migrate to static Alert";
    until("it is told", PATIENCE, || {
        let told = told_of(&stand.cluster, &namespace);
        told.iter().any(|told| told == migrated).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        admin.get(&path_of(&provider)).body["metadata"]["finalizers"],
        finalizer
    );
    assert_eq!(admin.delete(&provider).status, 200);
    until("the deleted Provider goes", PATIENCE, || {
        (admin.get(&path_of(&provider)).status == 404).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}"));
}
