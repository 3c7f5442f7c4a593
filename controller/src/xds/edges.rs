//! Which Envoys are connected, what they run, and what they refused. Shared by the server, which
//! writes, and by status, metrics and `explain`, which read.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Streams at once. A cluster has one Envoy a node, or a few behind a Service.
const MAX_STREAMS: usize = 1_024;

/// Envoys remembered after they left.
const MAX_GONE: usize = 256;

/// Longest node id kept, in characters.
const NODE_LIMIT: usize = 128;

/// Longest refusal kept, in characters. Envoy's are a line or two.
const MESSAGE_LIMIT: usize = 512;

/// All Envoys that this replica knows.
#[derive(Debug)]
pub struct Edges {
    clock: fn() -> SystemTime,
    state: Mutex<State>,
    pushes: AtomicU64,
    acks: AtomicU64,
    nacks: AtomicU64,
    refused: AtomicU64,
    tls_reloads: AtomicU64,
    tls_reload_failures: AtomicU64,
}

/// What one Envoy said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeStatus {
    /// Its node id, shortened and without control characters: it is whatever the Envoy says.
    pub node: String,
    /// The other end of its connection.
    pub peer: Option<IpAddr>,
    /// When it connected; `None` once it has left.
    pub connected_since: Option<SystemTime>,
    /// The version pushed last.
    pub offered: Option<String>,
    /// The version it runs.
    pub acked: Option<String>,
    /// What it refused since it last accepted a version.
    pub nack: Option<Nack>,
}

/// A refused version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nack {
    /// The refused version.
    pub version: String,
    /// Envoy's reason, shortened and without control characters.
    pub message: String,
    /// When it was refused.
    pub at: SystemTime,
}

/// Counters since the start, and the number of streams now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Streams open now.
    pub streams: u64,
    /// Versions pushed.
    pub pushes: u64,
    /// Versions accepted.
    pub acks: u64,
    /// Versions refused.
    pub nacks: u64,
    /// Streams turned away because too many were open.
    pub refused: u64,
    /// Times that new TLS files came into use.
    pub tls_reloads: u64,
    /// Times that changed TLS files could not be used.
    pub tls_reload_failures: u64,
}

#[derive(Debug, Default)]
struct State {
    serial: u64,
    live: BTreeMap<u64, EdgeStatus>,
    gone: VecDeque<EdgeStatus>,
}

impl Default for Edges {
    #[expect(
        clippy::disallowed_methods,
        reason = "the server's own clock; tests give another"
    )]
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}

impl Edges {
    /// No Envoys yet; `clock` says when something happens.
    #[must_use]
    pub fn new(clock: fn() -> SystemTime) -> Self {
        Self {
            clock,
            state: Mutex::default(),
            pushes: AtomicU64::new(0),
            acks: AtomicU64::new(0),
            nacks: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            tls_reloads: AtomicU64::new(0),
            tls_reload_failures: AtomicU64::new(0),
        }
    }

    /// Connected Envoys in the order in which they came, then those that left, the last one last.
    #[must_use]
    pub fn list(&self) -> Vec<EdgeStatus> {
        let state = self.lock();
        state.live.values().chain(&state.gone).cloned().collect()
    }

    /// Counters for metrics.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            streams: u64::try_from(self.lock().live.len()).unwrap_or(u64::MAX),
            pushes: count(&self.pushes),
            acks: count(&self.acks),
            nacks: count(&self.nacks),
            refused: count(&self.refused),
            tls_reloads: count(&self.tls_reloads),
            tls_reload_failures: count(&self.tls_reload_failures),
        }
    }

    /// New TLS files are in use.
    pub(super) fn tls_reloaded(&self) {
        self.tls_reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// Changed TLS files can't be used.
    pub(super) fn tls_reload_failed(&self) {
        self.tls_reload_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A new stream, or `None` when too many are open.
    pub(super) fn connect(self: &Arc<Self>, peer: Option<SocketAddr>) -> Option<Session> {
        let mut state = self.lock();
        if state.live.len() >= MAX_STREAMS {
            drop(state);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        state.serial = state.serial.wrapping_add(1);
        let id = state.serial;
        let status = EdgeStatus {
            node: String::new(),
            peer: peer.map(|address| address.ip()),
            connected_since: Some((self.clock)()),
            offered: None,
            acked: None,
            nack: None,
        };
        state.live.insert(id, status);
        drop(state);
        Some(Session {
            edges: Arc::clone(self),
            id,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a poisoned lock is as good as another.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream's entry; leaving is dropping it.
#[derive(Debug)]
pub(super) struct Session {
    edges: Arc<Edges>,
    id: u64,
}

impl Session {
    /// The Envoy said who it is.
    pub(super) fn named(&self, node: &str) {
        let node = printable(node, NODE_LIMIT);
        let mut state = self.edges.lock();
        let State { live, gone, .. } = &mut *state;
        if let Some(status) = live.get_mut(&self.id) {
            status.node = node;
            gone.retain(|old| (&old.node, old.peer) != (&status.node, status.peer));
        }
    }

    /// `version` is on its way.
    pub(super) fn pushed(&self, version: &str) {
        self.edges.pushes.fetch_add(1, Ordering::Relaxed);
        self.update(|status| status.offered = Some(version.to_owned()));
    }

    /// The Envoy runs `version`.
    pub(super) fn acked(&self, version: String) {
        self.edges.acks.fetch_add(1, Ordering::Relaxed);
        self.update(|status| {
            status.acked = Some(version);
            status.nack = None;
        });
    }

    /// The Envoy refused `version`; the reason as it is kept.
    pub(super) fn nacked(&self, version: String, message: &str) -> String {
        self.edges.nacks.fetch_add(1, Ordering::Relaxed);
        let message = printable(message, MESSAGE_LIMIT);
        let kept = Nack {
            version,
            message: message.clone(),
            at: (self.edges.clock)(),
        };
        self.update(|status| status.nack = Some(kept));
        message
    }

    /// The node id, as it is kept.
    pub(super) fn node(&self) -> String {
        self.edges
            .lock()
            .live
            .get(&self.id)
            .map(|status| status.node.clone())
            .unwrap_or_default()
    }

    fn update(&self, change: impl FnOnce(&mut EdgeStatus)) {
        if let Some(status) = self.edges.lock().live.get_mut(&self.id) {
            change(status);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut state = self.edges.lock();
        let Some(mut status) = state.live.remove(&self.id) else {
            return;
        };
        // A stream that never said anything, or one of several of the same Envoy, is not worth a memory.
        let again = state
            .live
            .values()
            .any(|other| (&other.node, other.peer) == (&status.node, status.peer));
        if status.node.is_empty() || again {
            return;
        }
        status.connected_since = None;
        if state.gone.len() == MAX_GONE {
            state.gone.pop_front();
        }
        state.gone.push_back(status);
    }
}

/// At most `limit` characters, and none that could forge a line of a log.
fn printable(text: &str, limit: usize) -> String {
    let escaped = text.chars().flat_map(|c| {
        let keep = !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let plain = keep.then_some(c);
        plain.into_iter().chain((!keep).then(|| c.escape_default()).into_iter().flatten())
    });
    escaped.take(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges() -> Arc<Edges> {
        Arc::new(Edges::new(|| SystemTime::UNIX_EPOCH))
    }

    fn peer() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 5000))
    }

    fn status(node: &str) -> EdgeStatus {
        EdgeStatus {
            node: node.to_owned(),
            peer: Some(peer().ip()),
            connected_since: Some(SystemTime::UNIX_EPOCH),
            offered: None,
            acked: None,
            nack: None,
        }
    }

    #[test]
    fn an_edge_shows_what_it_runs_and_what_it_refused() {
        let edges = edges();
        let session = edges.connect(Some(peer())).unwrap();
        session.named("a");
        session.pushed("1");
        session.acked("1".to_owned());
        session.pushed("2");
        session.nacked("2".to_owned(), "no\nway");
        let nack = Nack {
            version: "2".to_owned(),
            message: "no\\nway".to_owned(),
            at: SystemTime::UNIX_EPOCH,
        };
        let refused = EdgeStatus {
            offered: Some("2".to_owned()),
            acked: Some("1".to_owned()),
            nack: Some(nack),
            ..status("a")
        };
        assert_eq!(edges.list(), std::slice::from_ref(&refused));
        assert_eq!(
            edges.counts(),
            Counts {
                streams: 1,
                pushes: 2,
                acks: 1,
                nacks: 1,
                refused: 0,
                ..Counts::default()
            }
        );

        session.acked("3".to_owned());
        assert_eq!(
            edges.list(),
            [EdgeStatus {
                acked: Some("3".to_owned()),
                nack: None,
                ..refused
            }]
        );
    }

    #[test]
    fn an_edge_that_left_is_remembered_until_it_comes_back() {
        let edges = edges();
        let session = edges.connect(Some(peer())).unwrap();
        session.named("a");
        drop(session);
        assert_eq!(
            edges.list(),
            [EdgeStatus {
                connected_since: None,
                ..status("a")
            }]
        );
        let session = edges.connect(Some(peer())).unwrap();
        session.named("a");
        assert_eq!(edges.list(), [status("a")]);
    }

    #[test]
    fn streams_and_memories_are_bounded() {
        let edges = edges();
        let sessions: Vec<_> = (0..MAX_STREAMS)
            .map(|number| {
                let session = edges.connect(Some(peer())).unwrap();
                session.named(&number.to_string());
                session
            })
            .collect();
        assert!(edges.connect(Some(peer())).is_none());
        assert_eq!(edges.counts().refused, 1);
        drop(sessions);
        assert_eq!(edges.list().len(), MAX_GONE);
        assert_eq!(edges.counts().streams, 0);
    }

    #[test]
    fn what_an_envoy_says_is_escaped_and_cut() {
        assert_eq!(
            printable("a\r\n\u{1b}[31mb\u{202e}é", 100),
            "a\\r\\n\\u{1b}[31mb\\u{202e}é"
        );
        assert_eq!(
            printable(&"x".repeat(10_000), MESSAGE_LIMIT).len(),
            MESSAGE_LIMIT
        );
    }
}
