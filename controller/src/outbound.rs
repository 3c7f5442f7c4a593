//! What every outbound connection of this program keeps to: who it says it is, which addresses it
//! never reaches, where a redirect may lead, and what of an error may be told.
//!
//! Every URL is chosen by someone else: the author of a Receiver or a Provider, an issuer, a server. So
//! addresses of metadata services are refused wherever they can come in: as the host of a URL, from
//! the resolver (the connection goes to the very addresses that were checked), and in redirects, which
//! must stay on their host. Where a proxy resolves names, only literal hosts are checked here.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, Response, Url};

use crate::address;

/// The most redirects that are followed.
pub(crate) const MAX_REDIRECTS: usize = 3;
/// The longest cause quoted in an error, in characters.
const MAX_CAUSE: usize = 200;

/// What this program refuses within a client's own steps; found again in the chain of its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the address is refused")]
    MetadataAddress,
    #[error("the redirect is refused")]
    Redirect,
}

impl Refused {
    /// The refusal that an error is about.
    pub(crate) fn within(error: &(dyn Error + 'static)) -> Option<Self> {
        chain(error).find_map(|error| error.downcast_ref().copied())
    }
}

/// Which addresses are reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// Metadata services and link-local addresses too.
    pub(crate) allow_metadata_addresses: bool,
}

impl Reach {
    /// Whether the host of a URL, a name or an address, may be reached as far as can be told.
    pub(crate) fn check_host(self, host: &str) -> Result<(), Refused> {
        if !self.allow_metadata_addresses && address::is_metadata_host(host) {
            return Err(Refused::MetadataAddress);
        }
        Ok(())
    }

    /// The addresses of a host, all of which may be reached.
    pub(crate) async fn resolve(self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.check_host(host).map_err(io::Error::other)?;
        let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
        self.check_resolved(&addresses).map_err(io::Error::other)?;
        Ok(addresses)
    }

    /// One refused address among several is enough: the connection could go there.
    fn check_resolved(self, addresses: &[SocketAddr]) -> Result<(), Refused> {
        let is_refused = |socket: &SocketAddr| address::is_metadata(socket.ip());
        if !self.allow_metadata_addresses && addresses.iter().any(is_refused) {
            return Err(Refused::MetadataAddress);
        }
        Ok(())
    }
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = *self;
        Box::pin(async move {
            let addresses = Self::resolve(reach, name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// A client of HTTP in the making: names itself and resolves within its reach.
pub(crate) fn client(reach: Reach, connect_timeout: Duration, idle: Duration) -> ClientBuilder {
    let builder = Client::builder()
        .user_agent(concat!("hookgate/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(idle)
        .dns_resolver(reach);
    // The tests' servers are on loopback, where no proxy of the machine leads.
    if cfg!(test) {
        builder.no_proxy()
    } else {
        builder
    }
}

/// Whether a redirect stays on its host and does not give up TLS.
pub(crate) fn is_same_place(from: &Url, to: &Url) -> bool {
    let same_host = from.host_str() == to.host_str();
    let same_port = from.port_or_known_default() == to.port_or_known_default();
    let same_place = match (from.scheme(), to.scheme()) {
        (from, to) if from == to => same_host && same_port,
        ("http", "https") => same_host,
        _ => false,
    };
    same_place && to.username().is_empty() && to.password().is_none()
}

/// Reads a body up to a limit in bytes, and says whether that was all of it.
pub(crate) async fn read(
    mut response: Response,
    limit: usize,
) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = limit.saturating_sub(body.len());
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if chunk.len() > room {
            return Ok((body, false));
        }
    }
    Ok((body, true))
}

/// The innermost cause, printable and bounded.
pub(crate) fn cause(error: &(dyn Error + 'static)) -> String {
    let innermost = chain(error).last().unwrap_or(error);
    innermost
        .to_string()
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_CAUSE)
        .collect()
}

/// An error and its causes, those included that an [`io::Error`] carries but does not call its source.
pub(crate) fn chain<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let carried = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        carried
            .map(|carried| carried as &(dyn Error + 'static))
            .or_else(|| error.source())
    })
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    const STRICT: Reach = Reach {
        allow_metadata_addresses: false,
    };

    #[tokio::test]
    async fn names_of_metadata_services_are_not_resolved() {
        for host in ["metadata.google.internal", "169.254.169.254"] {
            let resolved = Resolve::resolve(&STRICT, Name::from_str(host).unwrap()).await;
            let error = resolved.err().unwrap();
            assert_eq!(
                Refused::within(error.as_ref()),
                Some(Refused::MetadataAddress),
                "{host}"
            );
        }
        let name = Name::from_str("127.0.0.1").unwrap();
        assert!(Resolve::resolve(&STRICT, name).await.is_ok());
    }

    /// The system's resolver takes numbers in the notations of inet_aton(3), URLs of HTTP normalise them before.
    #[tokio::test]
    async fn a_metadata_address_is_refused_in_whatever_notation_it_is_written() {
        let mut hosts: Vec<String> = [
            "2852039166",
            "0xa9fea9fe",
            "0xa9.0xfe.0xa9.0xfe",
            "0251.0376.0251.0376",
            "169.254.43518",
            "169.16689662",
            "::ffff:169.254.169.254",
            "::ffff:a9fe:a9fe",
        ]
        .map(str::to_owned)
        .to_vec();
        for text in [
            "http://2852039166/",
            "http://0251.0376.0251.0376/",
            "http://a@0xa9fea9fe/",
        ] {
            let url = Url::parse(text).unwrap();
            hosts.push(url.host_str().unwrap().to_owned());
        }
        for host in hosts {
            let error = Reach::resolve(STRICT, &host, 80).await.unwrap_err();
            let refused = Refused::within(&error);
            assert_eq!(refused, Some(Refused::MetadataAddress), "{host}: {error}");
        }
    }

    #[test]
    fn a_name_with_one_refused_address_is_refused() {
        let socket = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (good, bad) = (socket("192.0.2.1:0"), socket("[fe80::1]:0"));
        let open = Reach {
            allow_metadata_addresses: true,
        };
        assert_eq!(STRICT.check_resolved(&[good]), Ok(()));
        assert_eq!(
            STRICT.check_resolved(&[good, bad]),
            Err(Refused::MetadataAddress)
        );
        assert_eq!(open.check_resolved(&[good, bad]), Ok(()));
    }

    #[test]
    fn a_redirect_stays_on_its_host_and_keeps_tls() {
        let from = |from, to: &str| {
            let url = |text| Url::parse(text).unwrap();
            is_same_place(&url(from), &url(to))
        };
        for (to, want) in [
            ("http://a.test/other", true),
            ("http://a.test:80/", true),
            ("https://a.test/", true),
            ("https://a.test:8443/", true),
            ("http://a.test:81/", false),
            ("http://b.test/", false),
            ("http://u@a.test/", false),
            ("ftp://a.test/", false),
        ] {
            assert_eq!(from("http://a.test/", to), want, "{to}");
        }
        assert!(!from("https://a.test/", "http://a.test/"));
    }
}
