//! What a running Envoy's `/config_dump` says.

use serde_json::Value;

use super::{Point, Way, Wiring, list, text};
use crate::edge::contour::cluster_name;

/// The filters of the chain before the router, in their order.
const CHAIN: [&str; 6] = [
    "hookgate.strip",
    "hookgate.https",
    "hookgate.address",
    "hookgate",
    "hookgate.guard",
    "envoy.filters.http.router",
];

/// From `/config_dump` and, where the admin interface was asked, `/stats`.
#[must_use]
pub fn points(dump: &Value, stats: Option<&str>, wiring: &Wiring) -> Vec<Point> {
    let bootstrap = section(dump, "BootstrapConfigDump");
    let Some(bootstrap) = bootstrap.and_then(|section| section.get("bootstrap")) else {
        return vec![Point::finding(
            "envoy",
            "this is no config_dump of an Envoy",
            "save what its admin interface answers to GET /config_dump",
        )];
    };
    let mut points = vec![version(bootstrap), engine(bootstrap)];
    if wiring.way == Way::Pinned {
        points.extend(pin(dump, bootstrap, wiring));
    }
    points.push(chain(bootstrap, wiring));
    points.push(table(dump, stats));
    points
}

fn section<'v>(dump: &'v Value, kind: &str) -> Option<&'v Value> {
    list(dump, "/configs")
        .iter()
        .find(|section| text(section, "/@type").ends_with(kind))
}

fn version(bootstrap: &Value) -> Point {
    let number = |name: &str| {
        bootstrap
            .pointer(&format!("/node/user_agent_build_version/version/{name}"))
            .and_then(Value::as_u64)
            .unwrap_or(0)
    };
    let (major, minor, patch) = (
        number("major_number"),
        number("minor_number"),
        number("patch"),
    );
    let says = format!("Envoy {major}.{minor}.{patch}");
    if (major, minor) >= (1, 38) {
        return Point::fine("version", says);
    }
    Point::finding(
        "version",
        format!("{says} is older than what is tested"),
        "use 1.38 or newer, which Contour 1.33.6 and later come with",
    )
}

fn engine(bootstrap: &Value) -> Point {
    let has = list(bootstrap, "/node/extensions")
        .iter()
        .any(|extension| text(extension, "/name") == "envoy.wasm.runtime.v8");
    if has {
        return Point::fine("wasm", "this Envoy has a Wasm engine");
    }
    Point::finding(
        "wasm",
        "this Envoy has no Wasm engine, so that every hook gets 503",
        "use an image of the Envoy project, such as envoyproxy/envoy:distroless-v1.40.0",
    )
}

fn pin(dump: &Value, bootstrap: &Value, wiring: &Wiring) -> Vec<Point> {
    let wanted = cluster_name(&wiring.namespace, &wiring.service, wiring.port);
    let pinned = list(bootstrap, "/static_resources/clusters")
        .iter()
        .find(|cluster| text(cluster, "/name") == wanted);
    let Some(pinned) = pinned else {
        return vec![Point::finding(
            "pin",
            format!("this Envoy has no static cluster {wanted:?}"),
            "print the overlay for this namespace, Service and port, and look that Envoy's arguments have --config-yaml",
        )];
    };
    let leads_to = text(
        pinned,
        "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/envoy_internal_address/server_listener_name",
    );
    let mut points = vec![if leads_to == "hookgate" {
        Point::fine("pin", format!("{wanted} leads to the gate"))
    } else {
        Point::finding(
            "pin",
            format!("{wanted} does not lead to the internal listener hookgate"),
            "print the overlay again",
        )
    }];
    if pinned.pointer("/circuit_breakers/thresholds/0/max_retries") != Some(&Value::from(0)) {
        points.push(Point::finding(
            "retries",
            "the pinned cluster lets routes send a hook again",
            "print the overlay again",
        ));
    }
    // The same Service under another name: a setting of a route or of the Service is part of it.
    let start = wanted.rsplit_once('/').map_or("", |(start, _)| start);
    let clusters = section(dump, "ClustersConfigDump");
    let dynamic = clusters.map_or(&[][..], |section| list(section, "/dynamic_active_clusters"));
    for name in dynamic.iter().map(|cluster| text(cluster, "/cluster/name")) {
        let is_other = name
            .strip_prefix(start)
            .is_some_and(|rest| rest.starts_with('/'));
        if is_other && name != wanted {
            points.push(Point::finding(
                "name",
                format!("Contour made {name:?} of the Service, so that this route's hooks get 503"),
                "take from route and Service: timeoutPolicy.idleConnection, a load-balancing strategy, healthCheckPolicy, slowStartPolicy, protocol h2c or tls, validation, a rewrite of Host",
            ));
        }
    }
    points
}

fn chain(bootstrap: &Value, wiring: &Wiring) -> Point {
    let change = match wiring.way {
        Way::Pinned => "print it again with `hookgate edge overlay`",
        Way::Gate => "print it again with `hookgate edge gate`",
    };
    let listener = list(bootstrap, "/static_resources/listeners")
        .iter()
        .find(|listener| text(listener, "/name") == "hookgate");
    let Some(listener) = listener else {
        return Point::finding("chain", "this Envoy has no listener hookgate", change);
    };
    let manager = "/filter_chains/0/filters/0/typed_config";
    let filters = list(listener, &format!("{manager}/http_filters"));
    let names: Vec<_> = filters.iter().map(|filter| text(filter, "/name")).collect();
    if names != CHAIN {
        return Point::finding(
            "chain",
            format!("the filters are {names:?}, and not {CHAIN:?}"),
            change,
        );
    }
    let default = filters.iter().any(|filter| {
        filter.pointer("/config_discovery/default_config/abort/http_status")
            == Some(&Value::from(503))
    });
    let guard = filters.iter().any(|filter| {
        let header = "/typed_config/rules/policies/verified/permissions/0/header/name";
        text(filter, header) == "x-hookgate-verified"
            && text(filter, "/typed_config/rules/action") != "DENY"
    });
    if !default || !guard {
        return Point::finding(
            "chain",
            "without the filter this chain is an open door: its default is no 503, or its guard wants no mark",
            change,
        );
    }
    Point::fine(
        "chain",
        "the filter is there, 503 in its place until it comes, and the guard behind it",
    )
}

fn table(dump: &Value, stats: Option<&str>) -> Point {
    let rejected: u64 = stats
        .unwrap_or("")
        .lines()
        .filter_map(|line| line.rsplit_once(": "))
        .filter(|(name, _)| {
            name.contains("extension_config_discovery") && name.ends_with("update_rejected")
        })
        .filter_map(|(_, count)| count.parse::<u64>().ok())
        .sum();
    let held = section(dump, "EcdsConfigDump")
        .map_or(&[][..], |section| list(section, "/ecds_filters"))
        .iter()
        .find(|filter| text(filter, "/ecds_filter/name") == "hookgate");
    let version = held.map_or("", |filter| text(filter, "/version_info"));
    let is_filter = held.is_some_and(|filter| {
        text(filter, "/ecds_filter/typed_config/@type").ends_with("wasm.v3.Wasm")
    });
    // A saved dump has no counters, but says whether the last push was refused. Its details may name what is in the table.
    let was_refused = held.is_some_and(|filter| filter.pointer("/error_state").is_some());
    let refused = if rejected > 0 {
        format!("; it has refused {rejected} pushes since it started")
    } else if was_refused {
        "; it has refused the last push".to_owned()
    } else {
        String::new()
    };
    if !is_filter || version.is_empty() {
        return Point::finding(
            "table",
            format!(
                "this Envoy has no filter and no table yet, so that every hook gets 503{refused}"
            ),
            "look whether it reaches the controller's xDS port, and what its log and the controller's say",
        );
    }
    if !refused.is_empty() {
        return Point::finding(
            "table",
            format!("the table is {version}{refused}"),
            "`hookgate explain receiver` and the controller's log say why; the last good table stays",
        );
    }
    Point::fine("table", format!("the table is {version}"))
}
