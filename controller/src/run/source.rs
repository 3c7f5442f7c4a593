//! Where objects come from and reconcile requests go: a folder, or a cluster.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::RunError;
use crate::activity::Trouble;
use crate::api::reference::ResourceRef;
use crate::args::{ClusterArgs, RunArgs};
use crate::kubernetes::{
    self, Api, Election, KubernetesRequester, Lives, Terms, WatchSettings, Watched,
};
use crate::manifests;
use crate::manifests::requester::ManifestRequester;
use crate::metrics::{LEASE, Metrics};
use crate::objects::Snapshot;
use crate::publish::Compiled;
use crate::receiver::{reconcile, trouble};
use crate::trigger::annotate::{RequestError, Requester};
use crate::trigger::select::Reach;

/// Where objects come from.
pub(super) struct Source {
    pub(super) snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    pub(super) requester: Arc<AnyRequester>,
    pub(super) cluster: Option<Cluster>,
}

/// What those who write need of a cluster.
pub(super) struct Cluster {
    api: Api,
    namespace: String,
    lives: watch::Receiver<Arc<Lives>>,
}

impl Source {
    /// Opens the folder, or begins to watch the cluster. A cluster that is away is waited for.
    pub(super) async fn open(
        args: &RunArgs,
        stop: watch::Receiver<bool>,
    ) -> Result<(Self, Reach), RunError> {
        match &args.manifests {
            Some(folder) => Self::folder(args, folder, stop).await,
            None => Self::cluster(args, stop).await,
        }
    }

    async fn folder(
        args: &RunArgs,
        folder: &Path,
        stop: watch::Receiver<bool>,
    ) -> Result<(Self, Reach), RunError> {
        let snapshots = manifests::watch(folder, stop).await?;
        let requester = Arc::new(ManifestRequester::new(snapshots.clone()));
        let source = Self {
            snapshots,
            requester: Arc::new(AnyRequester::Manifests(requester)),
            cluster: None,
        };
        let reach = Reach {
            no_cross_namespace_refs: args.no_cross_namespace_refs,
            only_namespace: None,
        };
        Ok((source, reach))
    }

    async fn cluster(
        args: &RunArgs,
        stop: watch::Receiver<bool>,
    ) -> Result<(Self, Reach), RunError> {
        args.cluster.check().map_err(RunError::Flags)?;
        let api = kubernetes::connect(args.cluster.kubeconfig.as_deref()).await?;
        let given = args.cluster.runtime_namespace.clone();
        let namespace = given
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or_else(|| api.default_namespace().to_owned());
        let reach = Reach {
            no_cross_namespace_refs: args.no_cross_namespace_refs,
            only_namespace: (!args.cluster.watch_all_namespaces).then(|| namespace.clone()),
        };
        let settings = WatchSettings {
            reach: reach.clone(),
            configs: args.cluster.watch_configs_label_selector.clone(),
        };
        let Watched { snapshots, lives } = kubernetes::watch(api.clone(), settings, stop);
        let requester = KubernetesRequester::new(api.clone());
        let source = Self {
            snapshots,
            requester: Arc::new(AnyRequester::Kubernetes(requester)),
            cluster: Some(Cluster {
                api,
                namespace,
                lives,
            }),
        };
        Ok((source, reach))
    }
}

impl Source {
    /// The API server, if there is one.
    pub(super) fn api(&self) -> Option<&Api> {
        self.cluster.as_ref().map(|cluster| &cluster.api)
    }
}

impl Cluster {
    /// Takes part in the election and reconciles while this process leads. The handles end when
    /// `stop` has turned true and what had begun is done.
    pub(super) fn reconcile(
        self,
        args: &ClusterArgs,
        compiled: watch::Receiver<Arc<Compiled>>,
        metrics: Arc<Metrics>,
        troubles: mpsc::Receiver<Trouble>,
        stop: watch::Receiver<bool>,
    ) -> Vec<JoinHandle<()>> {
        let mut handles = Vec::new();
        let leads = if args.enable_leader_election {
            let election = election(args, self.namespace);
            let (leads, handle) = kubernetes::elect(self.api.clone(), election, stop.clone());
            handles.push(handle);
            leads
        } else {
            // Without an election everybody leads; the sender must outlive the reconciler.
            let (always, leads) = watch::channel(true);
            let mut stop = stop.clone();
            handles.push(tokio::spawn(async move {
                let _ = stop.wait_for(|stop| *stop).await;
                drop(always);
            }));
            leads
        };
        let telling = trouble::tell(self.api.clone(), troubles, self.lives.clone(), stop.clone());
        handles.push(tokio::spawn(telling));
        handles.push(tokio::spawn(kubernetes::finalize(
            self.api.clone(),
            self.lives.clone(),
            leads.clone(),
            stop.clone(),
        )));
        let inputs = reconcile::Inputs {
            lives: self.lives,
            compiled,
            leads,
            stop,
        };
        let settings = reconcile::Settings {
            concurrent: args.concurrent.into(),
            min_retry: args.min_retry_delay,
            max_retry: args.max_retry_delay,
        };
        handles.push(tokio::spawn(reconcile::run(
            self.api, metrics, inputs, settings,
        )));
        handles
    }
}

fn election(args: &ClusterArgs, namespace: String) -> Election {
    Election {
        namespace,
        // That of notification-controller: the two never write at once.
        name: LEASE.to_owned(),
        identity: identity(),
        terms: Terms {
            lease: args.leader_election_lease_duration,
            renew: args.leader_election_renew_deadline,
            retry: args.leader_election_retry_period,
        },
        releases: args.leader_election_release_on_cancel,
    }
}

/// The host's name and something random: two processes of one host differ too.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut bytes = [0; 16];
    // Without randomness the time of the start has to do.
    if SystemRandom::new().fill(&mut bytes).is_err() {
        bytes = u128::from(crate::clock::now_ns()).to_be_bytes();
    }
    format!("{}_{}", host.trim(), hex::encode(bytes))
}

/// How long hooks are still taken after a signal.
pub(super) fn shutdown_delay(args: &RunArgs) -> Duration {
    let default = match &args.manifests {
        Some(_) => Duration::ZERO,
        // Endpoints and proxies need a moment to see that the Pod is not ready any more.
        None => Duration::from_secs(5),
    };
    args.cluster.shutdown_delay.unwrap_or(default)
}

/// The Requester of either.
#[derive(Debug)]
pub(super) enum AnyRequester {
    Manifests(Arc<ManifestRequester>),
    Kubernetes(KubernetesRequester),
}

impl AnyRequester {
    /// The one that keeps its requests.
    pub(super) fn kept(&self) -> Option<Arc<ManifestRequester>> {
        match self {
            Self::Manifests(requester) => Some(requester.clone()),
            Self::Kubernetes(_) => None,
        }
    }
}

impl Requester for AnyRequester {
    async fn request(
        &self,
        resource: &ResourceRef,
        requested_at: &str,
    ) -> Result<(), RequestError> {
        match self {
            Self::Manifests(requester) => requester.request(resource, requested_at).await,
            Self::Kubernetes(requester) => requester.request(resource, requested_at).await,
        }
    }
}
