//! One document over HTTP: bounded in time, size, redirects and reach.
//!
//! Every URL here is chosen by someone else, the author of a Receiver or an issuer. So addresses of
//! metadata services are refused wherever they can come in: as the host of a URL, from the resolver
//! (the connection goes to the very addresses that were checked), and in redirects, which must stay on
//! their host. A proxy from the environment is honoured; then names are the proxy's to resolve, and
//! only literal hosts are checked here.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderMap};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, StatusCode, Url};
use tokio::sync::OnceCell;

use super::JwksError;
use crate::address;

/// The most redirects followed for one document.
const MAX_REDIRECTS: usize = 3;
/// The longest cause quoted in an error, in characters.
const MAX_CAUSE: usize = 200;
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
    allow_metadata_addresses: bool,
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
            allow_metadata_addresses,
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
        let mut response = request.send().await.map_err(failed)?;
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
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > limit {
                return Err(too_large);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Fetched { body, max_age })
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
        if !self.allow_metadata_addresses && address::is_metadata_host(host) {
            return Err(JwksError::MetadataAddress { document });
        }
        Ok(url)
    }

    fn client(&self) -> Result<Client, JwksError> {
        let resolver = Resolver {
            allow_metadata_addresses: self.allow_metadata_addresses,
        };
        let builder = Client::builder();
        // The tests' servers are on loopback, where no proxy of the machine leads.
        let builder = if cfg!(test) {
            builder.no_proxy()
        } else {
            builder
        };
        builder
            .user_agent(concat!("hookgate/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect_timeout)
            .timeout(self.timeout)
            .pool_idle_timeout(IDLE)
            .redirect(Policy::custom(redirect))
            .dns_resolver(resolver)
            .build()
            .map_err(|error| JwksError::Client {
                cause: cause(&error),
            })
    }
}

/// Follows a redirect on the same host, unless it gives up TLS.
fn redirect(attempt: Attempt<'_>) -> Action {
    let Some(from) = attempt.previous().last() else {
        return attempt.error(Refused::Redirect);
    };
    let to = attempt.url();
    let same_host = from.host_str() == to.host_str();
    let same_port = from.port_or_known_default() == to.port_or_known_default();
    let same_place = match (from.scheme(), to.scheme()) {
        (from, to) if from == to => same_host && same_port,
        ("http", "https") => same_host,
        _ => false,
    };
    let plain = to.username().is_empty() && to.password().is_none();
    if same_place && plain && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.error(Refused::Redirect)
    }
}

/// The system's resolver, without the addresses that are refused.
struct Resolver {
    allow_metadata_addresses: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow = self.allow_metadata_addresses;
        Box::pin(async move {
            let host = name.as_str();
            if !allow && address::is_metadata_host(host) {
                return Err(Refused::MetadataAddress.into());
            }
            let addresses: Vec<_> = tokio::net::lookup_host((host, 0)).await?.collect();
            if !allow {
                check_resolved(&addresses)?;
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// One refused address among several is enough: the connection could go there.
fn check_resolved(addresses: &[SocketAddr]) -> Result<(), Refused> {
    if addresses
        .iter()
        .any(|socket| address::is_metadata(socket.ip()))
    {
        return Err(Refused::MetadataAddress);
    }
    Ok(())
}

/// What this file refuses within the client's own steps; found again in the chain of its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("the address is refused")]
    MetadataAddress,
    #[error("the redirect is refused")]
    Redirect,
}

fn failure(document: Document, error: reqwest::Error) -> JwksError {
    let mut source: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = source {
        match error.downcast_ref() {
            Some(Refused::MetadataAddress) => return JwksError::MetadataAddress { document },
            Some(Refused::Redirect) => return JwksError::Redirect { document },
            None => source = error.source(),
        }
    }
    if error.is_timeout() {
        return JwksError::Timeout { document };
    }
    JwksError::Unreachable {
        document,
        cause: cause(&error.without_url()),
    }
}

/// The innermost cause, printable and bounded.
fn cause(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost
        .to_string()
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_CAUSE)
        .collect()
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
    use std::str::FromStr as _;

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

    #[tokio::test]
    async fn names_of_metadata_services_are_not_resolved() {
        let resolver = Resolver {
            allow_metadata_addresses: false,
        };
        for host in ["metadata.google.internal", "169.254.169.254"] {
            let error = resolver
                .resolve(Name::from_str(host).unwrap())
                .await
                .err()
                .unwrap();
            assert_eq!(
                error.downcast_ref(),
                Some(&Refused::MetadataAddress),
                "{host}"
            );
        }
        assert!(
            resolver
                .resolve(Name::from_str("127.0.0.1").unwrap())
                .await
                .is_ok()
        );
    }

    #[test]
    fn a_name_with_one_refused_address_is_refused() {
        let socket = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (good, bad) = (socket("192.0.2.1:0"), socket("[fe80::1]:0"));
        assert_eq!(check_resolved(&[good]), Ok(()));
        assert_eq!(check_resolved(&[good, bad]), Err(Refused::MetadataAddress));
    }
}
