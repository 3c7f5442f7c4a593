//! The ECDS server: hands filter code and table to every connected Envoy, and takes edge reports.
//!
//! ```text
//! Snapshot (watch) ─► one conversation per stream ─► Envoy
//!                          ▲  ACK / NACK ─► Edges (status, metrics)
//! POST /edge/report (same port) ─► report sink
//! GET  /edge/table  (same port) ─► the table alone, for filters that no ECDS reaches
//! ```
//!
//! Guarantees: nothing is pushed before the first snapshot; a stream gets a version once, and a
//! refused version is not sent again until another one comes; a slow Envoy gets the newest version,
//! not a queue of old ones. The only resource is [`RESOURCE`]. State of the world and delta alike.
//!
//! Assumptions: equal inputs give equal snapshots on every replica, so that it does not matter which
//! replica an Envoy is connected to.

mod conversation;
mod edges;
mod incoming;
mod report;
mod resource;
mod service;
mod table;
#[cfg(test)]
mod tests;
mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;

pub use edges::{Counts, EdgeStatus, Edges, Nack};
pub(crate) use incoming::accept;
pub use report::{REPORT_PATH, ReportSink};
pub use resource::{RESOURCE, Snapshot};
pub(crate) use tls::Acceptor;
pub use tls::{LoadedTls, TlsProblem, XdsTls};

/// How long a stopping server waits for conversations to end.
const GRACE: Duration = Duration::from_secs(5);

/// Pings find an Envoy that is gone without a word.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// An Envoy needs one stream for ECDS, and one at a time for reports.
const STREAMS_PER_CONNECTION: u32 = 32;

/// Why the xDS server does not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum XdsError {
    /// Anybody on the network could read the table and pose as an Envoy.
    #[error(
        "xDS address {address} is not loopback and has no TLS: give --xds-cert, --xds-key and --xds-client-ca, bind 127.0.0.1:{}, or accept readers of the table with --xds-insecure",
        address.port()
    )]
    Exposed {
        /// The refused address.
        address: SocketAddr,
    },
    /// A TLS file cannot be used.
    #[error("failed to read xDS TLS file {path:?}")]
    TlsFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Certificate, key and client CA do not go together.
    #[error(
        "failed to set up TLS for xDS: check that --xds-cert, --xds-key and --xds-client-ca are PEM and belong together"
    )]
    Tls(#[source] TlsProblem),
    /// The server ended by itself.
    #[error("failed to serve xDS")]
    Serve(#[source] tonic::transport::Error),
}

/// Whether xDS may listen on `address`: on loopback, with mutual TLS, or where the operator insists.
///
/// # Errors
/// [`XdsError::Exposed`], which says what to do.
pub fn bind_policy(
    address: SocketAddr,
    tls: Option<&XdsTls>,
    insecure: bool,
) -> Result<(), XdsError> {
    if tls.is_some() || insecure || address.ip().is_loopback() {
        Ok(())
    } else {
        Err(XdsError::Exposed { address })
    }
}

/// Serves ECDS and edge reports on `listener` until `shutdown` completes, then ends the conversations
/// (Envoy keeps what it has, and asks another replica) and waits at most five seconds for them.
///
/// `edges` keeps what the Envoys said; `reports` gets the body of each edge report. Without `tls` the
/// port is plain text: ask [`bind_policy`] before binding. Its files are looked at again and again.
///
/// # Errors
/// A server that fails while it runs.
pub async fn serve(
    listener: TcpListener,
    tls: Option<LoadedTls>,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    edges: Arc<Edges>,
    reports: ReportSink,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), XdsError> {
    let (stop, stopping) = watch::channel(false);
    let acceptor = tls.as_ref().map(LoadedTls::acceptor);
    let renewal = renewal(tls, Arc::clone(&edges));
    let table = table::router(snapshots.clone());
    let ecds = service::Ecds::new(snapshots, edges, stopping.clone()).into_server();
    let router = Routes::new(ecds)
        .into_axum_router()
        .merge(report::router(reports))
        .merge(table);

    let serving = tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(16 * 1024)
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(accept(listener, acceptor, "xDS"), async move {
            shutdown.await;
            stop.send_replace(true);
        });
    tokio::select! {
        served = serving => served.map_err(XdsError::Serve),
        () = grace_over(stopping) => Ok(()),
        () = renewal => Ok(()),
    }
}

/// Never ends.
async fn renewal(tls: Option<LoadedTls>, edges: Arc<Edges>) {
    match tls {
        Some(tls) => tls.follow(edges).await,
        None => std::future::pending().await,
    }
}

async fn grace_over(mut stopping: watch::Receiver<bool>) {
    if stopping.wait_for(|stop| *stop).await.is_ok() {
        tokio::time::sleep(GRACE).await;
    }
}
