//! What the controller may do with the rights that are shipped, and what it may not.

use std::collections::{BTreeMap, BTreeSet};

use e2e::api::{collection, path_of};
use e2e::cluster::{NAMESPACE, SERVICE_ACCOUNT, shipped};
use e2e::trials::Trials;
use e2e::wait::{PATIENCE, until};
use e2e::{Api, Cluster, flux};
use serde_json::{Value, json};

/// The lease of notification-controller, so that the two never both lead.
const LEASE: &str = "notification-controller-leader-election";

/// What `envoy/controller/rbac.yaml` comes to in the controller's namespace: a resource, names if only those, and verbs.
const RIGHTS: [(&str, &str); 20] = [
    ("coordination.k8s.io/leases", "create"),
    (
        "coordination.k8s.io/leases notification-controller-leader-election",
        "get update",
    ),
    ("events", "create patch"),
    ("helm.toolkit.fluxcd.io/helmreleases", RECONCILED),
    ("image.toolkit.fluxcd.io/imagepolicies", RECONCILED),
    ("image.toolkit.fluxcd.io/imagerepositories", RECONCILED),
    ("image.toolkit.fluxcd.io/imageupdateautomations", RECONCILED),
    ("kustomize.toolkit.fluxcd.io/kustomizations", RECONCILED),
    ("notification.toolkit.fluxcd.io/alerts", RECONCILED),
    ("notification.toolkit.fluxcd.io/providers", RECONCILED),
    ("notification.toolkit.fluxcd.io/receivers", RECONCILED),
    ("notification.toolkit.fluxcd.io/receivers/status", "patch"),
    ("secrets", "get list watch"),
    ("source.extensions.fluxcd.io/artifactgenerators", RECONCILED),
    ("source.toolkit.fluxcd.io/buckets", RECONCILED),
    ("source.toolkit.fluxcd.io/externalartifacts", RECONCILED),
    ("source.toolkit.fluxcd.io/gitrepositories", RECONCILED),
    ("source.toolkit.fluxcd.io/helmcharts", RECONCILED),
    ("source.toolkit.fluxcd.io/helmrepositories", RECONCILED),
    ("source.toolkit.fluxcd.io/ocirepositories", RECONCILED),
];

/// The verbs for what is watched and patched.
const RECONCILED: &str = "get list patch watch";

pub(crate) fn trials(trials: Trials<Cluster>) -> Trials<Cluster> {
    trials
        .shared(
            "the_controller_has_exactly_the_rights_that_it_needs",
            rights,
        )
        .shared("the_controller_can_do_its_work", allowed)
        .shared("the_controller_can_do_nothing_else", forbidden)
        .shared(
            "tokens_of_service_accounts_come_with_the_file_for_workload_identity",
            workload_identity,
        )
}

fn rights(cluster: &Cluster) {
    let namespace = cluster.namespace("rights");
    let anybody = rights_of(&service_account(cluster, &namespace, "anybody"));
    let held: BTreeSet<(String, String)> = rights_of(cluster.controller())
        .difference(&anybody)
        .cloned()
        .collect();
    let mut by_resource = BTreeMap::<String, Vec<String>>::new();
    for (resource, verb) in held {
        by_resource.entry(resource).or_default().push(verb);
    }
    let held: Vec<(String, String)> = by_resource
        .into_iter()
        .map(|(resource, verbs)| (resource, verbs.join(" ")))
        .collect();
    let wanted = RIGHTS.map(|(resource, verbs)| (resource.to_owned(), verbs.to_owned()));
    assert_eq!(held, wanted);
}

/// Resource and verb of everything that somebody may do in the controller's namespace.
fn rights_of(somebody: &Api) -> BTreeSet<(String, String)> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": NAMESPACE},
    });
    let answer = somebody.send(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        Some(&review),
    );
    assert_eq!(
        (answer.status, &answer.body["status"]["incomplete"]),
        (201, &json!(false)),
        "{}",
        answer.body
    );
    let status = &answer.body["status"];
    let mut rights = BTreeSet::new();
    for rule in status["resourceRules"].as_array().into_iter().flatten() {
        let names = words(&rule["resourceNames"]).join(" ");
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                let resource = format!("{group}/{resource} {names}");
                let resource = resource.trim_start_matches('/').trim_end();
                for verb in words(&rule["verbs"]) {
                    rights.insert((resource.to_owned(), verb));
                }
            }
        }
    }
    for rule in status["nonResourceRules"].as_array().into_iter().flatten() {
        for url in words(&rule["nonResourceURLs"]) {
            for verb in words(&rule["verbs"]) {
                rights.insert((url.clone(), verb));
            }
        }
    }
    rights
}

fn words(list: &Value) -> Vec<String> {
    let words = list.as_array().into_iter().flatten();
    words
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect()
}

fn allowed(cluster: &Cluster) {
    let namespace = cluster.namespace("allowed");
    let (admin, controller) = (cluster.admin(), cluster.controller());
    let notification = "notification.toolkit.fluxcd.io";
    let own = [
        (
            format!("{notification}/v1"),
            "Receiver",
            json!({"type": "github", "resources": [], "secretRef": {"name": "token"}}),
        ),
        (
            format!("{notification}/v1beta3"),
            "Alert",
            json!({"providerRef": {"name": "chat"}, "eventSources": []}),
        ),
        (
            format!("{notification}/v1beta3"),
            "Provider",
            json!({"type": "slack"}),
        ),
    ];
    for (api_version, kind, spec) in own {
        let object = json!({
            "apiVersion": api_version, "kind": kind, "spec": spec,
            "metadata": {"name": "app", "namespace": namespace},
        });
        assert_eq!(admin.create(&object).status, 201, "{kind}");
        reads(controller, &collection(&api_version, kind, None));
        reads(controller, &path_of(&object));
        let finalizer = json!({"metadata": {"finalizers": ["finalizers.fluxcd.io"]}});
        let patched = controller.send("PATCH", &path_of(&object), Some(&finalizer));
        assert_eq!(
            patched.body["metadata"]["finalizers"], finalizer["metadata"]["finalizers"],
            "{kind}: {}",
            patched.body
        );
    }
    let receiver = format!("/apis/{notification}/v1/namespaces/{namespace}/receivers/app/status");
    let status = json!({"status": {"observedGeneration": 1}});
    assert_eq!(
        controller.send("PATCH", &receiver, Some(&status)).status,
        200
    );

    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": {"token": "t"},
        "metadata": {"name": "token", "namespace": namespace},
    });
    assert_eq!(admin.create(&secret).status, 201);
    reads(controller, "/api/v1/secrets");
    watches(controller, "/api/v1/secrets");
    watches(
        controller,
        &collection("notification.toolkit.fluxcd.io/v1", "Receiver", None),
    );
    reads(controller, &path_of(&secret));

    let requested =
        json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}});
    for (kind, ..) in flux::KINDS {
        let object = flux::object(kind, &namespace, "app");
        assert_eq!(admin.create(&object).status, 201, "{kind}");
        reads(controller, &path_of(&object));
        reads(
            controller,
            &collection(&flux::api_version(kind), kind, None),
        );
        let patched = controller.send("PATCH", &path_of(&object), Some(&requested));
        assert_eq!(
            patched.body["metadata"]["annotations"], requested["metadata"]["annotations"],
            "{kind}: {}",
            patched.body
        );
    }

    let event = json!({
        "apiVersion": "v1", "kind": "Event", "reason": "Succeeded", "type": "Normal",
        "metadata": {"name": "app.1", "namespace": namespace},
        "involvedObject": {"kind": "Receiver", "namespace": namespace, "name": "app"},
    });
    assert_eq!(controller.create(&event).status, 201);
    let again = controller.send("PATCH", &path_of(&event), Some(&json!({"count": 2})));
    assert_eq!((again.status, &again.body["count"]), (200, &json!(2)));

    // Only asked: a controller of another trial may hold it.
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": NAMESPACE}, "spec": {"holderIdentity": "x"},
    });
    let asked = controller.dry_run(&lease);
    assert!(matches!(asked.status, 201 | 409), "{}", asked.body);
    let asked = controller.send(
        "PUT",
        &format!("{}?dryRun=All", path_of(&lease)),
        Some(&lease),
    );
    assert!(matches!(asked.status, 200 | 201 | 409), "{}", asked.body);
}

/// Checks that something can be got.
fn reads(controller: &Api, target: &str) {
    let answer = controller.get(target);
    assert_eq!(answer.status, 200, "GET {target}: {}", answer.body);
}

/// Checks that a list can be watched.
fn watches(controller: &Api, target: &str) {
    let watch = format!("{target}?watch=true&timeoutSeconds=1");
    assert_eq!(controller.get(&watch).status, 200, "GET {watch}");
}

fn forbidden(cluster: &Cluster) {
    let namespace = cluster.namespace("forbidden");
    let at = |path: &str| path.replace("{}", &namespace);
    let receivers = "/apis/notification.toolkit.fluxcd.io/v1/namespaces/{}/receivers";
    let providers = "/apis/notification.toolkit.fluxcd.io/v1beta3/namespaces/{}/providers";
    let repositories = "/apis/source.toolkit.fluxcd.io/v1/namespaces/{}/gitrepositories";
    let leases = "/apis/coordination.k8s.io/v1/namespaces/{}/leases";
    let own_lease = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
    let calls = [
        ("GET", "/api/v1/namespaces/{}/configmaps".to_owned()),
        ("GET", "/api/v1/namespaces/{}/pods".to_owned()),
        ("POST", "/api/v1/namespaces/{}/pods".to_owned()),
        ("POST", "/api/v1/namespaces/{}/configmaps".to_owned()),
        ("GET", "/api/v1/namespaces".to_owned()),
        ("GET", "/api/v1/nodes".to_owned()),
        ("GET", "/api/v1/namespaces/{}/events".to_owned()),
        ("DELETE", "/api/v1/namespaces/{}/events".to_owned()),
        ("POST", "/api/v1/namespaces/{}/secrets".to_owned()),
        ("PATCH", "/api/v1/namespaces/{}/secrets/token".to_owned()),
        ("PUT", "/api/v1/namespaces/{}/secrets/token".to_owned()),
        ("DELETE", "/api/v1/namespaces/{}/secrets/token".to_owned()),
        ("GET", "/api/v1/namespaces/{}/serviceaccounts/x".to_owned()),
        (
            "POST",
            "/api/v1/namespaces/{}/serviceaccounts/x/token".to_owned(),
        ),
        ("POST", receivers.to_owned()),
        ("PUT", format!("{receivers}/app")),
        ("DELETE", format!("{receivers}/app")),
        ("DELETE", receivers.to_owned()),
        ("PUT", format!("{receivers}/app/status")),
        ("POST", providers.to_owned()),
        ("DELETE", format!("{providers}/app")),
        ("POST", repositories.to_owned()),
        ("PUT", format!("{repositories}/app")),
        ("DELETE", format!("{repositories}/app")),
        ("PATCH", format!("{repositories}/app/status")),
        ("POST", leases.to_owned()),
        (
            "GET",
            format!("{own_lease}/kustomize-controller-leader-election"),
        ),
        (
            "PUT",
            format!("{own_lease}/kustomize-controller-leader-election"),
        ),
        ("DELETE", format!("{own_lease}/{LEASE}")),
        (
            "GET",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned(),
        ),
        (
            "GET",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles".to_owned(),
        ),
        (
            "POST",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings".to_owned(),
        ),
        ("GET", "/metrics".to_owned()),
    ];
    let allowed: Vec<String> = calls
        .into_iter()
        .map(|(method, path)| (method, at(&path)))
        .filter_map(|(method, path)| {
            let body = (method != "GET").then(|| json!({}));
            let answer = cluster.controller().send(method, &path, body.as_ref());
            (answer.status != 403).then(|| format!("{method} {path}: {}", answer.status))
        })
        .collect();
    assert_eq!(allowed, Vec::<String>::new());
}

fn workload_identity(cluster: &Cluster) {
    let mut objects = shipped("envoy/controller/workload-identity.yaml")
        .expect("the file is YAML")
        .into_iter();
    let (role, binding) = (objects.next(), objects.next());
    let (role, binding) = (role.expect("a role"), binding.expect("a binding"));
    assert_eq!(
        (
            objects.next(),
            &binding["roleRef"]["name"],
            &binding["subjects"]
        ),
        (
            None,
            &role["metadata"]["name"],
            &json!([{"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": NAMESPACE}])
        )
    );
    // The controller of the other trials goes without: somebody else is given the role, in one namespace.
    let namespace = cluster.namespace("identity");
    let admin = cluster.admin();
    let somebody = service_account(cluster, &namespace, "somebody");
    admin.apply(&role);
    admin.apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "identity", "namespace": namespace},
        "roleRef": binding["roleRef"],
        "subjects": [{"kind": "ServiceAccount", "name": "somebody", "namespace": namespace}],
    }));
    let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/somebody");
    // A new binding holds a moment later.
    let read = || (somebody.get(&account).status == 200).then_some(());
    until("the binding", PATIENCE, read).expect("the ServiceAccount can be read");
    let token = somebody.service_account_token(&namespace, "somebody");
    assert!(token.is_ok(), "{token:?}");
    let other = somebody.service_account_token(NAMESPACE, SERVICE_ACCOUNT);
    assert!(other.is_err_and(|refused| refused.contains(" 403 ")));
}

/// A client of a ServiceAccount that is made for it, without any rights.
fn service_account(cluster: &Cluster, namespace: &str, name: &str) -> Api {
    let admin = cluster.admin();
    admin.apply(&json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace},
    }));
    let token = admin
        .service_account_token(namespace, name)
        .expect("a token can be made");
    cluster.server().client(&token)
}
