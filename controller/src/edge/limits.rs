//! The flags that every way of running the filter has: how much a sender may send, and what an Envoy of ours may take.

use super::input::{Bounds, Chain};

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
