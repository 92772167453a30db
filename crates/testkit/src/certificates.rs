use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use tidings_authn::Service;
use tidings_ids::Source;
use tidings_rpc::{MutualTls, Peer, TlsFiles, testing::Authority};
use time::Duration;
use tokio::process::Command;

use crate::{Process, Suite};

/// A secured suite's certificates live for so long, unless a test makes others.
const LIFETIME: Duration = Duration::DAY;

impl Process {
    /// The service that it runs alone.
    #[must_use]
    pub const fn service(self) -> Option<Service> {
        match self {
            Self::All => None,
            Self::Auth => Some(Service::Auth),
            Self::User => Some(Service::User),
            Self::Chat => Some(Service::Chat),
            Self::Message | Self::SecondMessage => Some(Service::Message),
            Self::Gateway => Some(Service::Gateway),
        }
    }
}

impl Suite {
    /// Signs a new certificate for each service, which processes that run take up without a restart. Everybody trusts
    /// `trusted`.
    ///
    /// # Panics
    ///
    /// When their files cannot be written.
    pub fn certify(&self, signer: &Authority, trusted: &[&Authority]) {
        let now = Source::system().now();
        for service in Service::ALL {
            let certificate = signer.sign(&[service.host()], now - LIFETIME, now + LIFETIME);
            certificate
                .write(&self.certificates_of(service), trusted)
                .expect("a folder of its own");
        }
    }

    /// The folder with a service's certificate, its key, and the authorities that it trusts: `cert.pem`, `key.pem`, `ca.pem`.
    #[must_use]
    pub fn certificates_of(&self, service: Service) -> PathBuf {
        self.folder().join("tls").join(service.name())
    }

    /// What a service speaks TLS with, read anew.
    ///
    /// # Panics
    ///
    /// When the suite is not secured.
    #[must_use]
    pub fn tls_of(&self, service: Service) -> MutualTls {
        let folder = self.certificates_of(service);
        let files = TlsFiles {
            ca: folder.join("ca.pem"),
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        };
        MutualTls::load(service, files, Source::system()).expect("certificates that fit")
    }

    /// The way to a process of a secured suite for a caller that claims to be a service, on this certificate.
    ///
    /// # Panics
    ///
    /// When the process runs no service of its own.
    #[must_use]
    pub fn peer(&self, process: Process, claimed: Service, certificate: &MutualTls) -> Peer {
        let callee = process.service().expect("a process of one service");
        let address = url("https", self.address_of(process));
        let identity = Arc::new(self.identity(claimed));
        Peer::remote_over_tls(callee, &address, identity, certificate).expect("an address makes a URL")
    }
}

/// Tells a process where its certificates are.
pub fn given(command: &mut Command, suite: &Suite, process: Process) {
    let Some(service) = process.service() else { return };
    let folder = suite.certificates_of(service);
    command
        .env("TIDINGS_TLS_CA_FILE", folder.join("ca.pem"))
        .env("TIDINGS_TLS_CERT_FILE", folder.join("cert.pem"))
        .env("TIDINGS_TLS_KEY_FILE", folder.join("key.pem"));
}

/// The URL of an address.
pub fn url(scheme: &str, address: SocketAddr) -> String {
    format!("{scheme}://{address}")
}
