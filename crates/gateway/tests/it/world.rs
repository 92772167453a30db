//! A deployment of fakes, in one process or over the network.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::EncodingKey;
use tidings_authn::{AUDIENCE, Claims, ISSUER, PublicKey, Revocations, Service, SuiteSecret, Verifier, sign};
use tidings_gateway::{Config, Gateway, Upstreams};
use tidings_ids::Source;
use tidings_proto_auth::v1::auth_service_server::AuthServiceServer;
use tidings_proto_message::v1::sync_service_server::SyncServiceServer;
use tidings_rpc::{App, Beside, ClientAddress, Drain, Environment, Limits, Peer, PortLimits, Slot, Stack, serve};
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};

use crate::fakes::{FakeAuth, FakeSync, Seen};

/// How the gateway reaches the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// In the same process.
    Local,
    /// Each on a port of its own.
    Remote,
}

pub const SHAPES: [Shape; 2] = [Shape::Local, Shape::Remote];

/// Where the calls of the tests come from, as the gateway sees it.
pub const CLIENT: &str = "192.0.2.77";

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Well below the ten seconds after which a feed that was not heard is not trusted.
const HEARD_EVERY: Duration = Duration::from_secs(1);

pub struct World {
    pub gateway: Gateway,
    pub seen: Seen,
    pub drain: Drain,
    /// An access token that the services accept.
    pub token: String,
}

/// What a test wants otherwise than usual.
pub struct Settings {
    pub shape: Shape,
    pub config: Config,
    pub limits: Limits,
    pub media: Option<axum::Router>,
    /// The services stop with the gateway, as in one process, or go on.
    pub services_drain: bool,
}

impl Settings {
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            config: Config {
                reflection: true,
                web: true,
                ..Config::default()
            },
            limits: Limits::default(),
            media: None,
            services_drain: true,
        }
    }
}

struct Suite {
    secret: SuiteSecret,
    verifier: Arc<Verifier>,
    source: Source,
    limits: Limits,
}

impl Suite {
    fn environment(&self, service: Service, drain: &Drain) -> Environment {
        let (secret, verifier) = (self.secret.clone(), Arc::clone(&self.verifier));
        Environment::new(
            service,
            secret,
            verifier,
            self.source.clone(),
            drain.clone(),
            self.limits,
        )
    }
}

impl World {
    /// Waits until a call has reached a service.
    pub async fn until_called(&self) {
        let called = async {
            while self.seen.nothing() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let called = tokio::time::timeout(PATIENCE, called).await;
        called.expect("the call arrives in time");
        self.seen.take();
    }

    pub async fn new(shape: Shape) -> Self {
        Self::with(Settings::new(shape)).await
    }

    pub async fn with(settings: Settings) -> Self {
        let source = Source::system();
        let revocations = Revocations::new();
        keep_trusted(Arc::clone(&revocations));
        let verifier = Arc::new(Verifier::new(revocations, source.clone()));
        let token = trusted_token(&verifier, &source);
        let secret = SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough");
        let suite = Suite {
            secret,
            verifier,
            source,
            limits: settings.limits,
        };
        let drain = Drain::new();
        let services_drain = if settings.services_drain {
            drain.clone()
        } else {
            Drain::new()
        };

        let environment = suite.environment(Service::Gateway, &drain);
        let seen = Seen::default();
        let auth_environment = suite.environment(Service::Auth, &services_drain);
        let auth = auth(&auth_environment, &seen).await;
        let message_environment = suite.environment(Service::Message, &services_drain);
        let message = message(&message_environment, &seen).await;
        let identity = || Arc::clone(&environment.identity);
        let upstreams = match settings.shape {
            Shape::Local => Upstreams {
                auth: Peer::local(Service::Auth, filled(auth), identity()),
                user: Peer::local(Service::User, Slot::new(), identity()),
                chat: Peer::local(Service::Chat, Slot::new(), identity()),
                message: Peer::local(Service::Message, filled(message), identity()),
                media: settings.media,
            },
            Shape::Remote => {
                let routes = settings.media.unwrap_or_default();
                let auth = port(&auth_environment, auth, PortLimits::INTERNAL).await;
                let message = Beside::new(message, "/media/", routes);
                let message = port(&message_environment, message, PortLimits::INTERNAL).await;
                let remote =
                    |service, port: u16| Peer::remote(service, &format!("http://127.0.0.1:{port}"), identity());
                // Nobody listens on port 1.
                Upstreams {
                    auth: remote(Service::Auth, auth.port()).expect("a URL"),
                    user: remote(Service::User, 1).expect("a URL"),
                    chat: remote(Service::Chat, 1).expect("a URL"),
                    message: remote(Service::Message, message.port()).expect("a URL"),
                    media: None,
                }
            }
        };
        let gateway = Gateway::new(&environment, &settings.config, upstreams).expect("our own descriptors");
        Self {
            gateway,
            seen,
            drain,
            token,
        }
    }

    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// A real port that the gateway serves.
    pub async fn port(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let served = serve(
            listener,
            self.gateway.clone(),
            PortLimits::PUBLIC,
            self.drain.clone(),
            Source::system(),
        );
        tokio::spawn(served);
        address
    }
    /// A client's connection to such a port.
    pub async fn channel(&self) -> Channel {
        let url = format!("http://{}", self.port().await);
        Endpoint::from_shared(url)
            .expect("a URL")
            .connect()
            .await
            .expect("connects")
    }
}

/// The environment of a gateway that nothing else belongs to.
pub fn alone() -> Environment {
    let source = Source::system();
    let secret = SuiteSecret::new("9f1c5a7be02d4c6f8a3b1d0e7f264c95b8a7d6e5").expect("long enough");
    let verifier = Arc::new(Verifier::new(Revocations::new(), source.clone()));
    Environment::new(
        Service::Gateway,
        secret,
        verifier,
        source,
        Drain::new(),
        Limits::default(),
    )
}

pub fn client() -> ClientAddress {
    ClientAddress(CLIENT.parse::<IpAddr>().expect("an address"))
}

/// Moves the clock of all that waits here.
pub async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Stands in for the feeds, which are heard as long as the test runs, and have nothing to say.
fn keep_trusted(revocations: Arc<Revocations>) {
    let hear = move || {
        revocations.heard_sessions();
        revocations.heard_users();
    };
    hear();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(HEARD_EVERY).await;
            hear();
        }
    });
}

fn filled(stack: Stack) -> Slot {
    let slot = Slot::new();
    slot.fill(stack);
    slot
}

async fn auth(environment: &Environment, seen: &Seen) -> Stack {
    let app = App::new(environment).descriptors(tidings_proto_auth::FILE_DESCRIPTOR_SET);
    let app = app.add(AuthServiceServer::new(FakeAuth(seen.clone())));
    let (stack, health) = app.build().expect("every RPC has a policy");
    health.serving().await;
    stack
}

async fn message(environment: &Environment, seen: &Seen) -> Stack {
    let app = App::new(environment).descriptors(tidings_proto_message::FILE_DESCRIPTOR_SET);
    let app = app.add(SyncServiceServer::new(FakeSync(seen.clone())));
    let (stack, health) = app.build().expect("every RPC has a policy");
    health.serving().await;
    stack
}

async fn port<S>(environment: &Environment, service: S, limits: PortLimits) -> SocketAddr
where
    S: tower::Service<
            http::Request<tonic::body::Body>,
            Response = http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
        > + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(serve(
        listener,
        service,
        limits,
        environment.drain.clone(),
        environment.source.clone(),
    ));
    address
}

fn trusted_token(verifier: &Verifier, source: &Source) -> String {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).expect("a key");
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("just made");
    let bytes = pair.public_key().as_ref().try_into().expect("32 bytes");
    verifier.set_keys(&[PublicKey {
        key_id: "key-1".to_owned(),
        bytes,
    }]);
    let now = source.now().unix_timestamp();
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: source.new_id(),
        sid: source.new_id(),
        epoch: 1,
        perms: Vec::new(),
        bot: false,
        iat: now,
        nbf: now,
        exp: now + 600,
    };
    sign(&claims, "key-1", &EncodingKey::from_ed_der(pkcs8.as_ref())).expect("signs")
}
