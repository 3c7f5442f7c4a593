//! The event server, `:9090`: where Flux's controllers post what happens.
//!
//! As nc's: any path, any method, no authentication; 202, 400, 413 and 429 with its headers. But
//! 202 means that the event is kept, and 503 that it could not be, so that the sender tries again.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use super::current::CurrentAlerts;
use super::digest;
use super::limit::{Fingerprint, Pass, Window};
use super::metadata;
use super::select::Selection;
use super::spool::{NewEntry, Spool, SpoolError};
use super::warn::Warn;
use crate::api::event::Event;
use crate::clock;
use crate::inbound::Inbound;
use crate::metrics::Metrics;

/// nc's limits: body, the whole request's reading.
const MAX_BODY: usize = 3 * 1024 * 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections at once; the next one waits to be accepted.
const CONNECTIONS: usize = 1_024;
/// Bytes of bodies held at once, in units of a KiB.
const BODY_BUDGET_KIB: usize = 64 * 1024;
/// How long a stop waits for what is in flight.
const DRAIN: Duration = Duration::from_secs(5);
/// Deliveries of one entry of the spool; more Alerts than that make several.
const DELIVERIES: usize = 1_000;
/// A longer name of an involved object is kept as its hash.
const CHAIN: usize = 512;

/// The body of a 429.
const TOO_MANY: &str = "Too Many Requests\n";

type Reply = Response<axum::body::Body>;

/// What serves events.
pub struct EventServer<W> {
    current: Arc<CurrentAlerts>,
    spool: Arc<Spool>,
    window: Mutex<Window>,
    metrics: Arc<Metrics>,
    warn: W,
    budget: Semaphore,
}

impl<W> fmt::Debug for EventServer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventServer").finish_non_exhaustive()
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Accepted { reset_ms: u64 },
    Duplicate { reset_ms: u64 },
    Malformed,
    TooLarge,
    Unavailable,
    Unmatched { reset_ms: u64 },
}

impl Outcome {
    /// A metric's label.
    fn word(self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Duplicate { .. } => "duplicate",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Unavailable => "unavailable",
            Self::Unmatched { .. } => "unmatched",
        }
    }

    fn reply(self) -> Reply {
        match self {
            Self::Accepted { reset_ms } | Self::Unmatched { reset_ms } => {
                limited(status(StatusCode::ACCEPTED, ""), reset_ms)
            }
            Self::Duplicate { reset_ms } => {
                let mut reply = limited(status(StatusCode::TOO_MANY_REQUESTS, TOO_MANY), reset_ms);
                let headers = reply.headers_mut();
                headers.insert(
                    CONTENT_TYPE,
                    HeaderValue::from_static("text/plain; charset=utf-8"),
                );
                headers.insert(
                    HeaderName::from_static("x-content-type-options"),
                    HeaderValue::from_static("nosniff"),
                );
                headers.insert(RETRY_AFTER, date(reset_ms));
                reply
            }
            Self::Malformed => status(StatusCode::BAD_REQUEST, ""),
            Self::TooLarge => status(StatusCode::PAYLOAD_TOO_LARGE, ""),
            Self::Unavailable => {
                let mut reply = status(StatusCode::SERVICE_UNAVAILABLE, "");
                reply.headers_mut().insert(RETRY_AFTER, 1.into());
                reply
            }
        }
    }
}

fn status(code: StatusCode, body: &'static str) -> Reply {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = code;
    reply
}

/// The headers that nc's limiter sets on whatever reaches it.
fn limited(mut reply: Reply, reset_ms: u64) -> Reply {
    let headers = reply.headers_mut();
    for (name, value) in [
        ("x-ratelimit-limit", HeaderValue::from_static("1")),
        ("x-ratelimit-remaining", HeaderValue::from_static("0")),
        ("x-ratelimit-reset", date(reset_ms)),
    ] {
        headers.insert(HeaderName::from_static(name), value);
    }
    reply
}

/// A date as Go's RFC1123 writes it in UTC.
fn date(unix_ms: u64) -> HeaderValue {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    let date = DateTime::from_timestamp_millis(ms).unwrap_or_default();
    let text = date.format("%a, %d %b %Y %H:%M:%S UTC").to_string();
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

impl<W: Warn> EventServer<W> {
    /// A server that keeps events in `spool`.
    pub fn new(
        current: Arc<CurrentAlerts>,
        spool: Arc<Spool>,
        window: Window,
        metrics: Arc<Metrics>,
        warn: W,
    ) -> Self {
        Self {
            current,
            spool,
            window: Mutex::new(window),
            metrics,
            warn,
            budget: Semaphore::new(BODY_BUDGET_KIB),
        }
    }

    /// Serves until `stop` turns true, then answers what is in flight.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: watch::Receiver<bool>) {
        let inbound = Inbound {
            what: "events",
            connections: CONNECTIONS,
            drain: DRAIN,
            title_case: true,
        };
        let answer = move |request, _| self.clone().answer(request);
        inbound.serve(listener, stop, answer).await;
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Reply {
        let started = Instant::now();
        let metrics = self.metrics.clone();
        let _inflight = metrics.alerts.inflight();
        let method = request.method().to_string();
        let outcome = match self.read(request.into_body(), started).await {
            Err(outcome) => outcome,
            Ok(held) => {
                // A sender that goes away must not leave an event half decided on.
                let server = self.clone();
                let bytes = held.bytes;
                let decided = tokio::spawn(async move { server.event(&bytes).await }).await;
                decided.unwrap_or(Outcome::Unavailable)
            }
        };
        let reply = outcome.reply();
        let size = reply.body().size_hint().exact().unwrap_or(0);
        metrics.alerts.received(outcome.word());
        metrics.alerts.answered(
            &method,
            reply.status().as_u16(),
            usize::try_from(size).unwrap_or(usize::MAX),
            started.elapsed().as_secs_f64(),
        );
        reply
    }

    /// Reads the body within limits of size, time and memory.
    async fn read(&self, mut body: Incoming, started: Instant) -> Result<Held<'_>, Outcome> {
        let declared = body.size_hint().exact();
        let declared = declared.and_then(|n| usize::try_from(n).ok());
        if declared.is_some_and(|n| n > MAX_BODY) {
            return Err(Outcome::TooLarge);
        }
        let kib = declared.unwrap_or(MAX_BODY).div_ceil(1024);
        let permit = self
            .budget
            .try_acquire_many(u32::try_from(kib).unwrap_or(u32::MAX))
            .map_err(|_| Outcome::Unavailable)?;
        let mut bytes = Vec::with_capacity(declared.unwrap_or(0));
        let deadline = started + REQUEST_TIMEOUT;
        loop {
            let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx));
            let frame = match timeout_at(deadline, frame).await {
                Err(_) | Ok(Some(Err(_))) => return Err(Outcome::Malformed),
                Ok(None) => {
                    return Ok(Held {
                        bytes,
                        _permit: permit,
                    });
                }
                Ok(Some(Ok(frame))) => frame,
            };
            if let Ok(chunk) = frame.into_data() {
                if chunk.len() > MAX_BODY - bytes.len() {
                    return Err(Outcome::TooLarge);
                }
                bytes.extend_from_slice(&chunk);
            }
        }
    }

    /// Decides on an event.
    async fn event(&self, bytes: &[u8]) -> Outcome {
        let Ok(mut event) = Event::parse(bytes) else {
            return Outcome::Malformed;
        };
        metadata::clean(&mut event);
        let fingerprint = Fingerprint::of(&event);
        metadata::strip_internal(&mut event);
        let now_ms = clock::now_ms();
        let pass = self.window().begin(fingerprint, now_ms);
        let reset_ms = match pass {
            Pass::New { reset_ms } => reset_ms,
            Pass::Duplicate { reset_ms } => {
                tracing::debug!(object = %event.involved_object, "discarding event, rate limiting duplicate events");
                return Outcome::Duplicate { reset_ms };
            }
            Pass::Busy => return Outcome::Unavailable,
        };
        let kept = self.keep(&event, now_ms).await;
        self.window().end(fingerprint, kept.is_ok(), now_ms);
        match kept {
            Ok(0) => Outcome::Unmatched { reset_ms },
            Ok(_) => Outcome::Accepted { reset_ms },
            Err(error) => {
                tracing::error!(object = %event.involved_object, %error, "an event was not accepted");
                Outcome::Unavailable
            }
        }
    }

    /// Keeps an event for the Alerts that take it; how many deliveries that makes.
    async fn keep(&self, event: &Event, now_ms: u64) -> Result<usize, NotKept> {
        let object = &event.involved_object;
        let selection = self.current.select(event).ok_or(NotKept::NotReady)?;
        let Selection {
            deliveries,
            digests,
            unfit,
            warnings,
        } = selection;
        for (alert, warning) in &warnings {
            self.warn.warn(alert, warning);
        }
        for (alert, lacks) in &unfit {
            tracing::info!(%object, %alert, lacks, "alert dropped: the event lacks a metadata key of its provider");
        }
        if deliveries.is_empty() && digests.is_empty() {
            tracing::info!(%object, "discarding event, no alerts found for the involved object");
            return Ok(0);
        }
        let event_json = event.to_json().into_bytes();
        let whole = NewEntry {
            at_ms: now_ms,
            not_before_ms: now_ms,
            chain: chain(event.involved_object.to_string()),
            deliveries: Vec::new(),
            event: event_json,
        };
        for some in deliveries.chunks(DELIVERIES) {
            let deliveries = some.to_vec();
            self.append(
                event,
                NewEntry {
                    deliveries,
                    ..whole.clone()
                },
            )
            .await?;
        }
        let revision = digest::revision(event).unwrap_or_default();
        for (alert, provider, window) in &digests {
            let window = u64::try_from(window.as_millis()).unwrap_or(0);
            let new = NewEntry {
                not_before_ms: now_ms.saturating_add(window),
                chain: chain(digest::chain(alert, revision)),
                deliveries: vec![(alert.clone(), provider.clone())],
                ..whole.clone()
            };
            self.append(event, new).await?;
        }
        Ok(deliveries.len() + digests.len())
    }

    async fn append(&self, event: &Event, new: NewEntry) -> Result<(), SpoolError> {
        let alerts = new.deliveries.len();
        let entry = self.spool.append(new).await?;
        tracing::info!(object = %event.involved_object, entry, alerts, "event accepted");
        Ok(())
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an event was not kept.
#[derive(Debug, thiserror::Error)]
enum NotKept {
    /// The Alerts are not known yet.
    #[error("the list of Alerts is not complete yet")]
    NotReady,
    /// The spool refused.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// A body, and its share of the memory that bodies may take.
struct Held<'a> {
    bytes: Vec<u8>,
    _permit: SemaphorePermit<'a>,
}

/// What keeps events in order, if need be as its hash. A digest stays one.
fn chain(name: String) -> String {
    if name.len() <= CHAIN {
        return name;
    }
    let begin: String = name.chars().take(CHAIN / 8).collect();
    format!("{begin}… {}", hex::encode(Sha256::digest(&name)))
}

#[cfg(test)]
mod tests;
