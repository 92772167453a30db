use std::{sync::Arc, time::Duration};

use http::{Method as HttpMethod, Request, Response, StatusCode, Uri, Version, header::CONTENT_TYPE};
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::{Drain, Peer, Problem, RequestBody, deadline, problem::DOMAIN};
use tonic::{Code, Status, TimeoutExpired, body::Body};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;

use crate::{
    body::{Broken, Downstreamed, Upstreamed},
    catalogue::Method,
    headers,
};

/// One call to the service that has its RPC: the message's bytes go through untouched, in both directions.
#[derive(Debug, Clone)]
pub struct Forward {
    method: Arc<Method>,
    peer: Peer,
    drain: Drain,
}

/// The service answers a deadline itself; this much later we do for one that hangs. Whichever comes first, the answer is the same.
const PATIENCE: Duration = Duration::from_millis(100);

impl Forward {
    pub fn new(method: Arc<Method>, peer: Peer, drain: Drain) -> Self {
        Self { method, peer, drain }
    }

    /// Makes the call. It always answers; an error is a gRPC status.
    pub async fn call(self, request: Request<Body>) -> Response<Body> {
        self.guarded(request).await.unwrap_or_else(Status::into_http)
    }

    async fn guarded(self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (client, body) = request.into_parts();
        let named = deadline::read(&client.headers, self.method.policy.server_streaming)?;
        let deadline = deadline::to_answer(named);

        // A request is built anew, so that nothing of the client's goes on that is not meant to: neither the query, nor what the
        // connection knows, nor a header that is not listed.
        let broken = Broken::default();
        let policy = &self.method.policy;
        let body = RequestBody::new(body, policy.request_bytes_max, deadline).streamed(policy.client_streaming);
        let mut request = Request::new(Body::new(Upstreamed::new(body, broken.clone())));
        *request.method_mut() = HttpMethod::POST;
        *request.uri_mut() = Uri::from(self.method.path.clone());
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers::for_service(&client.headers, &client.extensions);
        if named.is_some() || !self.method.streams() {
            let timeout = deadline::write(named.unwrap_or(deadline))
                .try_into()
                .expect("digits and a letter are ASCII");
            request.headers_mut().insert(deadline::HEADER, timeout);
        }

        let call = tokio::time::timeout_at(deadline + PATIENCE, self.peer.oneshot(request));
        let response = match call.await {
            Ok(Ok(response)) if is_grpc(&response) => response,
            Ok(answer) => return Err(failure(&self.method, &broken, answer)),
            Err(_late) => return Err(Problem::new(ErrorReason::DeadlineExceeded).into()),
        };
        if let Some(status) = Status::from_header_map(response.headers()) {
            // Trailers only: the call has ended and there is no body. What stands between may answer for a service.
            let is_ours = status.code() == Code::Ok || is_in_contract(&status);
            return if is_ours {
                Ok(response)
            } else {
                Err(Problem::from_peer(&status).into())
            };
        }
        Ok(response.map(|body| {
            Body::new(if self.method.streams() {
                Downstreamed::stream(body, named, self.drain)
            } else {
                Downstreamed::unary(body, deadline + PATIENCE)
            })
        }))
    }
}

/// Whether a status was made by a service of the suite.
pub fn is_in_contract(status: &Status) -> bool {
    let info = status.get_details_error_info();
    info.is_some_and(|info| info.domain == DOMAIN)
}

fn is_grpc(response: &Response<Body>) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE);
    response.status() == StatusCode::OK
        && content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The status of a call that no service answered: the client's own doing, the deadline, or a service that cannot be reached,
/// which is logged here with its cause.
fn failure(method: &Method, broken: &Broken, answer: Result<Response<Body>, BoxError>) -> Status {
    if let Some(status) = broken.status() {
        let is_ours = is_in_contract(status);
        return if is_ours {
            status.clone()
        } else {
            Problem::new(ErrorReason::Cancelled).into()
        };
    }
    let cause = match answer {
        Err(error) if is_late(error.as_ref()) => return Problem::new(ErrorReason::DeadlineExceeded).into(),
        Ok(response) => format!("it answered {} and no gRPC", response.status()),
        Err(error) => chain(error.as_ref()),
    };
    tracing::warn!(service = %method.service, method = %method.policy.method, cause, "a service cannot be reached");
    Problem::new(ErrorReason::DependencyUnavailable).into()
}

/// Whether the connection to the service gave up at the deadline, which it knows from `grpc-timeout`.
fn is_late(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<TimeoutExpired>() || error.source().is_some_and(is_late)
}

/// An error with its causes in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
