//! Which namespaces are served, which may be reached from where, and what a request would do there.

use std::fmt::Write as _;
use std::fs;

use e2e::controller;
use e2e::manifests::{Receiver, Resource};
use e2e::trials::Trials;
use e2e::wait::{self, PATIENCE};
use e2e::{Cluster, Forge, Hook, flux};
use serde_json::json;

use crate::hookgate::{
    Hookgate, Stand, apply, apply_again, await_event, await_status, condition, events, get, ready,
    requested_at,
};

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .shared(
            "of_two_receivers_on_one_path_the_older_is_served_and_the_other_says_so",
            one_path,
        )
        .shared(
            "a_request_is_explained_from_what_the_cluster_holds",
            explained,
        )
        .alone(
            "one_namespace_is_served_and_no_other_where_that_is_asked_for",
            one_namespace,
        )
        .alone(
            "a_resource_in_another_namespace_is_refused_where_that_is_asked_for",
            cross_namespace,
        )
}

fn one_path(stand: &Stand) {
    let cluster = &stand.cluster;
    let older = stand.receiver(Receiver::new("github", "app"));
    let mut younger = older.clone();
    // Token, name and namespace are joined without a separator.
    younger.name = "ap".to_owned();
    younger.namespace = format!("p{}", older.namespace);
    younger.resources = vec![Resource::new("GitRepository", "app")];
    assert_eq!(younger.path(), older.path());
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": younger.namespace}});
    cluster.admin().apply(&namespace);
    // Creation times have seconds.
    wait::until("another second", PATIENCE, || {
        let created = get(cluster, &older)["metadata"]["creationTimestamp"].clone();
        let probe = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "clock", "namespace": older.namespace}});
        cluster.admin().delete(&probe);
        (cluster.admin().apply(&probe)["metadata"]["creationTimestamp"] != created).then_some(())
    })
    .expect("time passes");
    cluster
        .admin()
        .apply(&flux::object("GitRepository", &younger.namespace, "app"));
    apply_again(cluster, &younger);
    let warning = format!(
        "its path is that of the older Receiver \"{}/app\", which is served there; change the token",
        older.namespace
    );
    await_event(
        cluster,
        &younger,
        &format!("Warning Misconfigured {warning}"),
    );
    assert_eq!(stand.send(Forge::new().hook(&older)).status, 200);
    let asked =
        |receiver: &Receiver| requested_at(cluster, "GitRepository", &receiver.namespace, "app");
    assert!(asked(&older).is_some() && asked(&younger).is_none());
    assert!(
        !events(cluster, &older)
            .iter()
            .any(|event| event.starts_with("Warning"))
    );
}

/// A hook as a proxy would have captured it.
fn captured(hook: &Hook) -> String {
    let mut text = format!("{} {} HTTP/1.1\r\n", hook.method, hook.path);
    for (name, value) in &hook.headers {
        let _infallible = write!(text, "{name}: {}\r\n", String::from_utf8_lossy(value));
    }
    text.push_str("\r\n");
    text.push_str(&String::from_utf8_lossy(&hook.body));
    text
}

fn explained(stand: &Stand) {
    let mut any = Resource::new("GitRepository", "*");
    any.match_labels = vec![("team".to_owned(), "a".to_owned())];
    let receiver = stand.receiver(Receiver::new("github", "explained").resources(vec![any]));
    let mut object = flux::object("GitRepository", &receiver.namespace, "one");
    object["metadata"]["labels"] = json!({"team": "a"});
    stand.cluster.admin().apply(&object);
    let file = stand.cluster.dir().join("captured.http");
    fs::write(&file, captured(&Forge::new().hook(&receiver))).expect("a file can be written");
    // An operator asks, and not the controller: the trials beside this one count the controller's calls.
    let kubeconfig = stand.cluster.dir().join("operator.json");
    let admin = stand.cluster.admin();
    fs::write(&kubeconfig, stand.cluster.kubeconfig_of(admin.token()))
        .expect("a file can be written");
    let said = controller::hookgate(&[
        "explain".to_owned(),
        "request".to_owned(),
        file.display().to_string(),
        "--kubeconfig".to_owned(),
        kubeconfig.display().to_string(),
    ])
    .expect("the command succeeds");
    let name = format!("{}/explained", receiver.namespace);
    for line in [
        format!("receiver  {name} (github)"),
        "verdict   admitted".to_owned(),
        format!(
            "resource  GitRepository/{}/one would be asked to reconcile",
            receiver.namespace
        ),
        "answer    200, once they have been asked".to_owned(),
    ] {
        assert!(
            said.lines().any(|said| said == line),
            "{line:?} is not in\n{said}"
        );
    }
    assert!(!said.contains(&receiver.path()), "{said}");
}

fn one_namespace() {
    let cluster = Cluster::start();
    let home = cluster.namespace("home");
    let namespace = format!("--runtime-namespace={home}");
    let hookgate = Hookgate::start(
        &cluster,
        "hookgate",
        &["--watch-all-namespaces=false", &namespace],
    );
    let mut receiver = Receiver::new("github", "served");
    receiver.namespace = home;
    cluster.admin().apply(&flux::object(
        "GitRepository",
        &receiver.namespace,
        "served",
    ));
    let stranger = apply(&cluster, Receiver::new("github", "stranger"));
    receiver.resources.push(Resource {
        namespace: Some(stranger.namespace.clone()),
        ..Resource::new("GitRepository", "stranger")
    });
    apply_again(&cluster, &receiver);
    let warning = format!(
        "resources[1]: namespace \"{}\" is not watched, as --watch-all-namespaces is false",
        stranger.namespace
    );
    await_event(
        &cluster,
        &receiver,
        &format!("Warning Misconfigured {warning}"),
    );
    let send = |receiver| {
        hookgate
            .client()
            .send(Forge::new().hook(receiver))
            .expect("an answer")
    };
    assert_eq!(send(&receiver).status, 500);
    assert_eq!(send(&stranger).status, 404);
    assert!(get(&cluster, &stranger)["status"]["conditions"].is_null());
    let asked = requested_at(&cluster, "GitRepository", &stranger.namespace, "stranger");
    assert_eq!(asked, None);
}

fn cross_namespace() {
    let cluster = Cluster::start();
    let hookgate = Hookgate::start(&cluster, "hookgate", &["--no-cross-namespace-refs=true"]);
    let other = ready(&cluster, Receiver::new("github", "other"));
    let mut receiver = Receiver::new("github", "crosses");
    receiver.resources.push(Resource {
        namespace: Some(other.namespace.clone()),
        ..Resource::new("GitRepository", "other")
    });
    let receiver = apply(&cluster, receiver);
    let warning = "resources[1]: cross-namespace references are not allowed";
    let status = await_status(&cluster, &receiver, "the warning", |status| {
        let message = condition(status, "Ready")["message"].clone();
        message.as_str().is_some_and(|text| text.ends_with(warning))
    });
    assert_eq!(condition(&status, "Ready")["status"], "True");
    let answer = hookgate.client().send(Forge::new().hook(&receiver));
    assert_eq!(answer.expect("an answer").status, 500);
    let asked =
        |namespace: &str, name: &str| requested_at(&cluster, "GitRepository", namespace, name);
    assert_eq!(asked(&other.namespace, "other"), None);
    assert!(asked(&receiver.namespace, "crosses").is_some());
}
