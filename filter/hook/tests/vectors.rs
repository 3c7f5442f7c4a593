//! Whole requests and what the Gate must say to them, one file of `vectors/` a subject.
//!
//! The signatures there are literal: published by the senders, or computed with Python's `hmac`.
//! A line is a directive:
//!
//! | line | meaning |
//! |---|---|
//! | `# …` | a comment |
//! | `type T` | a fresh Receiver of that type; its token is `token` |
//! | `token`, `token-previous`, `signing-token` `X` | what its Secret holds |
//! | `events X, Y` | `spec.events` |
//! | `filtered-hook-status N`, `min-signature-hash H`, `allowed-addresses C, D` | its annotations |
//! | `state S` | `ready`, `suspended` or `not-ready` |
//! | `any-method` | the table lets every method through |
//! | `now N` | Unix time in seconds |
//! | `peer A` | the client's address, or `unknown` |
//! | `case NAME` | a request: a POST of `{"action":"push"}` as `application/json` |
//! | `method M`, `path P` | instead; in a path `{digest}` is the Receiver's, `{previous}` that of `token-previous` |
//! | `+ name: value` | a header |
//! | `- content-type` | without that header; a `+ content-type` also takes its place |
//! | `body B` | another body |
//! | `= OUTCOME` | ends the case: what [`support::outcome`] must say |
//!
//! In values `\n`, `\\` and `\xNN` are escapes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod support;

use hook::config::{Config, Slot, State};
use hook::mac::Hash;
use hook::request::Request;

use crate::support::{BODY, MemoryHost, Receiver, config, decide, gate, outcome};

macro_rules! vectors {
    ($($test:ident: $file:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check($file, include_str!(concat!("vectors/", $file)));
            }
        )*

        #[test]
        fn every_file_of_vectors_is_run() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
            let mut found: Vec<_> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                // jwt.json is read by the JWT tests.
                .filter(|name| name.ends_with(".txt"))
                .collect();
            found.sort();
            let mut run = vec![$($file.to_owned()),*];
            run.sort();
            assert_eq!(run, found);
        }
    };
}

vectors! {
    only_the_exact_path_and_post_or_put_reach_a_receiver: "paths.txt",
    types_that_sign_nothing_are_let_through_by_their_path: "path_only.txt",
    github_signatures_are_read_as_go_github_reads_them: "github.txt",
    content_types_are_held_to_gos_rules: "content_types.txt",
    gitea_forgejo_and_gogs_sign_the_json_wherever_it_stands: "gitea.txt",
    bitbucket_signs_as_github_does: "bitbucket.txt",
    generic_hmac_reads_its_own_header_only: "generic_hmac.txt",
    standard_webhooks_sign_id_and_timestamp_too: "standard_webhooks.txt",
    nexus_signs_in_bare_lower_case_sha1: "nexus.txt",
    gitlab_presents_its_token_or_signs: "gitlab.txt",
    harbor_presents_its_token: "harbor.txt",
    events_that_are_not_listed_are_ignored: "events.txt",
    a_previous_token_is_accepted_while_it_exists: "rotation.txt",
    weak_hashes_are_counted_or_refused: "min_signature_hash.txt",
    receivers_that_are_not_ready_answer_503: "state.txt",
    only_allowed_addresses_get_in: "addresses.txt",
    declared_lengths_are_held_to_the_limit: "content_length.txt",
}

/// One request, and the table that it meets.
struct Case {
    name: String,
    table: Config,
    peer: Option<std::net::IpAddr>,
    now_ms: u64,
    method: String,
    path: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    want: String,
}

impl Case {
    fn run(&self, chunk: Option<usize>, declare_length: bool) -> String {
        let length = self.body.len().to_string();
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
            .collect();
        if declare_length && headers.iter().all(|(name, _)| *name != "content-length") {
            headers.push(("content-length", length.as_bytes()));
        }
        let request = Request {
            method: self.method.as_bytes(),
            path: &self.path,
            headers,
        };
        let host = MemoryHost::default();
        host.peer.set(self.peer);
        let chunks = self.body.chunks(chunk.unwrap_or(usize::MAX));
        let decision = decide(&gate(&self.table), &host, &request, chunks, self.now_ms);
        outcome(&decision)
    }
}

fn check(file: &str, text: &str) {
    let cases = Reader::read(file, text);
    assert!(!cases.is_empty(), "{file} holds no case");
    let mut wrong = Vec::new();
    for case in &cases {
        for (how, got) in [
            ("whole", case.run(None, false)),
            ("with its length", case.run(None, true)),
            ("byte by byte", case.run(Some(1), false)),
            ("by seven bytes, with its length", case.run(Some(7), true)),
        ] {
            if got != case.want {
                wrong.push(format!(
                    "{file}: {} ({how}): {got}, not {}",
                    case.name, case.want
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

struct Reader {
    receiver: Receiver,
    any_method: bool,
    now_ms: u64,
    peer: Option<std::net::IpAddr>,
    case: Draft,
}

/// What a case says so far.
#[derive(Default)]
struct Draft {
    name: Option<String>,
    method: Option<String>,
    path: Option<String>,
    bare: bool,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

impl Reader {
    fn read(file: &str, text: &str) -> Vec<Case> {
        let mut reader = Self {
            receiver: Receiver::new("generic"),
            any_method: false,
            now_ms: 1_700_000_000_000,
            peer: MemoryHost::default().peer.get(),
            case: Draft::default(),
        };
        let mut cases = Vec::new();
        for (n, line) in (1..).zip(text.lines()) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            if word == "=" {
                cases.push(reader.finish(rest));
            } else if !reader.request(word, rest) && !reader.given(word, rest) {
                panic!("{file}:{n}: what is {line:?}?");
            }
        }
        assert!(reader.case.name.is_none(), "{file}: the last case has no =");
        cases
    }

    fn given(&mut self, word: &str, rest: &str) -> bool {
        let list = || rest.split(", ").map(str::to_owned).collect::<Vec<_>>();
        assert!(self.case.name.is_none(), "{word} inside a case");
        match word {
            "type" => {
                self.receiver = Receiver::new(rest);
                self.any_method = false;
            }
            "token" => self.receiver.token = unescape(rest),
            "token-previous" => self.receiver.token_previous = Some(unescape(rest)),
            "signing-token" => self.receiver.signing_token = Some(unescape(rest)),
            "events" => self.receiver.events = list(),
            "filtered-hook-status" => self.receiver.filtered_status = rest.parse().unwrap(),
            "min-signature-hash" => {
                self.receiver.min_hash = Hash::from_name(rest.as_bytes()).unwrap();
            }
            "allowed-addresses" => {
                self.receiver.addresses = list().iter().map(|r| r.parse().unwrap()).collect();
            }
            "state" => {
                self.receiver.state = match rest {
                    "ready" => State::Ready,
                    "suspended" => State::Suspended,
                    "not-ready" => State::NotReady,
                    _ => return false,
                }
            }
            "any-method" => self.any_method = true,
            "now" => self.now_ms = rest.parse::<u64>().unwrap() * 1000,
            "peer" if rest == "unknown" => self.peer = None,
            "peer" => self.peer = Some(rest.parse().unwrap()),
            _ => return false,
        }
        true
    }

    fn request(&mut self, word: &str, rest: &str) -> bool {
        let case = &mut self.case;
        match word {
            "case" => {
                assert!(case.name.is_none(), "the case before {rest:?} has no =");
                case.name = Some(rest.to_owned());
            }
            "method" => case.method = Some(rest.to_owned()),
            "path" => case.path = Some(rest.to_owned()),
            "+" => {
                let (name, value) = rest.split_once(':').unwrap();
                let value = value.strip_prefix(' ').unwrap_or(value);
                case.bare |= name == "content-type";
                case.headers.push((name.to_owned(), unescape(value)));
            }
            "-" => {
                assert_eq!(rest, "content-type");
                case.bare = true;
            }
            "body" => case.body = Some(unescape(rest)),
            _ => return false,
        }
        true
    }

    fn finish(&mut self, want: &str) -> Case {
        let draft = std::mem::take(&mut self.case);
        let mut headers = draft.headers;
        if !draft.bare {
            headers.insert(0, ("content-type".into(), b"application/json".to_vec()));
        }
        let mut table = config(std::slice::from_ref(&self.receiver));
        table.allow_any_method = self.any_method;
        Case {
            name: draft.name.unwrap(),
            table,
            peer: self.peer,
            now_ms: self.now_ms,
            method: draft.method.unwrap_or_else(|| "POST".into()),
            path: self.path(&draft.path.unwrap_or_else(|| "/hook/{digest}".into())),
            headers,
            body: draft.body.unwrap_or_else(|| BODY.to_vec()),
            want: want.to_owned(),
        }
    }

    fn path(&self, text: &str) -> Vec<u8> {
        let digest = |slot| {
            let path = self.receiver.path(slot);
            path.strip_prefix("/hook/").unwrap().to_owned()
        };
        let mut text = text.replace("{digest}", &digest(Slot::Token));
        text = text.replace("{DIGEST}", &digest(Slot::Token).to_uppercase());
        text = text.replace("{short}", &digest(Slot::Token)[1..]);
        // `%39` for the digit `9`: another text for the same path to whoever decodes it.
        let escaped: Vec<_> = digest(Slot::Token)
            .bytes()
            .map(|b| format!("%{b:02x}"))
            .collect();
        text = text.replace("{escaped}", &escaped.concat());
        if text.contains("{previous}") {
            text = text.replace("{previous}", &digest(Slot::TokenPrevious));
        }
        unescape(&text)
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b'\\') => out.push(b'\\'),
            Some(b'x') => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap();
                out.push(u8::from_str_radix(digits, 16).unwrap());
            }
            other => panic!("an unknown escape {other:?} in {text:?}"),
        }
    }
    out
}
