//! The flags that every way of running the filter has: how much a sender may send, and what an Envoy of ours may take.

use std::fmt;
use std::str::FromStr;

use super::error::{EdgeError, shorten};
use super::host::HostPort;
use super::input::{Bounds, Chain, SharedLimit};

/// Longest name of a domain, in bytes; a longer one is a mistake.
const DOMAIN_CEILING: usize = 63;

/// How much a sender may send.
#[derive(Debug, Clone, clap::Args)]
pub struct LimitArgs {
    /// Largest body of a hook in bytes, at most 26214400
    #[arg(long, value_name = "BYTES", default_value_t = Chain::default().max_hook_bytes)]
    pub max_hook_bytes: u64,
    /// Requests per minute that one address may send in the long run
    #[arg(long, value_name = "COUNT", default_value_t = Chain::default().address_rate)]
    pub address_rate: u32,
    /// Requests that one address may send at once
    #[arg(long, value_name = "COUNT", default_value_t = Chain::default().address_burst)]
    pub address_burst: u32,
    /// A rate-limit service of Envoy's protocol (gRPC), which counts the requests of an address over all Envoys; away, it limits nothing
    #[arg(long, value_name = "HOST:PORT")]
    pub rate_limit_addr: Option<HostPort>,
    /// The domain of its limits
    #[arg(long, value_name = "NAME", default_value = "hookgate")]
    pub rate_limit_domain: LimitDomain,
}

impl LimitArgs {
    /// The limit that all Envoys share, if one is asked for.
    pub fn shared(&self) -> Option<SharedLimit> {
        Some(SharedLimit {
            service: self.rate_limit_addr.clone()?,
            domain: self.rate_limit_domain.clone(),
        })
    }
}

/// Under which name a rate-limit service keeps its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitDomain(String);

impl FromStr for LimitDomain {
    type Err = EdgeError;

    fn from_str(text: &str) -> Result<Self, EdgeError> {
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if (1..=DOMAIN_CEILING).contains(&text.len()) && text.bytes().all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(EdgeError::LimitDomain {
                value: shorten(text),
            })
        }
    }
}

impl fmt::Display for LimitDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an Envoy of ours may take.
#[derive(Debug, Clone, clap::Args)]
pub struct BoundArgs {
    /// Client connections that Envoy keeps open at once
    #[arg(long, value_name = "COUNT", default_value_t = Bounds::default().max_connections)]
    pub max_connections: u32,
    /// Heap above which Envoy refuses new requests, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Bounds::default().max_heap_bytes)]
    pub max_heap_bytes: u64,
}

impl From<BoundArgs> for Bounds {
    fn from(args: BoundArgs) -> Self {
        Self {
            max_connections: args.max_connections,
            max_heap_bytes: args.max_heap_bytes,
        }
    }
}
