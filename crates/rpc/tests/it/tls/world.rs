use std::{net::SocketAddr, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tempfile::TempDir;
use tidings_authn::{Revocations, Service, ServiceIdentity, SuiteSecret, Verifier};
use tidings_ids::Source;
use tidings_rpc::{
    App, Drain, Environment, Limits, Listener, MutualTls, Peer, PortLimits, TlsFiles,
    testing::{Authority, Certificate},
};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

/// Of `MembershipLogService`, which only chat may call.
pub const PRIVATE: &str = "/tidings.message.v1.MembershipLogService/ApplyMembershipChanges";

/// What users call.
pub const OF_USERS: &str = "/tidings.message.v1.MessageService/SendMessage";

/// The message service on a port with mutual TLS, and the authority that it trusts.
pub struct World {
    pub authority: Authority,
    pub source: Source,
    pub address: SocketAddr,
    pub tls: MutualTls,
    pub drain: Drain,
    pub served: JoinHandle<std::io::Result<()>>,
    folder: TempDir,
}

pub fn secret() -> SuiteSecret {
    SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough")
}

impl World {
    pub async fn new() -> Self {
        let authority = Authority::new();
        let source = Source::stopped(1);
        let certificate = authority.service(Service::Message, source.now());
        Self::with(authority, source, &certificate).await
    }

    /// With another certificate of the service.
    pub async fn with(authority: Authority, source: Source, certificate: &Certificate) -> Self {
        let folder = tempfile::tempdir().expect("a folder of its own");
        let files = certificate.write(folder.path(), &[&authority]).expect("writes");
        let tls = MutualTls::load(Service::Message, files, source.clone()).expect("fit");
        let drain = Drain::new();
        let verifier = Arc::new(Verifier::new(Revocations::new(), source.clone()));
        let environment = Environment::new(
            Service::Message,
            secret(),
            verifier,
            source.clone(),
            drain.clone(),
            Limits::default(),
        );
        let app = App::new(&environment).descriptors(tidings_proto_message::FILE_DESCRIPTOR_SET);
        let (stack, _health) = app.build().expect("every RPC has a policy");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let listener = Listener::mutual(listener, Some(tls.clone()));
        let served = tokio::spawn(tidings_rpc::serve(
            listener,
            stack,
            PortLimits::INTERNAL,
            drain.clone(),
            source.clone(),
        ));
        Self {
            authority,
            source,
            address,
            tls,
            drain,
            served,
            folder,
        }
    }

    /// The folder of the callee's files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a service has for TLS, trusting the authority of this world.
    pub fn tls_of(&self, service: Service) -> MutualTls {
        let certificate = self.authority.service(service, self.source.now());
        load(service, &certificate, &[&self.authority], self.source.clone()).1
    }

    /// The way to the callee for a caller with this certificate and this identity.
    pub fn peer(&self, tls: &MutualTls, claimed: Service) -> Peer {
        let identity = Arc::new(ServiceIdentity::new(claimed, &secret(), self.source.clone()));
        let address = format!("https://{}", self.address);
        Peer::remote_over_tls(Service::Message, &address, identity, tls).expect("an address makes a URL")
    }

    /// Speaks TLS to the callee as anything but a service of the suite, and returns how the callee ends that, if it does.
    pub async fn raw(&self, config: ClientConfig) -> std::io::Result<()> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(Service::Message.host()).expect("a host name");
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        // The callee has the first word: its settings, or its refusal.
        let mut byte = [0];
        match stream.read(&mut byte).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// A certificate's files in a folder of their own, loaded.
pub fn load(
    service: Service,
    certificate: &Certificate,
    trusted: &[&Authority],
    source: Source,
) -> (TlsFiles, MutualTls) {
    let folder = tempfile::tempdir().expect("a folder of its own").keep();
    let files = certificate.write(&folder, trusted).expect("writes");
    let tls = MutualTls::load(service, files.clone(), source).expect("fit");
    (files, tls)
}

/// A client of TLS that trusts an authority.
pub fn client(
    authority: &Authority,
    certificate: Option<&Certificate>,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.certificate().as_bytes()).expect("a certificate");
    roots.add(root).expect("an authority's");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("the provider has it")
        .with_root_certificates(roots);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let chain = vec![CertificateDer::from_pem_slice(pem.certificate.as_bytes()).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("they fit")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// A call that needs no identity.
pub async fn greet(peer: Peer) -> Result<Response<HealthCheckResponse>, Status> {
    HealthClient::new(peer).check(HealthCheckRequest::default()).await
}

/// A call of any RPC without arguments, which is refused one way or the other: nothing stands behind the middleware.
pub async fn call(peer: Peer, path: &'static str, bearer: Option<&str>) -> Status {
    let mut grpc = tonic::client::Grpc::new(peer);
    grpc.ready().await.expect("the peer takes calls");
    let mut request = Request::new(());
    if let Some(bearer) = bearer {
        let value = format!("Bearer {bearer}").parse().expect("ASCII");
        request.metadata_mut().insert("authorization", value);
    }
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let answer = grpc.unary(request, path.parse().expect("a path"), codec).await;
    answer.map(drop).expect_err("nothing stands behind the middleware")
}

/// That a call failed because no connection could be had.
pub fn assert_unreachable(outcome: Result<Response<HealthCheckResponse>, Status>) {
    let status = outcome.expect_err("must not get through");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}
