//! `/healthz` and `/readyz`, and in manifests mode `/debug/requests`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::clock;
use crate::manifests::requester::ManifestRequester;
use crate::metrics::Metrics;
use crate::notify::spool::Spool;
use crate::xds::Edges;

/// Whether hooks should be sent here: a table has been compiled from a complete list, and the
/// process is not stopping.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<States>);

#[derive(Debug, Default)]
struct States {
    has_table: AtomicBool,
    is_stopping: AtomicBool,
}

impl Readiness {
    /// There is a table.
    pub fn has_table(&self) {
        self.0.has_table.store(true, Ordering::Release);
    }

    /// The process stops: no more hooks, whatever happens.
    pub fn stop(&self) {
        self.0.is_stopping.store(true, Ordering::Release);
    }

    /// Why not, if not.
    fn refusal(&self) -> Option<&'static str> {
        if self.0.is_stopping.load(Ordering::Acquire) {
            return Some("stopping");
        }
        let has_table = self.0.has_table.load(Ordering::Acquire);
        (!has_table).then_some("no table has been compiled yet")
    }
}

/// The routes of the health port; those about kept requests only without a cluster.
pub fn routes(readiness: Readiness, requester: Option<Arc<ManifestRequester>>) -> Router {
    let ready = move || async move {
        match readiness.refusal() {
            None => (StatusCode::OK, "ok"),
            Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
        }
    };
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready));
    let Some(requester) = requester else {
        return routes;
    };
    let requests = move || async move {
        let json = requester.debug_requests().to_string();
        ([(header::CONTENT_TYPE, "application/json")], json).into_response()
    };
    routes.route("/debug/requests", get(requests))
}

/// The routes of the metrics port. `filter` is there for hosts that fetch it by URL, such as Envoy Gateway.
pub fn metrics_routes(
    metrics: Arc<Metrics>,
    edges: Arc<Edges>,
    spool: Arc<Spool>,
    filter: Arc<[u8]>,
) -> Router {
    let scrape = move || async move {
        metrics.edges(edges.counts());
        metrics.alerts.spool(&spool.stats(), clock::now_ms());
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ([(header::CONTENT_TYPE, kind)], metrics.encode()).into_response()
    };
    let filter = Bytes::from_owner(filter);
    let code = move || async move {
        ([(header::CONTENT_TYPE, "application/wasm")], filter.clone()).into_response()
    };
    Router::new()
        .route("/metrics", get(scrape))
        .route("/filter.wasm", get(code))
}
