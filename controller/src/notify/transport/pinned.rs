//! Trust in a server that shows the very certificate which a Secret has as `ca.crt`.
//!
//! Tools make self-signed certificates that are authorities too, and people put them into both
//! places. nc takes that; the verifier of rustls refuses an authority that presents itself as a server.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// The verifier of rustls, and what it refuses for being an authority.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) verifier: Arc<WebPkiServerVerifier>,
    /// The certificates of `ca.crt`.
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // That it is an authority is what has no name of its own; that it is out of date has one,
            // and is found before.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.certificates.contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
    use rustls::RootCertStore;

    use super::*;

    /// 2026-01-02.
    const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_767_323_045));

    fn self_signed(is_ca: IsCa, last_year: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["hooks.test".to_owned()]).unwrap();
        params.is_ca = is_ca;
        params.not_after = date_time_ymd(last_year, 12, 31);
        let certificate = params.self_signed(&KeyPair::generate().unwrap());
        certificate.unwrap().der().clone()
    }

    fn authority(last_year: i32) -> CertificateDer<'static> {
        self_signed(IsCa::Ca(BasicConstraints::Unconstrained), last_year)
    }

    fn is_trusted(by: &CertificateDer<'static>, shown: &CertificateDer<'_>, name: &str) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(by.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let pinned = Pinned {
            verifier: verifier.unwrap(),
            certificates: vec![by.clone()],
        };
        let name = ServerName::try_from(name).unwrap();
        pinned
            .verify_server_cert(shown, &[], &name, &[], NOW)
            .is_ok()
    }

    #[test]
    fn the_certificate_itself_is_trusted_for_its_name_until_it_expires() {
        for pinned in [authority(2026), self_signed(IsCa::NoCa, 2026)] {
            assert!(is_trusted(&pinned, &pinned, "hooks.test"));
            assert!(!is_trusted(&pinned, &pinned, "other.test"));
            assert!(!is_trusted(&pinned, &authority(2026), "hooks.test"));
        }
        for expired in [authority(2025), self_signed(IsCa::NoCa, 2025)] {
            assert!(!is_trusted(&expired, &expired, "hooks.test"));
        }
    }
}
