//! `Provider`, notification.toolkit.fluxcd.io/v1beta3: where alerts go.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::duration::{self, DurationError};
use crate::api::meta::ObjectMeta;
use crate::api::receiver::SecretRef;

/// How long a delivery may take where `spec.timeout` does not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

/// A Provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Provider {
    /// Metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Spec.
    pub spec: ProviderSpec,
}

/// `spec`. Unknown fields are passed over: the API server prunes what its schema does not know.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderSpec {
    /// The provider type's name.
    pub r#type: String,
    /// Deprecated and unused.
    #[serde(default)]
    pub interval: Option<String>,
    /// What it is depends on the type.
    #[serde(default)]
    pub channel: String,
    /// The Secret's `username` wins.
    #[serde(default)]
    pub username: String,
    /// The Secret's `address` wins. Often as good as a password.
    #[serde(default)]
    pub address: String,
    /// How long one delivery may take, a Go duration.
    #[serde(default)]
    pub timeout: Option<String>,
    /// Deprecated: a proxy's URL.
    #[serde(default)]
    pub proxy: Option<String>,
    /// A proxy's `address`, `username` and `password`.
    #[serde(default)]
    pub proxy_secret_ref: Option<SecretRef>,
    /// Credentials.
    #[serde(default)]
    pub secret_ref: Option<SecretRef>,
    /// Whose identity is exchanged for a token of a cloud.
    #[serde(default)]
    pub service_account_name: Option<String>,
    /// `ca.crt`, `tls.crt` and `tls.key`.
    #[serde(default)]
    pub cert_secret_ref: Option<SecretRef>,
    /// Whether it takes no events for now.
    #[serde(default)]
    pub suspend: bool,
    /// CEL for the name of a commit status.
    #[serde(default)]
    pub commit_status_expr: Option<String>,
}

impl ProviderSpec {
    /// How long one delivery may take.
    ///
    /// # Errors
    /// [`DurationError`] where `spec.timeout` is not a duration.
    pub fn timeout(&self) -> Result<Duration, DurationError> {
        self.timeout
            .as_deref()
            .map_or(Ok(DEFAULT_TIMEOUT), duration::parse)
    }
}

/// Addresses, channels and proxies may hold secrets: only the type is shown.
impl fmt::Debug for ProviderSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderSpec")
            .field("type", &self.r#type)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_read_as_its_schema_describes_it() {
        let provider: Provider = serde_json::from_str(
            r#"{"metadata":{"name":"p","namespace":"apps"},
                "spec":{"type":"slack","address":"https://hooks.test/T0P","timeout":"20s","new":1,
                  "secretRef":{"name":"s"},"proxySecretRef":{"name":"x"},"certSecretRef":{"name":"c"}}}"#,
        )
        .unwrap();
        let named = |name: &str| {
            Some(SecretRef {
                name: name.to_owned(),
            })
        };
        let want = ProviderSpec {
            r#type: "slack".to_owned(),
            address: "https://hooks.test/T0P".to_owned(),
            timeout: Some("20s".to_owned()),
            secret_ref: named("s"),
            proxy_secret_ref: named("x"),
            cert_secret_ref: named("c"),
            ..ProviderSpec::default()
        };
        assert!(provider.spec == want);
        assert_eq!(provider.spec.timeout(), Ok(Duration::from_secs(20)));
        assert_eq!(ProviderSpec::default().timeout(), Ok(DEFAULT_TIMEOUT));
        assert!(!format!("{provider:?}").contains("T0P"));
    }
}
