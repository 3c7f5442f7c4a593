//! The ports.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

use super::RunError;
use crate::args::RunArgs;

/// Connections that wait to be accepted, within what the system allows (4,096 on Linux). A sender whose connection finds no
/// room tries again after 1, 3 and 7 seconds, and has given up by then.
const BACKLOG: u32 = 4_096;

/// A listener for each port, bound before anything is served.
pub(super) struct Listeners {
    pub(super) hooks: TcpListener,
    pub(super) events: TcpListener,
    pub(super) xds: TcpListener,
    pub(super) metrics: TcpListener,
    pub(super) health: TcpListener,
    pub(super) authz: Option<TcpListener>,
}

impl Listeners {
    pub(super) fn bind(args: &RunArgs) -> Result<Self, RunError> {
        Ok(Self {
            hooks: bind(args.receiver_addr, "hooks")?,
            events: bind(args.events.events_addr, "events")?,
            xds: bind(args.xds_addr, "xDS")?,
            metrics: bind(args.metrics_addr, "metrics")?,
            health: bind(args.health_addr, "health")?,
            authz: args
                .ext_authz_addr
                .map(|address| bind(address, "ext_authz"))
                .transpose()?,
        })
    }
}

fn bind(address: SocketAddr, what: &'static str) -> Result<TcpListener, RunError> {
    listen(address).map_err(|source| RunError::Bind {
        address,
        what,
        source,
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // As tokio's own bind does: a restart need not wait for the connections of the last run.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
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
