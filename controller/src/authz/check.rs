//! One check: what Envoy says of a request, the Gate's verdict, and what Envoy is told to do.

use std::net::IpAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::address::Address;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer};
use envoy_types::pb::envoy::service::auth::v3::authorization_server::Authorization;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::rpc;
use hook::config::Hook;
use hook::gate::{Decision, Pending, Step, Verdict};
use hook::receiver::RECEIVER_TYPES;
use hook::rejection::Rejection;
use hook::request;
use tonic::{Code, Request, Response, Status};

use super::Authz;
use crate::clock;
use crate::publish::Compiled;
use crate::trigger::annotate::Requester;
use crate::trigger::server::{CLIENT, Lender};

/// How much of a body is hashed before others have their turn, in bytes.
const PIECE: usize = 256 * 1024;

/// What Envoy adds to the head: whether it left a part of the body out.
const PARTIAL: &str = "x-envoy-auth-partial-body";

#[tonic::async_trait]
impl<R: Requester> Authorization for Authz<R> {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        if let Some(rejection) = request.extensions().get::<Rejection>() {
            let decision = rejected(*rejection, None);
            return Ok(Response::new(self.answer(&decision, None)));
        }
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let http = attributes.request.and_then(|request| request.http);
        let Some(http) = http else {
            return Err(Status::invalid_argument("only HTTP requests are checked"));
        };
        let current = self.current.load_full();
        if !current.is_complete {
            return Ok(Response::new(denied(503, Some(1))));
        }
        let asked = Asked::new(&http);
        let client = asked.client(attributes.source.as_ref(), self.trusted_hops);
        let decision = self.decide(&current, &asked, client).await;
        Ok(Response::new(self.answer(&decision, client)))
    }
}

impl<R: Requester> Authz<R> {
    async fn decide(
        &self,
        current: &Compiled,
        asked: &Asked<'_>,
        client: Option<IpAddr>,
    ) -> Decision {
        let lender = Lender {
            peer: client,
            ledgers: &self.ledgers,
        };
        let whole = asked.whole();
        let end = asked.body.is_empty() && whole.is_ok();
        let step = current
            .gate
            .headers(&asked.request, end, clock::now_ms(), &lender);
        match (step, whole) {
            (Step::Done(decision), _) if !matches!(decision.verdict, Verdict::Admit(_)) => decision,
            (Step::Done(decision), Err(rejection)) => rejected(rejection, decision.hook),
            (Step::Done(decision), Ok(())) if asked.body.len() as u64 > current.gate.max_body() => {
                rejected(Rejection::TooLarge, decision.hook)
            }
            (Step::Done(decision), Ok(())) => decision,
            (Step::Body(pending), Err(rejection)) => {
                rejected(rejection, Some(pending.hook().clone()))
            }
            (Step::Body(pending), Ok(())) => hashed(pending, asked.body, &lender).await,
        }
    }

    /// Counts the decision and says what Envoy has to do.
    fn answer(&self, decision: &Decision, client: Option<IpAddr>) -> CheckResponse {
        let metrics = self.delivery.metrics();
        metrics.checked(decision.receiver_type(), decision.reason());
        let (status, retry_after) = match &decision.verdict {
            Verdict::Admit(_) => return admitted(client),
            Verdict::Ignore { status } => (*status, None),
            Verdict::Reject(rejection) => (rejection.status(), rejection.retry_after()),
        };
        self.delivery.refused(decision);
        denied(status, retry_after)
    }
}

async fn hashed(mut pending: Pending, body: &[u8], lender: &Lender<'_>) -> Decision {
    for piece in body.chunks(PIECE) {
        if let Err(decision) = pending.chunk(piece, clock::now_ms(), lender) {
            return decision;
        }
        tokio::task::yield_now().await;
    }
    pending.end(clock::now_ms(), lender)
}

fn rejected(rejection: Rejection, hook: Option<Arc<Hook>>) -> Decision {
    Decision {
        verdict: Verdict::Reject(rejection),
        hook,
    }
}

/// A request as Envoy tells of it.
struct Asked<'a> {
    request: request::Request<'a>,
    body: &'a [u8],
}

impl<'a> Asked<'a> {
    fn new(http: &'a HttpRequest) -> Self {
        // A list where Envoy is told to send one (`encode_raw_headers`), else a map.
        let headers = match &http.header_map {
            Some(list) if !list.headers.is_empty() => list.headers.iter().map(field).collect(),
            Some(_) | None => http.headers.iter().flat_map(apart).collect(),
        };
        let packed = &http.raw_body;
        Self {
            request: request::Request {
                method: http.method.as_bytes(),
                path: http.path.as_bytes(),
                headers,
            },
            body: if packed.is_empty() {
                http.body.as_bytes()
            } else {
                packed
            },
        }
    }

    fn all(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.request
            .headers
            .iter()
            .filter(move |(held, _)| *held == name)
            .map(|(_, value)| *value)
    }

    /// Whether all of the body is here. On HTTP/2 Envoy may cut it at its limit instead of refusing it.
    fn whole(&self) -> Result<(), Rejection> {
        if self.all(PARTIAL).any(|value| value == b"true") {
            return Err(Rejection::TooLarge);
        }
        let here = self.body.len() as u64;
        match self.request.content_length()? {
            Some(declared) if declared > here => Err(Rejection::TooLarge),
            Some(declared) if declared < here => Err(Rejection::BadRequest),
            Some(_) | None => Ok(()),
        }
    }

    /// The client: whoever is connected to Envoy, or whom that many trusted proxies name. Envoy itself writes the last
    /// entry of `X-Forwarded-For`.
    fn client(&self, source: Option<&Peer>, trusted_hops: usize) -> Option<IpAddr> {
        if trusted_hops == 0 {
            return match source?.address.as_ref()?.address.as_ref()? {
                Address::SocketAddress(socket) => socket.address.parse().ok(),
                Address::Pipe(_) | Address::EnvoyInternalAddress(_) => None,
            };
        }
        let mut entries = self
            .all("x-forwarded-for")
            .rev()
            .flat_map(|value| value.rsplit(|byte| *byte == b','));
        let entry = std::str::from_utf8(entries.nth(trusted_hops)?).ok()?;
        entry.trim().parse().ok()
    }
}

/// A header of the map, in which those that came twice are joined by a comma. No signature or token survives that; an
/// event would be another one that is not listed, and is taken apart again therefore, to be refused as a duplicate.
fn apart<'a>((name, value): (&'a String, &'a String)) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    let is_event = RECEIVER_TYPES
        .iter()
        .any(|receiver_type| receiver_type.event_headers().contains(&name.as_str()));
    value
        .as_bytes()
        .split(move |byte| is_event && *byte == b',')
        .map(|value| (name.as_str(), value))
}

fn field(header: &HeaderValue) -> (&str, &[u8]) {
    let value = if header.raw_value.is_empty() {
        header.value.as_bytes()
    } else {
        &header.raw_value
    };
    (&header.key, value)
}

/// On to `:9292`, which is told who the client is, and not by the client.
fn admitted(client: Option<IpAddr>) -> CheckResponse {
    let mut response = OkHttpResponse::default();
    match client {
        Some(client) => response.headers.push(header(CLIENT, client.to_string())),
        None => response.headers_to_remove.push(CLIENT.to_owned()),
    }
    CheckResponse {
        status: Some(rpc::Status::default()),
        http_response: Some(HttpResponse::OkResponse(response)),
        ..CheckResponse::default()
    }
}

/// The answer for the sender, without a body.
fn denied(status: u16, retry_after: Option<u32>) -> CheckResponse {
    let headers = retry_after.map(|seconds| header("retry-after", seconds.to_string()));
    CheckResponse {
        status: Some(rpc::Status {
            code: Code::PermissionDenied.into(),
            ..rpc::Status::default()
        }),
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus {
                code: status.into(),
            }),
            headers: headers.into_iter().collect(),
            body: String::new(),
        })),
        ..CheckResponse::default()
    }
}

/// In place of any of that name.
fn header(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value,
            ..HeaderValue::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}
