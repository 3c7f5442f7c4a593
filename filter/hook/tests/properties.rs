//! Promises that hold for any input: nothing panics, nothing forged is admitted, and how a body is
//! cut never matters. Signatures are made with ring, which shares no code with `hook::mac`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hook::config::{Config, Slot};
use hook::gate::{Gate, Verdict};
use hook::mac::Hash;
use hook::receiver::RECEIVER_TYPES;
use hook::request::Request;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use ring::hmac;

use crate::support::{MemoryHost, Receiver, config, decide, gate, outcome};

const NOW_MS: u64 = 1_700_000_000_000;

fn ring_mac(hash: Hash, key: &[u8], message: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha512 => hmac::HMAC_SHA512,
    };
    hmac::sign(&hmac::Key::new(algorithm, key), message)
        .as_ref()
        .to_vec()
}

fn hub(hash: Hash, key: &[u8], message: &[u8]) -> Vec<u8> {
    let digits = hex::encode(ring_mac(hash, key, message));
    format!("{}={digits}", hash.name()).into_bytes()
}

/// One way to sign, its header lines, and the bytes on the wire.
#[derive(Clone, Copy, Debug)]
enum Scheme {
    GitHub(Hash),
    GitHubForm,
    GiteaForm,
    GenericHmac(Hash),
    StandardWebhooks,
    Nexus,
}

const SCHEMES: [Scheme; 10] = [
    Scheme::GitHub(Hash::Sha1),
    Scheme::GitHub(Hash::Sha256),
    Scheme::GitHub(Hash::Sha512),
    Scheme::GitHubForm,
    Scheme::GiteaForm,
    Scheme::GenericHmac(Hash::Sha1),
    Scheme::GenericHmac(Hash::Sha256),
    Scheme::GenericHmac(Hash::Sha512),
    Scheme::StandardWebhooks,
    Scheme::Nexus,
];

/// A signed hook.
struct Signed {
    receiver: Receiver,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

const JSON: (&str, &[u8]) = ("content-type", b"application/json");
const FORM: (&str, &[u8]) = ("content-type", b"application/x-www-form-urlencoded");

fn own<'a>((name, value): (&'a str, &[u8])) -> (&'a str, Vec<u8>) {
    (name, value.to_vec())
}

impl Scheme {
    fn sign(self, key: &[u8], message: &[u8]) -> Signed {
        let (receiver_type, headers, body) = match self {
            Self::GitHub(hash) => (
                "github",
                vec![own(JSON), ("x-hub-signature", hub(hash, key, message))],
                message.to_vec(),
            ),
            Self::GitHubForm => {
                let body = form(message);
                let signature = hub(Hash::Sha256, key, &body);
                (
                    "github",
                    vec![own(FORM), ("x-hub-signature-256", signature)],
                    body,
                )
            }
            Self::GiteaForm => {
                let digits = hex::encode(ring_mac(Hash::Sha256, key, message));
                let headers = vec![
                    own(FORM),
                    ("x-gitea-event", b"push".to_vec()),
                    ("x-gitea-signature", digits.into_bytes()),
                ];
                ("github", headers, form(message))
            }
            Self::GenericHmac(hash) => (
                "generic-hmac",
                vec![("x-signature", hub(hash, key, message))],
                message.to_vec(),
            ),
            Self::StandardWebhooks => {
                let signed = [b"msg_1.1700000000.", message].concat();
                let text = STANDARD.encode(ring_mac(Hash::Sha256, key, &signed));
                let headers = vec![
                    ("webhook-id", b"msg_1".to_vec()),
                    ("webhook-timestamp", b"1700000000".to_vec()),
                    ("webhook-signature", format!("v1,{text}").into_bytes()),
                ];
                ("generic-hmac", headers, message.to_vec())
            }
            Self::Nexus => {
                let digits = hex::encode(ring_mac(Hash::Sha1, key, message));
                (
                    "nexus",
                    vec![("x-nexus-webhook-signature", digits.into_bytes())],
                    message.to_vec(),
                )
            }
        };
        let mut receiver = Receiver::new(receiver_type);
        if matches!(self, Self::StandardWebhooks) {
            let text = format!("whsec_{}", STANDARD.encode(key));
            receiver.signing_token = Some(text.into_bytes());
        } else {
            receiver.token = key.to_vec();
        }
        Signed {
            receiver,
            headers,
            body,
        }
    }

    fn outcome(self) -> &'static str {
        match self {
            Self::GitHub(Hash::Sha1) | Self::GenericHmac(Hash::Sha1) | Self::Nexus => {
                "admitted weak"
            }
            Self::StandardWebhooks => "admitted by signing-token id msg_1",
            Self::GitHub(_) | Self::GenericHmac(_) | Self::GitHubForm | Self::GiteaForm => {
                "admitted"
            }
        }
    }
}

/// A form as Gitea writes it: everything but letters and digits escaped, blanks as plus signs.
fn form(payload: &[u8]) -> Vec<u8> {
    let mut out = b"payload=".to_vec();
    for &b in payload {
        match b {
            b' ' => out.push(b'+'),
            b if b.is_ascii_alphanumeric() => out.push(b),
            b => out.extend_from_slice(format!("%{b:02X}").as_bytes()),
        }
    }
    out
}

impl Signed {
    fn gate(&self) -> Gate {
        gate(&config(std::slice::from_ref(&self.receiver)))
    }

    fn send(&self, gate: &Gate, body: &[u8], cuts: &[usize]) -> String {
        let path = self.receiver.path(Slot::Token);
        let request = Request {
            method: b"POST",
            path: path.as_bytes(),
            headers: self
                .headers
                .iter()
                .map(|(n, v)| (*n, v.as_slice()))
                .collect(),
        };
        let host = MemoryHost::default();
        outcome(&decide(gate, &host, &request, cut(body, cuts), NOW_MS))
    }
}

/// The body cut at these places. Empty chunks are left in: hosts send them.
fn cut<'b>(body: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|at| (*at).min(body.len())).collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|ends| &body[ends[0]..ends[1]])
        .collect()
}

#[test]
fn bodies_cut_anywhere_around_the_blocks_of_a_hash_are_verified_alike() {
    // 55, 56, 111 and 112 are where the padding of a hash takes another block.
    let lengths = [
        0, 1, 16, 47, 48, 55, 56, 63, 64, 65, 111, 112, 119, 120, 127, 128, 129, 191, 192, 193,
        255, 256, 257,
    ];
    for scheme in SCHEMES {
        for len in lengths {
            let message: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let signed = scheme.sign(b"token", &message);
            let gate = signed.gate();
            for at in 0..=signed.body.len() {
                assert_eq!(
                    signed.send(&gate, &signed.body, &[at]),
                    scheme.outcome(),
                    "{scheme:?}, {len} bytes cut at {at}"
                );
            }
            let all: Vec<_> = (0..signed.body.len()).collect();
            assert_eq!(signed.send(&gate, &signed.body, &all), scheme.outcome());
        }
    }
}

#[test]
fn keys_around_the_blocks_of_a_hash_make_the_macs_of_ring() {
    for scheme in SCHEMES {
        for len in [1, 19, 20, 32, 63, 64, 65, 127, 128, 129, 1000] {
            let key: Vec<u8> = (0..len).map(|n| (n * 7) as u8).collect();
            let signed = scheme.sign(&key, b"{}");
            assert_eq!(
                signed.send(&signed.gate(), &signed.body, &[]),
                scheme.outcome(),
                "{scheme:?}, a key of {len} bytes"
            );
        }
    }
}

/// Headers that some receiver type reads, in lower case.
const NAMES: [&str; 24] = [
    "authorization",
    "ce-type",
    "content-length",
    "content-type",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
    "x-event-key",
    "x-forgejo-event",
    "x-forgejo-signature",
    "x-forwarded-for",
    "x-gitea-event",
    "x-gitea-signature",
    "x-github-event",
    "x-gitlab-event",
    "x-gitlab-token",
    "x-gogs-event",
    "x-gogs-signature",
    "x-hub-signature",
    "x-hub-signature-256",
    "x-nexus-webhook-signature",
    "x-other",
    "x-signature",
    "",
];

fn header() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    (select(&NAMES[..]), value())
}

/// Anything, and what comes close to being right.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let text = |pattern: &'static str| pattern.prop_map(String::into_bytes);
    prop_oneof![
        vec(any::<u8>(), 0..80),
        text("(sha1=|sha256=|sha512=|)([0-9a-fA-F]{2}){0,64}"),
        text("(v1,[A-Za-z0-9+/]{43}= ?){0,3}"),
        text("(17000000|)[0-9]{0,20}"),
        text(
            "(application/(json|x-www-form-urlencoded)|text/plain)(; ?[a-z]{1,3}=[a-z\"\\\\]{0,3})?"
        ),
        text("(Bearer |bearer |)[A-Za-z0-9_.-]{0,60}"),
        Just(Vec::new()),
        Just(b"push".to_vec()),
    ]
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let right = Receiver::new("generic").path(Slot::Token);
    prop_oneof![
        4 => Just(right.into_bytes()),
        1 => "/hook/[0-9a-f]{62,66}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..80),
    ]
}

/// Every type whose senders must know a key, and what a forger can't therefore do.
fn keyed() -> Vec<(Config, &'static str)> {
    let mut tables: Vec<_> = [
        "github",
        "bitbucket",
        "generic-hmac",
        "nexus",
        "gitlab",
        "harbor",
    ]
    .map(|name| (Receiver::new(name), name))
    .into();
    for name in ["gitlab", "generic-hmac"] {
        let mut receiver = Receiver::new(name);
        receiver.signing_token = Some(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_vec());
        tables.push((receiver, name));
    }
    for (receiver, _) in &mut tables {
        receiver.token_previous = Some(b"another-token".to_vec());
    }
    tables
        .into_iter()
        .map(|(receiver, name)| (config(&[receiver]), name))
        .collect()
}

proptest! {
    #[test]
    fn no_forged_hook_is_admitted(
        path in path(),
        method in prop_oneof![Just(b"POST".to_vec()), Just(b"PUT".to_vec()), vec(any::<u8>(), 0..8)],
        headers in vec(header(), 0..8),
        body in vec(any::<u8>(), 0..300),
        cuts in vec(0usize..300, 0..4),
        now_ms in prop_oneof![Just(NOW_MS), any::<u64>()],
    ) {
        let request = Request {
            method: &method,
            path: &path,
            headers: headers.iter().map(|(n, v)| (*n, v.as_slice())).collect(),
        };
        for (mut table, name) in keyed() {
            table.allow_any_method = true;
            let host = MemoryHost::default();
            let decision = decide(&gate(&table), &host, &request, cut(&body, &cuts), now_ms);
            prop_assert!(matches!(decision.verdict, Verdict::Reject(_)), "{name}: {decision:?}");
            prop_assert!(decision.status().is_some_and(|s| (400..=503).contains(&s)));
        }
    }

    #[test]
    fn nothing_that_is_sent_makes_any_type_panic(
        path in path(),
        headers in vec(header(), 0..12),
        body in vec(any::<u8>(), 0..300),
        peer in any::<Option<std::net::IpAddr>>(),
        now_ms in any::<u64>(),
        events in vec("[a-zA-Z: ]{0,6}", 0..2),
    ) {
        let request = Request {
            method: b"POST",
            path: &path,
            headers: headers.iter().map(|(n, v)| (*n, v.as_slice())).collect(),
        };
        for receiver_type in RECEIVER_TYPES {
            let mut receiver = Receiver::new(receiver_type.name());
            receiver.events.clone_from(&events);
            let host = MemoryHost::default();
            host.peer.set(peer);
            let gate = gate(&config(&[receiver]));
            let whole = decide(&gate, &host, &request, [&body[..]], now_ms);
            let bytes = decide(&gate, &host, &request, body.chunks(1), now_ms);
            prop_assert_eq!(outcome(&whole), outcome(&bytes));
        }
    }

    #[test]
    fn what_ring_signs_is_admitted_however_it_is_cut(
        scheme in select(&SCHEMES[..]),
        key in vec(any::<u8>(), 1..200),
        message in vec(any::<u8>(), 0..600),
        cuts in vec(0usize..2000, 0..12),
    ) {
        let signed = scheme.sign(&key, &message);
        let gate = signed.gate();
        prop_assert_eq!(signed.send(&gate, &signed.body, &[]), scheme.outcome());
        prop_assert_eq!(signed.send(&gate, &signed.body, &cuts), scheme.outcome());
    }

    #[test]
    fn one_bit_changed_in_a_signed_body_is_refused_however_it_is_cut(
        scheme in select(&SCHEMES[..]),
        key in vec(any::<u8>(), 1..200),
        message in vec(any::<u8>(), 1..600),
        cuts in vec(0usize..2000, 0..12),
        at in any::<Index>(),
        bit in 0u8..8,
    ) {
        let mut signed = scheme.sign(&key, &message);
        if matches!(scheme, Scheme::GiteaForm) {
            // Two forms may carry the same JSON, and it is the JSON that is signed.
            let mut message = message;
            *at.get_mut(&mut message) ^= 1 << bit;
            signed.body = form(&message);
        } else {
            *at.get_mut(&mut signed.body) ^= 1 << bit;
        }
        let gate = signed.gate();
        let whole = signed.send(&gate, &signed.body, &[]);
        prop_assert!(whole == "400 signature" || whole == "400 bad_payload", "{whole}");
        prop_assert_eq!(signed.send(&gate, &signed.body, &cuts), whole);
    }
}
