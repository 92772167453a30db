use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::body::Body;
use tower::{Service, ServiceExt as _};

use crate::Stack;

/// A service with plain HTTP routes beside its RPCs, on one port: requests whose path begins with the prefix go to the routes,
/// all others through the middleware. The routes check for themselves who calls.
#[derive(Debug, Clone)]
pub struct Beside {
    stack: Stack,
    prefix: &'static str,
    routes: axum::Router,
}

impl Beside {
    /// `routes` below `prefix`, such as `/media/`, and `stack` for the rest.
    #[must_use]
    pub fn new(stack: Stack, prefix: &'static str, routes: axum::Router) -> Self {
        Self { stack, prefix, routes }
    }
}

impl Service<Request<Body>> for Beside {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !request.uri().path().starts_with(self.prefix) {
            return self.stack.call(request);
        }
        let routes = self.routes.clone();
        Box::pin(async move { Ok(routes.oneshot(request.map(axum::body::Body::new)).await?.map(Body::new)) })
    }
}
