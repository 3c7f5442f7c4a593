//! Heads and bodies through the Gate, for every type whose senders must know a key: nothing is admitted,
//! and how the body is cut does not matter.
//!
//! The input is a head of `name: value` lines, an empty line, and the body.
#![no_main]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::sync::LazyLock;

use hook::config::Slot;
use hook::gate::{Gate, Verdict};
use hook::request::Request;
use libfuzzer_sys::fuzz_target;
use support::{MemoryHost, Receiver, config, decide, gate, outcome};

/// No seed was signed with it.
const TOKEN: &[u8] = b"a token that nobody knows";
const SIGNING_TOKEN: &[u8] = b"whsec_bm9ib2R5IGtub3dzIHRoaXMgb25lIGVpdGhlcg==";
/// The time of the seeds' signatures.
const NOW_MS: u64 = 1_700_000_000_000;

static RECEIVERS: LazyLock<Vec<Receiver>> = LazyLock::new(|| {
    let types = [
        "github",
        "bitbucket",
        "generic-hmac",
        "nexus",
        "gitlab",
        "harbor",
    ];
    let plain = types.map(|name| (name, None));
    let signing = ["generic-hmac", "gitlab"].map(|name| (name, Some(SIGNING_TOKEN.to_vec())));
    (0..)
        .zip(plain.into_iter().chain(signing))
        .map(|(n, (name, signing_token))| Receiver {
            name: format!("app-{n}"),
            token: TOKEN.to_vec(),
            signing_token,
            ..Receiver::new(name)
        })
        .collect()
});
static PATHS: LazyLock<Vec<String>> =
    LazyLock::new(|| RECEIVERS.iter().map(|r| r.path(Slot::Token)).collect());
static GATE: LazyLock<Gate> = LazyLock::new(|| gate(&config(&RECEIVERS)));

fuzz_target!(|input: &[u8]| {
    let end = input.windows(2).position(|two| two == b"\n\n");
    let (head, body) = match end {
        Some(at) => (&input[..at], &input[at + 2..]),
        None => (input, &[][..]),
    };
    let headers: Vec<_> = head.split(|b| *b == b'\n').filter_map(header).collect();
    for path in PATHS.iter() {
        let request = Request {
            method: b"POST",
            path: path.as_bytes(),
            headers: headers.clone(),
        };
        let host = MemoryHost::default();
        let whole = decide(&GATE, &host, &request, [body], NOW_MS);
        assert!(matches!(whole.verdict, Verdict::Reject(_)), "{whole:?}");
        let cut = decide(&GATE, &host, &request, body.chunks(3), NOW_MS);
        assert_eq!(outcome(&whole), outcome(&cut));
    }
});

fn header(line: &[u8]) -> Option<(&str, &[u8])> {
    let at = line.iter().position(|b| *b == b':')?;
    let name = std::str::from_utf8(&line[..at]).ok()?;
    let value = &line[at + 1..];
    Some((name, value.strip_prefix(b" ").unwrap_or(value)))
}
