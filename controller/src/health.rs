//! `/healthz` and `/readyz`, and in manifests mode `/debug/requests`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
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
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Turns readiness on or off.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether it is on.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The routes of the health port.
pub fn routes(readiness: Readiness, requester: Arc<ManifestRequester>) -> Router {
    let ready = move || async move {
        if readiness.is_ready() {
            (StatusCode::OK, "ok")
        } else {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "no table has been compiled yet",
            )
        }
    };
    let requests = move || async move {
        let json = requester.debug_requests().to_string();
        ([(header::CONTENT_TYPE, "application/json")], json).into_response()
    };
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/debug/requests", get(requests))
}

/// The routes of the metrics port.
pub fn metrics_routes(metrics: Arc<Metrics>, edges: Arc<Edges>, spool: Arc<Spool>) -> Router {
    let scrape = move || async move {
        metrics.edges(edges.counts());
        metrics.alerts.spool(&spool.stats(), clock::now_ms());
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ([(header::CONTENT_TYPE, kind)], metrics.encode()).into_response()
    };
    Router::new().route("/metrics", get(scrape))
}
