//! The flags about Kubernetes: notification-controller's names and defaults.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::go_duration;
use crate::receiver::labels::Selector;

/// Feature gates of notification-controller. None changes anything here: Secrets are always watched
/// by their metadata, and read only when a Receiver names them.
const FEATURE_GATES: [&str; 3] = [
    "CacheSecretsAndConfigMaps",
    "DisableConfigWatchers",
    "ObjectLevelWorkloadIdentity",
];

/// How the cluster is watched and written to.
#[derive(Clone, Debug, Args)]
pub struct ClusterArgs {
    /// Configuration of the cluster, where hookgate does not run in it
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,

    /// The namespace that hookgate runs in [default: the Pod's]
    #[arg(long, value_name = "NAMESPACE", env = "RUNTIME_NAMESPACE")]
    pub runtime_namespace: Option<String>,

    /// Serve the Receivers of all namespaces; false for those of the namespace that hookgate runs in
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub watch_all_namespaces: bool,

    /// Secrets whose changes reconcile the Receivers that name them; empty for all
    #[arg(
        long,
        value_name = "SELECTOR",
        default_value = "reconcile.fluxcd.io/watch=Enabled"
    )]
    pub watch_configs_label_selector: Selector,

    /// Receivers that are reconciled at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrent: u16,

    /// Wait after the first failure to reconcile
    #[arg(long, value_name = "DURATION", default_value = "750ms", value_parser = go_duration)]
    pub min_retry_delay: Duration,

    /// Longest wait between failures to reconcile
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = go_duration)]
    pub max_retry_delay: Duration,

    /// Let one of several replicas write statuses; hooks are served by all
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub enable_leader_election: bool,

    /// How long the others wait for a leader that is silent
    #[arg(long, value_name = "DURATION", default_value = "35s", value_parser = go_duration)]
    pub leader_election_lease_duration: Duration,

    /// How long a leader goes on that can't renew its lease
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = go_duration)]
    pub leader_election_renew_deadline: Duration,

    /// How often the lease is looked at
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = go_duration)]
    pub leader_election_retry_period: Duration,

    /// Give the lease away at the end
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub leader_election_release_on_cancel: bool,

    /// How long hooks are still taken after a signal, while readiness is off [default: 5s on Kubernetes, else 0s]
    #[arg(long, value_name = "DURATION", value_parser = go_duration)]
    pub shutdown_delay: Option<Duration>,

    /// ObjectLevelWorkloadIdentity=true lets Providers name ServiceAccounts; the others of notification-controller are taken and without effect
    #[arg(long, value_name = "GATES", value_delimiter = ',', value_parser = feature_gate)]
    pub feature_gates: Vec<String>,

    /// notification-controller's, taken and without effect: requests are bounded by --concurrent and group commit
    #[arg(long, value_name = "N", default_value_t = 50.0)]
    pub kube_api_qps: f32,

    /// Likewise
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub kube_api_burst: u32,

    /// notification-controller's, taken and without effect: a path is a secret, and no label of a metric
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub export_http_path_metrics: bool,
}

impl ClusterArgs {
    /// Whether a feature gate is on; of several that name it the last counts.
    pub fn gate(&self, wanted: &str) -> bool {
        let parsed = self.feature_gates.iter().map(|text| gate(text));
        let mut named = parsed.rev().filter(|(name, _)| *name == wanted);
        named.next().is_some_and(|(_, value)| value == "true")
    }

    /// What is wrong with the flags together.
    ///
    /// # Errors
    /// What to change.
    pub fn check(&self) -> Result<(), String> {
        if self.leader_election_renew_deadline >= self.leader_election_lease_duration {
            return Err("--leader-election-renew-deadline must be shorter than --leader-election-lease-duration".to_owned());
        }
        if self.leader_election_retry_period.is_zero()
            || self.leader_election_retry_period >= self.leader_election_renew_deadline
        {
            return Err("--leader-election-retry-period must be above 0s and shorter than --leader-election-renew-deadline".to_owned());
        }
        Ok(())
    }
}

fn gate(text: &str) -> (&str, &str) {
    let (name, value) = text.split_once('=').unwrap_or((text, "true"));
    (name.trim(), value.trim())
}

fn feature_gate(text: &str) -> Result<String, String> {
    let (name, value) = gate(text);
    if !FEATURE_GATES.contains(&name) {
        return Err(format!("give one of {}", FEATURE_GATES.join(", ")));
    }
    value
        .parse::<bool>()
        .map_err(|_| "give NAME=true or NAME=false".to_owned())?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::args::RunArgs;

    fn parse(args: &[&str]) -> Result<RunArgs, String> {
        let args = ["hookgate"].into_iter().chain(args.iter().copied());
        let args = RunArgs::try_parse_from(args).map_err(|error| error.to_string())?;
        args.cluster.check().map(|()| args)
    }

    #[test]
    fn the_arguments_of_notification_controllers_manifest_work_as_they_are() {
        let args = parse(&[
            "--watch-all-namespaces",
            "--log-level=info",
            "--log-encoding=json",
            "--enable-leader-election",
            "--feature-gates=CacheSecretsAndConfigMaps=true,DisableConfigWatchers=false",
            "--concurrent=10",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--no-cross-namespace-refs=true",
            "--concurrent=20",
        ])
        .unwrap();
        assert!(args.cluster.enable_leader_election && args.no_cross_namespace_refs);
        assert!(args.manifests.is_none() && args.cluster.concurrent == 20);
    }

    #[test]
    fn flags_that_cannot_work_are_refused() {
        for args in [
            &["--feature-gates=Unknown=true"][..],
            &["--feature-gates=DisableConfigWatchers=maybe"],
            &["--leader-election-renew-deadline=35s"],
            &["--leader-election-retry-period=30s"],
            &["--leader-election-retry-period=0s"],
            &["--watch-configs-label-selector=a of (b)"],
            &["--concurrent=0"],
        ] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }
}
