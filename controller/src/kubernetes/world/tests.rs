//! What the World makes of steps, and what it wants.

use serde_json::json;

use super::*;
use crate::kubernetes::convert;

fn key(name: &str) -> Key {
    ("ns".to_owned(), name.to_owned())
}

fn seen(name: &str, version: &str, spec: &serde_json::Value) -> Seen {
    let metadata = json!({"name": name, "namespace": "ns", "resourceVersion": version});
    let (receiver, live, problem) = convert::receiver(&metadata, json!({"spec": spec}));
    Seen {
        receiver: Arc::new(receiver),
        live: Arc::new(live),
        problem,
    }
}

fn named(name: &str, secret: &str) -> Seen {
    let spec = json!({"type": "generic", "secretRef": {"name": secret}, "resources": []});
    seen(name, "1", &spec)
}

fn meta(name: &str, version: &str) -> (Key, SecretVersion) {
    let meta = SecretVersion {
        version: version.to_owned(),
        is_watched: true,
    };
    (key(name), meta)
}

/// A world whose Alerts and Providers are listed: there are none.
fn bare(reach: Reach) -> World {
    let mut world = World::new(reach);
    world.alerts(Step::Complete);
    world.providers(Step::Complete);
    world
}

/// A world with one Receiver and its Secret listed.
fn world() -> World {
    let mut world = bare(Reach::default());
    for step in [Step::Begin, Step::Listed(named("app", "s")), Step::Complete] {
        world.receivers(step);
    }
    for step in [Step::Begin, Step::Listed(meta("s", "5")), Step::Complete] {
        world.secrets(step);
    }
    world
}

fn token(text: &str) -> Secret {
    Secret::new([("token".to_owned(), text.as_bytes().to_vec())])
}

fn read(world: &mut World, result: &Result<Secret, ApiError>) {
    let wanted = world.reads(0);
    assert_eq!(wanted.len(), 1, "{wanted:?}");
    for (key, asked) in wanted {
        world.secret_read(&key, asked, result.clone(), 0);
    }
}

fn served(world: &World) -> Option<Vec<u8>> {
    let snapshot = world.snapshot();
    snapshot
        .secrets
        .get(&key("s"))?
        .get("token")
        .map(<[u8]>::to_vec)
}

#[test]
fn nothing_is_complete_before_every_named_secret_was_looked_at() {
    let mut world = bare(Reach::default());
    assert!(!world.is_complete());
    world.receivers(Step::Begin);
    world.receivers(Step::Listed(named("app", "s")));
    world.receivers(Step::Complete);
    assert!(!world.is_complete() && world.reads(0).is_empty());
    world.secrets(Step::Begin);
    world.secrets(Step::Complete);
    assert!(!world.is_complete());
    assert!(world.snapshot().receivers.is_empty());
    // The watch of Secrets may be behind, so that one read makes sure.
    assert_eq!(world.reads(0), [(key("s"), String::new())]);
    assert_eq!(world.reads(0), [], "one read at a time");
    let missing = ApiError::NotFound("no".to_owned());
    world.secret_read(&key("s"), String::new(), Err(missing), 0);
    assert!(world.is_complete());
    assert_eq!(world.snapshot().receivers.len(), 1);
    assert_eq!(
        world.reads(u64::MAX),
        [],
        "a missing Secret is not read again"
    );
}

#[test]
fn a_secret_is_read_when_its_version_changes_and_not_else() {
    let mut world = world();
    read(&mut world, &Ok(token("old")));
    assert_eq!(served(&world).as_deref(), Some(&b"old"[..]));
    assert_eq!(world.reads(0), []);
    world.secrets(Step::Set(meta("other", "9")));
    assert_eq!(world.reads(0), []);
    world.secrets(Step::Set(meta("s", "6")));
    read(&mut world, &Ok(token("new")));
    assert_eq!(served(&world).as_deref(), Some(&b"new"[..]));
    assert_eq!(world.reads(0), []);
    world.secrets(Step::Gone(meta("s", "7")));
    assert_eq!(world.reads(0), []);
    assert_eq!(served(&world), None);
}

#[test]
fn a_secret_that_was_read_before_the_watch_showed_it_is_read_once() {
    let mut world = world();
    world.secrets(Step::Gone(meta("s", "5")));
    assert_eq!(world.reads(0), [(key("s"), String::new())]);
    world.secret_read(&key("s"), "9".to_owned(), Ok(token("t")), 0);
    assert_eq!(world.reads(0), []);
    assert_eq!(served(&world).as_deref(), Some(&b"t"[..]));
    world.secrets(Step::Set(meta("s", "9")));
    assert_eq!(world.reads(0), []);
    world.secrets(Step::Gone(meta("s", "10")));
    assert_eq!(world.reads(0), []);
    assert_eq!(served(&world), None);
}

#[test]
fn a_secret_stays_while_the_api_server_is_away_and_goes_when_it_is_denied() {
    let mut world = world();
    read(&mut world, &Ok(token("old")));
    world.secrets(Step::Set(meta("s", "6")));
    read(&mut world, &Err(ApiError::Timeout));
    assert_eq!(served(&world).as_deref(), Some(&b"old"[..]));
    assert_eq!(world.reads(999), []);
    assert_eq!(
        world.reads(1_000).len(),
        1,
        "it is tried again after a second"
    );
    let denied = ApiError::Forbidden("denied".to_owned());
    world.secret_read(&key("s"), "6".to_owned(), Err(denied), 1_000);
    assert_eq!(served(&world), None);
    assert_eq!(world.snapshot().secret_errors[&key("s")], "denied");
}

#[test]
fn a_status_is_not_a_change_of_what_a_receiver_asks_for() {
    let mut world = world();
    read(&mut world, &Ok(token("t")));
    world.dirty = Dirty::default();
    let spec = json!({"type": "generic", "secretRef": {"name": "s"}, "resources": []});
    world.receivers(Step::Set(seen("app", "2", &spec)));
    let lives_only = Dirty {
        lives: true,
        ..Dirty::default()
    };
    assert_eq!(world.dirty, lives_only);
    let spec = json!({"type": "github", "secretRef": {"name": "s"}, "resources": []});
    world.receivers(Step::Set(seen("app", "3", &spec)));
    assert!(world.dirty.snapshot);
}

fn with_resources(resources: &serde_json::Value) -> World {
    let mut world = bare(Reach::default());
    let spec = json!({"type": "generic", "secretRef": {"name": "s"}, "resources": resources});
    world.receivers(Step::Begin);
    world.receivers(Step::Listed(seen("app", "1", &spec)));
    world.receivers(Step::Complete);
    world
}

#[test]
fn only_wildcards_and_filters_are_watched() {
    let mut world = with_resources(&json!([
        {"kind": "GitRepository", "name": "named"},
        {"kind": "Bucket", "name": "*", "matchLabels": {}},
        {"kind": "HelmChart", "name": "chart", "filter": "true", "namespace": "other"},
        {"kind": "Bucket", "name": "*"},
    ]));
    let changes = world.scope_changes();
    let started: Vec<_> = changes.start.iter().map(|(s, _)| s.to_string()).collect();
    assert_eq!(started, ["Bucket/ns", "HelmChart/other"]);
    assert_eq!(world.scope_changes(), ScopeChanges::default());
    world.receivers(Step::Gone(named("app", "s")));
    assert_eq!(world.scope_changes().stop.len(), 2);
}

#[test]
fn a_hostile_version_is_never_watched() {
    let mut world = with_resources(&json!([
        {"apiVersion": "a/../../api/v1", "kind": "Bucket", "name": "*", "matchLabels": {}},
    ]));
    assert_eq!(world.scope_changes(), ScopeChanges::default());
}

#[test]
fn a_scope_is_pending_until_its_list_is_complete() {
    let mut world = with_resources(&json!([{"kind": "Bucket", "name": "*", "matchLabels": {}}]));
    let (scope, id) = world.scope_changes().start.remove(0);
    world.store_objects();
    let objects = world.objects.load();
    assert!(objects.pending[&scope].is_temporary);
    let denied = ApiError::Forbidden("denied".to_owned());
    world.objects(&scope, id, Step::Trouble(denied));
    world.store_objects();
    let pending = world.objects.load().pending[&scope].clone();
    assert_eq!(
        (pending.message.as_str(), pending.is_temporary),
        ("denied", false)
    );
    let metadata = json!({"name": "b", "namespace": "ns"});
    let (name, record) = convert::record(&scope, &metadata);
    let item = (key(&name), Arc::new(record));
    for step in [Step::Begin, Step::Listed(item.clone()), Step::Complete] {
        world.objects(&scope, id, step);
    }
    world.objects(&scope, id + 1, Step::Gone(item));
    world.store_objects();
    let objects = world.objects.load();
    assert!(objects.pending.is_empty());
    let names: Vec<_> = objects.records.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["Bucket/ns/b"], "a stopped watch counts no more");
}

fn alert(name: &str, source: &serde_json::Value) -> Held<Alert> {
    let metadata = json!({"name": name, "namespace": "ns"});
    let data = json!({"spec": {"providerRef": {"name": "chat"}, "eventSources": [source]}});
    Held {
        key: key(name),
        object: convert::alert(&metadata, data).map(Arc::new),
        relic: None,
    }
}

#[test]
fn hooks_do_not_wait_for_alerts_and_providers_and_events_do() {
    let mut world = World::new(Reach::default());
    world.receivers(Step::Complete);
    assert!(!world.is_complete());
    world.secrets(Step::Complete);
    assert!(world.is_complete());
    world.alerts(Step::Trouble(ApiError::Timeout));
    world.alerts(Step::Complete);
    assert!(!world.snapshot().has_alerts);
    world.dirty = Dirty::default();
    world.providers(Step::Complete);
    assert!(world.dirty.snapshot && world.snapshot().has_alerts);
    let broken = Held {
        object: Err("no".to_owned()),
        ..alert("broken", &json!({}))
    };
    let source = json!({"kind": "Bucket", "name": "*"});
    world.alerts(Step::Set(broken));
    world.alerts(Step::Set(alert("good", &source)));
    let snapshot = world.snapshot();
    assert_eq!(snapshot.alerts.len(), 1);
    assert_eq!(snapshot.problems[0].to_string(), "Alert ns/broken: no");
    world.dirty = Dirty::default();
    world.alerts(Step::Set(alert("good", &source)));
    assert!(!world.is_dirty(), "the same again tells nothing");
}

#[test]
fn the_labels_of_an_alerts_sources_are_watched_also_in_every_namespace() {
    let mut world = bare(Reach::default());
    world.receivers(Step::Complete);
    let source = json!({"kind": "Bucket", "name": "*", "matchLabels": {"a": "b"}});
    let mut everywhere = alert("a", &source);
    let object = Arc::get_mut(everywhere.object.as_mut().unwrap()).unwrap();
    let annotations = &mut object.metadata.annotations;
    annotations.insert("hookgate.dev/namespaces".to_owned(), "*".to_owned());
    world.alerts(Step::Set(everywhere));
    let started = world.scope_changes().start;
    let [(scope, id)] = started.as_slice() else {
        panic!("{started:?}");
    };
    assert_eq!(
        (scope.kind.as_str(), scope.namespace.as_str()),
        ("Bucket", "")
    );
    world.store_objects();
    let bucket = ResourceRef {
        api_version: "source.toolkit.fluxcd.io/v1beta2".to_owned(),
        kind: "Bucket".to_owned(),
        namespace: "there".to_owned(),
        name: "x".to_owned(),
    };
    let objects = world.snapshot().objects;
    assert!(objects.load().is_awaited(&bucket));
    let (name, record) = convert::record(scope, &json!({"name": "x", "namespace": "there"}));
    let listed = (("there".to_owned(), name), Arc::new(record));
    for step in [Step::Begin, Step::Listed(listed), Step::Complete] {
        world.objects(scope, *id, step);
    }
    world.store_objects();
    let objects = objects.load();
    assert!(objects.object(&bucket).is_some() && !objects.is_awaited(&bucket));
}
