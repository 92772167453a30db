use std::{fmt, io, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::{CertificateDer, UnixTime},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
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
    source: Source,
    sides: Arc<Reloaded<Sides>>,
}

struct Sides {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    /// What judges callers, and the certificate that the others judge us by.
    callers: Arc<dyn ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
}

/// A certificate that ends within so long is told of in the log: a week is time enough for whoever makes new ones.
const END_TOLD_BEFORE: Duration = Duration::from_secs(7 * 86_400);

/// It is told of this often.
const END_TOLD_EVERY: Duration = Duration::from_secs(3_600);

impl MutualTls {
    /// Reads the files of `me`, and makes sure that the other services would accept the certificate.
    ///
    /// # Errors
    ///
    /// When they cannot be used; among others, when the certificate has expired, is from an authority that is not in the file
    /// of authorities, or names another service.
    pub fn load(me: Service, files: TlsFiles, source: Source) -> Result<Self, InvalidTls> {
        let paths = vec![files.ca.clone(), files.cert.clone(), files.key.clone()];
        let clock = source.clone();
        let sides = Reloaded::load(paths, move |contents| Sides::new(me, &files, contents, &clock))?;
        Ok(Self {
            me,
            source,
            sides: Arc::new(sides),
        })
    }

    /// Looks at the files again.
    pub fn reload(&self) -> Reload {
        self.sides.reload()
    }

    /// Looks at the files every so often until the process stops, and says in the log what came of it, and when the certificate
    /// is about to end.
    pub async fn watch(self, interval: Duration, drain: Drain) {
        let tell = async {
            loop {
                if self.ends_within(END_TOLD_BEFORE) {
                    tracing::warn!(service = %self.me, "the certificate for TLS with other services ends within a week");
                }
                if tokio::time::timeout(END_TOLD_EVERY, drain.begun()).await.is_ok() {
                    return;
                }
            }
        };
        tokio::join!(Arc::clone(&self.sides).watch(interval, drain.clone()), tell);
    }

    /// Whether the other services will no longer accept the certificate after so long.
    #[must_use]
    pub fn ends_within(&self, duration: Duration) -> bool {
        let sides = self.sides.current();
        let then = UnixTime::since_unix_epoch(now(&self.source) + duration);
        let (own, between) = own(&sides.chain);
        sides.callers.verify_client_cert(own, between, then).is_err()
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
            .with_client_cert_verifier(Arc::new(OneService(Arc::clone(&callers))))
            .with_single_cert(chain.clone(), contents.key(&files.key)?)
            .map_err(InvalidTls::Unfit)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let mut client = ClientConfig::builder_with_details(provider(), clock())
            .with_protocol_versions(&[&TLS13])
            .map_err(InvalidTls::Unfit)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain.clone(), contents.key(&files.key)?)
            .map_err(InvalidTls::Unfit)?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Self {
            server: Arc::new(server),
            client: Arc::new(client),
            callers,
            chain,
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
    let (own, between) = own(chain);
    let refused = |source| InvalidTls::NotAccepted { path: path(), source };
    let now = UnixTime::since_unix_epoch(now(source));
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

/// The service's own certificate, and those between it and its authority.
fn own<'a>(chain: &'a [CertificateDer<'static>]) -> (&'a CertificateDer<'static>, &'a [CertificateDer<'static>]) {
    chain.split_first().expect("a file without certificates is refused")
}

/// The time since 1970.
fn now(source: &Source) -> Duration {
    Duration::from_secs(u64::try_from(source.now().unix_timestamp()).unwrap_or_default())
}
