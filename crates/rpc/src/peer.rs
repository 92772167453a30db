use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Request, Response, header::AUTHORIZATION};
use tidings_authn::{Service, ServiceIdentity};
use tidings_proto_common::v1::ErrorReason;
use tokio::time::Instant;
use tonic::{
    Status,
    body::Body,
    transport::{Channel, Endpoint},
};

use crate::{MutualTls, Problem, Stack, context::CALL, deadline, windows};

/// Carries the proof of which service calls.
pub const SERVICE_HEADER: HeaderName = HeaderName::from_static("x-tidings-service");

/// Carries the client's address in what the gateway forwards. It counts only beside the gateway's own proof of identity.
pub const CLIENT_HEADER: HeaderName = HeaderName::from_static("x-tidings-client");

/// Carries what the client calls itself in what the gateway forwards: the client's own word, of which nothing is decided by.
pub const AGENT_HEADER: HeaderName = HeaderName::from_static("x-tidings-agent");

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The way to another service of the suite: over the network, or within the process without a socket. Generated clients take it
/// as their channel.
///
/// Each call carries our own identity, and of the call that it is made for what is left of its time, its user's token and its
/// trace.
#[derive(Debug, Clone)]
pub struct Peer {
    callee: Service,
    identity: Arc<ServiceIdentity>,
    transport: Transport,
}

#[derive(Debug, Clone)]
enum Transport {
    Remote(Channel),
    Local(Slot),
}

/// The place of a service in the same process. Services that need each other are made first and put into their places then.
#[derive(Debug, Clone, Default)]
pub struct Slot {
    stack: Arc<OnceLock<Stack>>,
}

impl Slot {
    /// An empty place.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the service into its place, once.
    pub fn fill(&self, stack: Stack) {
        let filled = self.stack.set(stack);
        assert!(filled.is_ok(), "a service is put into its place once");
    }

    /// The service, once it is in its place.
    #[must_use]
    pub fn get(&self) -> Option<&Stack> {
        self.stack.get()
    }
}

impl Peer {
    /// A connection is given up when it takes longer than this, its TLS handshake included.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

    /// An idle connection is probed this often, so that a peer that vanished is noticed.
    const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

    /// A probe that is not answered for this long ends the connection.
    const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

    /// The peer at an address such as `http://127.0.0.1:7711`. It connects when it is first called, and again when it has to.
    ///
    /// # Errors
    ///
    /// When the address is no URL.
    pub fn remote(
        callee: Service,
        address: &str,
        identity: Arc<ServiceIdentity>,
    ) -> Result<Self, tonic::transport::Error> {
        let channel = Self::endpoint(address)?.connect_lazy();
        Ok(Self {
            callee,
            identity,
            transport: Transport::Remote(channel),
        })
    }

    /// The peer at an address such as `https://127.0.0.1:7711`, over TLS. Its certificate must name the service, wherever it is.
    ///
    /// # Errors
    ///
    /// When the address is no URL.
    pub fn remote_over_tls(
        callee: Service,
        address: &str,
        identity: Arc<ServiceIdentity>,
        tls: &MutualTls,
    ) -> Result<Self, tonic::transport::Error> {
        // The connector speaks TLS whatever the scheme is; tonic must not try to.
        let plain = address.strip_prefix("https://").map(|rest| format!("http://{rest}"));
        let origin = format!("https://{}", callee.host());
        let channel = Self::endpoint(plain.as_deref().unwrap_or(address))?
            .origin(origin.parse().expect("a scheme and a host name make a URL"))
            .connect_with_connector_lazy(tls.connector(callee));
        Ok(Self {
            callee,
            identity,
            transport: Transport::Remote(channel),
        })
    }

    fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(address.to_owned())?
            .connect_timeout(Self::CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(windows::STREAM_BYTES)
            .initial_connection_window_size(windows::CONNECTION_BYTES)
            .http2_keep_alive_interval(Self::KEEPALIVE_INTERVAL)
            .keep_alive_timeout(Self::KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        Ok(endpoint)
    }

    /// The peer in this place of the same process.
    #[must_use]
    pub fn local(callee: Service, slot: Slot, identity: Arc<ServiceIdentity>) -> Self {
        Self {
            callee,
            identity,
            transport: Transport::Local(slot),
        }
    }

    /// Which service it is.
    #[must_use]
    pub fn callee(&self) -> Service {
        self.callee
    }

    /// Whether it is in the same process, and so of the same release.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self.transport, Transport::Local(_))
    }

    fn prepare(&self, request: &mut Request<Body>) {
        let headers = request.headers_mut();
        let token = HeaderValue::try_from(self.identity.token_for(self.callee)).expect("a token is ASCII");
        headers.insert(SERVICE_HEADER, token);
        if let Ok(call) = CALL.try_with(Clone::clone) {
            if !headers.contains_key(deadline::HEADER) {
                headers.insert(deadline::HEADER, timeout(call.deadline));
            }
            if let Some(authorization) = call.authorization.filter(|_| !headers.contains_key(AUTHORIZATION)) {
                headers.insert(AUTHORIZATION, authorization);
            }
        }
        tidings_telemetry::inject(headers);
    }
}

fn timeout(deadline: Instant) -> HeaderValue {
    HeaderValue::try_from(deadline::write(deadline)).expect("digits and a letter are ASCII")
}

impl tower::Service<Request<Body>> for Peer {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.transport {
            Transport::Remote(channel) => tower::Service::poll_ready(channel, cx).map_err(Into::into),
            Transport::Local(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        self.prepare(&mut request);
        match &mut self.transport {
            Transport::Remote(channel) => {
                let response = tower::Service::call(channel, request);
                Box::pin(async move { Ok(response.await?) })
            }
            Transport::Local(slot) => match slot.get().cloned() {
                Some(stack) => Box::pin(async move { Ok(stack.handle(request).await) }),
                None => {
                    let status = Status::from(Problem::new(ErrorReason::DependencyUnavailable));
                    Box::pin(async move { Ok(status.into_http()) })
                }
            },
        }
    }
}
