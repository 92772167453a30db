//! Certificates for tests, as a deployment's own authority makes them.

use std::{fs, io, net::SocketAddr, path::Path, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    version::TLS13,
};
use tidings_authn::Service;
use time::{Duration, OffsetDateTime};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::TlsFiles;

/// An authority that signs whatever a test needs.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Authority {
    /// A new authority, unknown to everybody.
    ///
    /// # Panics
    ///
    /// When no key can be made.
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("makes a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "a test's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("signs itself").pem();
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    /// Its own certificate, in PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate of a service, valid for a day around `now`.
    #[must_use]
    pub fn service(&self, service: Service, now: OffsetDateTime) -> Certificate {
        self.sign(&[service.host()], now - Duration::DAY, now + Duration::DAY)
    }

    /// A certificate with these names and this validity.
    ///
    /// # Panics
    ///
    /// When the names are none.
    #[must_use]
    pub fn sign(&self, names: &[&str], not_before: OffsetDateTime, not_after: OffsetDateTime) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names of hosts");
        (params.not_before, params.not_after) = (not_before, not_after);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("makes a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signs").pem();
        Certificate {
            certificate,
            key: key.serialize_pem(),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Certificate {
    /// Writes it into a folder, with the authorities to trust, as a service's process is given them.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written to.
    pub fn write(&self, folder: &Path, trusted: &[&Authority]) -> io::Result<TlsFiles> {
        let files = TlsFiles {
            ca: folder.join("ca.pem"),
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        };
        fs::create_dir_all(folder)?;
        let trusted: Vec<&str> = trusted.iter().map(|authority| authority.certificate()).collect();
        fs::write(&files.ca, trusted.concat())?;
        fs::write(&files.key, &self.key)?;
        fs::write(&files.cert, &self.certificate)?;
        Ok(files)
    }
}

/// The certificate that a port shows whoever asks, in DER.
///
/// # Errors
///
/// When TLS is not spoken there.
///
/// # Panics
///
/// When the cryptographic backend lacks TLS 1.3.
pub async fn shown_at(address: SocketAddr) -> io::Result<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .expect("the backend has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::IpAddress(address.ip().into());
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    shown
        .map(|certificate| certificate.to_vec())
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The first certificate in a file, in DER.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn certificate_in(path: &Path) -> Vec<u8> {
    let certificate = CertificateDer::from_pem_file(path).expect("a certificate in PEM");
    certificate.to_vec()
}

/// Takes any certificate: what it shows is all that is asked for.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
