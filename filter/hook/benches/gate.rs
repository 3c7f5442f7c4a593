//! What the Gate costs: verifying by receiver type and size, looking up among many hooks, the ledger.
//!
//! `cargo bench -p hook` prints a table in Markdown: for each row the fastest of several runs, and their
//! median. `MULTIPLIER=0.1` shortens every run; `--test` does everything once and measures nothing.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its table, and may panic"
)]

#[path = "measure/mod.rs"]
mod measure;
#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hook::bucket::{Limit, TokenBucket};
use hook::config::Slot;
use hook::digest::Digest;
use hook::gate::Gate;
use hook::mac::{Hash, Midstates};
use hook::request::Request;

use crate::measure::{Bench, head};
use crate::support::{MemoryHost, Receiver, config, decide, outcome};

/// Never in the way.
const UNLIMITED: Limit = Limit {
    millirate: u32::MAX,
    burst: u32::MAX,
};
/// As Envoy hands a body on.
const CHUNK: usize = 16 * 1024;
const NOW_MS: u64 = 1_700_000_000_000;
const KB: usize = 1000;

fn main() {
    let bench = Bench::from_environment();
    verify(&bench);
    lookup(&bench);
    ledger(&bench);
}

/// A hook that is genuine, of every type that needs no issuer.
struct Sample {
    name: String,
    receiver: Receiver,
    headers: Vec<(&'static str, String)>,
    /// Whether the body is to be sent as a form's `payload`.
    form: bool,
    /// Whether the verdict rests on the body; else it falls on the head, whatever the size.
    needs_body: bool,
}

fn samples(body: &[u8]) -> Vec<Sample> {
    let mac = |hash: Hash, key: &[u8], parts: &[&[u8]]| {
        let mut mac = Midstates::of(hash, key).start().unwrap();
        for part in parts {
            mac.update(part);
        }
        mac.finish()
    };
    let hub = |hash: Hash| {
        format!(
            "{}={}",
            hash.name(),
            hex::encode(mac(hash, b"token", &[body]))
        )
    };
    let json = || ("content-type", "application/json".to_owned());
    let mut samples = Vec::new();
    let mut add = |name: &str, receiver_type: &str, headers: Vec<(&'static str, String)>| {
        samples.push(Sample {
            name: name.to_owned(),
            receiver: Receiver::new(receiver_type),
            headers,
            form: false,
            needs_body: true,
        });
    };
    add("generic", "generic", Vec::new());
    add("gitlab", "gitlab", vec![("x-gitlab-token", "token".into())]);
    add("harbor", "harbor", vec![("authorization", "token".into())]);
    let strong = || ("x-hub-signature-256", hub(Hash::Sha256));
    add("github", "github", vec![json(), strong()]);
    let old = ("x-hub-signature", hub(Hash::Sha256));
    add("bitbucket", "bitbucket", vec![json(), old]);
    for hash in Hash::ALL {
        let name = format!("generic-hmac {}", hash.name());
        add(&name, "generic-hmac", vec![("x-signature", hub(hash))]);
    }
    let nexus = hex::encode(mac(Hash::Sha1, b"token", &[body]));
    add("nexus", "nexus", vec![("x-nexus-webhook-signature", nexus)]);
    let key = [7; 32];
    let signed = STANDARD.encode(mac(Hash::Sha256, &key, &[b"msg_1.1700000000.", body]));
    add(
        "gitlab, signing token",
        "gitlab",
        vec![
            ("webhook-id", "msg_1".into()),
            ("webhook-timestamp", "1700000000".into()),
            ("webhook-signature", format!("v1,{signed}")),
        ],
    );
    let gitea = hex::encode(mac(Hash::Sha256, b"token", &[body]));
    let form = "application/x-www-form-urlencoded".to_owned();
    add(
        "github, a form of Gitea",
        "github",
        vec![
            ("content-type", form),
            ("x-gitea-event", "push".into()),
            ("x-gitea-signature", gitea),
        ],
    );
    for sample in &mut samples {
        sample.needs_body = !matches!(sample.name.as_str(), "generic" | "gitlab" | "harbor");
        sample.receiver.limit = UNLIMITED;
        sample.form = sample
            .headers
            .iter()
            .any(|(name, _)| *name == "x-gitea-event");
        if sample.name.ends_with("signing token") {
            let text = format!("whsec_{}", STANDARD.encode(key));
            sample.receiver.signing_token = Some(text.into_bytes());
        }
    }
    samples
}

fn verify(bench: &Bench) {
    head("a genuine hook, verified");
    for (size, len) in [("1 KB", KB), ("100 KB", 100 * KB), ("1 MB", 1000 * KB)] {
        let body: Vec<u8> = (0..len).map(|n| b'a' + (n % 26) as u8).collect();
        for sample in samples(&body) {
            if len > KB && !sample.needs_body {
                continue;
            }
            let mut sent = body.clone();
            if sample.form {
                sent.splice(0..0, *b"payload=");
            }
            let gate = Gate::new(config(std::slice::from_ref(&sample.receiver)));
            let path = sample.receiver.path(Slot::Token);
            let length = sent.len().to_string();
            let mut headers: Vec<_> = sample
                .headers
                .iter()
                .map(|(n, v)| (*n, v.as_str()))
                .collect();
            headers.push(("content-length", &length));
            let request = support::post(&path, &headers);
            let host = MemoryHost::default();
            let pass = || decide(&gate, &host, &request, sent.chunks(CHUNK), NOW_MS);
            let got = outcome(&pass());
            assert!(got.starts_with("admitted"), "{}: {got}", sample.name);
            let hashed = if sample.needs_body { sent.len() } else { 0 };
            bench.row(&format!("{}, {size}", sample.name), hashed, || {
                black_box(pass());
            });
        }
    }
}

fn lookup(bench: &Bench) {
    head("an unknown path, refused");
    let unknown: Vec<_> = (0..1024u32)
        .map(|n| Digest::of(&n.to_be_bytes(), "nobody", "nowhere").path())
        .collect();
    let sizes: &[usize] = match bench.run {
        Some(_) => &[10, 10_000, 100_000],
        None => &[10, 1_000],
    };
    for hooks in sizes {
        let receivers: Vec<_> = (0..*hooks)
            .map(|n| Receiver {
                name: format!("app-{n}"),
                ..Receiver::new("generic")
            })
            .collect();
        let gate = Gate::new(config(&receivers));
        let host = MemoryHost::default();
        let mut paths = unknown.iter().cycle();
        bench.row(&format!("among {hooks} hooks"), 0, || {
            let request = Request {
                method: b"POST",
                path: paths.next().map(String::as_bytes).unwrap_or_default(),
                headers: Vec::new(),
            };
            let decision = decide(&gate, &host, &request, [], NOW_MS);
            assert_eq!(black_box(decision).status(), Some(404));
        });
    }
    let gate = Gate::new(config(&[Receiver::new("generic")]));
    let host = MemoryHost::default();
    let request = support::post("/hook/../../etc/passwd", &[]);
    bench.row("not a path of ours", 0, || {
        let decision = decide(&gate, &host, &request, [], NOW_MS);
        assert_eq!(black_box(decision).status(), Some(404));
    });
}

fn ledger(bench: &Bench) {
    head("what is remembered");
    let mut bucket = TokenBucket::full(UNLIMITED, NOW_MS);
    let mut now_ms = NOW_MS;
    bench.row("a token taken from a bucket", 0, || {
        now_ms += 1;
        let _ = black_box(bucket.take(UNLIMITED, now_ms));
    });
    let mut receiver = Receiver::new("gitlab");
    receiver.limit = Limit::per_second(1, 1);
    let gate = Gate::new(config(std::slice::from_ref(&receiver)));
    let path = receiver.path(Slot::Token);
    let host = MemoryHost::default();
    for (name, token, want) in [
        ("a hook above its rate, refused", "token", 429),
        ("a wrong token, refused", "wrong", 400),
    ] {
        let request = support::post(&path, &[("x-gitlab-token", token)]);
        decide(&gate, &host, &request, [], NOW_MS);
        bench.row(name, 0, || {
            let decision = decide(&gate, &host, &request, [], NOW_MS);
            assert_eq!(black_box(decision).status(), Some(want));
        });
    }
}
