//! The hook server, `:9292`: behind Envoy or without it, with the same verdicts.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hook::address::Cidr;
use hook::config::{Hook, MAX_BODY};
use hook::gate::{Decision, Host, Step, Verdict};
use hook::jwt::{Algorithm, Signatures, Unsupported};
use hook::rejection::Rejection;
use hook::request::Request;
use hyper::body::{Body as _, Incoming};
use hyper::header::RETRY_AFTER;
use hyper::{Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use crate::clock;
use crate::inbound::Inbound;
use crate::publish::Compiled;
use crate::signature::Ring;
use crate::trigger::annotate::Requester;
use crate::trigger::bodies::Bodies;
use crate::trigger::deliver::{Deliverer, Outcome};

/// nc's limit of the whole request's reading.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections at once; the next one waits to be accepted.
const CONNECTIONS: usize = 4_096;
/// How long a stop waits for what is in flight; a hook takes at most 9 s.
const DRAIN: Duration = Duration::from_secs(12);
/// The header in which a trusted proxy names the client.
pub(crate) const CLIENT: &str = "x-hookgate-client";

type Reply = Response<EmptyBody>;
/// Nothing is ever written to a hook's sender but a status.
type EmptyBody = axum::body::Body;

/// What serves hooks.
#[derive(Debug)]
pub struct HookServer<R> {
    current: Arc<ArcSwap<Compiled>>,
    delivery: Arc<Deliverer<R>>,
    trusted_proxies: Vec<Cidr>,
    ledgers: Ledgers,
    bodies: Bodies,
}

impl<R: Requester> HookServer<R> {
    /// A server of the current table.
    pub fn new(
        current: Arc<ArcSwap<Compiled>>,
        delivery: Arc<Deliverer<R>>,
        trusted_proxies: Vec<Cidr>,
    ) -> Self {
        Self {
            current,
            delivery,
            trusted_proxies,
            ledgers: Ledgers::default(),
            bodies: Bodies::default(),
        }
    }

    /// The memory that its bodies take, to be shared with other ports.
    pub fn bodies(&self) -> Bodies {
        self.bodies.clone()
    }

    /// Serves until `stop` turns true, then answers what is in flight.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: watch::Receiver<bool>) {
        let inbound = Inbound {
            what: "hooks",
            connections: CONNECTIONS,
            drain: DRAIN,
            title_case: false,
        };
        let answer = move |request, peer: SocketAddr| {
            let server = self.clone();
            async move { server.answer(request, peer.ip()).await }
        };
        inbound.serve(listener, stop, answer).await;
    }

    async fn answer(&self, request: hyper::Request<Incoming>, peer: IpAddr) -> Reply {
        let started = Instant::now();
        let metrics = self.delivery.metrics();
        let _inflight = metrics.inflight();
        let method = request.method().to_string();
        let reply = self.hook(request, peer, started).await;
        metrics.answered(
            &method,
            reply.status().as_u16(),
            started.elapsed().as_secs_f64(),
        );
        reply
    }

    async fn hook(
        &self,
        request: hyper::Request<Incoming>,
        peer: IpAddr,
        arrived: Instant,
    ) -> Reply {
        let current = self.current.load_full();
        if !current.is_complete {
            return status_only(503, Some(1));
        }
        let (head, mut body) = request.into_parts();
        let lender = Lender {
            peer: Some(self.client(&head.headers, peer)),
            ledgers: &self.ledgers,
        };
        let target = head.uri.to_string();
        let request = Request {
            method: head.method.as_str().as_bytes(),
            path: target.as_bytes(),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_bytes()))
                .collect(),
        };
        let step = current
            .gate
            .headers(&request, body.is_end_stream(), clock::now_ms(), &lender);
        let (decision, body) = match step {
            Step::Done(decision) if !is_admitted(&decision) => (decision, Held::default()),
            Step::Done(decision) => match self.read(&mut body, arrived, |_| Ok(())).await {
                Ok(body) => (decision, body),
                Err(Ended::Decided(decision)) => (decision, Held::default()),
                Err(Ended::Rejected(rejection)) => {
                    (rejected(rejection, decision.hook), Held::default())
                }
            },
            Step::Body(mut pending) => {
                let feed = |chunk: &[u8]| pending.chunk(chunk, clock::now_ms(), &lender);
                match self.read(&mut body, arrived, feed).await {
                    Ok(body) => (pending.end(clock::now_ms(), &lender), body),
                    Err(Ended::Decided(decision)) => (decision, Held::default()),
                    Err(Ended::Rejected(Rejection::BadRequest)) => {
                        (pending.abort(clock::now_ms(), &lender), Held::default())
                    }
                    Err(Ended::Rejected(rejection)) => (
                        rejected(rejection, Some(pending.hook().clone())),
                        Held::default(),
                    ),
                }
            }
        };
        match &decision.verdict {
            Verdict::Admit(admission) => {
                let outcome = self.delivery.deliver(
                    &current,
                    &decision,
                    admission,
                    &request,
                    &body.bytes,
                    arrived,
                );
                reply_to(&outcome.await)
            }
            Verdict::Ignore { status } => {
                self.delivery.refused(&decision);
                status_only(*status, None)
            }
            Verdict::Reject(rejection) => {
                self.delivery.refused(&decision);
                status_only(rejection.status(), rejection.retry_after())
            }
        }
    }

    /// Reads the body within limits of size, time and memory, feeding each chunk to the Gate.
    async fn read(
        &self,
        body: &mut Incoming,
        arrived: Instant,
        mut feed: impl FnMut(&[u8]) -> Result<(), Decision>,
    ) -> Result<Held, Ended> {
        let max = usize::try_from(self.current.load().gate.max_body().min(MAX_BODY)).unwrap_or(0);
        let declared = body
            .size_hint()
            .exact()
            .and_then(|n| usize::try_from(n).ok());
        let permit = self
            .bodies
            .hold(declared.unwrap_or(max).min(max))
            .map_err(Ended::Rejected)?;
        let mut whole = Vec::with_capacity(declared.unwrap_or(0).min(max));
        let deadline = arrived + REQUEST_TIMEOUT;
        loop {
            let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx));
            let frame = match timeout_at(deadline, frame).await {
                Err(_) | Ok(Some(Err(_))) => return Err(Ended::Rejected(Rejection::BadRequest)),
                Ok(None) => {
                    return Ok(Held {
                        bytes: whole,
                        _permit: Some(permit),
                    });
                }
                Ok(Some(Ok(frame))) => frame,
            };
            if let Ok(chunk) = frame.into_data() {
                feed(&chunk).map_err(Ended::Decided)?;
                // Types that are decided on the head feed nothing to the Gate, which then can't tell.
                if chunk.len() > max.saturating_sub(whole.len()) {
                    return Err(Ended::Rejected(Rejection::TooLarge));
                }
                whole.extend_from_slice(&chunk);
            }
        }
    }

    /// The client: the peer, or whom a trusted proxy's filter names.
    fn client(&self, headers: &hyper::HeaderMap, peer: IpAddr) -> IpAddr {
        if !self
            .trusted_proxies
            .iter()
            .any(|range| range.contains(peer))
        {
            return peer;
        }
        let named = headers.get(CLIENT).and_then(|value| value.to_str().ok());
        named.and_then(|text| text.parse().ok()).unwrap_or(peer)
    }
}

/// A body, and its share of the memory that bodies may take.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    _permit: Option<OwnedSemaphorePermit>,
}

fn is_admitted(decision: &Decision) -> bool {
    matches!(decision.verdict, Verdict::Admit(_))
}

fn rejected(rejection: Rejection, hook: Option<Arc<Hook>>) -> Decision {
    Decision {
        verdict: Verdict::Reject(rejection),
        hook,
    }
}

/// Why a body was not read to its end.
enum Ended {
    /// The Gate has seen enough.
    Decided(Decision),
    /// It is too large, broke off, or there is no room for it.
    Rejected(Rejection),
}

fn reply_to(outcome: &Outcome) -> Reply {
    match outcome {
        Outcome::Done => status_only(200, None),
        Outcome::Refused(rejection) => status_only(rejection.status(), rejection.retry_after()),
        Outcome::Failed => status_only(500, None),
        Outcome::Later => status_only(503, Some(1)),
    }
}

fn status_only(status: u16, retry_after: Option<u32>) -> Reply {
    let mut reply = Response::new(EmptyBody::empty());
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(seconds) = retry_after {
        reply.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    reply
}

/// The records of hooks' limits. One a Receiver that ever took a hook.
#[derive(Debug, Default)]
pub(crate) struct Ledgers(Mutex<HashMap<String, Vec<u8>>>);

impl Ledgers {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What this process lends to the Gate.
pub(crate) struct Lender<'a> {
    pub(crate) peer: Option<IpAddr>,
    pub(crate) ledgers: &'a Ledgers,
}

impl Host for Lender<'_> {
    fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    fn update(&self, key: &str, change: &mut dyn FnMut(&mut Vec<u8>)) -> bool {
        let mut ledgers = self.ledgers.lock();
        if !ledgers.contains_key(key) {
            ledgers.insert(key.to_owned(), Vec::new());
        }
        if let Some(record) = ledgers.get_mut(key) {
            change(record);
        }
        true
    }
}

impl Signatures for Lender<'_> {
    fn verify(
        &self,
        algorithm: Algorithm,
        spki: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, Unsupported> {
        Ring.verify(algorithm, spki, message, signature)
    }
}
