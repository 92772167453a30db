use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Request, Response, Version, header::CONTENT_TYPE};
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_gateway::v1::gateway_service_server::GatewayServiceServer;
use tidings_rpc::{App, CallEnd, ClientAddress, Environment, Health, Policy, Problem, RequestBody, deadline};
use tonic::{Status, body::Body};
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};
use tower_http::cors::CorsLayer;
use tracing::{Instrument as _, Span, field};

use crate::{
    Config, DESCRIPTORS, InvalidDescriptors, Upstreams,
    admission::{Admission, Admitted, Lasting},
    browser_headers,
    catalogue::Catalogue,
    connect::{self, Connect},
    cors,
    dispatch::Dispatch,
    forward::is_in_contract,
    headers::{self, ClientAgent},
    info::Info,
    jwks::Jwks,
    media,
    network::Network,
    pages::Pages,
    reflection::public_descriptors,
    upstreams::{self, Serving},
};

/// The public port's service, for [`tidings_rpc::serve`] with [`PortLimits::PUBLIC`](tidings_rpc::PortLimits::PUBLIC).
#[derive(Debug, Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
    cors: CorsLayer,
}

#[derive(Debug)]
struct Shared {
    environment: Environment,
    trusted_proxies: Vec<Network>,
    transport_security: Option<HeaderValue>,
    dispatch: Arc<Dispatch>,
    admission: Arc<Admission>,
    connect: Connect,
    pages: Pages,
    upstreams: Upstreams,
    serving: Serving,
    health: Health,
    /// The gRPC services that calls are passed on to.
    forwarded: Vec<(tidings_authn::Service, String)>,
}

impl Gateway {
    /// The gateway to these services. Nothing runs until [`start`](Self::start).
    ///
    /// # Errors
    ///
    /// When the descriptors that it was built with are not fit, which is an error in the build.
    pub fn new(environment: &Environment, config: &Config, upstreams: Upstreams) -> Result<Self, InvalidDescriptors> {
        Self::with_descriptors(environment, config, upstreams, &DESCRIPTORS)
    }

    /// The gateway that offers the packages in these descriptor sets only.
    ///
    /// # Errors
    ///
    /// When they do not parse, or an RPC in them has no policy or no service.
    pub fn with_descriptors(
        environment: &Environment,
        config: &Config,
        upstreams: Upstreams,
        sets: &[&[u8]],
    ) -> Result<Self, InvalidDescriptors> {
        let catalogue = Catalogue::new(sets)?;
        let serving = Serving::default();
        let info = Info::new(environment, config, upstreams.clone(), serving.clone());
        let (own, health) = App::new(environment)
            .descriptors(tidings_proto_gateway::FILE_DESCRIPTOR_SET)
            .reflecting(public_descriptors(&catalogue))
            .add(GatewayServiceServer::new(info))
            .build()?;
        let mut forwarded = catalogue.grpc_services();
        forwarded.retain(|(service, _)| upstreams.peer(*service).is_some());
        let drain = environment.drain.clone();
        let dispatch = Arc::new(Dispatch::new(
            catalogue,
            upstreams.clone(),
            own,
            config.reflection,
            drain,
        ));
        let admission = Arc::new(Admission::new(environment));
        let shared = Shared {
            environment: environment.clone(),
            trusted_proxies: config.trusted_proxies.clone(),
            transport_security: config.transport_security.clone(),
            connect: Connect::new(Arc::clone(&dispatch), Arc::clone(&admission)),
            pages: Pages::new(serving.clone(), Jwks::new(upstreams.auth.clone()), config.web),
            dispatch,
            admission,
            upstreams,
            serving,
            health,
            forwarded,
        };
        Ok(Self {
            shared: Arc::new(shared),
            cors: cors::layer(&config.cors),
        })
    }

    /// Begins to watch whether the services serve, until the process stops.
    pub fn start(&self) {
        let shared = &self.shared;
        let drain = shared.environment.drain.clone();
        let watch = upstreams::watch(
            shared.upstreams.clone(),
            shared.serving.clone(),
            shared.health.clone(),
            shared.forwarded.clone(),
            drain,
        );
        // Nobody waits for it but the drain.
        drop(shared.environment.drain.spawn(watch));
    }

    /// Whether all services serve, as far as is known.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.shared.serving.all()
    }

    async fn serve(self, mut request: Request<Body>) -> Response<Body> {
        // Where the call comes from and in whose words, once, for all that asks for it later.
        if let Some(ClientAddress(connection)) = request.extensions().get().copied() {
            let client = headers::client_address(connection, request.headers(), &self.shared.trusted_proxies);
            request.extensions_mut().insert(ClientAddress(client));
        }
        if let Some(agent) = ClientAgent::of(request.headers()) {
            request.extensions_mut().insert(agent);
        }
        let network = headers::network(request.extensions());
        let end = request.extensions_mut().remove::<CallEnd>();
        let shared = Arc::clone(&self.shared);
        let response = if is_grpc(request.headers()) {
            // The one protocol that browsers cannot speak, and the one that most calls come in.
            shared.grpc(request).await
        } else {
            let browsers = self.cors.layer(Browsers(self.shared));
            match browsers.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        };
        shared.admission.answer(response, network, end)
    }
}

impl Shared {
    /// gRPC, and what was translated into it.
    async fn grpc(&self, request: Request<Body>) -> Response<Body> {
        self.grpc_guarded(request).await.unwrap_or_else(Status::into_http)
    }

    async fn grpc_guarded(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        // HTTP/1.1 loses the trailers on its way to most clients.
        if is_grpc(request.headers()) && request.version() < Version::HTTP_2 {
            return Err(Problem::new(ErrorReason::ProtocolUnsupported).into());
        }
        let path = request.uri().path();
        let target = self.dispatch.target(path)?;
        Span::current().record("path", path);
        let streams = target.streams();
        // Who sends a request slowly, or not at all, waits at the door and takes no place.
        let request = self.arrived(request, target.policy()).await?;
        let permit = self.admission.enter(streams)?;
        let response = match target.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        // A unary call is answered with this. Its place does not wait for the client to fetch the answer, which no deadline reaches:
        // a body is not asked for more while the client's window is full. Answers have bounds of their own.
        Ok(if streams {
            Admitted::keep(response, permit, Lasting::Stream)
        } else {
            response
        })
    }

    /// The request once all of it is here, unless it is a stream, which is never.
    async fn arrived(&self, request: Request<Body>, policy: &Policy) -> Result<Request<Body>, Status> {
        if policy.client_streaming {
            return Ok(request);
        }
        let (mut parts, body) = request.into_parts();
        let named = deadline::read(&parts.headers, policy.server_streaming)?;
        let deadline = deadline::to_answer(named);
        let body = RequestBody::new(body, policy.request_bytes_max, deadline);
        let network = headers::network(&parts.extensions);
        let arrivals = self.admission.arrivals();
        let arrived = arrivals.whole(network, body, policy.request_bytes_max, deadline).await;
        let arrived = arrived.map_err(|status| {
            let is_ours = is_in_contract(&status);
            if is_ours {
                status
            } else {
                Problem::new(ErrorReason::Cancelled).into()
            }
        })?;
        if arrived.waited() && (named.is_some() || !policy.server_streaming) {
            // What its coming took is gone from its time.
            let left = deadline::write(named.unwrap_or(deadline));
            let left = left.try_into().expect("digits and a letter are ASCII");
            parts.headers.insert(deadline::HEADER, left);
        }
        Ok(Request::from_parts(parts, arrived.into_body()))
    }

    /// Everything that browsers speak.
    async fn http(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        if is_grpc_web(request.headers()) {
            let grpc = service_fn(move |mut request: Request<Body>| {
                // It is gRPC by now, whatever it came over.
                *request.version_mut() = Version::HTTP_2;
                let shared = Arc::clone(&self);
                async move { Ok::<_, Infallible>(shared.grpc(request).await) }
            });
            return match GrpcWebLayer::new().layer(grpc).oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
        }
        let path = request.uri().path();
        if path.starts_with(media::PREFIX) {
            media::serve(&self.upstreams, &self.admission, request).await
        } else if let Some(page) = self.pages.get(request.method(), path).await {
            page
        } else {
            self.connect.serve(request).await
        }
    }
}

/// What stands behind the answers to browsers that ask first.
#[derive(Clone)]
struct Browsers(Arc<Shared>);

impl Service<Request<Body>> for Browsers {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(Arc::clone(&self.0).http(request).map(Ok))
    }
}

impl Service<Request<Body>> for Gateway {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let gateway = self.clone();
        let shared = Arc::clone(&self.shared);
        let is_grpc = is_grpc(request.headers());
        // The span has the client's trace, whether it is recorded is decided here, and calls to services continue the span. The
        // service writes the call's log line.
        let span = tracing::info_span!("gateway", path = field::Empty, otel.kind = "server");
        tidings_telemetry::continue_strangers_trace(&span, request.headers());
        let served = AssertUnwindSafe(gateway.serve(request).instrument(span)).catch_unwind();
        Box::pin(async move {
            let mut response = served.await.unwrap_or_else(|_panic| {
                // The panic hook has logged where.
                let status = Status::from(Problem::new(ErrorReason::Internal));
                if is_grpc {
                    status.into_http()
                } else {
                    connect::error::response(&status)
                }
            });
            if !is_grpc {
                browser_headers::set(response.headers_mut(), shared.transport_security.as_ref());
            }
            Ok(response)
        })
    }
}

/// Whether a request is gRPC, as opposed to gRPC-Web and to what only begins alike.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let rest = value.as_bytes().strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest, [] | [b'+' | b';', ..]))
    })
}

/// The content types of gRPC-Web that are translated.
fn is_grpc_web(headers: &HeaderMap) -> bool {
    const TYPES: [&[u8]; 4] = [
        b"application/grpc-web",
        b"application/grpc-web+proto",
        b"application/grpc-web-text",
        b"application/grpc-web-text+proto",
    ];
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| TYPES.contains(&value.as_bytes()))
}
