//! The API server of the tests itself: what it counts, and what outlives its end.

use std::fs;

use e2e::apiserver::Call;
use e2e::cluster::USER;
use e2e::trials::Trials;
use e2e::{Cluster, flux};
use serde_json::{Value, json};

pub(crate) fn trials(trials: Trials<Cluster>) -> Trials<Cluster> {
    trials
        .shared("every_call_of_the_controller_is_counted", counted)
        .shared("the_kubeconfig_is_that_of_the_controller", kubeconfig)
        .alone("what_was_stored_outlives_the_api_server", outage)
}

fn counted(cluster: &Cluster) {
    let namespace = cluster.namespace("counted");
    let object = flux::object("GitRepository", &namespace, "app");
    let path = e2e::api::path_of(&object);
    assert_eq!(cluster.admin().create(&object).status, 201);
    let patch = json!({"metadata": {"annotations": {"a": "b"}}});
    for _ in 0..2 {
        cluster.controller().send("PATCH", &path, Some(&patch));
    }
    cluster.controller().send("DELETE", &path, None);
    let of_trial: Vec<Call> = cluster
        .calls()
        .into_iter()
        .filter(|call| call.namespace == namespace)
        .collect();
    let call = |verb: &str, code: u16| Call {
        user: USER.to_owned(),
        verb: verb.to_owned(),
        resource: "gitrepositories".to_owned(),
        namespace: namespace.clone(),
        name: "app".to_owned(),
        code,
    };
    assert_eq!(
        of_trial,
        [call("patch", 200), call("patch", 200), call("delete", 403)]
    );
}

fn outage() {
    let mut cluster = Cluster::start();
    let namespace = cluster.namespace("outage");
    let object = flux::object("Kustomization", &namespace, "app");
    let path = e2e::api::path_of(&object);
    let before = cluster.admin().create(&object);
    assert_eq!(before.status, 201, "{}", before.body);
    cluster.server_mut().stop();
    let gone = cluster.controller().try_send("GET", &path, None);
    assert!(gone.is_err(), "{gone:?}");
    cluster
        .server_mut()
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(cluster.controller().get(&path).body, before.body);
}

fn kubeconfig(cluster: &Cluster) {
    let text = fs::read_to_string(cluster.kubeconfig()).expect("it can be read");
    let config: Value = serde_json::from_str(&text).expect("it is JSON");
    let (place, user) = (
        &config["clusters"][0]["cluster"],
        &config["users"][0]["user"],
    );
    assert_eq!(
        (&place["server"], &place["certificate-authority"]),
        (
            &json!(format!("https://{}", cluster.server().address())),
            &json!(cluster.server().tls().ca_file())
        )
    );
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let token = user["token"].as_str().unwrap_or_default();
    let answer = cluster.server().client(token).send(
        "POST",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        Some(&review),
    );
    assert_eq!(answer.body["status"]["userInfo"]["username"], USER);
}
