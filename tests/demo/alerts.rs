//! The scenes of alerts: what a failing Kustomization sets off, and what is lost when things are down (nothing).

use e2e::events::{self, COMMIT, Event};
use e2e::manifests::NAMESPACE;
use e2e::{Sink, wait};
use serde_json::json;

use crate::stage::{Outcome, Stage};

/// Failures that are told while the chat is down.
const FAILURES: usize = 20;

/// A chat, and a pager and a forge that live elsewhere.
#[derive(Debug)]
pub(crate) struct Providers {
    chat: Sink,
    others: Sink,
}

impl Providers {
    /// Starts them.
    pub(crate) fn start() -> Self {
        Self {
            chat: Sink::start(),
            others: Sink::start(),
        }
    }

    /// The manifests of a Provider for each, and of its Alert.
    pub(crate) fn manifests(&self) -> String {
        let (chat, others) = (self.chat.url(), self.others.url());
        let providers = [
            (
                "chat",
                json!({"type": "slack", "channel": "ops"}),
                json!({"address": format!("{chat}/chat")}),
            ),
            (
                "pager",
                json!({"type": "pagerduty", "address": others, "channel": "routing-key"}),
                json!({"token": "unused"}),
            ),
            (
                "status",
                json!({"type": "github", "address": format!("{others}/acme/web")}),
                json!({"token": "hush-token"}),
            ),
        ];
        let mut yaml = String::new();
        for (name, spec, secret) in providers {
            for object in [
                events::provider(NAMESPACE, name, spec),
                events::auth(NAMESPACE, name, &secret),
                events::alert(NAMESPACE, name),
            ] {
                // Every JSON document is one of YAML too.
                yaml.push_str(&format!("---\n{object}\n"));
            }
        }
        yaml
    }

    /// The messages that the chat has of one object, each once, in the order in which they came.
    fn told(&self, name: &str) -> Vec<String> {
        let author = json!(format!("kustomization/{name}.{NAMESPACE}"));
        let mut told = Vec::new();
        for call in self.chat.taken("/chat") {
            let message = call.json()["attachments"][0].clone();
            let text = message["text"].as_str().unwrap_or_default().to_owned();
            if message["author_name"] == author && !told.contains(&text) {
                told.push(text);
            }
        }
        told
    }
}

/// One event reaches all three.
pub(crate) fn arrive(stage: &mut Stage) -> Outcome {
    let status = post(stage, "webapp", "validation failed");
    let providers = &stage.providers;
    let statuses = format!("/api/v3/repos/acme/web/statuses/{COMMIT}");
    let all = wait::until("the alert to arrive", wait::PATIENCE, || {
        let pages = providers.others.taken("/v2/enqueue");
        let page = pages.first()?.json()["event_action"] == "trigger";
        let states = providers.others.taken(&statuses);
        let failed = states.first()?.json()["state"] == json!("failure");
        let told = providers.told("webapp") == ["validation failed"];
        (page && failed && told).then_some(())
    });
    Outcome {
        answer: status.to_string(),
        happened: match &all {
            Ok(()) => "the chat has it, the pager rings, the commit is marked as failed".to_owned(),
            Err(error) => error.to_string(),
        },
        ok: status == 202 && all.is_ok(),
    }
}

/// The chat is down, and the controller is killed: the chat gets everything all the same.
pub(crate) fn outage(stage: &mut Stage) -> Outcome {
    stage.providers.chat.go_away();
    let before = stage.providers.others.taken("/v2/enqueue").len();
    let messages: Vec<String> = (1..=FAILURES).map(|n| format!("failure {n}")).collect();
    let accepted = messages
        .iter()
        .filter(|message| post(stage, "shop", message) == 202)
        .count();
    let others = &stage.providers.others;
    let pager = wait::until("the pager", wait::PATIENCE, || {
        (others.taken("/v2/enqueue").len() >= before + FAILURES).then_some(())
    });
    stage.world.kill_controller();
    stage.world.start_controller();
    stage.providers.chat.come_back();
    let providers = &stage.providers;
    let chat = wait::until("the chat", wait::PATIENCE, || {
        (providers.told("shop") == messages).then_some(())
    });
    let told = providers.told("shop").len();
    Outcome {
        answer: format!("202 {accepted}x"),
        happened: match (&pager, &chat) {
            (Ok(()), Ok(())) => format!(
                "the pager had all at once; the chat, back again, got {told} of {FAILURES}, in order"
            ),
            (Err(error), _) | (_, Err(error)) => format!("{error}: the chat got {told}"),
        },
        ok: accepted == FAILURES && pager.is_ok() && chat.is_ok(),
    }
}

fn post(stage: &Stage, name: &str, message: &str) -> u16 {
    let events = stage.world.controller().addresses().events;
    Event::failed(NAMESPACE, name, message).post(events)
}
