//! Connects to the API server: `--kubeconfig`, `KUBECONFIG`, or the Pod's service account.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::api::Api;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig can't be used.
    #[error("failed to use the kubeconfig {path:?}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KubeconfigError,
    },
    /// Neither a kubeconfig nor a service account.
    #[error("no cluster to speak to; run in a Pod, or give --kubeconfig FILE or --manifests DIR")]
    NoCluster(#[source] InClusterError),
    /// What the configuration asks for can't be done.
    #[error("failed to make a client of the Kubernetes configuration")]
    Client(#[source] kube::Error),
}

/// Connects. Nothing is sent yet.
///
/// # Errors
/// [`ConnectError`] if no usable configuration is found.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Api, ConnectError> {
    let mut config = match kubeconfig.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => from_file(path).await?,
        None => Config::incluster().map_err(ConnectError::NoCluster)?,
    };
    config.connect_timeout = Some(CONNECT);
    // Every request has its own deadline here; a retry behind its back would outlive it.
    config.default_retry = false;
    let agent = HeaderValue::from_static(concat!("hookgate/", env!("CARGO_PKG_VERSION")));
    config.headers.push((USER_AGENT, agent));
    let client = Client::try_from(config).map_err(ConnectError::Client)?;
    Ok(Api::new(client))
}

async fn from_file(path: &Path) -> Result<Config, ConnectError> {
    let wrap = |source| ConnectError::Kubeconfig {
        path: path.to_owned(),
        source,
    };
    // KUBECONFIG may name several; the first that says something counts.
    let mut file = Kubeconfig::default();
    for part in std::env::split_paths(path).filter(|part| !part.as_os_str().is_empty()) {
        file = file
            .merge(Kubeconfig::read_from(part).map_err(wrap)?)
            .map_err(wrap)?;
    }
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(wrap)
}
