//! The memory that a check takes, claimed before its message is read: gRPC says in five bytes how long it will be.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use hook::rejection::Rejection;

use super::MESSAGE_LIMIT;
use crate::trigger::bodies::Bodies;

/// In front of each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A message is held twice: as it came in, and decoded.
const COPIES: usize = 2;

/// Lets a check through with the memory that it needs. One that there is no room for, or that is too long, goes on
/// without its message and with the [`Rejection`] as an extension: so the sender is told, and not Envoy alone.
pub(super) async fn hold(State(bodies): State<Bodies>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let mut rest = body.into_data_stream();
    let mut first = BytesMut::new();
    while first.len() < PREFIX
        && let Some(Ok(chunk)) = rest.next().await
    {
        first.extend_from_slice(&chunk);
    }
    let claimed = match length(&first) {
        Some(length) if length > MESSAGE_LIMIT => Err(Rejection::TooLarge),
        length => bodies.hold(length.unwrap_or(0).saturating_mul(COPIES)),
    };
    match claimed {
        Ok(_permit) => {
            let body = stream::iter([Ok(first.freeze())]).chain(rest);
            let request = Request::from_parts(head, Body::from_stream(body));
            next.run(request).await
        }
        Err(rejection) => {
            head.extensions.insert(rejection);
            let empty = Bytes::from_static(&[0; PREFIX]);
            next.run(Request::from_parts(head, Body::from(empty))).await
        }
    }
}

fn length(first: &[u8]) -> Option<usize> {
    let (_, rest) = first.split_first()?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}
