use std::{fmt, io, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::CertificateDer,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    time_provider::TimeProvider as _,
    version::TLS13,
};
use tidings_authn::Service;
use tidings_ids::Source;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::{
    Clock,
    connector::Connector,
    files::{Contents, InvalidTls, TlsFiles},
    provider,
    reload::{Reload, Reloaded},
    verifier::{OneService, named, server_name},
};
use crate::Drain;

/// The only protocol between services.
const ALPN: &[u8] = b"h2";

/// Both sides of a service's TLS: of the calls that it takes and of those that it makes.
#[derive(Clone)]
pub struct MutualTls {
    me: Service,
    sides: Arc<Reloaded<Sides>>,
}

struct Sides {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl MutualTls {
    /// Reads the files of `me`, and makes sure that the other services would accept the certificate.
    ///
    /// # Errors
    ///
    /// When they cannot be used; among others, when the certificate has expired, is from an authority that is not in the file
    /// of authorities, or names another service.
    pub fn load(me: Service, files: TlsFiles, source: Source) -> Result<Self, InvalidTls> {
        let paths = vec![files.ca.clone(), files.cert.clone(), files.key.clone()];
        let sides = Reloaded::load(paths, move |contents| Sides::new(me, &files, contents, &source))?;
        Ok(Self {
            me,
            sides: Arc::new(sides),
        })
    }

    /// Looks at the files again.
    pub fn reload(&self) -> Reload {
        self.sides.reload()
    }

    /// Looks at the files every so often until the process stops, and says in the log what came of it.
    pub async fn watch(self, interval: Duration, drain: Drain) {
        self.sides.watch(interval, drain).await;
    }

    /// The service whose certificate this is.
    #[must_use]
    pub fn service(&self) -> Service {
        self.me
    }

    /// Speaks TLS with a caller, and says which service its certificate names.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<(server::TlsStream<TcpStream>, Service)> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.sides.current().server));
        let stream = acceptor.accept(stream).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let caller = certificates.and_then(|all| named(all.first()?));
        let caller = caller.expect("the verifier takes only certificates that name one service");
        Ok((stream, caller))
    }

    /// Speaks TLS with `callee`, whose certificate must name it.
    pub(super) async fn connect(&self, stream: TcpStream, callee: Service) -> io::Result<client::TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::clone(&self.sides.current().client));
        let stream = connector.connect(server_name(callee), stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::other(format!("{callee} does not speak HTTP/2")));
        }
        Ok(stream)
    }

    /// Connects to `callee` anew with what is in use then.
    pub(crate) fn connector(&self, callee: Service) -> Connector {
        Connector::new(self.clone(), callee)
    }
}

impl fmt::Debug for MutualTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MutualTls {{ {} }}", self.me)
    }
}

impl Sides {
    fn new(me: Service, files: &TlsFiles, contents: &Contents, source: &Source) -> Result<Self, InvalidTls> {
        let roots = Arc::new(roots(files, contents)?);
        let chain = contents.certificates(&files.cert)?;
        let callers = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider()).build();
        let callers = callers.map_err(|source| InvalidTls::NoAuthority {
            path: files.ca.clone(),
            source: source.into(),
        })?;
        accepted(me, files, &chain, &roots, &*callers, source)?;

        // Without resumption: it would take a caller whose certificate has expired since, or whose authority is gone, and
        // connections between services are few and long.
        let clock = || Arc::new(Clock(source.clone()));
        let mut server = ServerConfig::builder_with_details(provider(), clock())
            .with_protocol_versions(&[&TLS13])
            .map_err(InvalidTls::Unfit)?
            .with_client_cert_verifier(Arc::new(OneService(callers)))
            .with_single_cert(chain.clone(), contents.key(&files.key)?)
            .map_err(InvalidTls::Unfit)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let mut client = ClientConfig::builder_with_details(provider(), clock())
            .with_protocol_versions(&[&TLS13])
            .map_err(InvalidTls::Unfit)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, contents.key(&files.key)?)
            .map_err(InvalidTls::Unfit)?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Self {
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }
}

/// The authorities. All that the file holds must be fit: one that is left out silently is missed when it is needed.
fn roots(files: &TlsFiles, contents: &Contents) -> Result<RootCertStore, InvalidTls> {
    let mut roots = RootCertStore::empty();
    for authority in contents.certificates(&files.ca)? {
        roots.add(authority).map_err(|source| InvalidTls::NoAuthority {
            path: files.ca.clone(),
            source: source.into(),
        })?;
    }
    Ok(roots)
}

/// Refuses a certificate that other services would refuse, on either side of a connection.
fn accepted(
    me: Service,
    files: &TlsFiles,
    chain: &[CertificateDer<'static>],
    roots: &Arc<RootCertStore>,
    callers: &dyn ClientCertVerifier,
    source: &Source,
) -> Result<(), InvalidTls> {
    let path = || files.cert.clone();
    let (own, between) = chain
        .split_first()
        .expect("a file without certificates is refused before");
    let refused = |source| InvalidTls::NotAccepted { path: path(), source };
    let now = Clock(source.clone()).current_time();
    let now = now.expect("the clock stands after 1970");
    callers.verify_client_cert(own, between, now).map_err(refused)?;
    if named(own) != Some(me) {
        return Err(InvalidTls::OtherName {
            path: path(),
            service: me,
        });
    }
    let callees = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider()).build();
    let callees = callees.map_err(|source| InvalidTls::NoAuthority {
        path: files.ca.clone(),
        source: source.into(),
    })?;
    let verified = callees.verify_server_cert(own, between, &server_name(me), &[], now);
    verified.map(drop).map_err(refused)
}
