//! HTTP requests and replies, and what counts as a success.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::error::{ProviderError, RetryAfter};
use super::part::text;
use super::request::Reply;
use crate::api::event::escape_html;

/// How much of a refusal's body is quoted, in characters.
const QUOTED: usize = 300;

/// A request over HTTP. The driver follows no redirect that would change the method.
pub struct HttpRequest {
    /// Method.
    pub method: Method,
    /// The URL: may be as good as a password.
    pub url: SecretString,
    /// Headers: names as written, at most one of a name.
    pub headers: Vec<(String, SecretString)>,
    /// Body, empty for none.
    pub body: Vec<u8>,
    /// Which statuses mean success.
    pub success: Success,
}

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// PATCH.
    Patch,
    /// POST.
    Post,
    /// PUT.
    Put,
}

impl Method {
    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// Which statuses mean success: 2xx, and what a request says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Success {
    /// Others that the conversation knows how to go on with, such as 404.
    pub also: &'static [u16],
    /// Of 2xx, what is no success.
    pub except: &'static [u16],
}

impl HttpRequest {
    /// A GET.
    pub fn get(url: Url) -> Self {
        Self::new(Method::Get, url)
    }

    /// A POST.
    pub fn post(url: Url) -> Self {
        Self::new(Method::Post, url)
    }

    /// A request. Credentials within the URL become `Authorization: Basic`.
    pub fn new(method: Method, mut url: Url) -> Self {
        let credentials = credentials(&url);
        // A URL that can't hold credentials has none to take away.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let request = Self {
            method,
            url: String::from(url).into(),
            headers: Vec::new(),
            body: Vec::new(),
            success: Success::default(),
        };
        match credentials {
            Some((user, password)) => request.basic(&user, &password),
            None => request,
        }
    }

    /// Sets a header, in place of one of that name in whatever case.
    pub fn header(mut self, name: &str, value: impl Into<SecretString>) -> Self {
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// `Authorization: Bearer`.
    pub fn bearer(self, token: &SecretString) -> Self {
        let value = format!("Bearer {}", token.expose_secret().trim());
        self.header("Authorization", value)
    }

    /// `Authorization: Basic`.
    pub fn basic(self, user: &str, password: &str) -> Self {
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        self.header("Authorization", value)
    }

    /// A body of JSON, escaped as Go escapes it.
    pub fn json(self, body: &impl Serialize) -> Self {
        // What providers send are maps with strings for keys: these always serialise.
        let text = serde_json::to_string(body).unwrap_or_default();
        self.body("application/json", escape_html(&text).into_bytes())
    }

    /// A body of any type.
    pub fn body(mut self, content_type: &str, body: Vec<u8>) -> Self {
        self.body = body;
        self.header("Content-Type", content_type.to_owned())
    }

    /// A body as an HTML form sends it.
    pub fn form(self, pairs: &[(&str, &str)]) -> Self {
        let text = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        self.body("application/x-www-form-urlencoded", text.into_bytes())
    }

    /// Takes these statuses for a success too.
    pub fn also(mut self, statuses: &'static [u16]) -> Self {
        self.success.also = statuses;
        self
    }

    /// Takes these statuses for a failure, though they are 2xx.
    pub fn except(mut self, statuses: &'static [u16]) -> Self {
        self.success.except = statuses;
        self
    }
}

/// User and password within a URL.
pub(super) fn credentials(url: &Url) -> Option<(String, String)> {
    let user = decoded(url.username());
    let password = decoded(url.password().unwrap_or_default());
    (!user.is_empty() || !password.is_empty()).then_some((user, password))
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

/// Only the method: URL, headers and body may hold secrets.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// A reply over HTTP.
#[derive(Clone)]
pub struct HttpReply {
    /// Status.
    pub status: u16,
    /// Headers, the names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, as far as the driver reads one.
    pub body: Vec<u8>,
}

/// Only the status: tokens come in bodies.
impl fmt::Debug for HttpReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpReply")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl HttpReply {
    /// The value of a header, whose name is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// What Telegram and Matrix say in the body of a 429, in seconds and in milliseconds.
    fn retry_in_body(&self) -> Option<RetryAfter> {
        if self.status != 429 {
            return None;
        }
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        let seconds = body
            .pointer("/parameters/retry_after")
            .and_then(Value::as_u64);
        let milliseconds = body.get("retry_after_ms").and_then(Value::as_u64);
        seconds
            .or_else(|| milliseconds.map(|ms| ms.div_ceil(1000)))
            .map(RetryAfter::Seconds)
    }

    /// Whether it only says to come again later, and when.
    fn retry(&self) -> (bool, Option<RetryAfter>) {
        let after = self.header("retry-after").and_then(RetryAfter::parse);
        let after = after.or_else(|| self.retry_in_body());
        let spent = self.header("x-ratelimit-remaining") == Some("0");
        let reset = || {
            let reset = self.header("x-ratelimit-reset")?.parse().ok()?;
            spent.then_some(RetryAfter::At(reset))
        };
        let may_pass = match self.status {
            408 | 425 | 429 => true,
            // GitHub says so when a limit is reached.
            403 => spent || after.is_some(),
            501 | 505 => false,
            status => status >= 500,
        };
        (may_pass, after.or_else(reset).filter(|_| may_pass))
    }
}

impl Reply {
    /// The JSON in the body of a reply over HTTP.
    ///
    /// # Errors
    /// [`ProviderError::Answer`] where it is not what is `wanted`.
    pub fn json<T: DeserializeOwned>(&self, wanted: &'static str) -> Result<T, ProviderError> {
        let Self::Http(reply) = self else {
            return Err(ProviderError::Answer { wanted });
        };
        serde_json::from_slice(&reply.body).map_err(|_| ProviderError::Answer { wanted })
    }

    /// The status of a reply over HTTP.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Http(reply) => Some(reply.status),
            Self::Delivered | Self::Token(_) => None,
        }
    }
}

impl Success {
    /// Whether a reply is a success.
    pub(super) fn judge(self, reply: &Reply) -> Result<(), ProviderError> {
        let reply = match reply {
            Reply::Http(reply) => reply,
            Reply::Delivered => return Ok(()),
            Reply::Token(_) => return Err(ProviderError::Conversation("no token was awaited")),
        };
        let in_range = (200..300).contains(&reply.status) && !self.except.contains(&reply.status);
        if in_range || self.also.contains(&reply.status) {
            return Ok(());
        }
        let (may_pass, retry_after) = reply.retry();
        let said = String::from_utf8_lossy(&reply.body);
        Err(ProviderError::Status {
            status: reply.status,
            said: text::cut(said.trim(), QUOTED).into_owned(),
            retry_after,
            is_permanent: !may_pass && !(200..300).contains(&reply.status),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, headers: &[(&str, &str)]) -> Option<(bool, Option<RetryAfter>)> {
        let headers = headers.iter();
        let reply = Reply::Http(HttpReply {
            status,
            headers: headers
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            body: b" no ".to_vec(),
        });
        match Success::default().judge(&reply) {
            Err(ProviderError::Status {
                retry_after,
                is_permanent,
                said,
                ..
            }) => {
                assert_eq!(said, "no");
                Some((is_permanent, retry_after))
            }
            Err(error) => panic!("{error}"),
            Ok(()) => None,
        }
    }

    #[test]
    fn a_status_tells_success_from_later_and_never() {
        assert_eq!(judged(204, &[]), None);
        for permanent in [301, 400, 401, 403, 404, 422, 501] {
            assert_eq!(judged(permanent, &[]), Some((true, None)), "{permanent}");
        }
        for later in [408, 429, 500, 502, 503, 504] {
            assert_eq!(judged(later, &[]), Some((false, None)), "{later}");
        }
        assert_eq!(
            judged(429, &[("retry-after", "3")]),
            Some((false, Some(RetryAfter::Seconds(3))))
        );
        assert_eq!(
            judged(
                403,
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "9")]
            ),
            Some((false, Some(RetryAfter::At(9))))
        );
    }

    #[test]
    fn a_limit_may_say_in_its_body_when_to_come_again() {
        let after = |status, body: &str| {
            HttpReply {
                status,
                headers: Vec::new(),
                body: body.as_bytes().to_vec(),
            }
            .retry()
        };
        for (body, want) in [
            (r#"{"ok":false,"parameters":{"retry_after":15}}"#, Some(15)),
            (
                r#"{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":2001}"#,
                Some(3),
            ),
            (r#"{"retry_after_ms":"soon"}"#, None),
            ("[]", None),
            ("no", None),
        ] {
            assert_eq!(
                after(429, body),
                (true, want.map(RetryAfter::Seconds)),
                "{body}"
            );
            assert_eq!(after(400, body), (false, None), "{body}");
        }
    }

    #[test]
    fn credentials_in_a_url_become_a_header() {
        let url = Url::parse("https://us%40er:p%3Ass@host.test/a?b=c").unwrap();
        let request = HttpRequest::post(url);
        assert_eq!(request.url.expose_secret(), "https://host.test/a?b=c");
        let (name, value) = &request.headers[0];
        let want = format!("Basic {}", STANDARD.encode("us@er:p:ss"));
        assert_eq!(
            (name.as_str(), value.expose_secret()),
            ("Authorization", want.as_str())
        );
    }
}
