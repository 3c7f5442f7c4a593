//! Starts and stops the receiving and the sending of events, for whatever gives the objects.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::current::CurrentAlerts;
use super::dispatch::Dispatcher;
use super::identity::{AccountReader, Identities};
use super::limit::Window;
use super::server::EventServer;
use super::spool::{Limits, OpenError, Spool};
use super::target::SecretReader;
use super::transport::Transport;
use super::warn::Warn;
use crate::args::EventArgs;
use crate::metrics::Metrics;
use crate::objects::Snapshot;

/// Bytes of events that are kept in memory where there is no folder for them.
const MAX_MEMORY: u64 = 64 << 20;

/// What runs.
#[derive(Debug)]
pub struct Service {
    /// What is accepted and not delivered.
    pub spool: Arc<Spool>,
    serving: JoinHandle<()>,
    sending: JoinHandle<()>,
    following: JoinHandle<()>,
}

/// Opens the spool that the flags ask for, and says what it found.
///
/// # Errors
/// [`OpenError`] if the folder can't be used.
pub fn open_spool(args: &EventArgs) -> Result<Arc<Spool>, OpenError> {
    let (limits, room) = (args.limits(), args.room());
    let Some(folder) = &args.spool_dir else {
        tracing::warn!("events are kept in memory: a restart loses them; give --spool-dir DIR");
        let limits = Limits {
            max_bytes: limits.max_bytes.min(MAX_MEMORY),
            ..limits
        };
        return Ok(Arc::new(Spool::in_memory(limits, room)));
    };
    let (spool, found) = Spool::open(folder, limits, room)?;
    let stats = spool.stats();
    tracing::info!(
        events = stats.entries,
        bytes = stats.bytes,
        torn_bytes = found.torn_bytes,
        "spool opened"
    );
    if found.rotten_bytes > 0 {
        tracing::error!(
            bytes = found.rotten_bytes,
            "the spool was damaged: what stood in these bytes is lost"
        );
    }
    Ok(Arc::new(spool))
}

impl Service {
    /// Serves events on `listener` and sends alerts, until `stop` turns true. Every snapshot must
    /// be a complete list; before the first one no event is accepted and nothing is sent.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of its own, given once"
    )]
    pub fn start<T, S, W>(
        args: &EventArgs,
        no_cross_namespace_refs: bool,
        listener: TcpListener,
        spool: Arc<Spool>,
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        secrets: S,
        transport: T,
        identities: Identities,
        warn: W,
        metrics: Arc<Metrics>,
        stop: watch::Receiver<bool>,
    ) -> Self
    where
        T: Transport,
        S: SecretReader + AccountReader,
        W: Warn + Clone,
    {
        let current = Arc::new(CurrentAlerts::new(no_cross_namespace_refs));
        let following = tokio::spawn(follow(
            current.clone(),
            snapshots.clone(),
            warn.clone(),
            metrics.clone(),
        ));
        let server = EventServer::new(
            current,
            spool.clone(),
            Window::new(args.rate_limit_interval),
            metrics.clone(),
            warn.clone(),
        );
        let serving = tokio::spawn(Arc::new(server).serve(listener, stop.clone()));
        let dispatcher = Dispatcher::new(
            spool.clone(),
            snapshots,
            secrets,
            warn,
            metrics,
            args.backoff(),
            transport,
            args.tokens(),
            identities,
        );
        let sending = tokio::spawn(dispatcher.run(stop));
        Self {
            spool,
            serving,
            sending,
            following,
        }
    }

    /// Waits for what is in flight, after `stop` has turned true.
    pub async fn stopped(self) {
        // A task that panicked has said so.
        let _ = self.serving.await;
        let _ = self.sending.await;
        self.following.abort();
    }
}

async fn follow<W: Warn>(
    current: Arc<CurrentAlerts>,
    mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    warn: W,
    metrics: Arc<Metrics>,
) {
    let mut before = BTreeSet::new();
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        if let Some(snapshot) = snapshot {
            current.update(&snapshot, &warn);
            let now = providers(&snapshot);
            before
                .difference(&now)
                .for_each(|gone| metrics.alerts.forget(gone));
            before = now;
        }
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

/// The Providers' `namespace/name`.
fn providers(snapshot: &Snapshot) -> BTreeSet<String> {
    let metadata = snapshot.providers.iter().map(|provider| &provider.metadata);
    metadata
        .map(|metadata| format!("{}/{}", metadata.namespace, metadata.name))
        .collect()
}
