//! A Provider with its secrets read, ready for use.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use url::Url;

use super::error::ProviderError;
use crate::api::provider::DEFAULT_TIMEOUT;

/// A Provider with its secrets read. Texts that were not set are empty.
#[derive(Clone)]
pub struct Target {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID; empty without an API server.
    pub uid: String,
    /// The Secret's `address`, else `spec.address`, trimmed.
    pub address: SecretString,
    /// `spec.channel`.
    pub channel: String,
    /// The Secret's `username`, else `spec.username`.
    pub username: String,
    /// The Secret's `password`.
    pub password: Option<SecretString>,
    /// The Secret's `token`, as it stands there: generic-hmac signs with every byte of it.
    pub token: Option<SecretString>,
    /// The Secret's `headers`.
    pub headers: BTreeMap<String, SecretString>,
    /// The Secret's `creds`.
    pub creds: Option<SecretString>,
    /// The Secret's `nkey`.
    pub nkey: Option<SecretString>,
    /// The Secret's `githubApp…`.
    pub github_app: Option<GitHubApp>,
    /// `spec.serviceAccountName`, or the default one.
    pub service_account: Option<String>,
    /// The name of a commit status by `spec.commitStatusExpr`, or `None` for the usual one.
    pub commit_status: Option<String>,
    /// For opsgenie and alertmanager, which otherwise know one alert for each reason: whether an
    /// object has one alert, which an info ends. `hookgate.dev/resolve: "true"`.
    pub resolve: bool,
    /// For the driver: a proxy's URL with its credentials.
    pub proxy: Option<SecretString>,
    /// For the driver: certificates.
    pub tls: Option<Tls>,
    /// For the driver: how long one delivery may take.
    pub timeout: Duration,
}

/// What a GitHub App logs in with.
#[derive(Clone)]
pub struct GitHubApp {
    /// `githubAppID`.
    pub id: String,
    /// `githubAppPrivateKey`, in PEM.
    pub private_key: SecretString,
    /// `githubAppInstallationOwner`; one of this and the next.
    pub installation_owner: Option<String>,
    /// `githubAppInstallationID`.
    pub installation_id: Option<String>,
    /// `githubAppBaseURL`.
    pub base_url: Option<String>,
}

/// Certificates in PEM.
#[derive(Clone)]
pub struct Tls {
    /// Instead of the system's roots.
    pub ca: Option<Vec<u8>>,
    /// Certificate chain and key of the client.
    pub identity: Option<(Vec<u8>, SecretSlice<u8>)>,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            namespace: String::new(),
            name: String::new(),
            uid: String::new(),
            address: String::new().into(),
            channel: String::new(),
            username: String::new(),
            password: None,
            token: None,
            headers: BTreeMap::new(),
            creds: None,
            nkey: None,
            github_app: None,
            service_account: None,
            commit_status: None,
            resolve: false,
            proxy: None,
            tls: None,
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

impl Target {
    /// The address as a URL of HTTP; `invalid` is what is said of one that is none, with `*****` for it.
    ///
    /// # Errors
    /// [`ProviderError::Config`], which does not tell the address.
    pub fn url(&self, invalid: &str) -> Result<Url, ProviderError> {
        let address = self.address.expose_secret();
        if address.is_empty() {
            return Err(config(&format!(
                "{invalid}: 'it is empty; set spec.address or the Secret's address'"
            )));
        }
        Url::parse(address)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| config(&format!("{invalid}: 'not a URL of http or https'")))
    }

    /// The token, without white space around it; `missing` is what is said where there is none.
    ///
    /// # Errors
    /// [`ProviderError::Config`] where there is none.
    pub fn token(&self, missing: &str) -> Result<SecretString, ProviderError> {
        trimmed(self.token.as_ref())
            .ok_or_else(|| config(&format!("{missing}; set token in the Secret")))
    }

    /// The token or, as several forges take it, the password.
    ///
    /// # Errors
    /// [`ProviderError::Config`] where there is neither.
    pub fn token_or_password(&self, missing: &str) -> Result<SecretString, ProviderError> {
        self.token(missing)
            .or_else(|error| trimmed(self.password.as_ref()).ok_or(error))
    }

    /// User and password, without white space around the password; `None` unless both are set.
    pub fn login(&self) -> Option<(&str, SecretString)> {
        let password = trimmed(self.password.as_ref())?;
        (!self.username.is_empty()).then_some((self.username.as_str(), password))
    }

    /// The channel; `missing` is what is said where there is none.
    ///
    /// # Errors
    /// [`ProviderError::Config`] where there is none.
    pub fn channel(&self, missing: &str) -> Result<&str, ProviderError> {
        Some(self.channel.as_str())
            .filter(|channel| !channel.is_empty())
            .ok_or_else(|| config(&format!("{missing}; set spec.channel")))
    }
}

fn trimmed(secret: Option<&SecretString>) -> Option<SecretString> {
    let text = secret?.expose_secret().trim();
    (!text.is_empty()).then(|| text.to_owned().into())
}

fn config(text: &str) -> ProviderError {
    ProviderError::Config(text.to_owned())
}

/// Addresses and channels may be secrets: only whose it is.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
