//! The three kinds of route that Contour knows lead through the gate, with every Envoy that is supported.

use e2e::binaries::{ENVOY, OLDER_ENVOYS};
use e2e::client::Client;
use e2e::cluster::NAMESPACE;
use e2e::trials::Trials;
use e2e::wait::{self, PATIENCE};
use e2e::{Contour, contour};
use serde_json::{Value, json};

use crate::site::{Plan, Site};
use crate::stand::Stand;

/// The version of the Gateway API's kinds.
const API: &str = "gateway.networking.k8s.io/v1";

pub(crate) fn trials(mut trials: Trials<Stand>) -> Trials<Stand> {
    for version in [ENVOY].into_iter().chain(OLDER_ENVOYS) {
        trials = trials
            .shared(
                format!("hooks_by_an_http_proxy_are_verified_in_contours_envoy_{version}"),
                move |stand| http_proxy(stand, "proxy", &plan(version)),
            )
            .shared(
                format!("hooks_by_an_ingress_are_verified_in_contours_envoy_{version}"),
                move |stand| ingress(stand, "ingress", &plan(version)),
            );
    }
    trials.shared(
        "hooks_by_an_http_route_are_verified_in_contours_envoy",
        |stand| http_route(stand, "route", &Plan::default()),
    )
}

fn plan(version: &'static str) -> Plan {
    Plan {
        envoy: version,
        ..Plan::default()
    }
}

/// The Envoy's version as a part of a name.
fn dashed(kind: &str, plan: &Plan) -> String {
    format!("{kind}-{}", plan.envoy.replace('.', "-"))
}

pub(crate) fn http_proxy(stand: &Stand, name: &str, plan: &Plan) {
    let site = Site::start(stand, &dashed(name, plan), plan);
    site.is_open(&stand.hookgate, "hookgate");
}

pub(crate) fn ingress(stand: &Stand, name: &str, plan: &Plan) {
    let site = Site::without_routes(stand, &dashed(name, plan), plan);
    site.apply_route(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": site.receiver.name, "namespace": site.namespace},
        "spec": {
            "ingressClassName": "contour",
            "tls": [{"hosts": [site.host], "secretName": site.secret()}],
            "rules": [{"host": site.host, "http": {"paths": [{
                "path": "/hook/", "pathType": "Prefix",
                "backend": {"service": {"name": site.service, "port": {"number": 80}}},
            }]}}],
        },
    }));
    site.is_open(&stand.hookgate, "hookgate");

    // Contour serves an Ingress over plain HTTP as well, and a hook must not come in by it.
    let before = site.requested_at();
    let answer = Client::plain(site.plain()).send(site.genuine());
    assert_eq!(answer.expect("Envoy answers").status, 403);
    let claimed = site.genuine().header("x-forwarded-proto", "https");
    let answer = Client::plain(site.plain()).send(claimed);
    assert_eq!(answer.expect("Envoy answers").status, 403);
    assert_eq!(site.requested_at(), before);
}

/// The class of Contour's example, and a Gateway with these ports of HTTP, which HTTPProxies need, and HTTPS.
fn gateway(stand: &Stand, name: &str, http: u16, https: u16) -> Value {
    for object in contour::example("gateway/01-gatewayclass.yaml").expect("Contour's example") {
        stand.cluster.admin().apply(&object);
    }
    json!({
        "apiVersion": API, "kind": "Gateway",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"gatewayClassName": "example", "listeners": [
            {"name": "http", "protocol": "HTTP", "port": http},
            {
                "name": "https", "protocol": "HTTPS", "port": https,
                "tls": {"certificateRefs": [{"name": format!("{name}-tls")}]},
            },
        ]},
    })
}

pub(crate) fn http_route(stand: &Stand, name: &str, plan: &Plan) {
    let contour = Contour::start_with_gateway(&stand.cluster, |http, https| {
        gateway(stand, name, http, https)
    });
    let site = Site::behind(contour, stand, name, plan);
    if site.namespace != NAMESPACE {
        lend(&site);
    }
    let route = json!({
        "apiVersion": API, "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "parentRefs": [{"name": name, "sectionName": "https"}],
            "hostnames": [site.host],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": "/hook/"}}],
                "backendRefs": [{"name": site.service, "namespace": site.namespace, "port": 80}],
            }],
        },
    });
    site.apply_route(&route);
    let held = || {
        stand
            .cluster
            .admin()
            .object(API, "HTTPRoute", NAMESPACE, name)
    };
    let accepted = || {
        let conditions = held()["status"]["parents"][0]["conditions"].clone();
        let mut all = conditions.as_array().into_iter().flatten();
        let accepted = all.any(|held| held["type"] == "Accepted" && held["status"] == "True");
        accepted.then_some(())
    };
    wait::until("the HTTPRoute is accepted", PATIENCE, accepted)
        .unwrap_or_else(|error| panic!("{error}: {}", held()["status"]));
    site.is_open(&stand.hookgate, "hookgate");
}

/// The Gateway and its routes are in Flux's namespace: they get the site's certificate, and may name its Service.
fn lend(site: &Site<'_>) {
    let admin = site.cluster.admin();
    let mut secret = admin.object("v1", "Secret", &site.namespace, &site.secret());
    secret["metadata"] = json!({"name": site.secret(), "namespace": NAMESPACE});
    admin.apply(&secret);
    admin.apply(&json!({
        "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
        "metadata": {"name": site.service, "namespace": site.namespace},
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": NAMESPACE}],
            "to": [{"group": "", "kind": "Service"}],
        },
    }));
}
