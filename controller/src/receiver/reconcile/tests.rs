//! Passes against an API server that takes everything.

use clap::Parser as _;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::api::condition;
use crate::api::condition::Failure;
use crate::args::RunArgs;
use crate::kubernetes::live_of;
use crate::kubernetes::script::{Requests, answered_by};
use crate::receiver::status::FINALIZER;
use crate::trigger::select::Reach;

/// A reconciler, what it follows, and what it has asked of the API server.
struct Stage {
    lives: watch::Sender<Arc<Lives>>,
    compiled: watch::Sender<Arc<Compiled>>,
    leads: watch::Sender<bool>,
    _stop: watch::Sender<bool>,
    requests: Requests,
    _running: JoinHandle<()>,
}

impl Stage {
    fn start(leads: bool) -> Self {
        let (api, requests) = answered_by(answer);
        let (lives, lives_in) = watch::channel(Arc::default());
        let (compiled, compiled_in) = watch::channel(Arc::new(compiled(BTreeMap::new())));
        let (leads, leads_in) = watch::channel(leads);
        let (stop, stop_in) = watch::channel(false);
        let inputs = Inputs {
            lives: lives_in,
            compiled: compiled_in,
            leads: leads_in,
            stop: stop_in,
        };
        let settings = Settings {
            concurrent: 2,
            min_retry: Duration::from_secs(1),
            max_retry: Duration::from_secs(8),
        };
        let running = tokio::spawn(run(
            api,
            Arc::new(Metrics::new(Arc::default())),
            inputs,
            settings,
        ));
        Self {
            lives,
            compiled,
            leads,
            _stop: stop,
            requests,
            _running: running,
        }
    }

    /// The Receivers as the watch shows them, and what was decided about them.
    fn show(&self, lives: impl IntoIterator<Item = Live>, failure: Option<&Failure>) {
        let receivers: BTreeMap<_, _> = lives
            .into_iter()
            .map(|live| (live.key.clone(), Arc::new(live)))
            .collect();
        let statuses = receivers.keys().map(|(namespace, name)| {
            (
                format!("{namespace}/{name}"),
                verdict(name, failure.cloned()),
            )
        });
        let statuses = statuses.collect();
        self.compiled.send_replace(Arc::new(compiled(statuses)));
        self.lives.send_replace(Arc::new(Lives {
            receivers,
            ..Lives::default()
        }));
    }

    /// How often statuses were written, and Events told, after `wait`.
    async fn written(&self, wait: Duration) -> (usize, usize) {
        sleep(wait).await;
        let requests = self.requests.lock().unwrap();
        let count = |part: &str| {
            requests
                .iter()
                .filter(|(call, _)| call.contains(part))
                .count()
        };
        (count("/status"), count("/events"))
    }
}

/// Takes what it is given, as an API server would.
fn answer(call: &str, body: &Value) -> (u16, Value) {
    if call.contains("/events") {
        return (201, json!({}));
    }
    let name = call.split("/receivers/").nth(1).unwrap_or_default();
    let name = name.split('/').next().unwrap_or_default();
    let mut object = object(name, "5");
    object["status"] = body["status"].clone();
    if let Some(finalizers) = body["metadata"].get("finalizers") {
        object["metadata"]["finalizers"] = finalizers.clone();
        object["metadata"]["deletionTimestamp"] = json!("2026-08-07T12:00:00Z");
    }
    (200, object)
}

fn object(name: &str, version: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name, "generation": 1,
                     "resourceVersion": version, "finalizers": [FINALIZER]},
        "spec": {"type": "generic", "resources": []},
    })
}

fn live(name: &str, version: &str) -> Live {
    live_of(object(name, version))
}

/// One whose status is right.
fn settled(name: &str, version: &str) -> Live {
    let mut live = live(name, version);
    live.status = status::desired(&live, &verdict(name, None), "2026-08-07T12:00:00Z");
    live
}

fn verdict(name: &str, failure: Option<Failure>) -> Status {
    Status {
        receiver_type: "generic".to_owned(),
        generation: Some(1),
        digest: Some(hook::digest::Digest::of(b"t", name, "ns")),
        interval: Duration::from_secs(600),
        failure,
        suspended: false,
        warnings: Vec::new(),
    }
}

fn compiled(statuses: BTreeMap<String, Status>) -> Compiled {
    let args = RunArgs::try_parse_from(["run"]).unwrap();
    let options = crate::run::options(&args, Reach::default());
    Compiled {
        statuses,
        ..Compiled::incomplete(&options)
    }
}

const MOMENT: Duration = Duration::from_millis(50);

#[tokio::test(start_paused = true)]
async fn only_a_leader_writes_and_a_new_one_looks_at_every_receiver_once() {
    let stage = Stage::start(false);
    stage.show([live("a", "1"), live("b", "1"), live("c", "1")], None);
    assert_eq!(stage.written(MOMENT).await, (0, 0));
    stage.leads.send_replace(true);
    assert_eq!(stage.written(MOMENT).await, (3, 3));
    stage.leads.send_replace(false);
    stage.show([live("d", "1")], None);
    assert_eq!(stage.written(MOMENT).await, (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_changes_nothing_tells_its_event_and_comes_again_after_the_interval() {
    let stage = Stage::start(true);
    stage.show([settled("a", "1")], None);
    assert_eq!(stage.written(MOMENT).await, (0, 1));
    stage.show([settled("a", "2")], None);
    assert_eq!(stage.written(MOMENT).await, (0, 1));
    assert_eq!(stage.written(Duration::from_secs(601)).await, (0, 2));
}

#[tokio::test(start_paused = true)]
async fn what_the_watch_has_not_seen_yet_is_not_written_again() {
    let stage = Stage::start(true);
    stage.show([live("a", "1")], None);
    assert_eq!(stage.written(MOMENT).await, (1, 1));
    // The watch is behind what the pass left.
    stage.show([live("a", "2")], None);
    assert_eq!(stage.written(Duration::from_secs(120)).await, (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_status_that_somebody_else_changed_is_mended_after_a_minute() {
    let stage = Stage::start(true);
    stage.show([settled("a", "1")], None);
    assert_eq!(stage.written(MOMENT).await, (0, 1));
    stage.show([live("a", "9")], None);
    assert_eq!(stage.written(Duration::from_secs(55)).await, (0, 1));
    assert_eq!(stage.written(Duration::from_secs(10)).await, (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_failing_receiver_is_looked_at_less_and_less_and_written_once() {
    let stage = Stage::start(true);
    let failure = condition::token_not_found("no");
    stage.show([live("a", "1")], Some(&failure));
    assert_eq!(stage.written(MOMENT).await, (1, 1));
    // After 1, 2, 4, 8 and 8 seconds.
    assert_eq!(stage.written(Duration::from_secs(24)).await, (1, 6));
}

#[tokio::test(start_paused = true)]
async fn a_request_to_reconcile_causes_one_pass() {
    let stage = Stage::start(true);
    stage.show([settled("a", "1")], None);
    assert_eq!(stage.written(MOMENT).await, (0, 1));
    let mut asked = settled("a", "2");
    asked.requested_at = Some("now".to_owned());
    stage.show([asked], None);
    assert_eq!(stage.written(MOMENT).await, (1, 2));
    let requests = stage.requests.lock().unwrap();
    let patch = requests.iter().find(|(call, _)| call.contains("/status"));
    let status = &patch.unwrap().1["status"];
    assert_eq!(status["lastHandledReconcileAt"], "now");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_labelled_secret_causes_a_pass() {
    let stage = Stage::start(true);
    let mut named = settled("a", "1");
    named.secret = Some("token".to_owned());
    stage.show([named], None);
    assert_eq!(stage.written(MOMENT).await, (0, 1));
    for (version, passes) in [("7", 2), ("7", 2), ("8", 3)] {
        let mut lives = Lives::clone(&stage.lives.borrow());
        let key = ("ns".to_owned(), "token".to_owned());
        lives.watched_secrets.insert(key, version.to_owned());
        stage.lives.send_replace(Arc::new(lives));
        assert_eq!(stage.written(MOMENT).await, (0, passes));
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_deleted_is_let_go_once_and_tells_nothing() {
    let stage = Stage::start(true);
    let mut deleting = settled("a", "1");
    deleting.is_deleting = true;
    stage.show([deleting], None);
    assert_eq!(stage.written(Duration::from_secs(180)).await, (0, 0));
    assert_eq!(stage.requests.lock().unwrap().len(), 1);
}
