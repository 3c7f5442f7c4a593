//! Envoy's external authorization (`ext_authz`, gRPC): the filter's verdicts for an Envoy that does not run the filter.
//!
//! ```text
//! Envoy ── Check: head and whole body ──► held.rs (memory) ──► check.rs ──► hook::gate
//!       ◄── go on to :9292, or the answer for the sender ──────────┘
//! ```
//!
//! Guarantees: what passes is admitted, and no more: `:9292` verifies it again and triggers. What can't be decided is
//! refused. Each hook is counted in the metrics of hooks once: here if it is refused here, else at `:9292`.
//!
//! Assumptions: Envoy is configured to send the whole body, and to refuse where it gets no answer (Contour's default).

mod check;
mod held;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use envoy_types::pb::envoy::service::auth::v3::authorization_server::AuthorizationServer;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;

use crate::publish::Compiled;
use crate::trigger::annotate::Requester;
use crate::trigger::bodies::Bodies;
use crate::trigger::deliver::Deliverer;
use crate::trigger::server::Ledgers;
use crate::xds::{Acceptor, accept};

/// The largest check, in bytes: Contour's example sends bodies up to 27,000,000 bytes, and Envoy takes heads of 60 KiB,
/// which come twice.
const MESSAGE_LIMIT: usize = 28 * 1024 * 1024;

/// How long a check may take, its reading included; Envoy's own patience ends sooner.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// Checks at once over one connection; Envoy opens more connections for more.
const STREAMS_PER_CONNECTION: u32 = 128;

/// What may come in before anybody has looked at it, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Pings find an Envoy that is gone without a word.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a stopping server waits for checks in flight.
const GRACE: Duration = Duration::from_secs(5);

/// The port may not be bound: bodies and tokens would cross the network in plain text.
#[derive(Debug, Error)]
#[error(
    "ext_authz address {address} is not loopback and has no TLS: give --xds-cert, --xds-key and --xds-client-ca, bind 127.0.0.1:{}, or accept hooks in plain text with --ext-authz-insecure",
    address.port()
)]
pub struct Exposed {
    /// The refused address.
    address: SocketAddr,
}

/// Whether `ext_authz` may listen on `address`: on loopback, with mutual TLS, or where the operator insists.
///
/// # Errors
/// [`Exposed`], which says what to do.
pub fn bind_policy(address: SocketAddr, has_tls: bool, insecure: bool) -> Result<(), Exposed> {
    if has_tls || insecure || address.ip().is_loopback() {
        Ok(())
    } else {
        Err(Exposed { address })
    }
}

/// What decides on checks.
#[derive(Debug)]
pub struct Authz<R> {
    current: Arc<ArcSwap<Compiled>>,
    delivery: Arc<Deliverer<R>>,
    trusted_hops: usize,
    /// Not those of `:9292`, which charges what passes here a second time.
    ledgers: Ledgers,
}

impl<R: Requester> Authz<R> {
    /// Decides by the current table. `trusted_hops` says how many proxies in front of Envoy are believed about the
    /// client's address.
    pub fn new(
        current: Arc<ArcSwap<Compiled>>,
        delivery: Arc<Deliverer<R>>,
        trusted_hops: usize,
    ) -> Self {
        Self {
            current,
            delivery,
            trusted_hops,
            ledgers: Ledgers::default(),
        }
    }

    /// Serves until `stop` turns true, then answers what is in flight. Messages share `bodies` with the hook port.
    /// Without `tls` the port is plain text: ask [`bind_policy`] before binding.
    ///
    /// # Errors
    /// A server that fails while it runs.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        tls: Option<Acceptor>,
        bodies: Bodies,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), tonic::transport::Error> {
        let mut over = stop.clone();
        let service = AuthorizationServer::new(self).max_decoding_message_size(MESSAGE_LIMIT);
        let router = Routes::new(service)
            .into_axum_router()
            .layer(axum::middleware::from_fn_with_state(bodies, held::hold));
        let serving = tonic::transport::Server::builder()
            .timeout(CHECK_TIMEOUT)
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .http2_max_header_list_size(16 * 1024)
            .add_routes(Routes::from(router))
            .serve_with_incoming_shutdown(accept(listener, tls, "ext_authz"), async move {
                let _ = stop.wait_for(|stop| *stop).await;
            });
        tokio::select! {
            served = serving => served,
            () = async {
                let _ = over.wait_for(|stop| *stop).await;
                tokio::time::sleep(GRACE).await;
            } => Ok(()),
        }
    }
}
