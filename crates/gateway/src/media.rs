//! Uploads and downloads: plain HTTP below `/media/`, which the message service serves.
//!
//! The URLs are signed by the message service and checked there, so nothing is checked here. In one process its routes are called
//! directly. Otherwise requests are passed on to its port, which serves the path beside gRPC, over the connection that carries
//! its RPCs: path, query and bytes are untouched in both cases, and what the routes see of the headers is the same.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, Request, Response, Uri, Version,
    header::{
        AUTHORIZATION, CONNECTION, COOKIE, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
};
use http_body::{Frame, SizeHint};
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::{CLIENT_HEADER, ClientAddress, Problem, deadline};
use tokio::time::{Instant, Sleep, timeout};
use tonic::{Status, body::Body};
use tower::ServiceExt as _;

use crate::{
    Upstreams,
    admission::{Admission, Admitted, Lasting},
    connect::error,
    forward::chain,
};

/// What stands below this is the message service's.
pub const PREFIX: &str = "/media/";

/// A transfer in which no byte moves for this long is ended. How long it takes in all depends on the client's line.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// What belongs to one connection only (RFC 9110, 7.6.1), and credentials, which the signed URL stands in for.
const DROPPED: [HeaderName; 12] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HOST,
    AUTHORIZATION,
    COOKIE,
];

/// Passes a request on to the message service, and its answer back.
pub async fn serve(upstreams: &Upstreams, admission: &Admission, request: Request<Body>) -> Response<Body> {
    let permit = match admission.enter(true) {
        Ok(permit) => permit,
        Err(problem) => return error::response(&problem.into()),
    };
    let request = cleaned(request);
    let answer = match &upstreams.media {
        Some(routes) => {
            let answer = routes.clone().oneshot(request.map(axum::body::Body::new)).await;
            answer
                .map(|response| response.map(Body::new))
                .map_err(|never| match never {})
        }
        None if upstreams.message.is_local() => return error::unknown_path(request.method()),
        None => head(upstreams.message.clone().oneshot(request)).await,
    };
    match answer {
        Ok(response) => {
            let (mut parts, body) = response.into_parts();
            parts.version = Version::default();
            drop_headers(&mut parts.headers);
            let response = Response::from_parts(parts, Body::new(Moving::new(body)));
            Admitted::keep(response, permit, Lasting::Transfer)
        }
        Err(cause) => {
            tracing::warn!(cause, "media cannot be reached");
            error::response(&Problem::new(ErrorReason::DependencyUnavailable).into())
        }
    }
}

/// The head of the answer. It may come after the whole upload, whose own time is bounded while it moves.
async fn head<E>(answer: impl Future<Output = Result<Response<Body>, E>>) -> Result<Response<Body>, String>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const UPLOAD_MAX: Duration = Duration::from_secs(3_600);
    match timeout(UPLOAD_MAX, answer).await {
        Ok(answer) => answer.map_err(|error| chain(error.into().as_ref())),
        Err(_late) => Err("it did not answer within an hour".to_owned()),
    }
}

/// The request as it goes on: with the address of the client, and without what is not the routes' to see.
fn cleaned(request: Request<Body>) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    drop_headers(&mut parts.headers);
    parts.headers.remove(deadline::HEADER);
    let address = parts.extensions.get::<ClientAddress>().copied();
    if let Some(ClientAddress(address)) = address {
        let value = address.to_string().try_into().expect("an address is ASCII");
        parts.headers.insert(CLIENT_HEADER, value);
    }
    parts.extensions.clear();
    parts.version = Version::HTTP_2;
    if let Some(path) = parts.uri.path_and_query().cloned() {
        parts.uri = Uri::from(path);
    }
    Request::from_parts(parts, Body::new(Moving::new(body)))
}

fn drop_headers(headers: &mut HeaderMap) {
    let internal = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("x-tidings-") || name.starts_with("x-forwarded-") || name.starts_with("x-internal-")
    };
    let dropped: Vec<HeaderName> = headers.keys().filter(|name| internal(name)).cloned().collect();
    for name in dropped.iter().chain(&DROPPED) {
        headers.remove(name);
    }
}

/// A body that breaks off when nothing moves.
struct Moving {
    inner: Body,
    idle: Pin<Box<Sleep>>,
}

impl Moving {
    fn new(inner: Body) -> Self {
        Self {
            inner,
            idle: Box::pin(tokio::time::sleep(IDLE_TIMEOUT)),
        }
    }
}

impl http_body::Body for Moving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.idle.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
                Poll::Ready(frame)
            }
            Poll::Pending => this
                .idle
                .as_mut()
                .poll(cx)
                .map(|()| Some(Err(Problem::new(ErrorReason::DeadlineExceeded).into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
