//! Where a call goes: to the gateway's own services, or on to the service that has its RPC. Every protocol ends here.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::{Drain, Policy, Problem, Stack};
use tonic::body::Body;

use crate::{
    Upstreams,
    catalogue::{Catalogue, Method},
    forward::Forward,
    headers,
};

/// Knows where each path goes.
#[derive(Debug)]
pub struct Dispatch {
    catalogue: Catalogue,
    upstreams: Upstreams,
    local: Stack,
    reflection: bool,
    drain: Drain,
}

/// Where one call goes: a gRPC service without more than one path.
#[derive(Debug, Clone)]
pub struct Target {
    streams: bool,
    policy: Arc<Policy>,
    to: To,
}

#[derive(Debug, Clone)]
enum To {
    Local(Stack),
    Service(Forward),
}

impl Dispatch {
    pub fn new(catalogue: Catalogue, upstreams: Upstreams, local: Stack, reflection: bool, drain: Drain) -> Self {
        Self {
            catalogue,
            upstreams,
            local,
            reflection,
            drain,
        }
    }

    /// The public RPC of the suite with this path.
    pub fn method(&self, path: &str) -> Option<&Arc<Method>> {
        self.catalogue.get(path)
    }

    /// Where calls of this path go. Paths are compared as they are: one with a doubled slash, another case or an escape is
    /// another path, and there is nothing there.
    pub fn target(&self, path: &str) -> Result<Target, Problem> {
        if let Some(method) = self.catalogue.get(path) {
            let to = match self.upstreams.peer(method.service) {
                Some(peer) => To::Service(Forward::new(Arc::clone(method), peer.clone(), self.drain.clone())),
                None => To::Local(self.local.clone()),
            };
            return Ok(Target {
                streams: method.streams(),
                policy: Arc::clone(&method.policy),
                to,
            });
        }
        let is_standard =
            path.starts_with("/grpc.health.") || (self.reflection && path.starts_with("/grpc.reflection."));
        let policy = self.local.policies().get(path).filter(|_| is_standard);
        let policy = policy.ok_or_else(|| Problem::new(ErrorReason::MethodUnknown))?;
        Ok(Target {
            streams: policy.server_streaming,
            policy: Arc::clone(policy),
            to: To::Local(self.local.clone()),
        })
    }
}

impl Target {
    /// Whether calls of it are streams.
    pub fn streams(&self) -> bool {
        self.streams
    }

    /// What its RPC declares.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    async fn handle(self, request: Request<Body>) -> Response<Body> {
        match self.to {
            To::Service(forward) => forward.call(request).await,
            To::Local(stack) => stack.handle(as_own(request)).await,
        }
    }
}

/// A call to ourselves, with what a call to another service would have of it.
fn as_own(mut request: Request<Body>) -> Request<Body> {
    let timeout = request.headers_mut().remove(tidings_rpc::deadline::HEADER);
    let mut headers = headers::for_service(request.headers(), request.extensions());
    headers.remove(tidings_rpc::CLIENT_HEADER);
    if let Some(timeout) = timeout {
        headers.insert(tidings_rpc::deadline::HEADER, timeout);
    }
    *request.headers_mut() = headers;
    request
}

impl tower::Service<Request<Body>> for Target {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let target = self.clone();
        Box::pin(async move { Ok(target.handle(request).await) })
    }
}
