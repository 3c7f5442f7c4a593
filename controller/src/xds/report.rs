//! `POST /edge/report`: what the filters counted. Bytes in, a sink decides; nothing is answered but a
//! status. A report is a hint, so a lost one is no harm.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::routing::post;
use tokio::sync::Semaphore;

/// Where the filter posts its reports.
pub const REPORT_PATH: &str = "/edge/report";

/// Largest report, in bytes.
const REPORT_LIMIT: usize = 256 * 1024;

/// Reports being read at once: each may hold [`REPORT_LIMIT`].
const REPORTS_AT_ONCE: usize = 32;

/// A report that takes longer is cut off.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes the body of a report; the error says what is wrong with it and is only logged. Called on the
/// server's threads: it must not block.
pub type ReportSink = Arc<dyn Fn(&[u8]) -> Result<(), String> + Send + Sync>;

#[derive(Clone)]
struct Desk {
    sink: ReportSink,
    seats: Arc<Semaphore>,
}

/// The route, to be merged with others.
pub(super) fn router(sink: ReportSink) -> Router {
    let desk = Desk {
        sink,
        seats: Arc::new(Semaphore::new(REPORTS_AT_ONCE)),
    };
    Router::new()
        .route(REPORT_PATH, post(report))
        .with_state(desk)
}

async fn report(State(desk): State<Desk>, request: Request) -> StatusCode {
    if declared(&request).is_some_and(|length| length > REPORT_LIMIT as u64) {
        return StatusCode::PAYLOAD_TOO_LARGE;
    }
    let Ok(_seat) = desk.seats.try_acquire() else {
        return StatusCode::SERVICE_UNAVAILABLE;
    };
    match tokio::time::timeout(REPORT_TIMEOUT, to_bytes(request.into_body(), REPORT_LIMIT)).await {
        Err(_) => StatusCode::REQUEST_TIMEOUT,
        // A body that broke off has nobody left to answer, so this one means too large.
        Ok(Err(_)) => StatusCode::PAYLOAD_TOO_LARGE,
        Ok(Ok(body)) => match (desk.sink)(&body) {
            Ok(()) => StatusCode::NO_CONTENT,
            Err(reason) => {
                let reason: String = reason.chars().take(256).collect();
                tracing::warn!(?reason, bytes = body.len(), "refused an edge report");
                StatusCode::BAD_REQUEST
            }
        },
    }
}

fn declared(request: &Request<Body>) -> Option<u64> {
    request
        .headers()
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
