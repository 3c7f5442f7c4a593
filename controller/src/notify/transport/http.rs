//! One request over HTTP: followed on its host, read up to a limit.

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};
use secrecy::ExposeSecret as _;

use super::TransportError;
use super::client::Clients;
use crate::outbound::{self, MAX_REDIRECTS, Reach, Refused, cause, chain};
use crate::provider::{self, HttpReply, HttpRequest, Target};

/// The most bytes that are read of the reply to a GET: a hundred long comments fit.
const MAX_DOCUMENT: usize = 8 << 20;
/// The most bytes that are read of any other reply.
const MAX_ANSWER: usize = 256 << 10;
/// Headers that are the business of the connection, not of who writes a Secret.
const FRAMING: [&str; 5] = [
    "connection",
    "content-length",
    "host",
    "trailer",
    "transfer-encoding",
];

/// Sends requests over HTTP.
#[derive(Debug)]
pub(super) struct Http {
    reach: Reach,
    clients: Clients,
}

impl Http {
    pub(super) fn new(reach: Reach) -> Self {
        Self {
            reach,
            clients: Clients::new(reach),
        }
    }

    /// Sends one request. A redirect is followed where it stays on its host and keeps the method.
    pub(super) async fn send(
        &self,
        request: &HttpRequest,
        target: &Target,
    ) -> Result<HttpReply, TransportError> {
        let method = method(request.method);
        let headers = headers(request)?;
        let body = Bytes::from(request.body.clone());
        let mut url = self.check(request.url.expose_secret())?;
        for _ in 0..=MAX_REDIRECTS {
            let mut sending = self
                .clients
                .get(target, url.scheme())?
                .request(method.clone(), url.clone())
                .headers(headers.clone());
            if method != Method::GET {
                sending = sending.body(body.clone());
            }
            let response = sending.send().await.map_err(failure)?;
            match redirect(&method, &url, &response)? {
                Some(next) => url = next,
                None => return reply(&method, response).await,
            }
        }
        Err(Refused::Redirect.into())
    }

    fn check(&self, url: &str) -> Result<Url, TransportError> {
        let url = Url::parse(url).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        let unusable = || TransportError::Config("not a URL of http or https".to_owned());
        let url = url.ok_or_else(unusable)?;
        self.reach.check_host(url.host_str().unwrap_or_default())?;
        Ok(url)
    }
}

fn method(method: provider::Method) -> Method {
    match method {
        provider::Method::Get => Method::GET,
        provider::Method::Patch => Method::PATCH,
        provider::Method::Post => Method::POST,
        provider::Method::Put => Method::PUT,
    }
}

fn headers(request: &HttpRequest) -> Result<HeaderMap, TransportError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let unusable = || TransportError::Config("a header cannot be sent as it is".to_owned());
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| unusable())?;
        if FRAMING.contains(&name.as_str()) {
            continue;
        }
        let value = value.expose_secret().trim();
        let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| unusable())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Where a reply says to go instead.
fn redirect(
    method: &Method,
    url: &Url,
    response: &Response,
) -> Result<Option<Url>, TransportError> {
    let keeps_method = match response.status() {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        // After these, everybody sends a GET without the message.
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => {
            method == Method::GET
        }
        _ => return Ok(None),
    };
    let Some(location) = response.headers().get(LOCATION) else {
        return Ok(None);
    };
    let next = location.to_str().ok().and_then(|to| url.join(to).ok());
    let next = next.filter(|next| keeps_method && outbound::is_same_place(url, next));
    next.map(Some).ok_or_else(|| Refused::Redirect.into())
}

async fn reply(method: &Method, response: Response) -> Result<HttpReply, TransportError> {
    let is_document = method == Method::GET && response.status().is_success();
    let limit = if is_document {
        MAX_DOCUMENT
    } else {
        MAX_ANSWER
    };
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers = headers
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect();
    let (body, _) = outbound::read(response, limit).await.map_err(failure)?;
    Ok(HttpReply {
        status,
        headers,
        body,
    })
}

fn failure(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    if let Some(refused) = Refused::within(&error) {
        return refused.into();
    }
    let text = if error.is_timeout() {
        "it took too long".to_owned()
    } else {
        cause(&error)
    };
    if chain(&error).any(|error| error.is::<rustls::Error>()) {
        TransportError::Tls(text)
    } else if error.is_connect() {
        TransportError::Connect(text)
    } else if error.is_builder() {
        TransportError::Config(text)
    } else {
        TransportError::Exchange(text)
    }
}

#[cfg(test)]
mod tests;
