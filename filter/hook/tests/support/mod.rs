//! What the tests and benches of the Gate share: a host in memory, and Receivers compiled as the
//! controller compiles them.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each program that includes this uses a part of it, and none is shipped"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;

use hook::address::Cidr;
use hook::bucket::Limit;
use hook::config::{Config, Hook, Key, Path, Slot, State, VERSION};
use hook::digest::Digest;
use hook::gate::{Decision, Gate, Host, Step, Verdict};
use hook::jwt::{Algorithm, Signatures, Unsupported};
use hook::mac::{Hash, Midstates, Salted};
use hook::receiver::{self, SecretUse};
use hook::request::Request;
use hook::signed;

/// nc's limit of a body.
pub const MAX_BODY: u64 = 3 * 1024 * 1024;
/// The body of the reference's cases.
pub const BODY: &[u8] = br#"{"action":"push"}"#;

/// Keeps records in a map; the peer is whatever the test says.
pub struct MemoryHost {
    pub peer: Cell<Option<IpAddr>>,
    /// Whether records can be changed.
    pub works: Cell<bool>,
    records: RefCell<BTreeMap<String, Vec<u8>>>,
}

impl Default for MemoryHost {
    fn default() -> Self {
        Self {
            peer: Cell::new(Some([192, 0, 2, 1].into())),
            works: Cell::new(true),
            records: RefCell::default(),
        }
    }
}

impl MemoryHost {
    pub fn at(peer: &str) -> Self {
        let host = Self::default();
        host.move_to(peer);
        host
    }

    pub fn move_to(&self, peer: &str) {
        self.peer.set(Some(peer.parse().unwrap()));
    }

    pub fn records(&self) -> usize {
        self.records.borrow().len()
    }
}

impl Host for MemoryHost {
    fn peer(&self) -> Option<IpAddr> {
        self.peer.get()
    }

    fn update(&self, key: &str, change: &mut dyn FnMut(&mut Vec<u8>)) -> bool {
        let mut records = self.records.borrow_mut();
        // As if another worker had written in between: a change must bear to be applied again.
        change(&mut records.get(key).cloned().unwrap_or_default());
        if !self.works.get() {
            return false;
        }
        change(records.entry(key.to_owned()).or_default());
        true
    }
}

impl Signatures for MemoryHost {
    fn verify(&self, _: Algorithm, _: &[u8], _: &[u8], _: &[u8]) -> Result<bool, Unsupported> {
        Ok(false)
    }
}

/// A Receiver and its Secret.
#[derive(Clone, Debug)]
pub struct Receiver {
    pub name: String,
    pub receiver_type: String,
    pub token: Vec<u8>,
    pub token_previous: Option<Vec<u8>>,
    pub signing_token: Option<Vec<u8>>,
    pub min_hash: Hash,
    pub events: Vec<String>,
    pub filtered_status: u16,
    pub addresses: Vec<Cidr>,
    pub state: State,
    pub limit: Limit,
}

impl Receiver {
    pub fn new(receiver_type: &str) -> Self {
        Self {
            name: "app".into(),
            receiver_type: receiver_type.into(),
            token: b"token".to_vec(),
            token_previous: None,
            signing_token: None,
            min_hash: Hash::Sha1,
            events: Vec::new(),
            filtered_status: 200,
            addresses: Vec::new(),
            state: State::Ready,
            limit: Limit::per_second(100, 3000),
        }
    }

    pub fn path(&self, slot: Slot) -> String {
        let token = match slot {
            Slot::Token => Some(&self.token),
            Slot::TokenPrevious => self.token_previous.as_ref(),
            Slot::SigningToken => None,
        };
        match token {
            Some(token) => Digest::of(token, &self.name, "apps").path(),
            None => panic!("there is no path for {}", slot.name()),
        }
    }

    pub fn hook(&self) -> Hook {
        let tokens = [
            (Slot::Token, Some(&self.token)),
            (Slot::TokenPrevious, self.token_previous.as_ref()),
        ];
        let tokens: Vec<_> = tokens
            .into_iter()
            .filter_map(|(slot, token)| Some((slot, token?)))
            .collect();
        let mut keys: Vec<_> = tokens
            .iter()
            .filter_map(|(slot, token)| self.key(*slot, token))
            .collect();
        if let Some(token) = &self.signing_token {
            let key = signed::key(token).unwrap();
            keys.push(Key {
                slot: Slot::SigningToken,
                macs: self.midstates(&[Hash::Sha256], &key),
                token: None,
            });
        }
        Hook {
            name: format!("apps/{}", self.name),
            receiver_type: self.receiver_type.clone(),
            paths: tokens
                .iter()
                .map(|(slot, token)| Path {
                    id: Digest::of(token, &self.name, "apps").id(),
                    slot: *slot,
                })
                .collect(),
            state: self.state,
            keys,
            events: self.events.clone(),
            filtered_status: self.filtered_status,
            limit: self.limit,
            addresses: self.addresses.clone(),
            issuers: Vec::new(),
            email: None,
        }
    }

    fn key(&self, slot: Slot, token: &[u8]) -> Option<Key> {
        match receiver::find(&self.receiver_type).unwrap().secret() {
            SecretUse::Signs { hashes, .. } => Some(Key {
                slot,
                macs: self.midstates(hashes, token),
                token: None,
            }),
            SecretUse::Presents { .. } => Some(Key {
                slot,
                macs: Vec::new(),
                token: Some(Salted::of(b"uid", token)),
            }),
            SecretUse::Path | SecretUse::Issuers | SecretUse::Google => None,
        }
    }

    fn midstates(&self, hashes: &[Hash], key: &[u8]) -> Vec<Midstates> {
        let allowed = hashes.iter().filter(|hash| **hash >= self.min_hash);
        allowed.map(|hash| Midstates::of(*hash, key)).collect()
    }
}

/// A table of these Receivers.
pub fn config(receivers: &[Receiver]) -> Config {
    Config {
        version: VERSION,
        max_body: MAX_BODY,
        allow_any_method: false,
        hold_headers: true,
        failures: Limit::per_second(10, 100),
        hooks: receivers.iter().map(Receiver::hook).collect(),
    }
}

/// A Gate whose table went through its JSON, as the filter's does.
pub fn gate(config: &Config) -> Gate {
    let json = config.to_json().unwrap();
    Gate::new(Config::parse(json.as_bytes()).unwrap())
}

/// A POST to the path that `token` makes.
pub fn post<'a>(path: &'a str, headers: &[(&'a str, &'a str)]) -> Request<'a> {
    Request {
        method: b"POST",
        path: path.as_bytes(),
        headers: headers.iter().map(|(n, v)| (*n, v.as_bytes())).collect(),
    }
}

/// Runs a request through the Gate. No chunk at all means that the head said so.
pub fn decide<'a>(
    gate: &Gate,
    host: &MemoryHost,
    request: &Request<'_>,
    chunks: impl IntoIterator<Item = &'a [u8]>,
    now_ms: u64,
) -> Decision {
    let mut chunks = chunks.into_iter().peekable();
    let end = chunks.peek().is_none();
    let mut pending = match gate.headers(request, end, now_ms, host) {
        Step::Done(decision) => return decision,
        Step::Body(pending) => pending,
    };
    for chunk in chunks {
        if let Err(decision) = pending.chunk(chunk, now_ms, host) {
            return decision;
        }
    }
    pending.end(now_ms, host)
}

/// A decision in one line: `admitted by signing-token id msg_1`, `429 rate_limit retry-after 1`.
pub fn outcome(decision: &Decision) -> String {
    let mut text = String::new();
    if let Some(status) = decision.status() {
        text = format!("{status} ");
    }
    text += decision.reason();
    match &decision.verdict {
        Verdict::Admit(admission) => {
            if admission.path != Slot::Token {
                text += &format!(" on {}", admission.path.name());
            }
            if admission.pass.slot != Slot::Token {
                text += &format!(" by {}", admission.pass.slot.name());
            }
            if admission.pass.weak {
                text += " weak";
            }
            if !admission.pass.checked {
                text += " unchecked";
            }
            if let Some(id) = &admission.pass.signed_id {
                text += &format!(" id {}", String::from_utf8_lossy(id));
            }
        }
        Verdict::Ignore { .. } => {}
        Verdict::Reject(rejection) => {
            if let Some(seconds) = rejection.retry_after() {
                text += &format!(" retry-after {seconds}");
            }
        }
    }
    text
}
