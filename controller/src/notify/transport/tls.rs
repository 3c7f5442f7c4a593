//! A Target's certificates → a client's side of TLS, the same for every wire.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use secrecy::ExposeSecret as _;

use super::TransportError;
use super::pinned::Pinned;
use super::recent::{Key, key};
use crate::provider::Tls;

/// The configuration for certificates, or for none: then the system's roots are trusted.
///
/// # Errors
/// [`TransportError::Config`] where a certificate or key is malformed, [`TransportError::Tls`]
/// where the system has no roots.
pub(super) fn config(tls: Option<&Tls>) -> Result<ClientConfig, TransportError> {
    let roots = tls.and_then(|tls| tls.ca.as_deref()).map(roots);
    build(roots.transpose()?.as_deref(), tls)
}

/// What tells one set of certificates from another.
pub(super) fn key_of(tls: Option<&Tls>) -> Key {
    let ca = tls.and_then(|tls| tls.ca.as_deref());
    let (chain, secret) = tls
        .and_then(|tls| tls.identity.as_ref())
        .map(|(chain, secret)| (chain.as_slice(), secret.expose_secret()))
        .unwrap_or_default();
    key(&[ca.unwrap_or_default(), chain, secret])
}

/// A configuration that trusts nobody, for plain text where the system has no roots.
pub(super) fn trusting_nobody() -> Result<ClientConfig, TransportError> {
    build(Some(&[]), None)
}

fn build(
    roots: Option<&[CertificateDer<'static>]>,
    tls: Option<&Tls>,
) -> Result<ClientConfig, TransportError> {
    let system = |error: rustls::Error| TransportError::Tls(error.to_string());
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(system)?;
    let builder = match roots {
        None => builder.with_platform_verifier().map_err(system)?,
        Some([]) => builder.with_root_certificates(RootCertStore::empty()),
        Some(certificates) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates.iter().cloned());
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = verifier
                .build()
                .map_err(|_| malformed("failed to parse CA certificate"))?;
            let certificates = certificates.to_vec();
            let pinned = Pinned {
                verifier,
                certificates,
            };
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(pinned))
        }
    };
    let Some((chain, key)) = tls.and_then(|tls| tls.identity.as_ref()) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.unwrap_or_default();
    if chain.is_empty() {
        return Err(malformed("failed to parse the certificate tls.crt"));
    }
    let key = PrivateKeyDer::from_pem_slice(key.expose_secret())
        .map_err(|_| malformed("failed to parse the private key tls.key"))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| {
        if matches!(error, rustls::Error::InvalidCertificate(_)) {
            malformed("failed to parse the certificate tls.crt")
        } else {
            malformed("tls.key cannot be used with tls.crt; they must be a pair")
        }
    })
}

/// As nc reads a bundle: what can't be parsed is passed over, unless it is everything.
fn roots(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).flatten().collect();
    if certificates.is_empty() {
        return Err(malformed("failed to parse CA certificate"));
    }
    Ok(certificates)
}

fn malformed(text: &str) -> TransportError {
    TransportError::Certificates(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Vec<u8>, Vec<u8>) {
        let pair = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let (cert, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        (cert.into_bytes(), key.into_bytes())
    }

    fn said(ca: Option<&[u8]>, identity: Option<(&[u8], &[u8])>) -> Option<TransportError> {
        let identity = identity.map(|(cert, key)| (cert.to_vec(), key.to_vec().into()));
        let tls = Tls {
            ca: ca.map(<[u8]>::to_vec),
            identity,
        };
        config(Some(&tls)).err()
    }

    #[test]
    fn malformed_certificates_are_told_without_their_content() {
        let ((cert, key), (_, other)) = (pair(), pair());
        let ca = Some(cert.as_slice());
        let broken = b"-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n";
        for (ca, identity, want) in [
            (ca, Some((&cert[..], &key[..])), None),
            (
                Some(&b"hunter2"[..]),
                None,
                Some("failed to parse CA certificate"),
            ),
            (
                Some(&broken[..]),
                None,
                Some("failed to parse CA certificate"),
            ),
            (
                ca,
                Some((&broken[..], &key[..])),
                Some("failed to parse the certificate tls.crt"),
            ),
            (
                ca,
                Some((&cert[..], &b"hunter2"[..])),
                Some("failed to parse the private key tls.key"),
            ),
            (
                ca,
                Some((&cert[..], &other[..])),
                Some("tls.key cannot be used with tls.crt; they must be a pair"),
            ),
        ] {
            let said = said(ca, identity);
            assert_eq!(said, want.map(malformed));
            // Whoever broke them may mend them.
            assert!(said.is_none_or(|error| !error.is_permanent()));
        }
    }

    #[test]
    fn a_bundle_may_hold_what_is_no_certificate() {
        let (cert, key) = pair();
        let bundle = [
            &key[..],
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &cert,
        ]
        .concat();
        assert_eq!(said(Some(&bundle), None), None);
    }
}
