//! Which resources a hook reconciles, and what is answered where one can't be.

use std::time::{Duration, Instant};

use e2e::manifests::{Receiver, Resource};
use e2e::trials::Trials;
use e2e::wait::{self, PATIENCE};
use e2e::{Forge, flux};
use serde_json::{Value, json};

use crate::hookgate::{Stand, await_ready, await_status, calls, condition, patch, requested_at};

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .shared(
            "a_wildcard_reconciles_what_its_labels_match_in_its_namespace",
            wildcard,
        )
        .shared("a_filter_looks_at_the_metadata_that_there_is", filter)
        .shared(
            "a_resource_that_is_not_there_is_500_and_leaves_the_others_alone",
            missing,
        )
        .shared("a_kind_that_is_not_served_is_500_at_once", not_served)
        .shared("a_resource_that_we_may_not_patch_is_500_at_once", denied)
        .shared("a_list_that_we_may_not_read_is_500_at_once", denied_list)
        .shared("a_kind_of_its_own_api_group_needs_no_default", other_kinds)
        .shared(
            "a_version_that_would_leave_its_place_in_a_url_stalls",
            hostile,
        )
}

fn labelled(namespace: &str, name: &str, team: &str) -> Value {
    let mut object = flux::object("GitRepository", namespace, name);
    object["metadata"]["labels"] = json!({"team": team});
    object
}

/// Sends hooks until the objects that should be annotated are, and no others.
fn expect(stand: &Stand, receiver: &Receiver, kind: &str, wanted: &[(&str, bool)]) {
    let got = || -> Vec<(String, bool)> {
        let annotated =
            |name: &str| requested_at(&stand.cluster, kind, &receiver.namespace, name).is_some();
        wanted
            .iter()
            .map(|(name, _)| ((*name).to_owned(), annotated(name)))
            .collect()
    };
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(name, is)| ((*name).to_owned(), *is))
        .collect();
    let waited = wait::until("the annotations", PATIENCE, || {
        assert!([200, 503].contains(&stand.send(Forge::new().hook(receiver)).status));
        (got() == wanted).then_some(())
    });
    assert!(waited.is_ok(), "{:?} and not {wanted:?}", got());
}

fn wildcard(stand: &Stand) {
    let mut any = Resource::new("GitRepository", "*");
    any.match_labels = vec![("team".to_owned(), "a".to_owned())];
    let receiver = Receiver::new("github", "labels").resources(vec![any]);
    let receiver = stand.receiver(receiver);
    let admin = stand.cluster.admin();
    for (name, team) in [("one", "a"), ("two", "b"), ("three", "a")] {
        admin.apply(&labelled(&receiver.namespace, name, team));
    }
    expect(
        stand,
        &receiver,
        "GitRepository",
        &[("one", true), ("two", false), ("three", true)],
    );
    // An object that gets its label later is taken then.
    admin.apply(&labelled(&receiver.namespace, "two", "a"));
    expect(stand, &receiver, "GitRepository", &[("two", true)]);
    let watched = calls(&stand.cluster, &receiver.namespace);
    let watches = watched
        .iter()
        .filter(|call| *call == "watch gitrepositories");
    assert_eq!(watches.count(), 1, "{watched:?}");
    // The watch ends with the need for it.
    let named = json!([{"kind": "GitRepository", "name": "one"}]);
    patch(
        &stand.cluster,
        &receiver,
        &json!({"spec": {"resources": named}}),
    );
    await_status(&stand.cluster, &receiver, "the new generation", |status| {
        status["observedGeneration"] == 2
    });
    assert_eq!(stand.send(Forge::new().hook(&receiver)).status, 200);
}

fn filter(stand: &Stand) {
    let mut any = Resource::new("GitRepository", "*");
    any.match_labels = vec![("team".to_owned(), "a".to_owned())];
    let receiver = Receiver::new("github", "filters")
        .resources(vec![any])
        .resource_filter(
            "has(res.metadata.annotations) && res.metadata.annotations['on'] == 'yes'",
        );
    let receiver = stand.receiver(receiver);
    for (name, on) in [("one", "yes"), ("two", "no")] {
        let mut object = labelled(&receiver.namespace, name, "a");
        object["metadata"]["annotations"] = json!({"on": on});
        stand.cluster.admin().apply(&object);
    }
    expect(
        stand,
        &receiver,
        "GitRepository",
        &[("one", true), ("two", false)],
    );
}

fn missing(stand: &Stand) {
    let receiver = Receiver::new("github", "partial").resources(vec![
        Resource::new("GitRepository", "gone"),
        Resource::new("GitRepository", "there"),
    ]);
    let receiver = stand.receiver(receiver);
    let gone = flux::object("GitRepository", &receiver.namespace, "gone");
    stand.cluster.admin().delete(&gone);
    assert_eq!(stand.send(Forge::new().hook(&receiver)).status, 500);
    let there = requested_at(
        &stand.cluster,
        "GitRepository",
        &receiver.namespace,
        "there",
    );
    assert!(there.is_some());
}

/// A Receiver of one resource of this API version and kind.
fn pointing_at(stand: &Stand, name: &str, resource: &Value) -> Receiver {
    let receiver = stand.receiver(Receiver::new("github", name));
    let resources = json!({"spec": {"resources": [resource]}});
    patch(&stand.cluster, &receiver, &resources);
    await_status(&stand.cluster, &receiver, "the new generation", |status| {
        status["observedGeneration"] == 2
    });
    receiver
}

fn at_once(stand: &Stand, receiver: &Receiver, status: u16) {
    let begin = Instant::now();
    assert_eq!(stand.send(Forge::new().hook(receiver)).status, status);
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
}

fn not_served(stand: &Stand) {
    let resource =
        json!({"apiVersion": "source.toolkit.fluxcd.io/v9", "kind": "Bucket", "name": "b"});
    let receiver = pointing_at(stand, "unserved", &resource);
    at_once(stand, &receiver, 500);
    let log = stand.hookgate.process.log();
    assert!(
        log.contains("the API server does not serve this kind"),
        "{log}"
    );
}

/// Flux's kind name in an API group that the controller has no rights to.
fn foreign(stand: &Stand, group: &str) {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("buckets.{group}")},
        "spec": {
            "group": group,
            "names": {"kind": "Bucket", "listKind": "BucketList", "plural": "buckets", "singular": "bucket"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    let admin = stand.cluster.admin();
    admin.apply(&definition);
    let list = e2e::api::collection(&format!("{group}/v1"), "Bucket", None);
    wait::until("the definition", PATIENCE, || {
        (admin.get(&list).status == 200).then_some(())
    })
    .expect("the definition is served");
}

fn denied(stand: &Stand) {
    foreign(stand, "denied.example");
    let resource = json!({"apiVersion": "denied.example/v1", "kind": "Bucket", "name": "b"});
    let receiver = pointing_at(stand, "denied", &resource);
    at_once(stand, &receiver, 500);
}

fn denied_list(stand: &Stand) {
    foreign(stand, "unlisted.example");
    let resource = json!({"apiVersion": "unlisted.example/v1", "kind": "Bucket", "name": "*", "matchLabels": {}});
    let receiver = pointing_at(stand, "unlisted", &resource);
    let waited = wait::until("500", PATIENCE, || {
        let status = stand.send(Forge::new().hook(&receiver)).status;
        assert!([500, 503].contains(&status), "{status}");
        (status == 500).then_some(())
    });
    waited.expect("500, once the API server has refused the list");
}

fn other_kinds(stand: &Stand) {
    let receiver = Receiver::new("github", "kinds").resources(
        flux::KINDS
            .iter()
            .map(|(kind, ..)| Resource::new(kind, "it"))
            .collect(),
    );
    // The harness's manifest names no version of the kind that has an API group of its own.
    let receiver = crate::hookgate::apply(&stand.cluster, receiver);
    let resources: Vec<Value> = flux::KINDS
        .iter()
        .map(
            |(kind, ..)| json!({"apiVersion": flux::api_version(kind), "kind": kind, "name": "it"}),
        )
        .collect();
    patch(
        &stand.cluster,
        &receiver,
        &json!({"spec": {"resources": resources}}),
    );
    await_ready(&stand.cluster, &receiver);
    let wanted: Vec<_> = flux::KINDS.iter().map(|(kind, ..)| *kind).collect();
    let waited = wait::until("200", PATIENCE, || {
        (stand.send(Forge::new().hook(&receiver)).status == 200).then_some(())
    });
    waited.expect("every kind is asked");
    for kind in wanted {
        assert!(
            requested_at(&stand.cluster, kind, &receiver.namespace, "it").is_some(),
            "{kind}"
        );
    }
}

fn hostile(stand: &Stand) {
    let receiver = stand.receiver(Receiver::new("github", "hostile"));
    for version in [
        "source.toolkit.fluxcd.io/v1/../../../api/v1",
        "..",
        "a/v1?x=",
    ] {
        let resource = json!({"apiVersion": version, "kind": "Bucket", "name": "b"});
        patch(
            &stand.cluster,
            &receiver,
            &json!({"spec": {"resources": [resource]}}),
        );
        let status = await_status(&stand.cluster, &receiver, "Stalled", |status| {
            let stalled = condition(status, "Stalled");
            stalled["observedGeneration"]
                == crate::hookgate::get(&stand.cluster, &receiver)["metadata"]["generation"]
        });
        assert_eq!(condition(&status, "Ready")["reason"], "ValidationFailed");
        assert_eq!(stand.send(Forge::new().hook(&receiver)).status, 503);
    }
}
