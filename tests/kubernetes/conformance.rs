//! notification-controller's own cases of handling a hook (`Test_handlePayload` of its v1.9.3), by their names, on a real API
//! server: through Envoy and at the controller, with the same status and the same resources asked.

use std::sync::Arc;

use e2e::client::Client;
use e2e::forge::payload;
use e2e::issuer::Issuer;
use e2e::manifests::{Receiver, Resource};
use e2e::trials::Trials;
use e2e::wait::{self, PATIENCE};
use e2e::{Cluster, Forge, Hook, Request, flux};
use serde_json::{Value, json};

use crate::edge::Chain;
use crate::hookgate::{Stand, apply_again, patch, requested_at};

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials.alone(
        "notification_controllers_own_cases_end_the_same_through_envoy_and_without",
        cases,
    )
}

/// What has become of the Receiver when the hook comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    NotReady,
    Suspended,
    /// Without its Secret.
    Lost,
}

/// A case: a Receiver, a hook, and what comes of it.
struct Case {
    name: &'static str,
    receiver: Receiver,
    /// Merged into the Receiver: what the harness's manifests can't say.
    spec: Value,
    state: State,
    hook: fn(&Forge, &Receiver) -> Hook,
    /// The status, as of notification-controller unless `differs` says why not.
    status: u16,
    /// How many of the objects are asked.
    asked: usize,
    differs: Option<&'static str>,
}

fn genuine(forge: &Forge, receiver: &Receiver) -> Hook {
    forge.hook(receiver)
}

/// A case without resources that is answered 200.
fn plain(name: &'static str, receiver_type: &str) -> Case {
    let receiver = Receiver::new(receiver_type, "dummy").resources(Vec::new());
    Case {
        name,
        receiver,
        spec: json!({}),
        state: State::Ready,
        hook: genuine,
        status: 200,
        asked: 0,
        differs: None,
    }
}

/// A wildcard over the objects labelled `label: match`, with a filter that takes `web` of them for this hook.
fn filtered(name: &'static str, receiver_type: &str, condition: &str) -> Case {
    let mut case = plain(name, receiver_type);
    case.receiver.resources = vec![labelled()];
    case.receiver.resource_filter = Some(format!("{condition} && res.metadata.name == 'web'"));
    case.asked = 1;
    case
}

fn labelled() -> Resource {
    let mut any = Resource::new("GitRepository", "*");
    any.match_labels = vec![("label".to_owned(), "match".to_owned())];
    any
}

impl Case {
    fn event(mut self, event: &str) -> Self {
        self.receiver = self.receiver.event(event);
        self
    }

    fn state(mut self, state: State, status: u16) -> Self {
        (self.state, self.status) = (state, status);
        self
    }

    fn resources(mut self, resources: Vec<Resource>, status: u16, asked: usize) -> Self {
        self.receiver.resources = resources;
        (self.status, self.asked) = (status, asked);
        self
    }

    fn hook(mut self, hook: fn(&Forge, &Receiver) -> Hook, status: u16) -> Self {
        (self.hook, self.status) = (hook, status);
        self
    }

    fn filter(mut self, expression: &str) -> Self {
        self.receiver.resource_filter = Some(expression.to_owned());
        self
    }

    fn without_key(mut self, key: &str) -> Self {
        self.receiver.secret.retain(|(name, _)| name != key);
        self.status = 400;
        self
    }

    fn differs(mut self, reason: &'static str) -> Self {
        self.differs = Some(reason);
        self
    }
}

fn answers() -> Vec<Case> {
    let other_event = |forge: &Forge, receiver: &Receiver| {
        let body = String::from_utf8_lossy(payload::CDEVENTS);
        let body = body.replace("change.merged", "change.abandoned");
        let hook = forge.hook_with(receiver, body.as_bytes());
        hook.with("Ce-Type", "dev.cdevents.change.abandoned.0.2.0")
    };
    vec![
        plain("Generic receiver", "generic"),
        plain("gitlab receiver", "gitlab"),
        plain("cdevents receiver", "cdevents").event("dev.cdevents.change.merged.0.2.0"),
        plain("cdevents receiver wrong event type", "cdevents")
            .event("dev.cdevents.change.merged.0.2.0")
            .hook(other_event, 200)
            .differs("an event that is not listed is ignored with 200, so that no sender disables its webhook"),
        plain("cdevents receiver no event type specified", "cdevents"),
        plain("github receiver", "github"),
        plain("generic hmac receiver", "generic-hmac"),
        plain("bitbucket receiver", "bitbucket").event("repo:refs_changed"),
        plain("quay receiver", "quay"),
        plain("harbor receiver", "harbor"),
        plain("missing secret", "generic")
            .state(State::Lost, 404)
            .differs("the path is made from the Secret: a revoked token has none"),
        plain("no receiver configured", "generic").hook(
            |forge, receiver| forge.hook(receiver).with_path(&receiver.path_with(b"another")),
            404,
        ),
        plain("not ready receiver is ignored", "generic").state(State::NotReady, 503),
        plain("suspended receiver ignored", "generic").state(State::Suspended, 503),
        plain("large payload", "generic").hook(
            |forge, receiver| forge.hook(receiver).with_body(vec![b' '; (3 << 20) + 1]),
            413,
        ),
        plain("GCR receiver rejects secret missing 'email'", "gcr").hook(as_if_complete, 400).without_key("email"),
        plain("GCR receiver rejects secret missing 'audience'", "gcr").hook(as_if_complete, 400).without_key("audience"),
    ]
}

/// Signed for the Receiver as it would be with all keys.
fn as_if_complete(forge: &Forge, receiver: &Receiver) -> Hook {
    let mut complete = Receiver::new("gcr", &receiver.name);
    complete.namespace.clone_from(&receiver.namespace);
    forge.hook(&complete)
}

fn resources() -> Vec<Case> {
    let named = |name: &str| Resource::new("GitRepository", name);
    let mut elsewhere = named("web");
    elsewhere.namespace = Some("default".to_owned());
    let mut named_and_labelled = named("other");
    named_and_labelled.match_labels = labelled().match_labels;
    let mut without_version = plain("missing apiVersion in resource", "generic");
    // Their kind is Receiver, which no API server takes here; this one has no default version either.
    without_version.spec = json!({"resources": [{"kind": "ArtifactGenerator", "name": "web"}]});
    without_version.status = 500;
    let annotated = "has(res.metadata.annotations) && 'git' in res.metadata.annotations && \
         res.metadata.annotations['git'].split('/').last().value() == req.project";
    vec![
        without_version,
        plain("resource by name not found", "generic").resources(vec![named("gone")], 500, 0),
        plain("annotating resources by label match", "generic").resources(vec![labelled()], 200, 2),
        plain("annotating resource by name", "generic").resources(vec![named("web")], 200, 1),
        plain(
            "cannot annotate all resources if name is * and no labels were set",
            "generic",
        )
        .resources(vec![named("*")], 500, 0),
        plain("no cross-namespace refs", "generic").resources(vec![elsewhere], 500, 0),
        plain(
            "resource matchLabels is ignored if name is not *",
            "generic",
        )
        .resources(vec![named_and_labelled], 200, 1),
        plain("resources filtered with CEL expressions", "generic")
            .resources(vec![labelled()], 200, 1)
            .filter(annotated),
        plain("filtering out a single named resource with CEL", "generic")
            .resources(vec![named("web")], 200, 0)
            .filter("res.metadata.name == 'another'"),
        plain(
            "handling errors when parsing the CEL expression results",
            "generic",
        )
        .resources(vec![labelled()], 500, 0)
        .filter("res.name == 'web'"),
    ]
}

fn filters() -> Vec<Case> {
    vec![
        filtered(
            "CEL filtering a GitHub receiver",
            "github",
            "req.ref == 'refs/heads/main'",
        ),
        filtered(
            "CEL filtering a GitLab receiver",
            "gitlab",
            "req.object_kind == 'push'",
        ),
        filtered(
            "CEL filtering a cdevents receiver",
            "cdevents",
            "req.subject.content.repository.id.endsWith('/fleet')",
        ),
        filtered(
            "CEL filtering a Bitbucket receiver",
            "bitbucket",
            "req.repository.slug == 'fleet'",
        ),
        filtered(
            "CEL filtering a quay receiver",
            "quay",
            "'latest' in req.updated_tags && req.docker_url.startsWith('quay.io/')",
        ),
        filtered(
            "CEL filtering a Harbor receiver",
            "harbor",
            "req.event_data.resources[0].tag == '6.9.2'",
        ),
        filtered(
            "CEL filtering a Docker hub receiver",
            "dockerhub",
            "req.push_data.tag == '6.9.2'",
        ),
        filtered(
            "CEL filtering a GCR receiver",
            "gcr",
            "req.tag.split(':').last().value() == '6.9.2'",
        ),
        filtered(
            "CEL filtering a Nexus receiver",
            "nexus",
            "req.component.name == 'podinfo'",
        ),
        filtered(
            "CEL filtering an ACR receiver",
            "acr",
            "req.target.tag == '6.9.2'",
        ),
    ]
}

fn cases() {
    let issuer = Arc::new(Issuer::start());
    let url = issuer.url();
    let flags = [
        "--no-cross-namespace-refs",
        "--trigger-interval=200ms",
        &format!("--gcr-certs-url={url}/oauth2/v3/certs"),
        &format!("--gcr-iap-keys-url={url}/oauth2/v3/certs"),
    ];
    let chain = Chain::start_with(&flags);
    let forge = Forge::with_issuer(issuer);
    let direct = chain.hookgate.client();
    let mut all = answers();
    all.extend(resources());
    all.extend(filters());
    assert_eq!(all.len(), 37, "as many as notification-controller has");
    for (way, client) in [
        ("through Envoy", &chain.client),
        ("at the controller", &direct),
    ] {
        for case in &mut all {
            case.receiver = set_up(&chain.cluster, case);
        }
        for case in &all {
            ask(&chain, client, &forge, way, case);
        }
    }
}

/// The Receiver in a namespace of its own, with three objects: two are labelled, one is annotated.
fn set_up(cluster: &Cluster, case: &Case) -> Receiver {
    let mut receiver = case.receiver.clone();
    receiver.namespace = cluster.namespace("dummy");
    for (name, label) in [("web", "match"), ("api", "match"), ("other", "no-match")] {
        let mut object = flux::object("GitRepository", &receiver.namespace, name);
        object["metadata"]["labels"] = json!({"label": label});
        if name == "web" {
            object["metadata"]["annotations"] = json!({"git": "https://git.example.com/podinfo"});
        }
        cluster.admin().apply(&object);
    }
    match case.state {
        State::Ready | State::Lost => {}
        State::Suspended => receiver.suspend = true,
        State::NotReady => receiver.resource_filter = Some("no CEL".to_owned()),
    }
    apply_again(cluster, &receiver);
    if case.spec != json!({}) {
        patch(cluster, &receiver, &json!({"spec": case.spec}));
    }
    receiver
}

fn ask(chain: &Chain, client: &Client, forge: &Forge, way: &str, case: &Case) {
    let receiver = &case.receiver;
    let what = format!("{way}: {}", case.name);
    let settled = match case.state {
        State::Ready | State::Lost => 405,
        State::NotReady | State::Suspended => 503,
    };
    // Neither refused nor charged to any limit: the method alone is wrong.
    chain.await_status(&Request::get(&receiver.path()), settled);
    if case.state == State::Lost {
        for object in crate::hookgate::objects(&receiver.manifest()) {
            if object["kind"] == "Secret" {
                chain.cluster.admin().delete(&object);
            }
        }
        chain.await_status(&Request::get(&receiver.path()), 404);
    }
    let hook = (case.hook)(forge, receiver);
    let answer = wait::until("lists and keys are there", PATIENCE, || {
        let answer = client.send(&hook).ok()?;
        // 503 with Retry-After, or a key that is being fetched: what a sender tries again.
        let is_early = answer.status == 503 && settled != 503
            || receiver.receiver_type == "gcr" && case.status == 200 && answer.status == 400;
        (!is_early).then_some(answer)
    });
    let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (case.status, ""),
        "{what}"
    );
    let asked = ["web", "api", "other"].into_iter();
    let asked = asked.filter(|name| {
        requested_at(&chain.cluster, "GitRepository", &receiver.namespace, name).is_some()
    });
    assert_eq!(asked.count(), case.asked, "{what}: {:?}", case.differs);
}
