//! Which routes lead to the gate, which lead around it, and what their settings do to it.

use serde_json::Value;

use super::{Objects, Point, Way, Wiring, list, text};
use crate::edge::gate::GATE;
use crate::edge::objects::{CONTROLLER_APP, CONTROLLER_SERVICE};

/// The label of notification-controller's Pods, which Hookgate takes the place of.
const FLUX_APP: &str = "notification-controller";

/// A route to one Service.
#[derive(Debug, Default)]
struct Route {
    what: String,
    namespace: String,
    service: String,
    port: Option<u64>,
    is_plain: bool,
    retries: bool,
    /// Settings that become part of the name of Contour's cluster.
    renames: Vec<&'static str>,
}

pub(super) fn points(objects: &Objects, wiring: &Wiring) -> Vec<Point> {
    let mut points = Vec::new();
    let mut routes = Vec::new();
    for (plural, held, read) in [
        (
            "httpproxies",
            &objects.proxies,
            proxy as fn(&Value) -> Vec<Route>,
        ),
        ("ingresses", &objects.ingresses, ingress),
        ("httproutes", &objects.http_routes, http_route),
    ] {
        match held {
            Some(held) => routes.extend(held.iter().flat_map(read)),
            None => points.push(Point::unreadable("routes", plural, "where they lead")),
        }
    }
    if objects.services.is_none() {
        let so_that = "which of them lead to the gate";
        points.push(Point::unreadable("routes", "services", so_that));
    }
    let services = objects.services.as_deref().unwrap_or(&[]);
    let (gates, around) = sorted(services, wiring);
    let here = |route: &&Route| route.namespace == wiring.namespace;
    let to_gate: Vec<&Route> = routes
        .iter()
        .filter(here)
        .filter(|route| gates.contains(&route.service))
        .collect();
    // It may be in what could not be read.
    if to_gate.is_empty() && points.is_empty() {
        points.push(Point::finding(
            "routes",
            format!("no route leads to {}", gates.join(" or ")),
            format!(
                "name the Service {} in namespace {} in a route of the hooks' host",
                gates.first().map_or("", String::as_str),
                wiring.namespace
            ),
        ));
    }
    for route in to_gate {
        points.extend(to_the_gate(route, wiring));
    }
    for route in routes.iter().filter(here) {
        if around.contains(&route.service) {
            points.push(Point::finding(
                "around",
                format!("{} leads to {}, around the gate", route.what, route.service),
                format!("name {} there", gates.first().map_or("", String::as_str)),
            ));
        }
    }
    if wiring.way == Way::Pinned {
        points.extend(placeholder(services, objects.services.is_some(), wiring));
        points.extend(endpoints(objects.endpoints.as_deref(), wiring));
    }
    points
}

/// The placeholder has nobody behind it: without the overlay hooks would go there.
fn endpoints(slices: Option<&[Value]>, wiring: &Wiring) -> Option<Point> {
    let Some(slices) = slices else {
        let so_that = "whether the placeholder has any";
        return Some(Point::unreadable("placeholder", "endpointslices", so_that));
    };
    let has_some = slices.iter().any(|slice| {
        text(slice, "/metadata/namespace") == wiring.namespace
            && text(slice, "/metadata/labels/kubernetes.io~1service-name") == wiring.service
            && !list(slice, "/endpoints").is_empty()
    });
    has_some.then(|| {
        let named = format!("{}/{}", wiring.namespace, wiring.service);
        Point::finding(
            "placeholder",
            format!("Service {named} has endpoints: without the overlay hooks would go there"),
            "delete its EndpointSlices, and Endpoints of its name",
        )
    })
}

/// The Services that lead to the gate, and those that lead to the controller past it.
fn sorted(services: &[Value], wiring: &Wiring) -> (Vec<String>, Vec<String>) {
    let app = |service: &Value| text(service, "/spec/selector/app").to_owned();
    let mine = services
        .iter()
        .filter(|service| text(service, "/metadata/namespace") == wiring.namespace);
    let name = |service: &Value| text(service, "/metadata/name").to_owned();
    let mut gates = vec![wiring.service.clone()];
    let mut around = vec![CONTROLLER_SERVICE.to_owned()];
    for service in mine {
        match app(service).as_str() {
            GATE if wiring.way == Way::Gate => gates.push(name(service)),
            CONTROLLER_APP | FLUX_APP => around.push(name(service)),
            _ => {}
        }
    }
    if services.is_empty() && wiring.service != "webhook-receiver" {
        around.push("webhook-receiver".to_owned());
    }
    gates.dedup();
    // A Service that was asked for, and leads to the controller, is no gate.
    let leads_past = |gate: &String| {
        services.iter().any(|service| {
            text(service, "/metadata/namespace") == wiring.namespace
                && &name(service) == gate
                && matches!(app(service).as_str(), CONTROLLER_APP | FLUX_APP)
        })
    };
    gates.retain(|gate| !leads_past(gate));
    around.retain(|name| !gates.contains(name));
    (gates, around)
}

fn to_the_gate(route: &Route, wiring: &Wiring) -> Vec<Point> {
    let mut points = Vec::new();
    let what = &route.what;
    if wiring.way == Way::Pinned {
        for setting in &route.renames {
            points.push(Point::finding(
                "name",
                format!("{what}: {setting} becomes part of the name of Contour's cluster, so that its hooks get 503"),
                format!("take {setting} out of this route"),
            ));
        }
        if route
            .port
            .is_some_and(|port| port != u64::from(wiring.port))
        {
            points.push(Point::finding(
                "name",
                format!(
                    "{what} names another port than {}, so that its hooks get 503",
                    wiring.port
                ),
                format!("name port {}", wiring.port),
            ));
        }
    }
    // The pinned cluster lets none through; behind a Service nothing else stops them.
    if route.retries && wiring.way == Way::Gate {
        points.push(Point::finding(
            "retries",
            format!(
                "{what} has retries: a hook that was answered with an error is sent again and again"
            ),
            "take the retry policy out; senders repeat by themselves",
        ));
    }
    if route.is_plain {
        points.push(Point::finding(
            "plain",
            format!("{what} is served on plain HTTP too, where a sender shows its path to the network; the gate answers 403"),
            "HTTPProxy: a virtualhost.tls, and no permitInsecure; Ingress: tls, and the annotation ingress.kubernetes.io/force-ssl-redirect: \"true\"",
        ));
    }
    if points.is_empty() {
        points.push(Point::fine("routes", format!("{what} leads to the gate")));
    }
    points
}

/// The Service of the pinned way must lead nowhere by itself.
fn placeholder(services: &[Value], were_read: bool, wiring: &Wiring) -> Vec<Point> {
    if !were_read {
        return Vec::new();
    }
    let found = services.iter().find(|service| {
        text(service, "/metadata/namespace") == wiring.namespace
            && text(service, "/metadata/name") == wiring.service
    });
    let named = format!("{}/{}", wiring.namespace, wiring.service);
    let Some(found) = found else {
        return vec![Point::finding(
            "placeholder",
            format!("there is no Service {named}, so that Contour makes no route to it"),
            "apply what `hookgate edge overlay` prints",
        )];
    };
    let mut points = Vec::new();
    if found
        .pointer("/spec/selector")
        .is_some_and(|value| !value.is_null())
    {
        points.push(Point::finding(
            "placeholder",
            format!(
                "Service {named} has a selector: without the overlay hooks would go to its Pods"
            ),
            "take the selector out",
        ));
    }
    let annotations = found
        .pointer("/metadata/annotations")
        .and_then(Value::as_object);
    let protocol = annotations.is_some_and(|held| {
        held.keys()
            .any(|key| key.starts_with("projectcontour.io/upstream-protocol."))
    });
    let h2c = list(found, "/spec/ports")
        .iter()
        .any(|port| text(port, "/appProtocol") == "kubernetes.io/h2c");
    if protocol || h2c {
        points.push(Point::finding(
            "name",
            format!("Service {named} names a protocol, which becomes part of the name of Contour's cluster, so that hooks get 503"),
            "take appProtocol and the annotation projectcontour.io/upstream-protocol out",
        ));
    }
    if points.is_empty() {
        points.push(Point::fine(
            "placeholder",
            format!("Service {named} leads nowhere by itself"),
        ));
    }
    points
}

fn named(object: &Value) -> String {
    format!(
        "{} {}/{}",
        text(object, "/kind"),
        text(object, "/metadata/namespace"),
        text(object, "/metadata/name")
    )
}

fn proxy(object: &Value) -> Vec<Route> {
    let is_root = object.pointer("/spec/virtualhost").is_some();
    let no_tls = is_root && object.pointer("/spec/virtualhost/tls").is_none();
    let mut routes = Vec::new();
    for route in list(object, "/spec/routes") {
        let strategy = text(route, "/loadBalancerPolicy/strategy");
        let of_route = [
            (
                "timeoutPolicy.idleConnection",
                route.pointer("/timeoutPolicy/idleConnection").is_some(),
            ),
            (
                "loadBalancerPolicy.strategy",
                !matches!(strategy, "" | "RoundRobin"),
            ),
            (
                "healthCheckPolicy",
                route.pointer("/healthCheckPolicy").is_some(),
            ),
            (
                "a rewrite of Host",
                sets_host(route, "/requestHeadersPolicy/set"),
            ),
        ];
        for service in list(route, "/services") {
            let of_service = [
                (
                    "slowStartPolicy",
                    service.pointer("/slowStartPolicy").is_some(),
                ),
                (
                    "protocol",
                    matches!(text(service, "/protocol"), "h2" | "h2c" | "tls"),
                ),
                ("validation", service.pointer("/validation").is_some()),
                (
                    "a rewrite of Host",
                    sets_host(service, "/requestHeadersPolicy/set"),
                ),
            ];
            routes.push(Route {
                what: named(object),
                namespace: text(object, "/metadata/namespace").to_owned(),
                service: text(service, "/name").to_owned(),
                port: service.pointer("/port").and_then(Value::as_u64),
                is_plain: no_tls || route.pointer("/permitInsecure") == Some(&Value::Bool(true)),
                retries: route.pointer("/retryPolicy").is_some(),
                renames: of_route
                    .iter()
                    .chain(&of_service)
                    .filter(|(_, is_set)| *is_set)
                    .map(|(setting, _)| *setting)
                    .collect(),
            });
        }
    }
    routes
}

fn sets_host(at: &Value, pointer: &str) -> bool {
    list(at, pointer)
        .iter()
        .any(|header| text(header, "/name").eq_ignore_ascii_case("host"))
}

fn ingress(object: &Value) -> Vec<Route> {
    let annotation = |name: &str| {
        object
            .pointer("/metadata/annotations")
            .and_then(|held| held.get(name))
            .and_then(Value::as_str)
    };
    let forced = annotation("ingress.kubernetes.io/force-ssl-redirect") == Some("true");
    let is_plain = !forced || list(object, "/spec/tls").is_empty();
    let retries = annotation("projectcontour.io/retry-on").is_some();
    let backends = list(object, "/spec/rules")
        .iter()
        .flat_map(|rule| list(rule, "/http/paths"))
        .filter_map(|path| path.pointer("/backend/service"));
    object
        .pointer("/spec/defaultBackend/service")
        .into_iter()
        .chain(backends)
        .map(|service| Route {
            what: named(object),
            namespace: text(object, "/metadata/namespace").to_owned(),
            service: text(service, "/name").to_owned(),
            port: service.pointer("/port/number").and_then(Value::as_u64),
            is_plain,
            retries,
            renames: Vec::new(),
        })
        .collect()
}

fn http_route(object: &Value) -> Vec<Route> {
    let own = text(object, "/metadata/namespace");
    let mut routes = Vec::new();
    for rule in list(object, "/spec/rules") {
        let rewrites = list(rule, "/filters").iter().any(|filter| {
            !text(filter, "/urlRewrite/hostname").is_empty()
                || sets_host(filter, "/requestHeaderModifier/set")
        });
        for backend in list(rule, "/backendRefs") {
            let namespace = match text(backend, "/namespace") {
                "" => own,
                other => other,
            };
            routes.push(Route {
                what: named(object),
                namespace: namespace.to_owned(),
                service: text(backend, "/name").to_owned(),
                port: backend.pointer("/port").and_then(Value::as_u64),
                retries: rule.pointer("/retry").is_some(),
                renames: if rewrites {
                    vec!["a rewrite of Host"]
                } else {
                    Vec::new()
                },
                ..Route::default()
            });
        }
    }
    routes
}
