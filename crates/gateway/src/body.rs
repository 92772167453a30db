//! The bodies of a forwarded call.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::{Drain, Problem, RequestBody};
use tokio::time::{Instant, Sleep};
use tonic::{Status, body::Body};

/// Why a request's body ended before its time, for the answer: all that the call to the service shows of it is a broken stream.
#[derive(Debug, Clone, Default)]
pub struct Broken(Arc<OnceLock<Status>>);

impl Broken {
    pub fn status(&self) -> Option<&Status> {
        self.0.get()
    }
}

/// A request's body within its limits, which notes why it ended when they end it.
pub struct Upstreamed {
    inner: RequestBody,
    broken: Broken,
}

impl Upstreamed {
    pub fn new(inner: RequestBody, broken: Broken) -> Self {
        Self { inner, broken }
    }
}

impl http_body::Body for Upstreamed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Err(status))) = &frame {
            // Only the first reason counts.
            let _ = self.broken.0.set(status.clone());
        }
        frame
    }

    // Neither its size nor its end is told beforehand: those of a gRPC-Web body are those of its encoded form.
}

/// A response's body that ends by the contract whatever becomes of the service's process: at its deadline, when this process
/// stops, or when the connection to the service breaks, it ends with trailers that say so.
pub struct Downstreamed {
    inner: Body,
    deadline: Option<Pin<Box<Sleep>>>,
    stopping: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    ended: bool,
}

/// When this process stops, services of the same process end their streams themselves, saying how far they were. After this
/// long those that are left, of services elsewhere, are ended here.
const FAREWELL: Duration = Duration::from_secs(3);

impl Downstreamed {
    /// The body of a unary response, until `deadline`.
    pub fn unary(inner: Body, deadline: Instant) -> Self {
        Self {
            inner,
            deadline: Some(sleep_until(deadline)),
            stopping: None,
            ended: false,
        }
    }

    /// The body of a stream, until `deadline` if its caller named one.
    pub fn stream(inner: Body, deadline: Option<Instant>, drain: Drain) -> Self {
        let stopping = async move {
            drain.begun().await;
            tokio::time::sleep(FAREWELL).await;
        };
        Self {
            inner,
            deadline: deadline.map(sleep_until),
            stopping: Some(Box::pin(stopping)),
            ended: false,
        }
    }

    fn due(&mut self, cx: &mut Context<'_>) -> Option<ErrorReason> {
        let over = |timer: &mut Pin<Box<Sleep>>, cx: &mut Context<'_>| timer.as_mut().poll(cx).is_ready();
        if self.deadline.as_mut().is_some_and(|deadline| over(deadline, cx)) {
            return Some(ErrorReason::DeadlineExceeded);
        }
        let stopping = self.stopping.as_mut()?;
        stopping.as_mut().poll(cx).is_ready().then_some(ErrorReason::Draining)
    }

    fn end(&mut self, reason: ErrorReason) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        let mut trailers = HeaderMap::new();
        let written = Status::from(Problem::new(reason)).add_header(&mut trailers);
        Poll::Ready(Some(written.map(|()| Frame::trailers(trailers))))
    }
}

fn sleep_until(deadline: Instant) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep_until(deadline))
}

impl http_body::Body for Downstreamed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(reason) = this.due(cx) {
            return this.end(reason);
        }
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.ended = frame.is_trailers();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(status))) => {
                tracing::warn!(code = ?status.code(), message = status.message(), "a response from a service broke off");
                this.end(ErrorReason::DependencyUnavailable)
            }
            Poll::Ready(None) => {
                tracing::warn!("a response from a service ended without trailers");
                this.end(ErrorReason::DependencyUnavailable)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::{BodyExt as _, StreamBody};
    use tidings_rpc::Drain;
    use tokio::time::Instant;
    use tonic::{Code, Status, body::Body};
    use tonic_types::StatusExt as _;

    use super::Downstreamed;

    fn body(frames: Vec<Result<Frame<Bytes>, Status>>, endless: bool) -> Body {
        use futures_util::StreamExt as _;
        let frames = futures_util::stream::iter(frames);
        if endless {
            Body::new(StreamBody::new(frames.chain(futures_util::stream::pending())))
        } else {
            Body::new(StreamBody::new(frames))
        }
    }

    async fn end(body: Downstreamed) -> (Code, String) {
        let trailers = body.collect().await.expect("never an error").trailers().cloned();
        let status = Status::from_header_map(&trailers.expect("trailers")).expect("a status");
        let reason = status
            .get_details_error_info()
            .map(|info| info.reason)
            .unwrap_or_default();
        (status.code(), reason)
    }

    fn data() -> Result<Frame<Bytes>, Status> {
        Ok(Frame::data(Bytes::from_static(b"data")))
    }

    #[tokio::test]
    async fn a_response_that_breaks_off_ends_by_the_contract() {
        let unavailable = (Code::Unavailable, "DEPENDENCY_UNAVAILABLE".to_owned());
        let broken = body(vec![data(), Err(Status::unknown("h2 protocol error"))], false);
        assert_eq!(end(Downstreamed::stream(broken, None, Drain::new())).await, unavailable);
        let short = body(vec![data()], false);
        assert_eq!(end(Downstreamed::stream(short, None, Drain::new())).await, unavailable);
    }

    #[tokio::test]
    async fn a_stream_ends_at_its_deadline() {
        let deadline = Instant::now() + Duration::from_millis(20);
        let late = Downstreamed::stream(body(vec![data()], true), Some(deadline), Drain::new());
        assert_eq!(
            end(late).await,
            (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned())
        );
        let late = Downstreamed::unary(body(vec![data()], true), deadline);
        assert_eq!(
            end(late).await,
            (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned())
        );
    }
}
