//! `GET /edge/table`: the table for filters that are configured by objects which can hold no secret, such as Envoy Gateway's
//! `EnvoyExtensionPolicy`. They ask again and again, with the tag of what they have.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::{Semaphore, watch};

use super::Snapshot;

/// Where the filter asks.
const TABLE_PATH: &str = "/edge/table";

/// Tables being copied at once: each may have many megabytes.
const TABLES_AT_ONCE: usize = 8;

/// Seconds after which an Envoy may ask again where there is no table yet.
const RETRY_AFTER: &str = "1";

#[derive(Clone)]
struct Desk {
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    seats: Arc<Semaphore>,
}

/// The route, to be merged with others.
pub(super) fn router(snapshots: watch::Receiver<Option<Arc<Snapshot>>>) -> Router {
    let desk = Desk {
        snapshots,
        seats: Arc::new(Semaphore::new(TABLES_AT_ONCE)),
    };
    Router::new().route(TABLE_PATH, get(table)).with_state(desk)
}

async fn table(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    let later = || {
        let headers = [(header::RETRY_AFTER, RETRY_AFTER)];
        (StatusCode::SERVICE_UNAVAILABLE, headers).into_response()
    };
    let Some(snapshot) = desk.snapshots.borrow().clone() else {
        return later();
    };
    let tag = format!("\"{}\"", snapshot.version);
    let held = headers.get(header::IF_NONE_MATCH);
    if held.is_some_and(|held| held.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    let Ok(_seat) = desk.seats.try_acquire() else {
        return later();
    };
    let headers = [
        (header::ETAG, tag),
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, snapshot.table.clone()).into_response()
}
