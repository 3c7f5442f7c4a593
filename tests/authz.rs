//! `ext_authz` served by the controller: an Envoy that does not run the filter has the same verdicts.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a trial fails by panicking"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use e2e::binaries::{ENVOY, ENVOY_WITHOUT_WASM, OLDER_ENVOYS};
use e2e::client::Version;
use e2e::trials::{Trials, expect, statuses};
use e2e::{Receiver, Request, readme};
use serde_json::{Value, json};

use crate::stage::{Asking, Unready, ext_authz};

#[path = "authz/stage.rs"]
mod stage;
#[path = "receive/table.rs"]
mod table;

/// The largest body that may be configured.
const LARGEST: usize = 26_214_400;

fn main() -> ExitCode {
    let mut trials = Trials::started_by(|| Ok(Asking::start(ENVOY, &[], &[])))
        .shared(
            "the_table_of_requests_has_the_filters_answers_http1",
            |asking| same_table(asking, "authz1", Version::Http1),
        )
        .shared(
            "the_table_of_requests_has_the_filters_answers_http2",
            |asking| same_table(asking, "authz2", Version::Http2),
        )
        .shared(
            "an_admitted_hook_is_triggered_and_a_refused_one_is_not",
            triggers,
        )
        .shared("a_hooks_limit_is_told_with_retry_after", limited)
        .shared(
            "the_client_is_who_is_connected_and_cannot_say_otherwise",
            connected,
        )
        .alone("the_client_is_who_a_trusted_proxy_names", behind_a_proxy)
        .alone(
            "bodies_up_to_25_mib_are_verified_and_larger_ones_refused",
            bodies,
        )
        .alone(
            "without_the_controller_every_hook_is_refused",
            controller_away,
        )
        .alone(
            "a_controller_that_is_not_ready_has_hooks_tried_again",
            not_ready,
        )
        .alone("mutual_tls_secures_the_port", mutual_tls)
        .alone("the_readmes_example_is_what_these_trials_run", example);
    for version in OLDER_ENVOYS.into_iter().chain([ENVOY_WITHOUT_WASM]) {
        trials = trials.alone(format!("envoy_{version}"), move || each_type(version));
    }
    trials.run()
}

fn same_table(asking: &Asking, way: &str, version: Version) {
    let stage = table::Stage::build(&asking.world.forge, way, |receiver| {
        asking.world.add(receiver)
    });
    table::ask(&stage, way, &asking.client(), version);
}

fn triggers(asking: &Asking) {
    let receiver = asking.world.add(&Receiver::new("github", "triggers"));
    let resource = "GitRepository/apps/triggers";
    let hook = asking.world.forge.hook(&receiver);
    let checks = |outcome: &str| {
        let labels = [
            format!("outcome=\"{outcome}\""),
            "type=\"github\"".to_owned(),
        ];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let controller = asking.world.controller();
        controller.metric("hookgate_ext_authz_checks_total", &labels)
    };
    let before = checks("signature");
    expect("forged", &asking.send(hook.clone().forged()), 400);
    assert_eq!(asking.world.requested(resource), 0);
    assert!(checks("signature") > before, "{before}");
    expect("genuine", &asking.send(&hook), 200);
    asking.world.expect_requested(resource);
    assert!(checks("admitted") > 0.0);
}

fn limited(asking: &Asking) {
    let receiver = Receiver::new("generic-hmac", "limited")
        .annotation("hookgate.dev/rate", "0.001")
        .annotation("hookgate.dev/burst", "3");
    let receiver = asking.world.add(&receiver);
    let hook = asking.world.forge.hook(&receiver);
    let forged = Request::from(&hook.clone().forged());
    assert_eq!(statuses(&asking.client(), vec![forged; 5], 2), [400; 5]);
    let genuine = vec![Request::from(&hook); 5];
    let seen = statuses(&asking.client(), genuine, 1);
    assert_eq!(seen, [200, 200, 200, 429, 429], "forged ones cost nothing");
    expect("limited", &asking.send(&hook), 429);
}

fn connected(asking: &Asking) {
    let here = Receiver::new("generic", "connected")
        .annotation("hookgate.dev/allowed-addresses", "127.0.0.51");
    let here = asking.world.add(&here);
    let hook = asking.world.forge.hook(&here);
    let lying = hook
        .clone()
        .also("x-forwarded-for", "127.0.0.51")
        .also("x-hookgate-client", "127.0.0.51");
    let from = |last| {
        asking
            .client()
            .from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
    };
    for (what, client, hook, status) in [
        ("allowed", from(51), &hook, 200),
        ("another", from(52), &hook, 403),
        ("another that lies", from(52), &lying, 403),
    ] {
        let answer = client.send(hook).expect("Envoy answers");
        expect(what, &answer, status);
    }
}

fn behind_a_proxy() {
    let asking = Asking::start(
        ENVOY,
        &["--ext-authz-trusted-hops=1"],
        &[("xff_num_trusted_hops: 0", "xff_num_trusted_hops: 1")],
    );
    let receiver = Receiver::new("generic", "behind")
        .annotation("hookgate.dev/allowed-addresses", "203.0.113.9");
    let hook = asking.world.forge.hook(&asking.world.add(&receiver));
    for (said, status) in [
        ("203.0.113.9", 200),
        ("6.6.6.6, 203.0.113.9", 200),
        ("203.0.113.9, 6.6.6.6", 403),
    ] {
        let answer = asking.send(hook.clone().also("x-forwarded-for", said));
        expect(said, &answer, status);
    }
    expect("nobody is named", &asking.send(&hook), 403);
}

fn bodies() {
    let flag = format!("--max-hook-bytes={LARGEST}");
    let asking = Asking::start(ENVOY, &[&flag], &[]);
    let receiver = asking.world.receiver("generic-hmac");
    let hook = |size| asking.world.forge.hook_with(receiver, &vec![b'x'; size]);
    let largest = hook(LARGEST);
    for version in [Version::Http1, Version::Http2] {
        let request = |hook: &e2e::Hook| Request::from(hook).version(version);
        expect("empty", &asking.send(request(&hook(0))), 200);
        expect("largest", &asking.send(request(&largest)), 200);
        let forged = request(&largest.clone().forged());
        expect("largest, forged", &asking.send(forged), 400);
        expect("larger", &asking.send(request(&hook(LARGEST + 1))), 413);
        let unannounced = request(&hook(LARGEST + 1)).chunked().split_every(100_000);
        expect("larger, unannounced", &asking.send(unannounced), 413);
    }
    // Above what Envoy holds, 27,000,000: it refuses, or cuts the body and says so.
    let whole = hook(29_000_000);
    for request in [
        Request::from(&whole).chunked().split_every(100_000),
        Request::from(&whole).http2().chunked().split_every(100_000),
    ] {
        assert_eq!(asking.send(request).status, 413);
    }
}

fn controller_away() {
    let mut asking = Asking::start(ENVOY, &[], &[]);
    let hook = asking.world.hook("github");
    expect("before", &asking.send(&hook), 200);
    asking.world.kill_controller();
    for _ in 0..4 {
        assert_eq!(asking.send(&hook).status, 403);
        assert_eq!(asking.send(hook.clone().forged()).status, 403);
        assert_eq!(asking.send(Request::get("/")).status, 403);
    }
    asking.world.start_controller();
    asking.await_status(&hook, 200);
    expect("forged, after", &asking.send(hook.forged()), 400);
}

fn not_ready() {
    let unready = Unready::start();
    for version in [Version::Http1, Version::Http2] {
        let request = Request::new("POST", "/hook/unknown").body("{}");
        let answer = unready.client.send(request.version(version));
        expect("no table yet", &answer.expect("Envoy answers"), 503);
    }
}

fn mutual_tls() {
    let asking = Asking::start_with_tls();
    let hook = asking.world.hook("github");
    asking.await_status(&hook, 200);
    expect("forged", &asking.send(hook.clone().forged()), 400);
    // One that shows no certificate is told nothing: refused, as without a controller.
    let stranger = asking.envoy_without_certificate();
    let answer = stranger.client.send(&hook).expect("Envoy answers");
    assert_eq!(answer.status, 403);
}

fn example() {
    let examples = readme::blocks(&readme::section("Other ways in"), "yaml");
    let objects: Vec<Value> = examples
        .iter()
        .flat_map(|yaml| serde_saphyr::from_multiple(yaml).expect("examples are YAML"))
        .collect();
    let proxy = objects.iter().find(|object| object["kind"] == "HTTPProxy");
    let shown = &proxy.expect("an HTTPProxy")["spec"]["virtualhost"]["authorization"];
    let filter = ext_authz();
    let body = &filter["with_request_body"];
    let wanted = json!({
        "extensionRef": {"name": "hookgate", "namespace": "flux-system"},
        "failOpen": filter["failure_mode_allow"],
        "responseTimeout": filter["grpc_service"]["timeout"],
        "withRequestBody": {
            "maxRequestBytes": body["max_request_bytes"],
            "allowPartialMessage": body["allow_partial_message"],
            "packAsBytes": body["pack_as_bytes"],
        },
    });
    assert_eq!(*shown, wanted);
}

fn each_type(version: &str) {
    let asking = Asking::start(version, &[], &[]);
    for http in [Version::Http1, Version::Http2] {
        for receiver in asking.world.receivers() {
            let hook = asking.world.forge.hook(receiver);
            let genuine = Request::from(&hook).version(http);
            expect(&receiver.name, &asking.send(genuine), 200);
            let forged = Request::from(&hook.forged()).version(http);
            let status = asking.send(forged).status;
            assert!(matches!(status, 400 | 404), "{}: {status}", receiver.name);
        }
        let unknown = Request::new("POST", "/").body("{}").version(http);
        expect("unknown", &asking.send(unknown), 404);
    }
}
