//! Certificates for tests, as a deployment's own authority makes them.

use std::{fs, io, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tidings_authn::Service;
use time::{Duration, OffsetDateTime};

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
