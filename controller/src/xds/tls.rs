//! Mutual TLS for xDS: files in, tonic's configuration out.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::XdsError;

/// A PEM file with more than this is not a certificate, a key or a bundle of CAs.
const FILE_LIMIT: u64 = 1 << 20;

/// A client that has not finished its handshake by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

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

impl XdsTls {
    /// Reads the files. The key's content appears in no error and no `Debug`.
    pub(super) async fn load(&self) -> Result<ServerTlsConfig, XdsError> {
        let identity = Identity::from_pem(read(&self.cert).await?, read(&self.key).await?);
        Ok(ServerTlsConfig::new()
            .identity(identity)
            .client_ca_root(Certificate::from_pem(read(&self.client_ca).await?))
            .timeout(HANDSHAKE_TIMEOUT))
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
