//! Alerts: an event that was answered with 202 reaches its providers, whatever happens in between.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a trial fails by panicking"
)]

#[path = "alert/real.rs"]
mod real;
#[path = "alert/vendors.rs"]
mod vendors;

use std::process::ExitCode;

use e2e::controller::{self, Addresses, Controller, control_socket, hookgate};
use e2e::events::{self, COMMIT, Event};
use e2e::manifests::Manifests;
use e2e::tls::Tls;
use e2e::trials::{Trials, options};
use e2e::wait::{PATIENCE, until};
use e2e::{Sink, binaries};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The namespace of everything here.
const NAMESPACE: &str = "apps";

fn main() -> ExitCode {
    let trials = Trials::on(options())
        .alone(
            "an_event_reaches_a_chat_a_pager_and_a_commit_status",
            three_classes,
        )
        .alone(
            "a_chat_that_is_away_for_a_while_gets_every_alert_in_order_and_holds_up_nobody",
            away,
        )
        .alone(
            "what_was_accepted_is_delivered_after_a_kill_9",
            killed_in_between,
        )
        .alone(
            "an_alert_that_is_refused_is_a_dead_letter_that_can_be_sent_again",
            dead_letter,
        )
        .alone(
            "a_provider_whose_certificates_are_mended_gets_its_alerts_soon",
            mended_certificates,
        );
    vendors::trials(real::trials(trials)).run()
}

/// A controller with a spool, three Providers at one sink, and an Alert for each.
struct Stand {
    controller: Option<Controller>,
    options: controller::Options,
    sink: Sink,
    dir: TempDir,
}

/// Every JSON document is one of YAML too.
fn yaml(objects: &[Value]) -> String {
    let documents = objects.iter().map(|object| format!("---\n{object}\n"));
    documents.collect()
}

fn folder() -> TempDir {
    let dir = tempfile::Builder::new().prefix("hookgate-").tempdir();
    dir.expect("a folder for the trial")
}

impl Stand {
    fn start() -> Self {
        Self::with(folder(), &[])
    }

    /// With these objects besides.
    fn with(dir: TempDir, others: &[Value]) -> Self {
        let sink = Sink::start();
        let manifests = Manifests::create(&dir.path().join("manifests"));
        let url = sink.url();
        for (name, spec, secret) in [
            (
                "chat",
                json!({"type": "slack", "channel": "ops"}),
                json!({"address": format!("{url}/chat")}),
            ),
            (
                "pager",
                json!({"type": "pagerduty", "address": url, "channel": "routing-key"}),
                json!({"token": "unused"}),
            ),
            (
                "status",
                json!({"type": "github", "address": format!("{url}/acme/web")}),
                json!({"token": "hush-token"}),
            ),
        ] {
            let objects = [
                events::provider(NAMESPACE, name, spec),
                events::auth(NAMESPACE, name, &secret),
                events::alert(NAMESPACE, name),
            ];
            manifests.write(name, &yaml(&objects));
        }
        manifests.write("others", &yaml(others));
        let options = controller::Options {
            binary: binaries::hookgate().expect("hookgate can be built"),
            manifests: manifests.dir().to_owned(),
            filter: binaries::filter_wasm().expect("the filter can be built"),
            control_socket: control_socket(dir.path()),
            addresses: Addresses::reserve(),
            flags: vec![format!(
                "--spool-dir={}",
                dir.path().join("spool").display()
            )],
            log_dir: dir.path().to_owned(),
        };
        let controller = Controller::start(&options).expect("the controller starts");
        Self {
            controller: Some(controller),
            options,
            sink,
            dir,
        }
    }

    fn post(&self, name: &str, message: &str) {
        let event = Event::failed(NAMESPACE, name, message);
        let status = event.post(self.options.addresses.events);
        assert_eq!(
            status,
            202,
            "{name}: {message}: {}",
            self.dir.path().display()
        );
    }

    /// What ends an error.
    fn post_info(&self, name: &str, message: &str) {
        let event = Event::applied(NAMESPACE, name, message);
        assert_eq!(
            event.post(self.options.addresses.events),
            202,
            "{name}: {message}"
        );
    }

    /// Waits until nothing is left to be sent.
    fn await_quiet(&self) {
        let controller = self.controller.as_ref().expect("it runs");
        let probe = || (controller.metric("hookgate_spool_events", &[]) == 0.0).then_some(());
        until("an empty spool", PATIENCE, probe)
            .unwrap_or_else(|error| panic!("{error}: {}", controller.log()));
    }

    fn alerts(&self, arguments: &[&str]) -> String {
        let socket = format!("--control-socket={}", self.options.control_socket.display());
        let arguments = [&["alerts"], arguments, &[&socket]].concat();
        hookgate(&arguments).expect("the command succeeds")
    }

    /// The messages of one object that the chat has taken, each once, in the order of their first coming.
    fn chat(&self, name: &str) -> Vec<String> {
        let mut messages = Vec::new();
        for call in self.sink.taken("/chat") {
            let attachment = &call.json()["attachments"][0];
            let is_of = attachment["author_name"] == format!("kustomization/{name}.{NAMESPACE}");
            let message = attachment["text"].as_str().unwrap_or_default().to_owned();
            if is_of && !messages.contains(&message) {
                messages.push(message);
            }
        }
        messages
    }
}

fn three_classes() {
    let stand = Stand::start();
    stand.post("webapp", "validation failed");
    let chat = stand.sink.await_taken("/chat", 1).remove(0).json();
    assert_eq!(
        (&chat["channel"], &chat["attachments"][0]["text"]),
        (&json!("ops"), &json!("validation failed")),
        "{chat}"
    );
    let pager = stand.sink.await_taken("/v2/enqueue", 1).remove(0).json();
    assert_eq!(
        (
            &pager["routing_key"],
            &pager["event_action"],
            &pager["payload"]["summary"]
        ),
        (
            &json!("routing-key"),
            &json!("trigger"),
            &json!("validation failed: kustomization/webapp")
        ),
        "{pager}"
    );
    let status = stand
        .sink
        .await_taken("/api/v3/repos/acme/web/statuses/", 1);
    let status = status.first().expect("one was awaited");
    assert!(status.target.ends_with(COMMIT), "{}", status.target);
    let head = status.head.to_lowercase();
    assert!(head.contains("authorization: bearer hush-token"), "{head}");
    assert_eq!(status.json()["state"], "failure");
    // The same event again is a duplicate for five minutes.
    let again = Event::failed(NAMESPACE, "webapp", "validation failed");
    assert_eq!(again.post(stand.options.addresses.events), 429);
    stand.await_quiet();
    let log = stand.controller.as_ref().expect("it runs").log();
    assert!(
        !log.contains("hush-token") && !log.contains("/chat"),
        "{log}"
    );
}

fn away() {
    let mut stand = Stand::start();
    // A sink for the pager and the forge that stays.
    let steady = Sink::start();
    let provider = json!({"type": "generic", "address": format!("{}/steady", steady.url())});
    let objects = [
        events::provider(NAMESPACE, "steady", provider),
        events::auth(NAMESPACE, "steady", &json!({"token": "unused"})),
        events::alert(NAMESPACE, "steady"),
    ];
    let manifests = Manifests::create(&stand.options.manifests);
    manifests.write("steady", &yaml(&objects));
    let mut probes = 0;
    until("the new Alert is known", PATIENCE, || {
        probes += 1;
        stand.post("probe", &format!("probe {probes}"));
        (!steady.taken("/").is_empty()).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}"));
    stand.await_quiet();

    stand.sink.go_away();
    let messages: Vec<String> = (0..20).map(|n| format!("failure {n}")).collect();
    let before = steady.taken("/").len();
    for message in &messages {
        stand.post("webapp", message);
    }
    let there = steady.await_taken("/steady", before + messages.len());
    assert_eq!(stand.chat("webapp"), Vec::<String>::new());
    assert!(there.len() >= before + messages.len());
    let waiting = stand.alerts(&["list", "--state=pending", "--provider=apps/chat", "--json"]);
    let waiting: Value = serde_json::from_str(&waiting).expect("it prints JSON");
    assert!(waiting.to_string().contains("apps/chat"), "{waiting}");

    stand.sink.come_back();
    stand.await_quiet();
    assert_eq!(stand.chat("webapp"), messages);
}

fn killed_in_between() {
    let mut stand = Stand::start();
    stand.sink.go_away();
    let messages: Vec<String> = (0..30).map(|n| format!("failure {n}")).collect();
    for message in &messages {
        stand.post("webapp", message);
    }
    stand.controller.take().expect("it runs").kill();
    stand.sink.come_back();
    let controller = Controller::start(&stand.options).expect("the controller starts again");
    stand.controller = Some(controller);
    stand.await_quiet();
    assert_eq!(stand.chat("webapp"), messages);
    let statuses = stand.sink.taken("/api/v3/repos/acme/web/statuses/");
    assert!(!statuses.is_empty());
    let pages = stand.sink.taken("/v2/enqueue");
    assert!(pages.len() >= messages.len(), "{}", pages.len());
}

fn dead_letter() {
    let stand = Stand::start();
    stand.sink.fail_with(400);
    stand.post("webapp", "refused for good");
    let dead = || stand.alerts(&["list", "--state=dead", "--provider=apps/chat"]);
    until("a dead letter", PATIENCE, || {
        dead().contains("apps/chat").then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {}", dead()));
    stand.sink.fail_with(0);
    stand.alerts(&["retry", "--state=dead"]);
    let _taken = stand.sink.await_taken("/chat", 1);
    assert_eq!(stand.chat("webapp"), ["refused for good"]);
    stand.await_quiet();
}

fn mended_certificates() {
    let dir = folder();
    let [theirs, wrong] = ["theirs", "wrong"].map(|name| {
        let dir = dir.path().join(name);
        std::fs::create_dir(&dir).expect("a folder can be made");
        Tls::create(&dir)
    });
    let vault = Sink::start_tls(&theirs);
    // One that is not the server's, and then one that is none.
    let objects = |ca: &str| {
        let spec = json!({
            "type": "generic", "address": format!("{}/vault", vault.url()),
            "certSecretRef": {"name": "certs-auth"},
        });
        [
            events::provider(NAMESPACE, "vault", spec),
            events::auth(NAMESPACE, "vault", &json!({"token": "unused"})),
            events::auth(NAMESPACE, "certs", &json!({"ca.crt": ca})),
            events::alert(NAMESPACE, "vault"),
        ]
    };
    let ca = |tls: &Tls| std::fs::read_to_string(tls.ca_file()).expect("a certificate can be read");
    let stand = Stand::with(dir, &objects(&ca(&wrong)));
    let controller = stand.controller.as_ref().expect("it runs");
    let manifests = Manifests::create(&stand.options.manifests);
    let failures = |outcome: &str, more_than: f64| {
        let labels = ["name=\"vault\"", &format!("outcome=\"{outcome}\"")];
        until(&format!("failures by {outcome}"), PATIENCE, || {
            let failed = controller.metric("hookgate_alert_attempts_total", &labels);
            (failed > more_than).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {}", controller.log()));
    };
    // More than it takes for a provider to be thought down.
    for n in 0..8 {
        stand.post(&format!("webapp-{n}"), "validation failed");
    }
    failures("tls", 7.0);
    manifests.write("others", &yaml(&objects("no certificate")));
    failures("secret", 0.0);
    let waiting = stand.alerts(&["list", "--provider=apps/vault"]);
    assert!(
        waiting.contains("failed to get TLS config: failed to parse CA certificate"),
        "{waiting}"
    );
    let held = ["name=\"vault\""];
    assert_eq!(controller.metric("hookgate_alert_held_back", &held), 0.0);

    manifests.write("others", &yaml(&objects(&ca(&theirs))));
    stand.post("webapp", "after the mending");
    let taken = vault.await_taken("/vault", 9);
    let mut names: Vec<_> = taken
        .iter()
        .map(|call| call.json()["involvedObject"]["name"].clone())
        .collect();
    names.sort_by_key(ToString::to_string);
    let mut want: Vec<_> = (0..8).map(|n| json!(format!("webapp-{n}"))).collect();
    want.insert(0, json!("webapp"));
    assert_eq!(names, want);
    stand.await_quiet();
}
