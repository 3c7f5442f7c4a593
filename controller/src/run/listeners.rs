//! The ports.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::RunError;
use crate::args::RunArgs;

/// A listener for each port, bound before anything is served.
pub(super) struct Listeners {
    pub(super) hooks: TcpListener,
    pub(super) events: TcpListener,
    pub(super) xds: TcpListener,
    pub(super) metrics: TcpListener,
    pub(super) health: TcpListener,
}

impl Listeners {
    pub(super) async fn bind(args: &RunArgs) -> Result<Self, RunError> {
        Ok(Self {
            hooks: bind(args.receiver_addr, "hooks").await?,
            events: bind(args.events.events_addr, "events").await?,
            xds: bind(args.xds_addr, "xDS").await?,
            metrics: bind(args.metrics_addr, "metrics").await?,
            health: bind(args.health_addr, "health").await?,
        })
    }
}

async fn bind(address: SocketAddr, what: &'static str) -> Result<TcpListener, RunError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| RunError::Bind {
            address,
            what,
            source,
        })
}

/// Serves until `stop` turns true.
pub(super) fn serve(listener: TcpListener, routes: Router, mut stop: watch::Receiver<bool>) {
    tokio::spawn(async move {
        let stopped = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        if let Err(error) = axum::serve(listener, routes)
            .with_graceful_shutdown(stopped)
            .await
        {
            tracing::error!(%error, "a server failed");
        }
    });
}
