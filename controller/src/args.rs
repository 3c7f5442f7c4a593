//! Every flag. Names are notification-controller's where it has the flag; booleans may be given as
//! `--flag` or `--flag=true`, as there.

mod cluster;
mod events;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser};
use hook::address::Cidr;
use hook::mac::Hash;

pub use self::cluster::ClusterArgs;
pub use self::events::{AzureArgs, EventArgs};
use crate::api::duration;
use crate::telemetry::{Encoding, Level};

/// Serve hooks: compile Receivers into Envoy's table, and ask Flux to reconcile what genuine hooks name.
#[derive(Clone, Debug, Parser)]
#[command(
    // As in notification-controller, the last of a repeated flag counts.
    args_override_self = true,
    after_help = "Examples:\n  hookgate run --enable-leader-election\n  hookgate run --manifests ./manifests --filter ./filter.wasm\n\nExit codes: 0 after a signal, 1 on a failure, 2 on wrong arguments."
)]
pub struct RunArgs {
    /// Folder of Receiver, Secret and Flux object manifests, watched for changes, in place of a cluster
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,

    /// Kubernetes
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// The filter that Envoy gets [default: filter.wasm beside this program]
    #[arg(long, value_name = "FILE")]
    pub filter: Option<PathBuf>,

    /// Address for hooks
    #[arg(long = "receiverAddr", value_name = "ADDR", default_value = ":9292", value_parser = address)]
    pub receiver_addr: SocketAddr,

    /// Address for Envoy: the table, and what Envoy reports. Loopback, unless mTLS files or --xds-insecure are given
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:18000", value_parser = address)]
    pub xds_addr: SocketAddr,

    /// Address for metrics
    #[arg(long, value_name = "ADDR", default_value = ":8080", value_parser = address)]
    pub metrics_addr: SocketAddr,

    /// Address for health probes, and GET /debug/requests
    #[arg(long, value_name = "ADDR", default_value = ":9440", value_parser = address)]
    pub health_addr: SocketAddr,

    /// Unix socket for the commands that ask the running process; mode 0600
    #[arg(long, value_name = "FILE", default_value = crate::control::DEFAULT_SOCKET)]
    pub control_socket: PathBuf,

    /// Serve the table in plain text on any address. Whoever reads it can forge signatures of hooks whose path they know
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub xds_insecure: bool,

    /// Certificate of the xDS port, PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "xds_key",
        requires = "xds_client_ca"
    )]
    pub xds_cert: Option<PathBuf>,

    /// Key of --xds-cert, PEM
    #[arg(long, value_name = "FILE", requires = "xds_cert")]
    pub xds_key: Option<PathBuf>,

    /// CA of the certificates that Envoys present, PEM
    #[arg(long, value_name = "FILE", requires = "xds_cert")]
    pub xds_client_ca: Option<PathBuf>,

    /// Address for Envoy's ext_authz (gRPC): the same verdicts, where Envoy can't run the filter. Loopback, unless the xDS port's
    /// TLS files, which serve this port too, or --ext-authz-insecure are given
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub ext_authz_addr: Option<SocketAddr>,

    /// Serve ext_authz in plain text, on any address. Whoever is on the way reads tokens and bodies
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub ext_authz_insecure: bool,

    /// Proxies in front of the Envoy that asks ext_authz, whose X-Forwarded-For is believed; Contour's num-trusted-hops
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=16))]
    pub ext_authz_trusted_hops: u8,

    /// Largest body of a hook, in bytes; at most 26214400
    #[arg(long, value_name = "BYTES", default_value_t = 3_145_728, value_parser = clap::value_parser!(u64).range(1..=hook::config::MAX_BODY))]
    pub max_hook_bytes: u64,

    /// Take any method, as notification-controller does, and not only POST and PUT
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub allow_any_method: bool,

    /// Let Envoy hold a request's head until the verdict; false for hosts that can't
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub hold_headers: bool,

    /// Genuine hooks a second, for each Receiver without hookgate.dev/rate
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub hook_rate: u32,

    /// Genuine hooks at once, for each Receiver without hookgate.dev/burst
    #[arg(long, value_name = "N", default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub hook_burst: u32,

    /// Most that hookgate.dev/rate may ask for
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_hook_rate: u32,

    /// Most that hookgate.dev/burst may ask for
    #[arg(long, value_name = "N", default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_hook_burst: u32,

    /// Refused hooks a second, for each Receiver, before large bodies from strangers are refused unread
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub failure_rate: u32,

    /// Refused hooks at once, likewise
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub failure_burst: u32,

    /// Answer to a genuine hook whose event is not listed: 200, 202 or 400
    #[arg(long, value_name = "STATUS", default_value = "200", value_parser = filtered_status)]
    pub filtered_hook_status: u16,

    /// Answer the same hook once within this time; 0s for off
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = go_duration)]
    pub replay_window: Duration,

    /// Weakest hash of a signature: sha1, sha256 or sha512
    #[arg(long, value_name = "HASH", default_value = "sha1", value_parser = hash)]
    pub min_signature_hash: Hash,

    /// Refuse SHA-1 whatever a Receiver's annotation says. Nexus has nothing else
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub deny_sha1: bool,

    /// Least time between two reconcile requests for one resource
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = go_duration)]
    pub trigger_interval: Duration,

    /// Refuse resources in other namespaces than the Receiver's
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub no_cross_namespace_refs: bool,

    /// Proxies whose word for the client's address is taken, as ranges
    #[arg(
        long,
        value_name = "CIDRS",
        value_delimiter = ',',
        default_value = "127.0.0.0/8,::1/128"
    )]
    pub trusted_proxies: Vec<Cidr>,

    /// Let OIDC issuers and providers live at link-local and cloud metadata addresses
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub allow_metadata_addresses: bool,

    /// Where Google's RS256 keys are fetched for gcr
    #[arg(long, value_name = "URL", default_value = crate::receiver::jwks::GOOGLE_CERTS, hide_default_value = true)]
    pub gcr_certs_url: String,

    /// Where Google's ES256 keys are fetched for gcr
    #[arg(long, value_name = "URL", default_value = crate::receiver::jwks::GOOGLE_IAP_KEYS, hide_default_value = true)]
    pub gcr_iap_keys_url: String,

    /// Events and alerts.
    #[command(flatten)]
    pub events: EventArgs,

    /// Form of log lines
    #[arg(long, value_enum, default_value_t = Encoding::Json)]
    pub log_encoding: Encoding,

    /// How much is logged
    #[arg(long, value_enum, default_value_t = Level::Info)]
    pub log_level: Level,
}

/// An address as Go writes it: `:9292` is every interface.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') {
        format!("[::]{text}")
    } else {
        text.to_owned()
    };
    full.parse()
        .map_err(|_| "give IP:PORT, as 127.0.0.1:9292, or :PORT for every interface".into())
}

fn filtered_status(text: &str) -> Result<u16, String> {
    match text {
        "200" => Ok(200),
        "202" => Ok(202),
        "400" => Ok(400),
        _ => Err("give 200, 202 or 400".into()),
    }
}

fn hash(text: &str) -> Result<Hash, String> {
    Hash::from_name(text.as_bytes()).ok_or_else(|| "give sha1, sha256 or sha512".into())
}

pub(crate) fn go_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}
