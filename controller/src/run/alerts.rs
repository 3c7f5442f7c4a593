//! Events in, alerts out: what the alerts half needs of wherever the objects come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::source::Source;
use crate::api::secret::Secret;
use crate::args::RunArgs;
use crate::kubernetes::{KubernetesSecrets, KubernetesWarnings};
use crate::metrics::Metrics;
use crate::notify::identity::{AccountReader, Identities};
use crate::notify::select::Warning;
use crate::notify::service::Service;
use crate::notify::spool::Spool;
use crate::notify::target::{ReadError, SecretReader, SnapshotSecrets};
use crate::notify::transport::Sockets;
use crate::notify::warn::{LogWarnings, Warn};
use crate::objects::Snapshot;

/// Takes events on `listener` and sends alerts, until `stop` turns true.
pub(super) fn start(
    args: &RunArgs,
    listener: TcpListener,
    spool: Arc<Spool>,
    source: &Source,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
) -> Service {
    let snapshots = complete(source.snapshots.clone());
    let warn = source.api().map_or(AnyWarnings::Log, |api| {
        AnyWarnings::Kubernetes(KubernetesWarnings::new(api.clone(), snapshots.clone()))
    });
    Service::start(
        &args.events,
        args.no_cross_namespace_refs,
        listener,
        spool,
        snapshots,
        secrets(source),
        Sockets::new(args.allow_metadata_addresses),
        Identities {
            of_objects: args.cluster.gate("ObjectLevelWorkloadIdentity"),
            default_account: args.events.default_service_account.clone(),
            azure: args.events.azure.identity(),
        },
        warn,
        metrics,
        stop,
    )
}

/// Snapshots from the first one on that has all Alerts and Providers: an event that came before would find no Alert.
fn complete(
    mut all: watch::Receiver<Option<Arc<Snapshot>>>,
) -> watch::Receiver<Option<Arc<Snapshot>>> {
    let (sender, complete) = watch::channel(None);
    tokio::spawn(async move {
        loop {
            let snapshot = all.borrow_and_update().clone();
            if snapshot
                .as_ref()
                .is_some_and(|snapshot| snapshot.has_alerts)
            {
                sender.send_replace(snapshot);
            }
            tokio::select! {
                changed = all.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    });
    complete
}

/// The Secrets of Providers, as they are when they are asked for.
pub(super) fn secrets(source: &Source) -> AnySecrets {
    match source.api() {
        Some(api) => AnySecrets::Kubernetes(KubernetesSecrets(api.clone())),
        None => AnySecrets::Manifests(SnapshotSecrets(source.snapshots.clone())),
    }
}

/// The Secrets of either.
#[derive(Clone, Debug)]
pub(super) enum AnySecrets {
    Manifests(SnapshotSecrets),
    Kubernetes(KubernetesSecrets),
}

impl SecretReader for AnySecrets {
    async fn read(&self, namespace: &str, name: &str) -> Result<Secret, ReadError> {
        match self {
            Self::Manifests(secrets) => secrets.read(namespace, name).await,
            Self::Kubernetes(secrets) => secrets.read(namespace, name).await,
        }
    }
}

impl AccountReader for AnySecrets {
    async fn annotations(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<BTreeMap<String, String>, ReadError> {
        match self {
            Self::Manifests(secrets) => secrets.annotations(namespace, name).await,
            Self::Kubernetes(secrets) => secrets.annotations(namespace, name).await,
        }
    }

    async fn account_token(
        &self,
        namespace: &str,
        name: &str,
        audience: &str,
    ) -> Result<SecretString, ReadError> {
        match self {
            Self::Manifests(secrets) => secrets.account_token(namespace, name, audience).await,
            Self::Kubernetes(secrets) => secrets.account_token(namespace, name, audience).await,
        }
    }
}

/// Where warnings go in either.
#[derive(Clone, Debug)]
enum AnyWarnings {
    Log,
    Kubernetes(KubernetesWarnings),
}

impl Warn for AnyWarnings {
    fn warn(&self, alert: &str, warning: &Warning) {
        match self {
            Self::Log => LogWarnings.warn(alert, warning),
            Self::Kubernetes(warnings) => warnings.warn(alert, warning),
        }
    }
}
