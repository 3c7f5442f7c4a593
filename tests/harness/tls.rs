//! A throw-away certificate authority, the certificate (of `localhost`, if nobody says otherwise) that Envoy and the controller show to clients, and
//! the one that Envoy shows to the controller.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The files of one throw-away PKI, and a client's trust in it.
#[derive(Clone, Debug)]
pub struct Tls {
    ca_file: PathBuf,
    cert_file: PathBuf,
    key_file: PathBuf,
    roots: Arc<RootCertStore>,
}

impl Tls {
    /// Writes `ca.pem`, `tls.crt` and `tls.key` into `dir`, and `client.crt` and `client.key` for who must show a
    /// certificate. The certificates are for localhost, 127.0.0.1 and ::1.
    ///
    /// # Panics
    ///
    /// When the files cannot be written.
    #[must_use]
    pub fn create(dir: &Path) -> Self {
        Self::create_for(dir, &["localhost", "127.0.0.1", "::1"])
    }

    /// The same for these names and addresses.
    ///
    /// # Panics
    ///
    /// When the files cannot be written, or a name is none.
    #[must_use]
    pub fn create_for(dir: &Path, names: &[&str]) -> Self {
        let ca_key = KeyPair::generate().expect("a key can be generated");
        let mut ca =
            CertificateParams::new(Vec::<String>::new()).expect("no names are valid names");
        ca.distinguished_name
            .push(DnType::CommonName, "Hookgate throw-away test CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_cert = ca.self_signed(&ca_key).expect("the CA can be signed");

        let issuer = Issuer::new(ca, ca_key);
        let leaf = |usage| {
            let key = KeyPair::generate().expect("a key can be generated");
            let all: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let mut leaf = CertificateParams::new(all).expect("the names are valid");
            let name = names.first().copied().unwrap_or_default();
            leaf.distinguished_name.push(DnType::CommonName, name);
            leaf.extended_key_usages = vec![usage];
            let cert = leaf
                .signed_by(&key, &issuer)
                .expect("the certificate can be signed");
            (cert.pem(), key.serialize_pem())
        };
        let (cert, key) = leaf(ExtendedKeyUsagePurpose::ServerAuth);
        let client = leaf(ExtendedKeyUsagePurpose::ClientAuth);

        let write = |name: &str, text: String| {
            let path = dir.join(name);
            fs::write(&path, text).expect("the TLS files can be written");
            path
        };
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(ca_cert.der().to_vec()))
            .expect("our own CA parses");
        write("client.crt", client.0);
        write("client.key", client.1);
        Self {
            ca_file: write("ca.pem", ca_cert.pem()),
            cert_file: write("tls.crt", cert),
            key_file: write("tls.key", key),
            roots: Arc::new(roots),
        }
    }

    /// The CA's certificate, for `curl --cacert`.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// The server's certificate.
    #[must_use]
    pub fn cert_file(&self) -> &Path {
        &self.cert_file
    }

    /// Its key.
    #[must_use]
    pub fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// A server that shows the certificate of localhost.
    #[must_use]
    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        let certificate = CertificateDer::from_pem_file(&self.cert_file);
        let key = PrivateKeyDer::from_pem_file(&self.key_file);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring knows the default versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.expect("our own certificate parses")],
                key.expect("our own key parses"),
            );
        Arc::new(config.expect("certificate and key are a pair"))
    }

    /// A client that trusts the CA and offers exactly `alpn`.
    #[must_use]
    pub(crate) fn client_config(&self, alpn: &[u8]) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring knows the default versions")
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(config)
    }
}
