use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    version::{TLS12, TLS13},
};
use tidings_ids::Source;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    Clock,
    files::{Contents, InvalidTls},
    provider,
    reload::{Reload, Reloaded},
};
use crate::Drain;

/// TLS at the public port, with a certificate that clients trust. Versions 1.3 and 1.2 (ASVS 12.1.1), HTTP/2 and HTTP/1.1.
#[derive(Clone)]
pub struct PublicTls {
    server: Arc<Reloaded<Arc<ServerConfig>>>,
}

impl PublicTls {
    /// Reads the files, in PEM: the certificate with those between it and its authority, and its private key.
    ///
    /// # Errors
    ///
    /// When they cannot be used.
    pub fn load(cert: PathBuf, key: PathBuf, source: Source) -> Result<Self, InvalidTls> {
        let paths = vec![cert.clone(), key.clone()];
        let make = move |contents: &Contents| {
            let mut server = ServerConfig::builder_with_details(provider(), Arc::new(Clock(source.clone())))
                .with_protocol_versions(&[&TLS13, &TLS12])
                .map_err(InvalidTls::Unfit)?
                .with_no_client_auth()
                .with_single_cert(contents.certificates(&cert)?, contents.key(&key)?)
                .map_err(InvalidTls::Unfit)?;
            server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            Ok(Arc::new(server))
        };
        let server = Arc::new(Reloaded::load(paths, make)?);
        Ok(Self { server })
    }

    /// Looks at the files again.
    pub fn reload(&self) -> Reload {
        self.server.reload()
    }

    /// Looks at the files every so often until the process stops, and says in the log what came of it.
    pub async fn watch(self, interval: Duration, drain: Drain) {
        self.server.watch(interval, drain).await;
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(Arc::clone(&*self.server.current()))
            .accept(stream)
            .await
    }
}

impl fmt::Debug for PublicTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicTls")
    }
}
