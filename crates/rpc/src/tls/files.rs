use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{self, SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tidings_authn::Service;

/// The files that mutual TLS is made of, in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificates of the authorities that sign services' certificates: one, or the old and the new while the authority is
    /// replaced.
    pub ca: PathBuf,
    /// The service's own certificate, and after it those between it and the authority, if there are any.
    pub cert: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
}

/// Why files cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTls {
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds no certificate.
    #[error("{} holds no certificate in PEM", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file holds no private key.
    #[error("{} holds no private key in PEM", .path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate is meant for somebody else.
    #[error("{} is no certificate of {service} alone: it must name {} and no other service", .path.display(), .service.host())]
    OtherName {
        /// The file.
        path: PathBuf,
        /// Whose certificate it should be.
        service: Service,
    },
    /// A certificate would be refused by the other services.
    #[error("{} would be refused by the other services", .path.display())]
    NotAccepted {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// What the files hold does not fit together.
    #[error("certificate, key and authority do not fit together")]
    Unfit(#[source] rustls::Error),
    /// The authority's certificate cannot be used to verify others.
    #[error("{} holds no certificate of an authority", .path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Files as they were at one moment.
pub struct Contents(Vec<(PathBuf, Vec<u8>)>);

/// Tells whether contents are others than before, without keeping them: one of them is a private key.
pub type Fingerprint = [u8; 32];

impl Contents {
    pub fn read(paths: &[PathBuf]) -> Result<Self, InvalidTls> {
        let read = |path: &PathBuf| match fs::read(path) {
            Ok(bytes) => Ok((path.clone(), bytes)),
            Err(source) => Err(InvalidTls::Unreadable {
                path: path.clone(),
                source,
            }),
        };
        paths.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    pub fn fingerprint(&self) -> Fingerprint {
        let mut all = digest::Context::new(&SHA256);
        for (_, bytes) in &self.0 {
            all.update(digest::digest(&SHA256, bytes).as_ref());
        }
        all.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    /// The certificates in a file, at least one.
    pub fn certificates(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
        let found = CertificateDer::pem_slice_iter(self.bytes(path)).collect::<Result<Vec<_>, _>>();
        match found {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            Ok(_) | Err(_) => Err(InvalidTls::NoCertificate { path: path.to_owned() }),
        }
    }

    /// The private key in a file.
    pub fn key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, InvalidTls> {
        PrivateKeyDer::from_pem_slice(self.bytes(path)).map_err(|_| InvalidTls::NoKey { path: path.to_owned() })
    }

    fn bytes(&self, path: &Path) -> &[u8] {
        let found = self.0.iter().find(|(known, _)| known == path);
        &found.expect("only files that were read are asked for").1
    }
}

/// An error with its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The fingerprint of one file with these contents.
#[cfg(test)]
pub fn fingerprint_of(bytes: &[u8]) -> Fingerprint {
    Contents(vec![(PathBuf::new(), bytes.to_owned())]).fingerprint()
}
