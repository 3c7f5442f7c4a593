//! The flags of events and alerts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use url::Url;

use super::{address, go_duration};
use crate::notify::delivery::Backoff;
use crate::notify::dispatch::TokenLimits;
use crate::notify::identity::Azure;
use crate::notify::queue::Room;
use crate::notify::spool::Limits;

/// The flags of events and alerts. Those that notification-controller has keep their names.
#[derive(Clone, Debug, Args)]
pub struct EventArgs {
    /// Address for events of Flux's controllers
    #[arg(long, value_name = "ADDR", default_value = ":9090", value_parser = address)]
    pub events_addr: SocketAddr,

    /// Folder in which accepted events are kept until they are delivered [default: in memory, which a restart loses]
    #[arg(long, value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,

    /// Bytes of events that are kept; the files take about twice as many at most
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30, value_parser = clap::value_parser!(u64).range(1 << 20..=1 << 40))]
    pub spool_max_bytes: u64,

    /// How long a dead letter is kept, and an event may wait at most
    #[arg(long, value_name = "DURATION", default_value = "168h", value_parser = go_duration)]
    pub spool_max_age: Duration,

    /// How long an alert is tried before it becomes a dead letter
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = go_duration)]
    pub give_up_after: Duration,

    /// Alerts that are sent to one Provider at once; at most 16
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub provider_concurrency: u32,

    /// Alerts a second that are sent to one Provider; twice as many at once
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub provider_rate: u32,

    /// Within which an event that repeats itself is discarded
    #[arg(long, value_name = "DURATION", default_value = "5m0s", value_parser = interval, allow_hyphen_values = true)]
    pub rate_limit_interval: Duration,

    /// The ServiceAccount, in its namespace, of a Provider that names none; needs the feature gate ObjectLevelWorkloadIdentity
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub default_service_account: Option<String>,

    /// The controller's own identity in Azure
    #[command(flatten)]
    pub azure: AzureArgs,

    /// Tokens of providers that are kept; 0 for none
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub token_cache_max_size: usize,

    /// How long a token is kept at most
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = go_duration)]
    pub token_cache_max_duration: Duration,
}

/// The controller's own identity in Azure: the webhook of Azure's workload identity sets the variables.
#[derive(Clone, Debug, Default, Args)]
pub struct AzureArgs {
    /// Azure's tenant, where the controller has an identity of its own there
    #[arg(long, value_name = "ID", env = "AZURE_TENANT_ID")]
    pub azure_tenant_id: Option<String>,

    /// Its client
    #[arg(long, value_name = "ID", env = "AZURE_CLIENT_ID")]
    pub azure_client_id: Option<String>,

    /// The Pod's token for it
    #[arg(long, value_name = "FILE", env = "AZURE_FEDERATED_TOKEN_FILE")]
    pub azure_federated_token_file: Option<PathBuf>,

    /// Who gives its tokens [default: Azure's public cloud]
    #[arg(long, value_name = "URL", env = "AZURE_AUTHORITY_HOST")]
    pub azure_authority_host: Option<Url>,
}

impl AzureArgs {
    /// What they come to.
    pub(crate) fn identity(&self) -> Azure {
        Azure {
            tenant: self.azure_tenant_id.clone(),
            client: self.azure_client_id.clone(),
            token_file: self.azure_federated_token_file.clone(),
            authority: self.azure_authority_host.clone(),
        }
    }
}

impl EventArgs {
    /// The bounds of the spool.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_bytes: self.spool_max_bytes,
            max_age: self.spool_max_age,
            ..Limits::default()
        }
    }

    /// What is sent at once.
    pub(crate) fn room(&self) -> Room {
        let per_provider = usize::try_from(self.provider_concurrency).unwrap_or(1);
        Room {
            per_provider,
            rate: hook::bucket::Limit::per_second(
                self.provider_rate,
                self.provider_rate.saturating_mul(2),
            ),
            ..Room::default()
        }
    }

    /// When failed alerts are tried again.
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff {
            give_up_after: self.give_up_after,
            ..Backoff::default()
        }
    }

    /// The bounds of the cache of tokens.
    pub(crate) fn tokens(&self) -> TokenLimits {
        TokenLimits {
            max: self.token_cache_max_size,
            longest: self.token_cache_max_duration,
        }
    }
}

/// As nc takes it: `0` and what is negative mean its library's shortest.
fn interval(text: &str) -> Result<Duration, String> {
    match text.strip_prefix('-') {
        _ if text == "0" => Ok(Duration::ZERO),
        Some(positive) => go_duration(positive).map(|_| Duration::ZERO),
        None => go_duration(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_of_nothing_or_less_is_zero() {
        for (text, want) in [
            ("5m0s", Some(300)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("-3s", Some(0)),
            ("-x", None),
            ("5", None),
        ] {
            let got = interval(text).ok().map(|interval| interval.as_secs());
            assert_eq!(got, want, "{text}");
        }
    }
}
