//! Clients of HTTP, one for each combination of proxy and certificates.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Proxy, Url};
use secrecy::ExposeSecret as _;

use super::recent::{Key, Recent, key};
use super::slots::IN_FLIGHT;
use super::{TransportError, tls};
use crate::outbound::{self, Reach, cause};
use crate::provider::Target;

/// How long a connection may take, where the Provider's timeout is longer; as Go's.
const CONNECT: Duration = Duration::from_secs(30);
/// How long an idle connection is kept: less than most servers and load balancers do, so that
/// few are closed while a message is on its way.
const IDLE: Duration = Duration::from_secs(30);
/// How often a connection that is silent is probed.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The clients that were used recently.
#[derive(Debug)]
pub(super) struct Clients {
    reach: Reach,
    clients: Recent<Client>,
}

impl Clients {
    pub(super) fn new(reach: Reach) -> Self {
        Self {
            reach,
            clients: Recent::default(),
        }
    }

    /// The client for a Target and the scheme of a URL.
    pub(super) fn get(&self, target: &Target, scheme: &str) -> Result<Client, TransportError> {
        self.clients
            .get_or(key_of(target, scheme), || self.build(target, scheme))
    }

    fn build(&self, target: &Target, scheme: &str) -> Result<Client, TransportError> {
        let mut tls = match tls::config(target.tls.as_ref()) {
            // Plain text goes without the system's roots, where it has none.
            Err(TransportError::Tls(_)) if scheme == "http" => tls::trusting_nobody()?,
            config => config?,
        };
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut builder = outbound::client(self.reach, CONNECT, IDLE)
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none())
            .pool_max_idle_per_host(IN_FLIGHT)
            .tcp_keepalive(KEEPALIVE);
        if let Some(proxy) = &target.proxy {
            builder = builder.proxy(self.proxy(proxy.expose_secret())?);
        }
        let failed = |error| TransportError::Config(cause(&error));
        builder.build().map_err(failed)
    }

    /// The proxy for everything, which resolves names itself: so Go takes `socks5` too.
    fn proxy(&self, text: &str) -> Result<Proxy, TransportError> {
        let unusable = || TransportError::Config("unable to parse proxy URL".to_owned());
        let url = Url::parse(text).map_err(|_| unusable())?;
        self.reach.check_host(url.host_str().unwrap_or_default())?;
        let text = match url.scheme() {
            "http" | "https" => text.to_owned(),
            "socks5" => text.replacen("socks5", "socks5h", 1),
            _ => return Err(unusable()),
        };
        Proxy::all(text).map_err(|_| unusable())
    }
}

fn key_of(target: &Target, scheme: &str) -> Key {
    let proxy = target.proxy.as_ref().map(|proxy| proxy.expose_secret());
    key(&[
        scheme.as_bytes(),
        proxy.unwrap_or_default().as_bytes(),
        &tls::key_of(target.tls.as_ref()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxied(proxy: &str) -> Result<(), TransportError> {
        let clients = Clients::new(Reach {
            allow_metadata_addresses: false,
        });
        let target = Target {
            proxy: Some(proxy.to_owned().into()),
            ..Target::default()
        };
        clients.get(&target, "http").map(|_| ())
    }

    #[test]
    fn a_proxy_is_a_url_of_http_or_socks_that_leads_to_no_metadata_service() {
        for proxy in [
            "http://p.test:3128",
            "https://u:p@p.test",
            "socks5://p.test:1080",
        ] {
            assert_eq!(proxied(proxy), Ok(()), "{proxy}");
        }
        for proxy in ["", "hunter2", "ftp://p.test", "socks4://p.test"] {
            let error = TransportError::Config("unable to parse proxy URL".to_owned());
            assert_eq!(proxied(proxy), Err(error), "{proxy}");
        }
        let refused = Err(outbound::Refused::MetadataAddress.into());
        assert_eq!(proxied("http://169.254.169.254:80"), refused);
    }

    #[test]
    fn each_combination_has_a_client_of_its_own() {
        let with = |proxy: Option<&str>, ca: Option<&str>| Target {
            proxy: proxy.map(|proxy| proxy.to_owned().into()),
            tls: ca.map(|ca| crate::provider::Tls {
                ca: Some(ca.into()),
                identity: None,
            }),
            ..Target::default()
        };
        let same = key_of(&with(None, None), "http");
        for (target, scheme) in [
            (with(None, None), "https"),
            (with(Some("http://p.test"), None), "http"),
            (with(None, Some("a")), "http"),
        ] {
            assert_ne!(key_of(&target, scheme), same);
        }
        let mut other = with(None, None);
        other.name = "another Provider".to_owned();
        assert_eq!(key_of(&other, "http"), same);
    }
}
