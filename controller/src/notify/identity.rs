//! Tokens of identities in a cloud: of a ServiceAccount that a Provider names, or of the controller itself.
//!
//! ```text
//!  a ServiceAccount ──► its annotations ──► Federation ──► its token ──► exchange
//!  none ─┬─► the file of Azure's workload identity ──► exchange
//!        └─► the machine's metadata server
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::converse::{Whom, converse};
use super::target::ReadError;
use super::transport::{Transport, TransportError};
use crate::clock;
use crate::mask::Mask;
use crate::provider::identity::Federation;
use crate::provider::machine::{self, GkeCluster};
use crate::provider::{Identity, IdentityProvider, ProviderError, Target, Token};

/// How nc words it, for every type of Provider.
pub const GATE_IS_OFF: &str = "to use spec.serviceAccountName for provider authentication please enable the \
     ObjectLevelWorkloadIdentity feature gate in the controller";

/// Longer than any token that a cluster writes.
const MAX_TOKEN: usize = 64 << 10;

/// Reads ServiceAccounts, and has tokens made for them.
pub trait AccountReader: fmt::Debug + Send + Sync + 'static {
    /// The annotations of a ServiceAccount.
    ///
    /// # Errors
    /// [`ReadError`] if it is not there or can't be read.
    fn annotations(
        &self,
        namespace: &str,
        name: &str,
    ) -> impl Future<Output = Result<BTreeMap<String, String>, ReadError>> + Send;

    /// A token of a ServiceAccount for an audience, ten minutes long.
    ///
    /// # Errors
    /// [`ReadError`] if it is not there or none is made.
    fn account_token(
        &self,
        namespace: &str,
        name: &str,
        audience: &str,
    ) -> impl Future<Output = Result<SecretString, ReadError>> + Send;
}

/// Which identities there are, as flags and the environment say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    /// The feature gate `ObjectLevelWorkloadIdentity`: whether Providers may name ServiceAccounts.
    pub of_objects: bool,
    /// `--default-service-account`: what a Provider has that names none.
    pub default_account: Option<String>,
    /// The controller's own in Azure.
    pub azure: Azure,
}

/// The controller's own identity in Azure, as the webhook of its workload identity tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Azure {
    /// The tenant.
    pub tenant: Option<String>,
    /// The client.
    pub client: Option<String>,
    /// Where the Pod's token is.
    pub token_file: Option<PathBuf>,
    /// Who gives tokens, if not Azure's public cloud.
    pub authority: Option<Url>,
}

/// Why an identity has no token.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// What cloud or ServiceAccount lack.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// No reply came.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The ServiceAccount.
    #[error("failed to {what} ServiceAccount '{name}': {source}")]
    Account {
        /// `read`, or `get a token of`.
        what: &'static str,
        /// `namespace/name`.
        name: String,
        /// Why.
        source: ReadError,
    },
    /// The default one.
    #[error(
        "the default ServiceAccount '{0}' was not found; multi-tenant workload identity lockdown is in force \
         (--default-service-account): make one, or set spec.serviceAccountName"
    )]
    NoDefault(String),
    /// The controller's own token.
    #[error("failed to read the token file of Azure's workload identity: {0}")]
    File(String),
}

impl IdentityError {
    /// Whether trying again is of no use until somebody changes something. Accounts come late.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Provider(error) => error.is_permanent(),
            Self::Transport(error) => error.is_permanent(),
            Self::Account { .. } | Self::NoDefault(_) | Self::File(_) => false,
        }
    }
}

impl Identities {
    /// A token of an identity; the cloud's token service is asked over the Target's proxy, the API server and the machine
    /// are not. `mask` learns the token that was exchanged for it.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub async fn token(
        &self,
        identity: &Identity,
        target: &Target,
        transport: &impl Transport,
        accounts: &impl AccountReader,
        mask: &mut Mask,
    ) -> Result<Token, IdentityError> {
        let account = identity.service_account.as_ref();
        let federation = match account.or(self.default_account.as_ref()) {
            Some(name) => {
                let federation = self
                    .federation(identity, name, account.is_none(), transport, accounts)
                    .await?;
                let (namespace, audience) = (&identity.namespace, federation.audience());
                let token = accounts.account_token(namespace, name, audience).await;
                let token = token.map_err(|source| IdentityError::Account {
                    what: "get a token of",
                    name: format!("{namespace}/{name}"),
                    source,
                })?;
                Some((federation, token))
            }
            None => self.own_federation(identity).await?,
        };
        let now = clock::now_ms() / 1000;
        let Some((federation, token)) = federation else {
            let client = self.azure.client.as_deref();
            let conversation = machine::own_token(identity, client, now)?;
            return converse(conversation, Whom::Machine, transport).await;
        };
        mask.add(token.expose_secret());
        let authority = self.azure.authority.as_ref();
        let conversation = federation.exchange(&token, authority, identity.scope, now)?;
        converse(conversation, Whom::Provider(target), transport).await
    }

    /// What a ServiceAccount is in its cloud.
    async fn federation(
        &self,
        identity: &Identity,
        name: &str,
        is_default: bool,
        transport: &impl Transport,
        accounts: &impl AccountReader,
    ) -> Result<Federation, IdentityError> {
        let namespace = &identity.namespace;
        let annotations = match accounts.annotations(namespace, name).await {
            Ok(annotations) => annotations,
            Err(ReadError::NotFound) if is_default => {
                return Err(IdentityError::NoDefault(format!("{namespace}/{name}")));
            }
            Err(source) => {
                return Err(IdentityError::Account {
                    what: "read",
                    name: format!("{namespace}/{name}"),
                    source,
                });
            }
        };
        let needs_cluster = identity.provider == IdentityProvider::Google
            && !annotations.contains_key("gcp.auth.fluxcd.io/workload-identity-provider");
        let cluster: Option<GkeCluster> = if needs_cluster {
            // Nobody answers where this is not GKE: then the annotation is missing, which is said.
            let asked: Result<_, IdentityError> =
                converse(machine::gke_cluster()?, Whom::Machine, transport).await;
            asked.ok()
        } else {
            None
        };
        Ok(Federation::of(
            identity.provider,
            &annotations,
            cluster.as_ref(),
        )?)
    }

    /// The controller's own, where a file has its token.
    async fn own_federation(
        &self,
        identity: &Identity,
    ) -> Result<Option<(Federation, SecretString)>, IdentityError> {
        let Azure {
            tenant: Some(tenant),
            client: Some(client),
            token_file: Some(file),
            ..
        } = &self.azure
        else {
            return Ok(None);
        };
        if identity.provider != IdentityProvider::Azure {
            return Ok(None);
        }
        let failed = |text: String| IdentityError::File(text);
        let token = tokio::fs::read_to_string(file).await;
        let token = token.map_err(|error| failed(error.to_string()))?;
        if token.len() > MAX_TOKEN {
            return Err(failed("it is too large".to_owned()));
        }
        let federation = Federation::Azure {
            tenant: tenant.clone(),
            client: client.clone(),
        };
        Ok(Some((federation, token.trim().to_owned().into())))
    }
}

#[cfg(test)]
mod tests;
