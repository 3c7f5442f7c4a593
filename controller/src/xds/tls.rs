//! Mutual TLS for xDS: files in, rustls' configuration out, and again whenever the files change.
//!
//! cert-manager renews them, and Kubernetes swaps the folder's symlink. So the files are read every few
//! seconds, which also works where nothing tells of changes. What cannot be used leaves the last good
//! ones. Connections that are open stay open: Envoy's certificate was good when they began.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsAcceptor;

use super::{Edges, XdsError};

/// A PEM file with more than this is not a certificate, a key or a bundle of CAs.
const FILE_LIMIT: u64 = 1 << 20;

/// How often the files are looked at.
const REREAD: Duration = Duration::from_secs(5);

/// The files for mutual TLS. A client without a certificate of `client_ca` is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdsTls {
    /// PEM file of the server's certificate chain.
    pub cert: PathBuf,
    /// PEM file of the server's private key.
    pub key: PathBuf,
    /// PEM file of the CAs that sign the Envoys' certificates.
    pub client_ca: PathBuf,
}

/// Why the files, though they could be read, are of no use. Quotes nothing of them.
#[derive(Debug, Error)]
pub enum TlsProblem {
    /// A file holds no PEM, or nothing of the kind that is wanted.
    #[error("{file:?} is not the PEM file that is wanted")]
    Pem {
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The bundle of CAs cannot be used.
    #[error("{0:?} holds no CA certificate that can be used")]
    NoCa(PathBuf),
    /// Clients cannot be verified against the CAs.
    #[error("failed to verify clients against the CAs")]
    Verifier(#[from] VerifierBuilderError),
    /// Certificate and key do not go together.
    #[error("failed to use the certificate with its key")]
    Identity(#[from] rustls::Error),
}

/// The content of the files.
#[derive(Clone, PartialEq, Eq)]
struct Content {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Vec<u8>,
}

/// Files that could be used, and are looked at again.
pub struct LoadedTls {
    files: XdsTls,
    reread: Duration,
    current: Arc<ArcSwap<ServerConfig>>,
    /// What was last made use of, or tried to.
    tried: Content,
    /// What was last read, if that was something else.
    next: Option<Content>,
    /// Why the files can't be read, as long as they can't: told once.
    told: Option<String>,
}

impl std::fmt::Debug for LoadedTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedTls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl XdsTls {
    /// Reads the files. The key's content appears in no error and no `Debug`.
    ///
    /// # Errors
    /// [`XdsError::TlsFile`] or [`XdsError::Tls`].
    pub async fn load(self) -> Result<LoadedTls, XdsError> {
        let tried = self.read().await?;
        let config = self.config(&tried).map_err(XdsError::Tls)?;
        Ok(LoadedTls {
            files: self,
            reread: REREAD,
            current: Arc::new(ArcSwap::from_pointee(config)),
            tried,
            next: None,
            told: None,
        })
    }

    async fn read(&self) -> Result<Content, XdsError> {
        Ok(Content {
            cert: read(&self.cert).await?,
            key: read(&self.key).await?,
            client_ca: read(&self.client_ca).await?,
        })
    }

    fn config(&self, content: &Content) -> Result<ServerConfig, TlsProblem> {
        let pem = |file: &Path, source| TlsProblem::Pem {
            file: file.to_owned(),
            source,
        };
        let mut roots = RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(&content.client_ca) {
            roots
                .add(ca.map_err(|source| pem(&self.client_ca, source))?)
                .map_err(|_| TlsProblem::NoCa(self.client_ca.clone()))?;
        }
        if roots.is_empty() {
            return Err(TlsProblem::NoCa(self.client_ca.clone()));
        }
        let chain = CertificateDer::pem_slice_iter(&content.cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| pem(&self.cert, source))?;
        let key =
            PrivateKeyDer::from_pem_slice(&content.key).map_err(|source| pem(&self.key, source))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

impl LoadedTls {
    /// Accepts with what was last good.
    pub(crate) fn acceptor(&self) -> Acceptor {
        Acceptor(Arc::clone(&self.current))
    }

    /// Another that serves what this one makes of the files, and never looks at them.
    #[cfg(test)]
    pub(super) fn twin(&self) -> Self {
        Self {
            files: self.files.clone(),
            reread: Duration::from_secs(86_400),
            current: Arc::clone(&self.current),
            tried: self.tried.clone(),
            next: None,
            told: None,
        }
    }

    /// Looks at the files for ever; `edges` counts what becomes of changes.
    pub(super) async fn follow(mut self, edges: Arc<Edges>) {
        loop {
            tokio::time::sleep(self.reread).await;
            self.look(&edges).await;
        }
    }

    /// Makes use of files that have changed, once they read the same twice: while they are replaced,
    /// the certificate may be new and its key still the old one.
    pub(super) async fn look(&mut self, edges: &Edges) {
        let read = match self.files.read().await {
            Ok(read) => read,
            Err(error) => {
                self.next = None;
                let told = Some(error.to_string());
                if self.told != told {
                    self.told = told;
                    failed(&error, edges);
                }
                return;
            }
        };
        self.told = None;
        if read == self.tried {
            self.next = None;
            return;
        }
        if self.next.as_ref() != Some(&read) {
            self.next = Some(read);
            return;
        }
        self.next = None;
        match self.files.config(&read) {
            Ok(config) => {
                self.current.store(Arc::new(config));
                edges.tls_reloaded();
                tracing::info!("new TLS files of the xDS port are in use");
            }
            Err(problem) => failed(&XdsError::Tls(problem), edges),
        }
        self.tried = read;
    }
}

fn failed(error: &XdsError, edges: &Edges) {
    edges.tls_reload_failed();
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "the xDS port keeps its last TLS files");
}

/// Makes TLS of a connection.
#[derive(Clone)]
pub(crate) struct Acceptor(Arc<ArcSwap<ServerConfig>>);

impl Acceptor {
    /// The handshake of a connection.
    pub(super) fn accept<IO>(&self, io: IO) -> tokio_rustls::Accept<IO>
    where
        IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.0.load_full()).accept(io)
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, XdsError> {
    let pem = async {
        let mut pem = Vec::new();
        tokio::fs::File::open(path)
            .await?
            .take(FILE_LIMIT + 1)
            .read_to_end(&mut pem)
            .await?;
        if pem.is_empty() {
            return Err(io::Error::other("the file is empty"));
        }
        if pem.len() as u64 > FILE_LIMIT {
            return Err(io::Error::other(
                "the file is larger than 1 MiB, so it is not PEM",
            ));
        }
        Ok(pem)
    };
    pem.await.map_err(|source| XdsError::TlsFile {
        path: path.to_owned(),
        source,
    })
}
