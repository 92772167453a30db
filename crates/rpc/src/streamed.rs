//! The bodies of streamed responses: when they end, whatever their handlers and readers do.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use parking_lot::Mutex;
use tidings_proto_common::v1::ErrorReason;
use tokio::{
    task::AbortHandle,
    time::{Instant, Sleep},
};
use tonic::{Status, body::Body};

use crate::{Drain, Problem};

/// When the process stops, streams end themselves and say how far they were. Those that do not, as health checks, end after this.
const FAREWELL: Duration = Duration::from_secs(2);

/// A streamed response's body. It ends at the deadline that the client named, when the process stops, and when its reader takes
/// nothing for too long; and it says how it ended, once.
///
/// A reader that answers pings and leaves its window shut is never noticed by the connection, which stops asking for the body: so
/// what the stream holds is let go from outside.
pub(crate) struct StreamedBody<F: FnOnce(Option<Status>) + Send + 'static> {
    open: Arc<Mutex<Option<Open<F>>>>,
    deadline: Option<Pin<Box<Sleep>>>,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    ended: bool,
    watch: AbortHandle,
}

/// A stream that has not ended.
struct Open<F> {
    inner: Body,
    status: Option<Status>,
    on_end: F,
    /// Since when the reader has had a frame without asking for another. `None` while it waits for us.
    handed_out: Option<Instant>,
}

impl<F: FnOnce(Option<Status>) + Send + 'static> StreamedBody<F> {
    /// `on_end` gets the status that the stream ended with, or `None` when the client went away.
    pub(crate) fn new(
        inner: Body,
        deadline: Option<Instant>,
        stalled_after: Duration,
        drain: Drain,
        on_end: F,
    ) -> Self {
        let open = Arc::new(Mutex::new(Some(Open {
            inner,
            status: None,
            on_end,
            handed_out: Some(Instant::now()),
        })));
        let watch = tokio::spawn(watch(Arc::downgrade(&open), stalled_after)).abort_handle();
        let stopping = async move {
            drain.begun().await;
            tokio::time::sleep(FAREWELL).await;
        };
        let deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        Self {
            open,
            deadline,
            stopping: Box::pin(stopping),
            ended: false,
            watch,
        }
    }

    /// Ends the stream from our side.
    fn end(&mut self, status: Status) -> Option<Result<Frame<Bytes>, Status>> {
        let mut trailers = HeaderMap::new();
        let written = status.add_header(&mut trailers);
        self.ended = true;
        if let Some(open) = self.open.lock().as_mut() {
            open.status = Some(status);
        }
        Some(written.map(|()| Frame::trailers(trailers)))
    }
}

/// Lets go of what a stream holds whose reader takes nothing for `stalled_after`.
async fn watch<F: FnOnce(Option<Status>)>(stream: Weak<Mutex<Option<Open<F>>>>, stalled_after: Duration) {
    let mut next = Instant::now() + stalled_after;
    loop {
        tokio::time::sleep_until(next).await;
        let Some(stream) = stream.upgrade() else { return };
        let stalled = {
            let mut open = stream.lock();
            let Some(stream) = open.as_ref() else { return };
            let now = Instant::now();
            next = stream.handed_out.unwrap_or(now) + stalled_after;
            if next > now { None } else { open.take() }
        };
        if let Some(Open { inner, on_end, .. }) = stalled {
            drop(inner);
            on_end(Some(stalled_status()));
            return;
        }
    }
}

fn stalled_status() -> Status {
    Problem::new(ErrorReason::SlowConsumer).into()
}

impl<F: FnOnce(Option<Status>) + Send + 'static> http_body::Body for StreamedBody<F> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let over = this
            .deadline
            .as_mut()
            .is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready());
        let reason = if over {
            Some(ErrorReason::DeadlineExceeded)
        } else {
            let stopping = this.stopping.as_mut().poll(cx).is_ready();
            stopping.then_some(ErrorReason::Draining)
        };
        if let Some(reason) = reason {
            return Poll::Ready(this.end(Problem::new(reason).into()));
        }
        let mut open = this.open.lock();
        let Some(stream) = open.as_mut() else {
            drop(open);
            return Poll::Ready(this.end(stalled_status()));
        };
        let frame = Pin::new(&mut stream.inner).poll_frame(cx);
        stream.handed_out = frame.is_ready().then(Instant::now);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    stream.status = Status::from_header_map(trailers);
                }
            }
            Poll::Ready(Some(Err(status))) => stream.status = Some(status.clone()),
            Poll::Ready(None) => this.ended = true,
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.open.lock().as_ref().is_some_and(|open| open.inner.is_end_stream())
    }
}

impl<F: FnOnce(Option<Status>) + Send + 'static> Drop for StreamedBody<F> {
    fn drop(&mut self) {
        self.watch.abort();
        let open = self.open.lock().take();
        if let Some(open) = open {
            (open.on_end)(open.status);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::sync::oneshot;
    use tonic::{Code, Status, body::Body};

    use super::StreamedBody;
    use crate::Drain;

    const STALLED_AFTER: Duration = Duration::from_millis(50);

    /// A body of `frames` frames that then waits for ever, and what it ends with.
    fn stream(frames: usize) -> (Body, oneshot::Receiver<Option<Status>>) {
        let ready = tokio_stream::iter((0..frames).map(|_| Ok::<_, Status>(Frame::data(Bytes::from_static(b"frame")))));
        let inner = Body::new(StreamBody::new(futures_util::StreamExt::chain(
            ready,
            futures_util::stream::pending(),
        )));
        let (told, ended) = oneshot::channel();
        let body = StreamedBody::new(inner, None, STALLED_AFTER, Drain::new(), |status| {
            // The receiver is dropped only by a test that has failed.
            let _ = told.send(status);
        });
        (Body::new(body), ended)
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_holds_nothing() {
        let (mut body, ended) = stream(2);
        assert!(body.frame().await.expect("a frame").is_ok());
        let status = ended.await.expect("told").expect("a status");
        assert_eq!(status.code(), Code::ResourceExhausted);
        let trailers = body.frame().await.expect("a frame").expect("no error");
        let trailers = trailers.into_trailers().expect("the stream ends");
        assert_eq!(
            Status::from_header_map(&trailers).expect("a status").code(),
            Code::ResourceExhausted
        );
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_waits_for_us_is_not_slow() {
        let (mut body, mut ended) = stream(1);
        assert!(body.frame().await.expect("a frame").is_ok());
        assert!(tokio::time::timeout(STALLED_AFTER * 10, body.frame()).await.is_err());
        assert!(ended.try_recv().is_err(), "it goes on");
        drop(body);
        assert!(ended.await.expect("told").is_none(), "the client went away");
    }
}
