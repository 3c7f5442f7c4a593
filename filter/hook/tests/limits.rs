//! What the Gate remembers between hooks: rates, refusals, and the clients it admitted lately.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod support;

use hook::bucket::Limit;
use hook::config::{Config, Slot};
use hook::gate::{Gate, SMALL_BODY, Step};
use ring::hmac;

use crate::support::{BODY, MAX_BODY, MemoryHost, Receiver, config, decide, gate, outcome, post};

const FORGED: &str = "sha256=00";
const STRANGER: &str = "203.0.113.9";
const FRIEND: &str = "192.0.2.1";

/// `generic-hmac` with a small failure bucket that refills one a second.
fn table() -> Config {
    let mut table = config(&[Receiver::new("generic-hmac")]);
    table.failures = Limit::per_second(1, 3);
    table
}

fn path() -> String {
    Receiver::new("generic-hmac").path(Slot::Token)
}

/// The signature by another implementation than ours.
fn sign(body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"token");
    format!("sha256={}", hex::encode(hmac::sign(&key, body)))
}

struct Sender<'a> {
    gate: &'a Gate,
    host: &'a MemoryHost,
    now_ms: u64,
}

impl<'a> Sender<'a> {
    /// One whose clock stands still.
    fn new(gate: &'a Gate, host: &'a MemoryHost) -> Self {
        Self {
            gate,
            host,
            now_ms: 0,
        }
    }

    /// Sends a body in chunks of 16 KiB, as Envoy gives it.
    fn send(&self, signature: &str, body: &[u8], declared: bool) -> String {
        let (path, length) = (path(), body.len().to_string());
        let mut headers = vec![("x-signature", signature)];
        if declared {
            headers.push(("content-length", &length));
        }
        let request = post(&path, &headers);
        let chunks = body.chunks(16 * 1024);
        outcome(&decide(self.gate, self.host, &request, chunks, self.now_ms))
    }

    fn genuine(&self, body: &[u8], declared: bool) -> String {
        self.send(&sign(body), body, declared)
    }

    fn empty_failure_bucket(&self) {
        for _ in 0..3 {
            assert_eq!(self.send(FORGED, BODY, true), "400 signature");
        }
    }
}

fn body(len: u64) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

#[test]
fn hooks_above_the_rate_are_told_when_to_come_back() {
    let mut receiver = Receiver::new("generic-hmac");
    receiver.limit = Limit {
        millirate: 100,
        burst: 2,
    };
    let (gate, host) = (gate(&config(&[receiver])), MemoryHost::default());
    let got: Vec<_> = [0, 0, 0, 1_000, 9_999, 10_000, 10_000]
        .into_iter()
        .map(|now_ms| {
            let (gate, host) = (&gate, &host);
            Sender { gate, host, now_ms }.genuine(BODY, true)
        })
        .collect();
    assert_eq!(
        got,
        [
            "admitted",
            "admitted",
            "429 rate_limit retry-after 10",
            "429 rate_limit retry-after 9",
            "429 rate_limit retry-after 1",
            "admitted",
            "429 rate_limit retry-after 10",
        ]
    );
}

#[test]
fn forged_hooks_take_nothing_from_the_rate_of_genuine_ones() {
    let mut receiver = Receiver::new("generic-hmac");
    receiver.limit = Limit::per_second(1, 1);
    let (gate, host) = (gate(&config(&[receiver])), MemoryHost::default());
    let sender = Sender::new(&gate, &host);
    for _ in 0..1000 {
        assert_eq!(sender.send(FORGED, BODY, true), "400 signature");
    }
    assert_eq!(sender.genuine(BODY, true), "admitted");
}

#[test]
fn ignored_hooks_count_against_the_rate() {
    let mut receiver = Receiver::new("gitlab");
    receiver.limit = Limit::per_second(1, 1);
    receiver.events = vec!["Push Hook".into()];
    let (path, host) = (receiver.path(Slot::Token), MemoryHost::default());
    let gate = gate(&config(&[receiver]));
    let request = post(
        &path,
        &[("x-gitlab-token", "token"), ("x-gitlab-event", "Note Hook")],
    );
    let got = [0, 0].map(|now| outcome(&decide(&gate, &host, &request, [BODY], now)));
    assert_eq!(got, ["200 ignored", "429 rate_limit retry-after 1"]);
}

#[test]
fn every_receiver_has_its_own_limits() {
    let [mut a, mut b] = ["a", "b"].map(|name| Receiver {
        name: name.into(),
        ..Receiver::new("generic")
    });
    a.limit = Limit::per_second(1, 1);
    b.limit = Limit::per_second(1, 1);
    let paths = [a.path(Slot::Token), b.path(Slot::Token)];
    let (gate, host) = (gate(&config(&[a, b])), MemoryHost::default());
    let send = |n: usize| {
        let request = post(&paths[n], &[]);
        outcome(&decide(&gate, &host, &request, [], 0))
    };
    assert_eq!(
        [send(0), send(0), send(1)],
        ["admitted", "429 rate_limit retry-after 1", "admitted"]
    );
}

#[test]
fn a_flood_of_forged_hooks_never_locks_small_genuine_ones_out() {
    let (gate, host) = (gate(&table()), MemoryHost::at(STRANGER));
    let sender = Sender::new(&gate, &host);
    sender.empty_failure_bucket();
    for len in [0, 17, SMALL_BODY - 1, SMALL_BODY] {
        for declared in [true, false] {
            // A fresh stranger each time, so that none is known from before.
            host.move_to(&format!("203.0.113.{}", len % 200));
            assert_eq!(
                sender.genuine(&body(len), declared),
                "admitted",
                "{len} bytes"
            );
        }
    }
    assert_eq!(sender.send(FORGED, BODY, true), "400 signature");
}

#[test]
fn a_flood_of_forged_hooks_stops_large_ones_of_strangers_only() {
    let (gate, host) = (gate(&table()), MemoryHost::at(FRIEND));
    let sender = Sender::new(&gate, &host);
    let (small, large) = (body(17), body(SMALL_BODY + 1));
    let (largest, above) = (body(MAX_BODY), body(MAX_BODY + 1));
    assert_eq!(sender.genuine(&small, true), "admitted");
    host.move_to(STRANGER);
    assert_eq!(sender.genuine(&large, true), "admitted", "before the flood");
    host.move_to("198.51.100.1");
    sender.empty_failure_bucket();
    for declared in [true, false] {
        assert_eq!(
            sender.genuine(&large, declared),
            "429 failure_limit retry-after 1"
        );
    }
    assert_eq!(
        sender.genuine(&above, true),
        "413 too_large",
        "that is no matter of trust"
    );
    host.peer.set(None);
    assert_eq!(
        sender.genuine(&large, true),
        "429 failure_limit retry-after 1",
        "nobody knows an unknown address"
    );
    for friend in [FRIEND, "::ffff:192.0.2.1", STRANGER] {
        host.move_to(friend);
        for declared in [true, false] {
            assert_eq!(sender.genuine(&large, declared), "admitted", "{friend}");
            assert_eq!(sender.genuine(&largest, declared), "admitted", "{friend}");
        }
    }
    assert_eq!(
        sender.send(FORGED, &large, true),
        "400 signature",
        "to be known is no proof"
    );
}

#[test]
fn a_declared_length_is_refused_before_the_first_byte() {
    let (gate, host) = (gate(&table()), MemoryHost::at(STRANGER));
    let sender = Sender::new(&gate, &host);
    sender.empty_failure_bucket();
    let path = path();
    for (length, want) in [
        ("65536", None),
        ("65537", Some("429 failure_limit retry-after 1")),
        ("3145728", Some("429 failure_limit retry-after 1")),
        ("3145729", Some("413 too_large")),
    ] {
        let request = post(
            &path,
            &[("x-signature", FORGED), ("content-length", length)],
        );
        let got = match gate.headers(&request, false, 0, &host) {
            Step::Done(decision) => Some(outcome(&decision)),
            Step::Body(_) => None,
        };
        assert_eq!(got.as_deref(), want, "{length}");
    }
}

#[test]
fn strangers_are_heard_again_when_the_flood_is_over() {
    let (gate, host) = (gate(&table()), MemoryHost::at(STRANGER));
    let at = |now_ms| Sender {
        gate: &gate,
        host: &host,
        now_ms,
    };
    at(0).empty_failure_bucket();
    let large = body(SMALL_BODY + 1);
    assert_eq!(
        at(999).genuine(&large, true),
        "429 failure_limit retry-after 1"
    );
    assert_eq!(at(1_000).genuine(&large, true), "admitted");
}

#[test]
fn clients_in_one_ipv6_64_are_one() {
    let (gate, host) = (gate(&table()), MemoryHost::at("2001:db8::1"));
    let sender = Sender::new(&gate, &host);
    assert_eq!(sender.genuine(BODY, true), "admitted");
    sender.empty_failure_bucket();
    let large = body(SMALL_BODY + 1);
    host.move_to("2001:db8::ffff:2");
    assert_eq!(sender.genuine(&large, true), "admitted");
    host.move_to("2001:db8:0:1::1");
    assert_eq!(
        sender.genuine(&large, true),
        "429 failure_limit retry-after 1"
    );
}

#[test]
fn eight_clients_are_remembered_and_the_ninth_takes_the_place_of_the_stalest() {
    let (gate, host) = (gate(&table()), MemoryHost::default());
    let sender = Sender::new(&gate, &host);
    for n in 1..=9 {
        host.move_to(&format!("192.0.2.{n}"));
        assert_eq!(sender.genuine(BODY, true), "admitted");
    }
    sender.empty_failure_bucket();
    let large = body(SMALL_BODY + 1);
    host.move_to("192.0.2.1");
    assert_eq!(
        sender.genuine(&large, true),
        "429 failure_limit retry-after 1"
    );
    for n in 2..=9 {
        host.move_to(&format!("192.0.2.{n}"));
        assert_eq!(sender.genuine(&large, true), "admitted", "{n}");
    }
}

#[test]
fn limits_outlive_a_new_table_and_a_rotated_token() {
    let mut receiver = Receiver::new("generic-hmac");
    receiver.limit = Limit::per_second(1, 1);
    let table = |receiver: &Receiver| {
        let mut table = config(std::slice::from_ref(receiver));
        table.failures = Limit::per_second(1, 3);
        gate(&table)
    };
    let (before, host) = (table(&receiver), MemoryHost::at(FRIEND));
    let sender = |gate| Sender::new(gate, &host);
    assert_eq!(sender(&before).genuine(BODY, true), "admitted");
    sender(&before).empty_failure_bucket();

    receiver.token_previous = Some(b"token".to_vec());
    receiver.token = b"fresh".to_vec();
    receiver.events = vec!["push".into()];
    let after = table(&receiver);
    assert_eq!(
        sender(&after).genuine(BODY, true),
        "429 rate_limit retry-after 1"
    );
    let large = body(SMALL_BODY + 1);
    assert_eq!(
        sender(&after).genuine(&large, true),
        "429 rate_limit retry-after 1",
        "a friend is still one, though too fast"
    );
    host.move_to(STRANGER);
    assert_eq!(
        sender(&after).genuine(&large, true),
        "429 failure_limit retry-after 1"
    );
    assert_eq!(host.records(), 1, "one record a Receiver");
}

#[test]
fn only_refusals_of_credentials_fill_the_failure_bucket() {
    let large = body(SMALL_BODY + 1);
    let signature = sign(&large);
    let path = path();
    let fails = |headers: &[(&str, &str)], method: &[u8], change: fn(&mut Receiver)| {
        let mut receiver = Receiver::new("generic-hmac");
        change(&mut receiver);
        let mut refusing = config(&[receiver]);
        refusing.failures = Limit::per_second(1, 1);
        let mut table = table();
        table.failures = refusing.failures;
        let (refusing, serving) = (gate(&refusing), gate(&table));
        let host = MemoryHost::at(STRANGER);
        let mut request = post(&path, headers);
        request.method = method;
        let refused = decide(&refusing, &host, &request, [BODY], 0);
        let next = post(&path, &[("x-signature", &signature)]);
        let next = decide(&serving, &host, &next, [&large[..]], 0);
        (outcome(&refused), next.status() == Some(429))
    };
    let suspend = |r: &mut Receiver| r.state = hook::config::State::Suspended;
    let fence = |r: &mut Receiver| r.addresses = vec!["192.0.2.0/24".parse().unwrap()];
    let strict = |r: &mut Receiver| r.min_hash = hook::mac::Hash::Sha512;
    for (got, want, counts) in [
        (
            fails(&[("x-signature", FORGED)], b"POST", |_| {}),
            "400 signature",
            true,
        ),
        (
            fails(&[("x-signature", "x")], b"POST", |_| {}),
            "400 malformed_signature",
            true,
        ),
        (fails(&[], b"POST", |_| {}), "400 missing_signature", true),
        (
            fails(&[("content-length", "x")], b"POST", |_| {}),
            "400 bad_request",
            true,
        ),
        (
            fails(&[("x-signature", FORGED)], b"POST", strict),
            "400 hash_not_allowed",
            true,
        ),
        (fails(&[], b"GET", |_| {}), "405 method", false),
        (
            fails(&[("content-length", "9999999")], b"POST", |_| {}),
            "413 too_large",
            false,
        ),
        (
            fails(&[], b"POST", suspend),
            "503 suspended retry-after 60",
            false,
        ),
        (fails(&[], b"POST", fence), "403 address_not_allowed", false),
    ] {
        assert_eq!(got, (want.to_owned(), counts));
    }
}

#[test]
fn a_body_above_the_limit_is_refused_at_the_byte_that_is_too_many() {
    let (gate, host) = (gate(&table()), MemoryHost::default());
    let sender = Sender::new(&gate, &host);
    let (fits, above) = (body(MAX_BODY), body(MAX_BODY + 1));
    for declared in [true, false] {
        assert_eq!(sender.genuine(&fits, declared), "admitted");
        assert_eq!(sender.genuine(&above, declared), "413 too_large");
    }
}

#[test]
fn a_body_that_belies_its_declared_length_is_still_held_to_the_limit() {
    let (gate, host) = (gate(&table()), MemoryHost::default());
    let (path, above) = (path(), body(MAX_BODY + 1));
    let signature = sign(&above);
    let request = post(
        &path,
        &[("x-signature", &signature), ("content-length", "17")],
    );
    let decision = decide(&gate, &host, &request, above.chunks(16 * 1024), 0);
    assert_eq!(outcome(&decision), "413 too_large");
}

#[test]
fn hashing_a_body_that_never_fits_is_charged_like_a_forged_one() {
    let (gate, host) = (gate(&table()), MemoryHost::at(STRANGER));
    let sender = Sender::new(&gate, &host);
    let above = body(MAX_BODY + 1);
    for _ in 0..3 {
        assert_eq!(sender.send(FORGED, &above, false), "413 too_large");
    }
    assert_eq!(
        sender.send(FORGED, &above, false),
        "429 failure_limit retry-after 1"
    );
}

#[test]
fn hashing_a_body_that_never_ends_is_charged_like_a_forged_one() {
    let (gate, host) = (gate(&table()), MemoryHost::at(STRANGER));
    let sender = Sender::new(&gate, &host);
    let path = path();
    let request = post(&path, &[("x-signature", FORGED)]);
    for _ in 0..3 {
        let Step::Body(mut pending) = gate.headers(&request, false, 0, &host) else {
            panic!("a signed type needs the body");
        };
        pending.chunk(BODY, 0, &host).unwrap();
        assert_eq!(outcome(&pending.abort(0, &host)), "400 bad_request");
    }
    assert_eq!(
        sender.genuine(&body(SMALL_BODY + 1), true),
        "429 failure_limit retry-after 1"
    );
}

#[test]
fn a_store_that_fails_admits_nothing() {
    let (gate, host) = (gate(&table()), MemoryHost::default());
    let sender = Sender::new(&gate, &host);
    host.works.set(false);
    assert_eq!(sender.genuine(BODY, true), "503 busy retry-after 1");
    let large = body(SMALL_BODY + 1);
    for declared in [true, false] {
        assert_eq!(sender.genuine(&large, declared), "503 busy retry-after 1");
    }
    assert_eq!(sender.send(FORGED, BODY, true), "400 signature");
    host.works.set(true);
    assert_eq!(sender.genuine(BODY, true), "admitted");
}

#[test]
fn of_two_receivers_on_one_path_the_first_in_the_table_is_served() {
    let first = Receiver::new("harbor");
    let second = Receiver::new("generic");
    let path = first.path(Slot::Token);
    let host = MemoryHost::default();
    let got = [[&first, &second], [&second, &first]].map(|order| {
        let gate = gate(&config(&order.map(Clone::clone)));
        decide(&gate, &host, &post(&path, &[]), [], 0).receiver_type()
    });
    assert_eq!(got, ["harbor", "generic"]);
}
