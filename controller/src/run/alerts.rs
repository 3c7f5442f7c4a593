//! Events in, alerts out: what the alerts half needs of wherever the objects come from.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::source::Source;
use crate::args::RunArgs;
use crate::metrics::Metrics;
use crate::notify::service::Service;
use crate::notify::spool::Spool;
use crate::notify::target::SnapshotSecrets;
use crate::notify::transport::Sockets;
use crate::notify::warn::LogWarnings;

/// Takes events on `listener` and sends alerts, until `stop` turns true.
pub(super) fn start(
    args: &RunArgs,
    listener: TcpListener,
    spool: Arc<Spool>,
    source: &Source,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
) -> Service {
    Service::start(
        &args.events,
        args.no_cross_namespace_refs,
        listener,
        spool,
        source.snapshots.clone(),
        SnapshotSecrets(source.snapshots.clone()),
        Sockets::new(args.allow_metadata_addresses),
        LogWarnings,
        metrics,
        stop,
    )
}
