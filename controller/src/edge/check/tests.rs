//! What is found in the objects of a cluster. Real dumps of real Envoys are looked at in the end-to-end tests.

use serde_json::json;

use super::*;

fn wiring(way: Way) -> Wiring {
    Wiring {
        way,
        namespace: "flux-system".to_owned(),
        service: match way {
            Way::Pinned => "hookgate".to_owned(),
            Way::Gate => "webhook-receiver".to_owned(),
        },
        port: 80,
        contour_namespace: "projectcontour".to_owned(),
    }
}

fn service(name: &str, selector: &Value) -> Value {
    json!({
        "kind": "Service", "metadata": {"namespace": "flux-system", "name": name},
        "spec": {"selector": selector, "ports": [{"port": 80}]},
    })
}

fn proxy(route: &Value) -> Value {
    json!({
        "kind": "HTTPProxy", "metadata": {"namespace": "flux-system", "name": "hooks"},
        "spec": {"virtualhost": {"fqdn": "hooks.example.com", "tls": {"secretName": "tls"}}, "routes": [route]},
    })
}

fn policy(name: &str, app: &str, from: &Value, ports: &Value) -> Value {
    json!({
        "kind": "NetworkPolicy", "metadata": {"namespace": "flux-system", "name": name},
        "spec": {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": from, "ports": ports}]},
    })
}

fn contour() -> Value {
    json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "projectcontour"}}}])
}

/// A pinned cluster as it should be, with this route.
fn pinned(route: &Value) -> Objects {
    Objects {
        proxies: Some(vec![proxy(route)]),
        ingresses: Some(Vec::new()),
        http_routes: Some(Vec::new()),
        services: Some(vec![
            service("hookgate", &Value::Null),
            service("hookgate-controller", &json!({"app": "hookgate"})),
            service("webhook-receiver", &json!({"app": "hookgate"})),
        ]),
        policies: Some(vec![policy(
            "hookgate-edge",
            "hookgate",
            &contour(),
            &json!([{"port": 9292}]),
        )]),
        endpoints: Some(Vec::new()),
    }
}

fn to(name: &str) -> Value {
    json!({"services": [{"name": name, "port": 80}]})
}

fn with(mut route: Value, pointer: &str, value: &Value) -> Value {
    let mut at = &mut route;
    for key in pointer.split('/') {
        at = match key.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[key],
        };
    }
    *at = value.clone();
    route
}

fn findings(objects: &Objects, way: Way) -> Vec<(&'static str, String)> {
    cluster_points(objects, &wiring(way))
        .into_iter()
        .filter(|point| point.change.is_some())
        .map(|point| (point.topic, point.says))
        .collect()
}

#[test]
fn a_wiring_as_it_should_be_has_no_finding() {
    let points = cluster_points(&pinned(&to("hookgate")), &wiring(Way::Pinned));
    let shown: Vec<_> = points.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "ok       routes: HTTPProxy flux-system/hooks leads to the gate",
            "ok       placeholder: Service flux-system/hookgate leads nowhere by itself",
            "ok       network: only the namespace projectcontour and flux-system itself reach the hook port",
        ]
    );
}

#[test]
fn every_setting_that_renames_contours_cluster_is_found() {
    for (pointer, value, setting) in [
        (
            "timeoutPolicy/idleConnection",
            json!("5s"),
            "timeoutPolicy.idleConnection",
        ),
        (
            "loadBalancerPolicy/strategy",
            json!("Cookie"),
            "loadBalancerPolicy.strategy",
        ),
        (
            "healthCheckPolicy",
            json!({"path": "/"}),
            "healthCheckPolicy",
        ),
        (
            "services/0/slowStartPolicy",
            json!({"window": "5s"}),
            "slowStartPolicy",
        ),
        ("services/0/protocol", json!("h2c"), "protocol"),
        (
            "services/0/validation",
            json!({"caSecret": "ca"}),
            "validation",
        ),
        (
            "requestHeadersPolicy",
            json!({"set": [{"name": "Host", "value": "a"}]}),
            "a rewrite of Host",
        ),
    ] {
        let route = with(to("hookgate"), pointer, &value);
        let says = format!(
            "HTTPProxy flux-system/hooks: {setting} becomes part of the name of Contour's cluster, so that its hooks get 503"
        );
        assert_eq!(
            findings(&pinned(&route), Way::Pinned),
            [("name", says)],
            "{pointer}"
        );
    }
}

#[test]
fn settings_that_change_nothing_are_no_finding() {
    for (pointer, value) in [
        ("timeoutPolicy/response", json!("5s")),
        ("loadBalancerPolicy/strategy", json!("RoundRobin")),
        ("retryPolicy", json!({"count": 2})),
        ("pathRewritePolicy", json!({})),
        ("services/0/weight", json!(1)),
    ] {
        let route = with(to("hookgate"), pointer, &value);
        assert_eq!(findings(&pinned(&route), Way::Pinned), [], "{pointer}");
    }
}

#[test]
fn plain_http_is_found() {
    let route = with(to("hookgate"), "permitInsecure", &json!(true));
    let says = |what: &str| {
        let rest = "is served on plain HTTP too, where a sender shows its path to the network; the gate answers 403";
        ("plain", format!("{what} {rest}"))
    };
    assert_eq!(
        findings(&pinned(&route), Way::Pinned),
        [says("HTTPProxy flux-system/hooks")]
    );
    let mut objects = pinned(&to("hookgate"));
    objects.ingresses = Some(vec![json!({
        "kind": "Ingress", "metadata": {"namespace": "flux-system", "name": "hooks"},
        "spec": {"tls": [{"hosts": ["a"]}], "rules": [{"http": {"paths": [
            {"backend": {"service": {"name": "hookgate", "port": {"number": 80}}}},
        ]}}]},
    })]);
    assert_eq!(
        findings(&objects, Way::Pinned),
        [says("Ingress flux-system/hooks")]
    );
}

#[test]
fn a_route_around_the_gate_is_found() {
    let mut objects = pinned(&to("hookgate"));
    objects.http_routes = Some(vec![json!({
        "kind": "HTTPRoute", "metadata": {"namespace": "apps", "name": "old"},
        "spec": {"rules": [{"backendRefs": [{"name": "webhook-receiver", "namespace": "flux-system", "port": 80}]}]},
    })]);
    assert_eq!(
        findings(&objects, Way::Pinned),
        [(
            "around",
            "HTTPRoute apps/old leads to webhook-receiver, around the gate".to_owned()
        )]
    );
}

#[test]
fn an_open_policy_is_found_whatever_others_say() {
    let open = |objects: &mut Objects, policy| objects.policies.as_mut().unwrap().push(policy);
    let mut objects = pinned(&to("hookgate"));
    let everybody = json!([{"namespaceSelector": {}}]);
    open(
        &mut objects,
        policy(
            "allow-scraping",
            "hookgate",
            &everybody,
            &json!([{"port": 8080}]),
        ),
    );
    open(
        &mut objects,
        policy("other", "other", &everybody, &json!([])),
    );
    open(
        &mut objects,
        policy(
            "allow-egress",
            "hookgate",
            &json!([{"podSelector": {}}]),
            &json!([]),
        ),
    );
    assert_eq!(findings(&objects, Way::Pinned), []);
    open(
        &mut objects,
        policy("allow-webhooks", "hookgate", &everybody, &json!([])),
    );
    let says = "NetworkPolicy allow-webhooks lets others reach the hook port around the gate";
    assert_eq!(
        findings(&objects, Way::Pinned),
        [("network", says.to_owned())]
    );
    objects.policies = Some(Vec::new());
    assert_eq!(findings(&objects, Way::Pinned)[0].0, "network");
}

#[test]
fn behind_a_service_retries_multiply_hooks_and_the_service_must_lead_to_the_gate() {
    let route = with(to("webhook-receiver"), "retryPolicy", &json!({"count": 2}));
    let mut objects = pinned(&route);
    objects.services = Some(vec![service(
        "webhook-receiver",
        &json!({"app": "hookgate-gate"}),
    )]);
    objects.policies = Some(vec![policy(
        "hookgate-edge",
        "hookgate",
        &json!([{"podSelector": {"matchLabels": {"app": "hookgate-gate"}}}]),
        &json!([{"port": 9292}]),
    )]);
    let says = "HTTPProxy flux-system/hooks has retries: a hook that was answered with an error is sent again and again";
    assert_eq!(
        findings(&objects, Way::Gate),
        [("retries", says.to_owned())]
    );
    objects.services = Some(vec![service(
        "webhook-receiver",
        &json!({"app": "hookgate"}),
    )]);
    let topics: Vec<_> = findings(&objects, Way::Gate)
        .into_iter()
        .map(|(topic, _)| topic)
        .collect();
    assert_eq!(topics, ["routes", "around"]);
}

#[test]
fn a_placeholder_that_leads_somewhere_is_found() {
    let mut objects = pinned(&to("hookgate"));
    objects.services = Some(vec![service("hookgate", &json!({"app": "x"}))]);
    let says = "Service flux-system/hookgate has a selector: without the overlay hooks would go to its Pods";
    assert_eq!(
        findings(&objects, Way::Pinned),
        [("placeholder", says.to_owned())]
    );
}

#[test]
fn endpoints_of_the_placeholder_are_found() {
    let slice = |service: &str, endpoints: Value| {
        json!({
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": "flux-system", "name": "x",
                "labels": {"kubernetes.io/service-name": service},
            },
            "endpoints": endpoints,
        })
    };
    let mut objects = pinned(&to("hookgate"));
    objects.endpoints = Some(vec![
        slice("hookgate", json!([])),
        slice("webhook-receiver", json!([{"addresses": ["10.0.0.1"]}])),
    ]);
    assert_eq!(findings(&objects, Way::Pinned), []);
    objects.endpoints = Some(vec![slice(
        "hookgate",
        json!([{"addresses": ["10.0.0.1"]}]),
    )]);
    let says =
        "Service flux-system/hookgate has endpoints: without the overlay hooks would go there";
    assert_eq!(
        findings(&objects, Way::Pinned),
        [("placeholder", says.to_owned())]
    );
}

#[test]
fn what_may_not_be_read_is_unknown_and_neither_fine_nor_wrong() {
    let shown: Vec<String> = cluster_points(&Objects::default(), &wiring(Way::Pinned))
        .iter()
        .map(|point| {
            assert!(!point.is_known, "{point}");
            point.to_string()
        })
        .collect();
    let unknown = |topic: &str, plural: &str, so_that: &str| {
        format!(
            "UNKNOWN  {topic}: {plural} may not be read, so that nobody knows {so_that}\n         change: let this user list {plural}"
        )
    };
    assert_eq!(
        shown,
        [
            unknown("routes", "httpproxies", "where they lead"),
            unknown("routes", "ingresses", "where they lead"),
            unknown("routes", "httproutes", "where they lead"),
            unknown("routes", "services", "which of them lead to the gate"),
            unknown(
                "placeholder",
                "endpointslices",
                "whether the placeholder has any"
            ),
            unknown("network", "networkpolicies", "who reaches the hook port"),
        ]
    );
    // One kind that may not be read hides no finding in another.
    let mut objects = pinned(&with(
        to("hookgate"),
        "healthCheckPolicy",
        &json!({"path": "/"}),
    ));
    objects.http_routes = None;
    let topics: Vec<_> = cluster_points(&objects, &wiring(Way::Pinned))
        .into_iter()
        .filter(|point| point.change.is_some())
        .map(|point| (point.topic, point.is_known))
        .collect();
    assert_eq!(topics, [("routes", false), ("name", true)]);
}

#[test]
fn what_is_no_config_dump_is_said_to_be_none() {
    let points = envoy_points(&json!({}), None, &wiring(Way::Pinned));
    assert_eq!(points.len(), 1);
    assert_eq!(points[0].says, "this is no config_dump of an Envoy");
}
