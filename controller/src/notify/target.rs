//! Provider and Secrets → Target, at the moment of sending. Secrets are never kept longer.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::SecretString;
use tokio::sync::watch;
use url::Url;

use super::identity::AccountReader;
use crate::api::provider::Provider;
use crate::api::receiver::SecretRef;
use crate::api::secret::Secret;
use crate::objects::Snapshot;
use crate::provider::{self, GitHubApp, Takes, Target, Tls};

/// Bytes of an address, as the schema bounds `spec.address`.
const MAX_ADDRESS: usize = 2048;

/// Reads Secrets.
pub trait SecretReader: fmt::Debug + Send + Sync + 'static {
    /// Reads one Secret as it is now.
    ///
    /// # Errors
    /// [`ReadError`] if it is not there or can't be read.
    fn read(
        &self,
        namespace: &str,
        name: &str,
    ) -> impl Future<Output = Result<Secret, ReadError>> + Send;
}

/// Why a Secret can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is none.
    #[error("not found")]
    NotFound,
    /// Whoever has it did not give it.
    #[error("{0}")]
    Failed(String),
}

/// Why a Provider can't be made ready. Names no value of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// A Secret can't be read.
    #[error("failed to get secret '{name}': {source}")]
    Secret {
        /// `namespace/name`.
        name: String,
        /// Why.
        source: ReadError,
    },
    /// A Secret or the spec can't be used as it is.
    #[error("{0}")]
    Invalid(String),
}

/// The Secrets of a folder of manifests.
#[derive(Clone, Debug)]
pub struct SnapshotSecrets(pub watch::Receiver<Option<Arc<Snapshot>>>);

impl SecretReader for SnapshotSecrets {
    async fn read(&self, namespace: &str, name: &str) -> Result<Secret, ReadError> {
        let snapshot = self.0.borrow().clone();
        let key = (namespace.to_owned(), name.to_owned());
        let secret = snapshot.and_then(|snapshot| snapshot.secrets.get(&key).cloned());
        secret.ok_or(ReadError::NotFound)
    }
}

impl AccountReader for SnapshotSecrets {
    async fn annotations(
        &self,
        _namespace: &str,
        _name: &str,
    ) -> Result<BTreeMap<String, String>, ReadError> {
        Err(no_accounts())
    }

    async fn account_token(
        &self,
        _namespace: &str,
        _name: &str,
        _audience: &str,
    ) -> Result<SecretString, ReadError> {
        Err(no_accounts())
    }
}

fn no_accounts() -> ReadError {
    ReadError::Failed("there are ServiceAccounts in a cluster only".to_owned())
}

/// The Secrets that a Provider names.
#[derive(Debug, Default)]
struct Secrets {
    auth: Option<Secret>,
    proxy: Option<Secret>,
    certs: Option<Secret>,
}

/// Reads a Provider's Secrets and makes it ready.
///
/// # Errors
/// [`TargetError`]; whatever it is, it may be mended by the time of the next try.
pub async fn read(provider: &Provider, secrets: &impl SecretReader) -> Result<Target, TargetError> {
    let spec = &provider.spec;
    let one = async |reference: &Option<SecretRef>| match reference {
        None => Ok(None),
        Some(reference) => {
            let namespace = &provider.metadata.namespace;
            let read = secrets.read(namespace, &reference.name).await;
            read.map(Some).map_err(|source| TargetError::Secret {
                name: format!("{namespace}/{}", reference.name),
                source,
            })
        }
    };
    let secrets = Secrets {
        auth: one(&spec.secret_ref).await?,
        proxy: one(&spec.proxy_secret_ref).await?,
        certs: one(&spec.cert_secret_ref).await?,
    };
    target(provider, &secrets)
}

fn target(provider: &Provider, secrets: &Secrets) -> Result<Target, TargetError> {
    let (metadata, spec) = (&provider.metadata, &provider.spec);
    let auth = Keys::of(provider, &spec.secret_ref, secrets.auth.as_ref());
    let address = match auth.text("address")? {
        Some(address) if address.len() > MAX_ADDRESS => {
            return Err(invalid(format!(
                "invalid address in secret: address exceeds maximum length of {MAX_ADDRESS} bytes"
            )));
        }
        Some(address) => address.trim().to_owned(),
        None => spec.address.trim().to_owned(),
    };
    Ok(Target {
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone().unwrap_or_default(),
        address: address.into(),
        channel: spec.channel.clone(),
        username: auth
            .text("username")?
            .map_or_else(|| spec.username.clone(), str::to_owned),
        password: auth.secret("password")?,
        token: auth.secret("token")?,
        headers: auth.headers()?,
        creds: auth.secret("creds")?,
        nkey: auth.secret("nkey")?,
        github_app: auth.github_app()?,
        service_account: spec.service_account_name.clone(),
        commit_status: None,
        resolve: provider::resolves(provider).map_err(invalid)?,
        proxy: proxy(provider, &auth, secrets.proxy.as_ref())?,
        tls: tls(provider, &auth, secrets.certs.as_ref())?,
        timeout: spec
            .timeout()
            .map_err(|error| invalid(format!("spec.timeout: {error}")))?,
    })
}

/// A Secret, or none, and how it is called.
struct Keys<'a> {
    secret: Option<&'a Secret>,
    name: String,
}

impl<'a> Keys<'a> {
    fn of(provider: &Provider, reference: &Option<SecretRef>, secret: Option<&'a Secret>) -> Self {
        let name = reference.as_ref().map_or("", |r| r.name.as_str());
        Self {
            secret,
            name: format!("{}/{name}", provider.metadata.namespace),
        }
    }

    fn bytes(&self, key: &str) -> Option<&'a [u8]> {
        self.secret.and_then(|secret| secret.get(key))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, TargetError> {
        let text = self.bytes(key).map(std::str::from_utf8).transpose();
        text.map_err(|_| invalid(format!("secret '{}': key '{key}' is not text", self.name)))
    }

    fn secret(&self, key: &str) -> Result<Option<SecretString>, TargetError> {
        Ok(self.text(key)?.map(SecretString::from))
    }

    fn headers(&self) -> Result<BTreeMap<String, SecretString>, TargetError> {
        let Some(text) = self.text("headers")? else {
            return Ok(BTreeMap::new());
        };
        // The parser's message could quote a value.
        let headers: BTreeMap<String, String> = serde_saphyr::from_str(text).map_err(|_| {
            invalid("failed to read headers from secret: not a YAML map of strings".to_owned())
        })?;
        let headers = headers.into_iter();
        Ok(headers.map(|(name, value)| (name, value.into())).collect())
    }

    fn github_app(&self) -> Result<Option<GitHubApp>, TargetError> {
        let owned = |key| Ok::<_, TargetError>(self.text(key)?.map(|t| t.trim().to_owned()));
        let Some(id) = owned("githubAppID")? else {
            return Ok(None);
        };
        let private_key = self.secret("githubAppPrivateKey")?.ok_or_else(|| {
            invalid("private key must be provided to use github app authentication".to_owned())
        })?;
        let app = GitHubApp {
            id,
            private_key,
            installation_owner: owned("githubAppInstallationOwner")?,
            installation_id: owned("githubAppInstallationID")?,
            base_url: owned("githubAppBaseURL")?,
        };
        let problem = match (&app.installation_owner, &app.installation_id) {
            (None, None) => {
                "app installation owner or ID must be provided to use github app authentication"
            }
            (Some(_), Some(_)) => {
                "only one of app installation owner or ID must be provided to use github app authentication"
            }
            (Some(_), None) | (None, Some(_)) => return Ok(Some(app)),
        };
        Err(invalid(problem.to_owned()))
    }
}

/// `proxySecretRef`, else the Secret's `proxy`, else `spec.proxy`.
fn proxy(
    provider: &Provider,
    auth: &Keys<'_>,
    secret: Option<&Secret>,
) -> Result<Option<SecretString>, TargetError> {
    let spec = &provider.spec;
    if secret.is_some() {
        let keys = Keys::of(provider, &spec.proxy_secret_ref, secret);
        return proxy_of_secret(&keys).map(Some).map_err(|text| {
            invalid(format!(
                "failed to get proxy URL: secret '{}': {text}",
                keys.name
            ))
        });
    }
    if let Some(text) = auth.text("proxy")? {
        let url = Url::parse(text.trim())
            .map_err(|_| invalid(format!("invalid 'proxy' in secret '{}'", auth.name)))?;
        return Ok(Some(url.to_string().into()));
    }
    let text = spec.proxy.as_deref().unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    let url = Url::parse(text).map_err(|_| invalid("spec.proxy is not a URL".to_owned()))?;
    Ok(Some(url.to_string().into()))
}

fn proxy_of_secret(keys: &Keys<'_>) -> Result<SecretString, String> {
    let text = |key| keys.text(key).map_err(|error| error.to_string());
    let address = text("address")?.ok_or("key 'address' not found")?.trim();
    if address.is_empty() {
        return Err("proxy address is empty".to_owned());
    }
    if address.len() > MAX_ADDRESS {
        return Err(format!(
            "proxy address exceeds maximum length of {MAX_ADDRESS} bytes"
        ));
    }
    let mut url = Url::parse(address).map_err(|_| "proxy address is not a URL")?;
    if !matches!(url.scheme(), "http" | "https" | "socks5") {
        return Err(format!(
            "proxy URL must use one of the supported schemes (http, https, socks5), got '{}'",
            url.scheme()
        ));
    }
    if let Some(username) = text("username")? {
        let password = text("password")?;
        if url.set_username(username).is_err() || url.set_password(password).is_err() {
            return Err("proxy address can hold no credentials".to_owned());
        }
    }
    Ok(String::from(url).into())
}

/// `certSecretRef`, else what the Secret has where nc looks there: for commit statuses.
fn tls(
    provider: &Provider,
    auth: &Keys<'_>,
    certs: Option<&Secret>,
) -> Result<Option<Tls>, TargetError> {
    let failed = |text: String| invalid(format!("failed to get TLS config: {text}"));
    if certs.is_some() {
        let keys = Keys::of(provider, &provider.spec.cert_secret_ref, certs);
        let found = certificates(&keys).map_err(failed)?;
        return found.map(Some).ok_or_else(|| {
            failed(format!(
                "secret '{}' must contain either 'ca.crt' or both 'tls.crt' and 'tls.key'",
                keys.name
            ))
        });
    }
    let is_commit_status =
        provider::of(provider).is_ok_and(|found| found.takes() == Takes::CommitStatuses);
    if is_commit_status {
        certificates(auth).map_err(failed)
    } else {
        Ok(None)
    }
}

fn certificates(keys: &Keys<'_>) -> Result<Option<Tls>, String> {
    let either = |key, legacy| keys.bytes(key).or_else(|| keys.bytes(legacy));
    let ca = either("ca.crt", "caFile");
    let pair = (either("tls.crt", "certFile"), either("tls.key", "keyFile"));
    let is_certificate = |pem: &[u8]| CertificateDer::from_pem_slice(pem).is_ok();
    if ca.is_some_and(|ca| !is_certificate(ca)) {
        return Err("failed to parse CA certificate".to_owned());
    }
    let identity = match pair {
        (Some(cert), Some(key)) if is_certificate(cert) => {
            Some((cert.to_vec(), key.to_vec().into()))
        }
        (Some(_), Some(_)) => return Err("failed to parse TLS certificate".to_owned()),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err(format!(
                "secret '{}' must contain both 'tls.crt' and 'tls.key' or neither",
                keys.name
            ));
        }
    };
    Ok((ca.is_some() || identity.is_some()).then(|| Tls {
        ca: ca.map(<[u8]>::to_vec),
        identity,
    }))
}

fn invalid(text: String) -> TargetError {
    TargetError::Invalid(text)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn reference(name: &str) -> Option<SecretRef> {
        Some(SecretRef {
            name: name.to_owned(),
        })
    }

    fn provider() -> Provider {
        let mut provider = Provider::default();
        provider.metadata.namespace = "apps".to_owned();
        provider.metadata.name = "chat".to_owned();
        provider.spec.r#type = "slack".to_owned();
        provider.spec.address = " https://spec.test/a ".to_owned();
        provider.spec.username = "spec".to_owned();
        provider
    }

    fn secret(pairs: &[(&str, &str)]) -> Secret {
        let pairs = pairs.iter();
        Secret::new(pairs.map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())))
    }

    fn with_auth(pairs: &[(&str, &str)]) -> Result<Target, TargetError> {
        let mut provider = provider();
        provider.spec.secret_ref = reference("auth");
        let secrets = Secrets {
            auth: Some(secret(pairs)),
            ..Secrets::default()
        };
        target(&provider, &secrets)
    }

    fn with_proxy(pairs: &[(&str, &str)]) -> Result<Target, TargetError> {
        let mut provider = provider();
        provider.spec.proxy = Some("http://spec-proxy.test".to_owned());
        provider.spec.proxy_secret_ref = reference("proxy");
        let secrets = Secrets {
            proxy: Some(secret(pairs)),
            auth: Some(secret(&[("proxy", "http://auth-proxy.test")])),
            ..Secrets::default()
        };
        target(&provider, &secrets)
    }

    fn with_certs(pairs: &[(&str, &str)]) -> Result<Target, TargetError> {
        let mut provider = provider();
        provider.spec.cert_secret_ref = reference("certs");
        let secrets = Secrets {
            certs: Some(secret(pairs)),
            ..Secrets::default()
        };
        target(&provider, &secrets)
    }

    fn shown(secret: Option<&SecretString>) -> Option<&str> {
        secret.map(|secret| secret.expose_secret())
    }

    fn said(result: Result<Target, TargetError>) -> String {
        result.map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn the_secret_wins_over_the_spec_key_by_key() {
        let bare = target(&provider(), &Secrets::default()).unwrap();
        assert_eq!(bare.address.expose_secret(), "https://spec.test/a");
        assert_eq!(bare.username, "spec");
        let target = with_auth(&[
            ("address", "\nhttps://secret.test/b\n"),
            ("username", "user"),
            ("password", "pass"),
            ("token", "tok\n"),
            ("headers", "X-One: 'a'\nX-Two: b\n"),
        ])
        .unwrap();
        assert_eq!(target.address.expose_secret(), "https://secret.test/b");
        assert_eq!(target.username, "user");
        assert_eq!(shown(target.password.as_ref()), Some("pass"));
        assert_eq!(shown(target.token.as_ref()), Some("tok\n"));
        let headers: Vec<_> = target
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose_secret()))
            .collect();
        assert_eq!(headers, [("X-One", "a"), ("X-Two", "b")]);
    }

    #[test]
    fn a_lone_password_or_username_takes_nothing_else_away() {
        let target = with_auth(&[("password", "pass"), ("token", "tok")]).unwrap();
        assert_eq!(target.username, "spec");
        assert_eq!(shown(target.password.as_ref()), Some("pass"));
        assert_eq!(shown(target.token.as_ref()), Some("tok"));
    }

    #[test]
    fn an_address_may_have_2048_bytes() {
        assert!(with_auth(&[("address", &"a".repeat(2048))]).is_ok());
        assert_eq!(
            said(with_auth(&[("address", &"a".repeat(2049))])),
            "invalid address in secret: address exceeds maximum length of 2048 bytes"
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_the_value() {
        assert_eq!(
            said(with_auth(&[("headers", "hunter2")])),
            "failed to read headers from secret: not a YAML map of strings"
        );
        assert_eq!(
            said(with_auth(&[("proxy", "hunter2")])),
            "invalid 'proxy' in secret 'apps/auth'"
        );
    }

    #[test]
    fn the_proxy_secret_wins_over_the_secret_and_that_over_the_spec() {
        let target = with_proxy(&[
            ("address", "http://proxy.test:3128"),
            ("username", "u"),
            ("password", "p@"),
        ])
        .unwrap();
        assert_eq!(
            shown(target.proxy.as_ref()),
            Some("http://u:p%40@proxy.test:3128/")
        );
        let target = with_auth(&[("proxy", " http://auth-proxy.test ")]).unwrap();
        assert_eq!(
            shown(target.proxy.as_ref()),
            Some("http://auth-proxy.test/")
        );
        for (pairs, want) in [
            (&[][..], "key 'address' not found"),
            (&[("address", " ")], "proxy address is empty"),
            (
                &[("address", "ftp://x.test")],
                "proxy URL must use one of the supported schemes (http, https, socks5), got 'ftp'",
            ),
        ] {
            assert_eq!(
                said(with_proxy(pairs)),
                format!("failed to get proxy URL: secret 'apps/proxy': {want}")
            );
        }
    }

    #[test]
    fn certificates_come_under_their_own_or_their_old_names() {
        let pair = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let (cert, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let tls = with_certs(&[("ca.crt", &cert), ("caFile", "bad")])
            .unwrap()
            .tls
            .unwrap();
        assert_eq!(tls.ca.as_deref(), Some(cert.as_bytes()));
        assert!(tls.identity.is_none());
        let tls = with_certs(&[("certFile", &cert), ("keyFile", &key)])
            .unwrap()
            .tls
            .unwrap();
        assert!(tls.ca.is_none() && tls.identity.is_some());
        let must = "failed to get TLS config: secret 'apps/certs' must contain";
        assert_eq!(
            said(with_certs(&[])),
            format!("{must} either 'ca.crt' or both 'tls.crt' and 'tls.key'")
        );
        assert_eq!(
            said(with_certs(&[("tls.crt", &cert)])),
            format!("{must} both 'tls.crt' and 'tls.key' or neither")
        );
        assert_eq!(
            said(with_certs(&[("ca.crt", "bad")])),
            "failed to get TLS config: failed to parse CA certificate"
        );
    }

    #[test]
    fn certificates_of_the_secret_count_for_commit_statuses_only() {
        let pair = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let secrets = Secrets {
            auth: Some(secret(&[("ca.crt", &pair.cert.pem())])),
            ..Secrets::default()
        };
        let mut provider = provider();
        provider.spec.secret_ref = reference("auth");
        assert!(target(&provider, &secrets).unwrap().tls.is_none());
        provider.spec.r#type = "github".to_owned();
        assert!(target(&provider, &secrets).unwrap().tls.is_some());
    }

    #[test]
    fn a_github_app_needs_its_key_and_one_of_owner_and_id() {
        let base = [("githubAppID", "1"), ("githubAppPrivateKey", "k")];
        let with = |more: &[(&str, &str)]| with_auth(&[&base[..], more].concat());
        let target = with(&[("githubAppInstallationOwner", "o")]).unwrap();
        let app = target.github_app.unwrap();
        assert_eq!(
            (app.id.as_str(), app.installation_owner.as_deref()),
            ("1", Some("o"))
        );
        assert!(said(with(&[])).starts_with("app installation owner or ID must"));
        let both = [
            ("githubAppInstallationOwner", "o"),
            ("githubAppInstallationID", "2"),
        ];
        assert!(said(with(&both)).starts_with("only one of"));
        assert!(said(with_auth(&[("githubAppID", "1")])).starts_with("private key must"));
    }

    #[tokio::test]
    async fn a_secret_that_is_not_there_is_named() {
        let (_sender, snapshots) = watch::channel(Some(Arc::new(Snapshot::default())));
        let mut provider = provider();
        provider.spec.secret_ref = reference("gone");
        let read = read(&provider, &SnapshotSecrets(snapshots)).await;
        assert_eq!(said(read), "failed to get secret 'apps/gone': not found");
    }
}
