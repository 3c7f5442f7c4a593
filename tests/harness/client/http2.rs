//! HTTP/2 through the h2 crate: a DATA frame for each piece, trailers at the end.

use bytes::Bytes;
use h2::SendStream;
use h2::client::SendRequest;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::request::{Framing, Headers};
use super::{Error, Io, Request, Response};

/// A connection that carries any number of requests, one after the other or side by side.
#[derive(Clone)]
pub(super) struct Http2 {
    requests: SendRequest<Bytes>,
}

impl Http2 {
    pub(super) async fn open(stream: Io) -> Result<Self, Error> {
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(8 << 20)
            .handshake(stream)
            .await?;
        // Ends with the last handle, or when the server closes.
        tokio::spawn(connection);
        Ok(Self { requests })
    }

    pub(super) async fn send(&mut self, request: &Request) -> Result<Response, Error> {
        let head = head(request)?;
        let trailers = fields(&request.trailers)?;
        let bodiless = request.pieces.iter().all(Vec::is_empty) && trailers.is_empty();
        let mut requests = self.requests.clone().ready().await?;
        let (response, stream) = requests.send_request(head, bodiless)?;
        let writer = async {
            if !bodiless {
                // A server that has refused resets the stream before it has read all: its answer counts.
                let _refused = write(stream, request, trailers).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = writer => Err(Error::Closed),
            answer = read(response) => answer,
        }
    }
}

async fn write(
    mut stream: SendStream<Bytes>,
    request: &Request,
    trailers: HeaderMap,
) -> Result<(), Error> {
    let last = request.pieces.len();
    for (number, piece) in request.pieces.iter().enumerate() {
        if let Some(pause) = request.pace.filter(|_| number > 0) {
            tokio::time::sleep(pause).await;
        }
        let end = number + 1 == last && trailers.is_empty();
        stream.send_data(Bytes::copy_from_slice(piece), end)?;
        // Lets the connection write this frame before the next is queued.
        tokio::task::yield_now().await;
    }
    if !trailers.is_empty() {
        stream.send_trailers(trailers)?;
    }
    Ok(())
}

async fn read(response: h2::client::ResponseFuture) -> Result<Response, Error> {
    let (parts, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        body.extend_from_slice(&data);
        stream.flow_control().release_capacity(data.len())?;
    }
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect();
    Ok(Response {
        status: parts.status.as_u16(),
        interim: Vec::new(),
        headers,
        body,
    })
}

fn head(request: &Request) -> Result<http::Request<()>, Error> {
    let malformed = |what: &str| Error::Protocol(format!("HTTP/2 cannot carry this {what}"));
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTPS);
    uri.authority =
        Some(Authority::try_from(request.authority.as_str()).map_err(|_| malformed("authority"))?);
    uri.path_and_query =
        Some(PathAndQuery::try_from(request.target.as_str()).map_err(|_| malformed("path"))?);
    let mut head = http::Request::new(());
    *head.uri_mut() = Uri::from_parts(uri).map_err(|_| malformed("address"))?;
    *head.method_mut() =
        Method::from_bytes(request.method.as_bytes()).map_err(|_| malformed("method"))?;
    *head.headers_mut() = fields(&request.headers)?;
    let length = match request.framing {
        Framing::Chunked | Framing::Silent => None,
        Framing::Declared(length) => Some(length),
        Framing::Length => Some(request.pieces.concat().len() as u64),
    };
    if let Some(length) = length {
        head.headers_mut()
            .insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(head)
}

fn fields(fields: &Headers) -> Result<HeaderMap, Error> {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let malformed = |_| Error::Protocol(format!("HTTP/2 cannot carry the header {name:?}"));
        let held = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes())
            .map_err(|error| malformed(http::Error::from(error)))?;
        let value =
            HeaderValue::from_bytes(value).map_err(|error| malformed(http::Error::from(error)))?;
        map.append(held, value);
    }
    Ok(map)
}
