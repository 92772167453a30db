//! The bodies of streamed responses: when they end, whatever their handlers and readers do.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use parking_lot::Mutex;
use tidings_proto_common::v1::ErrorReason;
use tokio::time::{Instant, Sleep};
use tonic::{Status, body::Body};

use crate::{Answers, Drain, Problem, Watch, Watched};

/// When the process stops, streams end themselves and say how far they were. Those that do not, as health checks, end after this.
const FAREWELL: Duration = Duration::from_secs(2);

/// A streamed response's body. It ends at the deadline that the client named, when the process stops, and when its reader takes
/// nothing for too long; and it says how it ended, once.
pub(crate) struct StreamedBody<F: FnOnce(Option<Status>) + Send + 'static> {
    inner: Watched,
    deadline: Option<Pin<Box<Sleep>>>,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    ended: bool,
    status: Option<Status>,
    on_end: Arc<Mutex<Option<F>>>,
}

impl<F: FnOnce(Option<Status>) + Send + 'static> StreamedBody<F> {
    /// `on_end` gets the status that the stream ended with, or `None` when the client went away.
    pub(crate) fn new(
        inner: Body,
        deadline: Option<Instant>,
        answers: &Answers,
        stalled_after: Duration,
        drain: Drain,
        on_end: F,
    ) -> Self {
        let on_end = Arc::new(Mutex::new(Some(on_end)));
        let told = Arc::clone(&on_end);
        let stalled = move || tell(&told, Some(Problem::new(ErrorReason::SlowConsumer).into()));
        let inner = answers.watch(
            inner,
            Watch {
                patience: stalled_after,
                until: None,
                caller: None,
                trailers: true,
                on_let_go: Some(Box::new(stalled)),
            },
        );
        let stopping = async move {
            drain.begun().await;
            tokio::time::sleep(FAREWELL).await;
        };
        let deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        Self {
            inner,
            deadline,
            stopping: Box::pin(stopping),
            ended: false,
            status: None,
            on_end,
        }
    }

    /// Ends the stream from our side.
    fn end(&mut self, status: Status) -> Option<Result<Frame<Bytes>, Status>> {
        let mut trailers = HeaderMap::new();
        let written = status.add_header(&mut trailers);
        self.ended = true;
        self.status = Some(status);
        Some(written.map(|()| Frame::trailers(trailers)))
    }
}

/// Says how a stream ended, unless that was said.
fn tell<F: FnOnce(Option<Status>)>(on_end: &Mutex<Option<F>>, status: Option<Status>) {
    let on_end = on_end.lock().take();
    if let Some(on_end) = on_end {
        on_end(status);
    }
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
        let frame = Pin::new(&mut this.inner).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.status = Status::from_header_map(trailers);
                }
            }
            Poll::Ready(Some(Err(status))) => this.status = Some(status.clone()),
            Poll::Ready(None) => this.ended = true,
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }
}

impl<F: FnOnce(Option<Status>) + Send + 'static> Drop for StreamedBody<F> {
    fn drop(&mut self) {
        tell(&self.on_end, self.status.take());
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
    use crate::{Answers, Drain};

    const STALLED_AFTER: Duration = Duration::from_millis(50);

    /// A body of `frames` frames that then waits for ever, and what it ends with.
    fn stream(frames: usize) -> (Body, oneshot::Receiver<Option<Status>>) {
        let ready = tokio_stream::iter((0..frames).map(|_| Ok::<_, Status>(Frame::data(Bytes::from_static(b"frame")))));
        let inner = Body::new(StreamBody::new(futures_util::StreamExt::chain(
            ready,
            futures_util::stream::pending(),
        )));
        let (told, ended) = oneshot::channel();
        let body = StreamedBody::new(inner, None, &Answers::new(), STALLED_AFTER, Drain::new(), |status| {
            // The receiver is dropped only by a test that has failed.
            let _ = told.send(status);
        });
        (Body::new(body), ended)
    }

    #[tokio::test(start_paused = true)]
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

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_waits_for_us_is_not_slow() {
        let (mut body, mut ended) = stream(1);
        assert!(body.frame().await.expect("a frame").is_ok());
        assert!(tokio::time::timeout(STALLED_AFTER * 100, body.frame()).await.is_err());
        assert!(ended.try_recv().is_err(), "it goes on");
        drop(body);
        assert!(ended.await.expect("told").is_none(), "the client went away");
    }
}
