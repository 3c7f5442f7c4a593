//! One document over HTTP: bounded in time, size, redirects and reach. A proxy from the environment is
//! honoured.

use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderMap};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, StatusCode, Url};
use tokio::sync::OnceCell;

use super::JwksError;
use crate::outbound::{self, MAX_REDIRECTS, Reach, Refused, cause};

/// Documents come every few minutes: a connection is kept for the second of the pair only.
const IDLE: Duration = Duration::from_secs(5);

/// Which document is meant, in errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// `/.well-known/openid-configuration`.
    Discovery,
    /// The JSON Web Key Set.
    Keys,
}

impl Document {
    /// The most bytes read of it.
    fn limit(self) -> usize {
        match self {
            Self::Discovery => 64 * 1024,
            Self::Keys => 256 * 1024,
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discovery => "discovery document",
            Self::Keys => "key set",
        })
    }
}

/// A document and how long it may be kept.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) body: Vec<u8>,
    /// `max-age` of `Cache-Control`.
    pub(super) max_age: Option<Duration>,
}

/// Fetches documents.
#[derive(Debug)]
pub(super) struct Fetcher {
    connect_timeout: Duration,
    timeout: Duration,
    reach: Reach,
    /// Made when first needed: without certificates of the system it cannot be made, and whoever
    /// uses no OIDC should not notice.
    client: OnceCell<Client>,
}

impl Fetcher {
    pub(super) fn new(
        connect_timeout: Duration,
        timeout: Duration,
        allow_metadata_addresses: bool,
    ) -> Self {
        Self {
            connect_timeout,
            timeout,
            reach: Reach {
                allow_metadata_addresses,
            },
            client: OnceCell::new(),
        }
    }

    /// Fetches `url`. Of what the server sends, errors contain nothing but the status.
    pub(super) async fn fetch(&self, document: Document, url: &str) -> Result<Fetched, JwksError> {
        let url = self.check(document, url)?;
        let client = self
            .client
            .get_or_try_init(|| async { self.client() })
            .await?;
        let failed = |error| failure(document, error);
        let request = client.get(url).header(ACCEPT, "application/json");
        let response = request.send().await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Err(JwksError::Status {
                document,
                status: response.status().as_u16(),
            });
        }
        let limit = document.limit();
        let too_large = JwksError::TooLarge { document, limit };
        let announced = response.content_length().unwrap_or_default();
        if announced > limit as u64 {
            return Err(too_large);
        }
        let max_age = max_age(response.headers());
        match outbound::read(response, limit).await.map_err(failed)? {
            (body, true) => Ok(Fetched { body, max_age }),
            (_, false) => Err(too_large),
        }
    }

    fn check(&self, document: Document, url: &str) -> Result<Url, JwksError> {
        let invalid = JwksError::Url { document };
        let Ok(url) = Url::parse(url) else {
            return Err(invalid);
        };
        if !matches!(url.scheme(), "http" | "https")
            || !url.username().is_empty()
            || url.password().is_some()
        {
            return Err(invalid);
        }
        let Some(host) = url.host_str() else {
            return Err(invalid);
        };
        self.reach
            .check_host(host)
            .map_err(|_| JwksError::MetadataAddress { document })?;
        Ok(url)
    }

    fn client(&self) -> Result<Client, JwksError> {
        outbound::client(self.reach, self.connect_timeout, IDLE)
            .timeout(self.timeout)
            .redirect(Policy::custom(redirect))
            .build()
            .map_err(|error| JwksError::Client {
                cause: cause(&error),
            })
    }
}

/// Follows a redirect on the same host, unless it gives up TLS.
fn redirect(attempt: Attempt<'_>) -> Action {
    let is_same_place = attempt
        .previous()
        .last()
        .is_some_and(|from| outbound::is_same_place(from, attempt.url()));
    if is_same_place && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.error(Refused::Redirect)
    }
}

fn failure(document: Document, error: reqwest::Error) -> JwksError {
    match Refused::within(&error) {
        Some(Refused::MetadataAddress) => return JwksError::MetadataAddress { document },
        Some(Refused::Redirect) => return JwksError::Redirect { document },
        None => {}
    }
    if error.is_timeout() {
        return JwksError::Timeout { document };
    }
    JwksError::Unreachable {
        document,
        cause: cause(&error.without_url()),
    }
}

/// `max-age` of the first `Cache-Control` directive of that name.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|directive| directive.trim().split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("max-age"))
        .and_then(|(_, seconds)| seconds.trim().trim_matches('"').parse().ok())
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_read_from_cache_control() {
        let rows = [
            ("public, max-age=19800, must-revalidate", Some(19800)),
            ("Max-Age = 60", Some(60)),
            ("max-age=\"60\"", Some(60)),
            ("s-maxage=9", None),
            ("max-age=-1", None),
            ("max-age=x, max-age=60", None),
            ("no-store", None),
            ("", None),
        ];
        for (value, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, value.parse().unwrap());
            assert_eq!(
                max_age(&headers).map(|age| age.as_secs()),
                expected,
                "{value:?}"
            );
        }
    }

    #[test]
    fn urls_that_cannot_be_an_issuers_are_refused() {
        let strict = Fetcher::new(IDLE, IDLE, false);
        let check = |url| strict.check(Document::Keys, url).map(|_| ());
        let document = Document::Keys;
        for url in [
            "",
            "x",
            "ftp://a/",
            "file:///etc/passwd",
            "https://",
            "https://u:p@a/",
            "http://u@a",
        ] {
            assert_eq!(check(url), Err(JwksError::Url { document }), "{url}");
        }
        for url in [
            "http://169.254.169.254/latest",
            "http://2852039166/",
            "http://0xa9.0xfe.0xa9.0xfe/",
            "http://[::ffff:169.254.169.254]/",
            "http://metadata.google.internal/",
            "https://METADATA.google.internal./",
        ] {
            assert_eq!(
                check(url),
                Err(JwksError::MetadataAddress { document }),
                "{url}"
            );
            let open = Fetcher::new(IDLE, IDLE, true);
            assert!(open.check(document, url).is_ok(), "{url}");
        }
        assert_eq!(check("https://issuer.example/a"), Ok(()));
        assert_eq!(check("http://127.0.0.1:1/"), Ok(()));
    }
}
