use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::{danger::HandshakeSignatureValid, verify_server_name},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use tidings_authn::Service;

/// The one service that a certificate names. Nothing for a certificate that names none, and for one that names several, as a
/// wildcard does: it would prove nothing.
pub fn named(certificate: &CertificateDer<'_>) -> Option<Service> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let mut services = Service::ALL
        .into_iter()
        .filter(|service| verify_server_name(&parsed, &server_name(*service)).is_ok());
    services.next().filter(|_| services.next().is_none())
}

/// What a service's certificate names.
pub fn server_name(service: Service) -> ServerName<'static> {
    ServerName::try_from(service.host()).expect("it is a host name")
}

/// Takes the certificates of callers that the authority signed and that name one service.
#[derive(Debug)]
pub struct OneService(pub Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for OneService {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now)?;
        match named(end_entity) {
            Some(_) => Ok(verified),
            None => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
