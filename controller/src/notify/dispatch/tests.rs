//! The dispatcher over a scripted Transport: what is sent when, to whom, and what becomes of it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use secrecy::ExposeSecret as _;

use super::*;
use crate::api::provider::ProviderSpec;
use crate::api::secret::Secret;
use crate::notify::delivery::DeliveryId;
use crate::notify::queue::Room;
use crate::notify::spool::{Limits, NewEntry};
use crate::notify::target::SnapshotSecrets;
use crate::notify::transport::TransportError;
use crate::provider::{
    Conversation, Exchange, HttpReply, HttpRequest, Reply, Request, Target, Token, TokenRequest,
    TokenSource,
};

mod held;
mod identities;
mod wording;

const ADDRESS: &str = "https://hooks.test/services/T0PS3CRET";

/// What is answered to one request.
#[derive(Clone, Debug)]
enum Answer {
    Status(u16, &'static [(&'static str, &'static str)], &'static str),
    Broken(&'static str),
    Never,
}

const OK: Answer = Answer::Status(200, &[], "ok");

/// Answers from a script for each host, then with 200, and keeps what was sent.
#[derive(Clone, Debug, Default)]
struct Script(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    answers: Vec<(String, VecDeque<Answer>)>,
    sent: Vec<(String, String)>,
    in_flight: usize,
    most_in_flight: usize,
    slow: bool,
}

impl Script {
    fn answers(self, part: &str, answers: &[Answer]) -> Self {
        let answers = answers.iter().cloned().collect();
        self.lock().answers.push((part.to_owned(), answers));
        self
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages that were sent to a Provider.
    fn sent_to(&self, provider: &str) -> Vec<String> {
        let inner = self.lock();
        let sent = inner.sent.iter().filter(|(to, _)| to == provider);
        sent.map(|(_, message)| message.clone()).collect()
    }
}

impl Transport for Script {
    async fn send(&self, request: Request, target: &Target) -> Result<Reply, TransportError> {
        let Request::Http(request) = request else {
            return Err(TransportError::Config("this wire".to_owned()));
        };
        assert!(
            request
                .url
                .expose_secret()
                .starts_with("https://hooks.test/")
        );
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let json: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        let message = json["attachments"][0]["text"]
            .as_str()
            .unwrap_or(&body)
            .to_owned();
        let answer = {
            let mut inner = self.lock();
            inner.sent.push((target.name.clone(), message.clone()));
            inner.in_flight += 1;
            inner.most_in_flight = inner.most_in_flight.max(inner.in_flight);
            let script = inner
                .answers
                .iter_mut()
                .find(|(part, _)| message.contains(part.as_str()));
            script
                .and_then(|(_, answers)| answers.pop_front())
                .unwrap_or(OK)
        };
        if self.lock().slow {
            sleep(Duration::from_millis(20)).await;
        }
        if matches!(answer, Answer::Never) {
            std::future::pending::<()>().await;
        }
        self.lock().in_flight -= 1;
        match answer {
            Answer::Status(status, headers, body) => Ok(Reply::Http(HttpReply {
                status,
                headers: headers
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                body: body.as_bytes().to_vec(),
            })),
            Answer::Broken(text) => Err(TransportError::Connect(text.to_owned())),
            Answer::Never => Ok(Reply::Delivered),
        }
    }

    async fn ask_machine(&self, _request: Request) -> Result<Reply, TransportError> {
        Err(TransportError::Connect("no machine".to_owned()))
    }
}

#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Warn for Told {
    fn warn(&self, alert: &str, warning: &Warning) {
        let mut told = self.0.lock().unwrap();
        told.push(format!("{alert} {}: {}", warning.reason, warning.message));
    }
}

struct World {
    spool: Arc<Spool>,
    script: Script,
    told: Told,
    metrics: Arc<Metrics>,
    objects: watch::Sender<Option<Arc<Snapshot>>>,
    stop: watch::Sender<bool>,
    running: tokio::task::JoinHandle<()>,
}

fn provider(name: &str) -> Provider {
    let mut provider = Provider {
        spec: ProviderSpec {
            r#type: "slack".to_owned(),
            address: ADDRESS.to_owned(),
            timeout: Some("1s".to_owned()),
            ..ProviderSpec::default()
        },
        ..Provider::default()
    };
    provider.metadata.namespace = "apps".to_owned();
    provider.metadata.name = name.to_owned();
    provider
}

fn snapshot(providers: Vec<Provider>) -> Snapshot {
    let mut alert = Alert::default();
    alert.metadata.namespace = "apps".to_owned();
    alert.metadata.name = "on-call".to_owned();
    let token = ("token".to_owned(), b"t0ken-of-secret".to_vec());
    Snapshot {
        alerts: vec![Arc::new(alert)],
        providers: providers.into_iter().map(Arc::new).collect(),
        secrets: [(("apps".to_owned(), "auth".to_owned()), Secret::new([token]))].into(),
        ..Snapshot::default()
    }
}

/// Backoff that a test can wait for.
const QUICK: Backoff = Backoff {
    first: Duration::from_millis(20),
    longest: Duration::from_millis(40),
    give_up_after: Duration::from_secs(3600),
};

impl World {
    fn start(script: Script, providers: Vec<Provider>) -> Self {
        Self::with(script, providers, QUICK, Room::default())
    }

    fn with(script: Script, providers: Vec<Provider>, backoff: Backoff, room: Room) -> Self {
        let spool = Arc::new(Spool::in_memory(Limits::default(), room));
        let (objects, snapshots) = watch::channel(Some(Arc::new(snapshot(providers))));
        let (told, metrics) = (Told::default(), Arc::new(Metrics::new(Arc::default())));
        let dispatcher = Dispatcher::new(
            spool.clone(),
            snapshots.clone(),
            SnapshotSecrets(snapshots),
            told.clone(),
            metrics.clone(),
            backoff,
            script.clone(),
            TokenLimits::default(),
            Identities::default(),
        );
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(dispatcher.run(stopped));
        Self {
            spool,
            script,
            told,
            metrics,
            objects,
            stop,
            running,
        }
    }

    async fn accept(&self, object: &str, message: &str, providers: &[&str]) -> DeliveryId {
        let mut event = Event {
            severity: "info".to_owned(),
            message: message.to_owned(),
            ..Event::default()
        };
        event.involved_object.kind = "Bucket".to_owned();
        event.involved_object.namespace = "apps".to_owned();
        event.involved_object.name = object.to_owned();
        let deliveries = providers.iter();
        let new = NewEntry {
            at_ms: clock::now_ms(),
            not_before_ms: 0,
            chain: event.involved_object.to_string(),
            deliveries: deliveries
                .map(|name| ("apps/on-call".into(), format!("apps/{name}").into()))
                .collect(),
            event: event.to_json().into_bytes(),
        };
        let entry = self.spool.append(new).await.unwrap();
        DeliveryId { entry, n: 0 }
    }

    /// Accepts events for a digest that is due after 100 ms.
    async fn accept_digest(&self, objects: &[&str]) {
        let now = clock::now_ms();
        for object in objects {
            let mut event = Event {
                message: format!("{object} is fine"),
                reason: "Done".to_owned(),
                ..Event::default()
            };
            event.involved_object.kind = "Bucket".to_owned();
            event.involved_object.namespace = "apps".to_owned();
            (*object).clone_into(&mut event.involved_object.name);
            let new = NewEntry {
                at_ms: now,
                not_before_ms: now + 100,
                chain: digest::chain(&"apps/on-call".into(), "r1"),
                deliveries: vec![("apps/on-call".into(), "apps/a".into())],
                event: event.to_json().into_bytes(),
            };
            self.spool.append(new).await.unwrap();
        }
    }

    /// Waits until a condition holds.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..1_000 {
            if holds(self) {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("{what}: {:?} {:?}", self.states(), self.script.lock().sent);
    }

    async fn until_nothing_is_left(&self) {
        self.until("nothing is left", |world| world.states().is_empty())
            .await;
    }

    fn states(&self) -> Vec<(DeliveryId, State)> {
        let all = self.spool.list(100, |_| true).into_iter();
        all.map(|listed| (listed.id, listed.delivery.state))
            .collect()
    }

    fn reason(&self, id: DeliveryId) -> String {
        match self.states().into_iter().find(|(other, _)| *other == id) {
            Some((_, State::Dead { reason, .. })) => reason,
            other => panic!("{other:?}"),
        }
    }

    async fn until_dead(&self, id: DeliveryId) {
        let is_dead = |world: &Self| {
            let states = world.states();
            states
                .iter()
                .any(|(other, state)| *other == id && state.is_dead())
        };
        self.until("it is dead", is_dead).await;
    }
}

#[tokio::test]
async fn an_event_is_delivered_to_every_provider_once() {
    let world = World::start(Script::default(), vec![provider("a"), provider("b")]);
    world.accept("x", "hello", &["a", "b"]).await;
    world.until_nothing_is_left().await;
    assert_eq!(world.script.sent_to("a"), ["hello"]);
    assert_eq!(world.script.sent_to("b"), ["hello"]);
    let text = world.metrics.encode();
    let line =
        "hookgate_alert_attempts_total{namespace=\"apps\",name=\"a\",outcome=\"delivered\"} 1";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn events_of_one_object_arrive_in_order_although_the_first_fails_and_others_pass_it() {
    let down = Answer::Status(503, &[], "");
    let script = Script::default().answers("first", &[down.clone(), down]);
    let world = World::start(script, vec![provider("a")]);
    world.accept("x", "first", &["a"]).await;
    world.accept("x", "second", &["a"]).await;
    world.accept("y", "third", &["a"]).await;
    world.until_nothing_is_left().await;
    let sent = world.script.sent_to("a");
    let of_x: Vec<_> = sent.iter().filter(|message| *message != "third").collect();
    assert_eq!(of_x, ["first", "first", "first", "second"]);
    assert!(sent.iter().position(|m| m == "third") < sent.iter().position(|m| m == "second"));
}

#[tokio::test]
async fn what_is_refused_for_good_is_a_dead_letter_and_the_next_goes_on() {
    let script = Script::default().answers("poison", &[Answer::Status(400, &[], "invalid_blocks")]);
    let world = World::start(script, vec![provider("a")]);
    let id = world.accept("x", "poison", &["a"]).await;
    world.accept("x", "fine", &["a"]).await;
    world
        .until("fine is sent", |w| w.script.sent_to("a").len() == 2)
        .await;
    world.until_dead(id).await;
    assert_eq!(
        world.reason(id),
        "postMessage failed: request failed: request failed with status code 400: invalid_blocks"
    );
    assert_eq!(
        *world.told.0.lock().unwrap(),
        [
            "apps/on-call NotificationDispatchFailed: failed to send notification for Bucket/apps/x: postMessage failed: request failed: request failed with status code 400: invalid_blocks"
        ]
    );
    world.spool.retry(id, clock::now_ms()).await.unwrap();
    world.until_nothing_is_left().await;
    assert_eq!(world.script.sent_to("a"), ["poison", "fine", "poison"]);
}

#[tokio::test]
async fn a_dead_provider_delays_no_other() {
    let never: Vec<_> = (0..50).map(|_| Answer::Never).collect();
    let script = Script::default().answers("stuck", &never);
    let world = World::start(script, vec![provider("a"), provider("b")]);
    for n in 0..20 {
        world.accept(&format!("s{n}"), "stuck", &["a"]).await;
    }
    for n in 0..20 {
        world.accept(&format!("f{n}"), "free", &["b"]).await;
    }
    world
        .until("all of b", |w| w.script.sent_to("b").len() == 20)
        .await;
    let stuck = world.states().len();
    assert!(stuck >= 20, "{stuck}");
    assert!(world.script.sent_to("a").len() <= 8);
}

#[tokio::test]
async fn no_more_than_so_many_are_sent_to_one_provider_at_once() {
    let room = Room {
        per_provider: 3,
        ..Room::default()
    };
    let script = Script::default();
    script.lock().slow = true;
    let world = World::with(script, vec![provider("a")], QUICK, room);
    for n in 0..12 {
        world.accept(&format!("o{n}"), "m", &["a"]).await;
    }
    world.until_nothing_is_left().await;
    assert_eq!(world.script.lock().most_in_flight, 3);
}

#[tokio::test]
async fn retry_after_holds_the_whole_provider() {
    let limited = Answer::Status(429, &[("retry-after", "1")], "slow down");
    let script = Script::default().answers("one", &[limited]);
    let world = World::start(script, vec![provider("a")]);
    let started = tokio::time::Instant::now();
    world.accept("x", "one", &["a"]).await;
    world
        .until("one is sent", |w| !w.script.sent_to("a").is_empty())
        .await;
    sleep(Duration::from_millis(50)).await;
    world.accept("y", "two", &["a"]).await;
    world.until_nothing_is_left().await;
    assert!(
        started.elapsed() >= Duration::from_millis(950),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(world.script.sent_to("a").len(), 3);
}

#[tokio::test]
async fn what_never_succeeds_is_given_up_with_the_last_reason() {
    let down: Vec<_> = (0..100)
        .map(|_| Answer::Broken("connection refused"))
        .collect();
    let backoff = Backoff {
        give_up_after: Duration::from_millis(150),
        ..QUICK
    };
    let script = Script::default().answers("m", &down);
    let world = World::with(script, vec![provider("a")], backoff, Room::default());
    let id = world.accept("x", "m", &["a"]).await;
    world.until_dead(id).await;
    assert_eq!(
        world.reason(id),
        "postMessage failed: failed to execute request: failed to connect: connection refused"
    );
    assert!(world.script.sent_to("a").len() > 2);
}

#[tokio::test]
async fn an_attempt_ends_with_the_providers_timeout() {
    let script = Script::default().answers("m", &[Answer::Never]);
    let world = World::start(script, vec![provider("a")]);
    world.accept("x", "m", &["a"]).await;
    world.until_nothing_is_left().await;
    assert_eq!(world.script.sent_to("a").len(), 2);
    let told = world.told.0.lock().unwrap();
    assert!(told[0].ends_with("no answer within 1 s"), "{told:?}");
}

#[tokio::test]
async fn no_secret_is_in_what_is_said_of_a_failure() {
    let script = Script::default().answers(
        "m",
        &[
            Answer::Status(400, &[], "no T0PS3CRET, no t0ken-of-secret"),
            Answer::Broken("https://hooks.test/services/T0PS3CRET: refused"),
        ],
    );
    let mut with_token = provider("a");
    with_token.spec.secret_ref = Some(crate::api::receiver::SecretRef {
        name: "auth".to_owned(),
    });
    let world = World::start(script, vec![with_token]);
    let id = world.accept("x", "m1", &["a"]).await;
    world.until_dead(id).await;
    assert_eq!(
        world.reason(id),
        "postMessage failed: request failed: request failed with status code 400: no *****, no *****"
    );
    world.accept("y", "m2", &["a"]).await;
    world
        .until("it is told", |w| w.told.0.lock().unwrap().len() == 2)
        .await;
    let told = world.told.0.lock().unwrap();
    assert!(
        told[1].ends_with("failed to connect: *****: refused"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_provider_or_secret_that_comes_late_is_waited_for() {
    let world = World::start(Script::default(), vec![]);
    world.accept("x", "m", &["a"]).await;
    let told = |world: &World| world.told.0.lock().unwrap().clone();
    world.until("it is told", |w| !told(w).is_empty()).await;
    assert_eq!(
        told(&world)[0],
        "apps/on-call NotificationDispatchFailed: failed to dispatch notification for Bucket/apps/x: failed to read provider: 'apps/a' not found"
    );
    let mut waiting = provider("a");
    waiting.spec.secret_ref = Some(crate::api::receiver::SecretRef {
        name: "late".to_owned(),
    });
    world
        .objects
        .send_replace(Some(Arc::new(snapshot(vec![waiting]))));
    let want = "failed to initialize notifier for provider 'a': failed to get secret 'apps/late': not found";
    world
        .until("the secret is missed", |w| {
            told(w).iter().any(|t| t.ends_with(want))
        })
        .await;
    world
        .objects
        .send_replace(Some(Arc::new(snapshot(vec![provider("a")]))));
    world.until_nothing_is_left().await;
    assert_eq!(world.script.sent_to("a"), ["m"]);
}

#[tokio::test]
async fn an_alert_that_is_gone_and_a_type_that_is_unknown_are_dead_letters() {
    let mut unknown = provider("u");
    unknown.spec.r#type = "carrier-pigeon".to_owned();
    let world = World::start(Script::default(), vec![provider("a"), unknown]);
    let id = world.accept("x", "m", &["u"]).await;
    world.until_dead(id).await;
    assert_eq!(world.reason(id), "provider carrier-pigeon not supported");
    let mut without = snapshot(vec![provider("a")]);
    without.alerts.clear();
    world.objects.send_replace(Some(Arc::new(without)));
    let id = world.accept("y", "m", &["a"]).await;
    world.until_dead(id).await;
    assert_eq!(world.reason(id), "the Alert is gone");
}

#[tokio::test]
async fn a_stop_waits_for_what_is_being_sent() {
    let script = Script::default();
    script.lock().slow = true;
    let world = World::start(script, vec![provider("a")]);
    world.accept("x", "m", &["a"]).await;
    world
        .until("it is being sent", |w| !w.script.sent_to("a").is_empty())
        .await;
    world.stop.send_replace(true);
    world.running.await.unwrap();
    assert_eq!(world.spool.list(10, |_| true), []);
}

#[tokio::test]
async fn the_events_of_a_digest_are_one_message_and_fare_alike() {
    let down = Answer::Status(503, &[], "");
    let script = Script::default().answers("3 events", &[down]);
    let world = World::start(script, vec![provider("a")]);
    world.accept_digest(&["x", "y", "z"]).await;
    world.accept("x", "an error", &["a"]).await;
    world.until_nothing_is_left().await;
    let digest = "3 events:\n- Bucket/apps/x: Done: x is fine\n- Bucket/apps/y: Done: y is fine\n- Bucket/apps/z: Done: z is fine";
    assert_eq!(world.script.sent_to("a"), ["an error", digest, digest]);
}

#[tokio::test]
async fn a_digest_that_is_refused_leaves_a_dead_letter_of_each_event() {
    let script = Script::default().answers("2 events", &[Answer::Status(400, &[], "no")]);
    let world = World::start(script, vec![provider("a")]);
    world.accept_digest(&["x", "y"]).await;
    for entry in [1, 2] {
        let id = DeliveryId { entry, n: 0 };
        world.until_dead(id).await;
        assert_eq!(
            world.reason(id),
            "postMessage failed: request failed: request failed with status code 400: no"
        );
    }
}
