use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::{Answers, CallEnd, Environment, Problem, RateKey, Watch};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};

use crate::arrivals::Arrivals;

/// How much goes through the gateway at once. Services have limits of their own; these bound what waits for them here. How often
/// a caller may call is theirs to say, since they know who calls.
#[derive(Debug)]
pub struct Admission {
    environment: Environment,
    arrivals: Arrivals,
    answers: Answers,
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// What is refused is told to come back after about this long, with jitter, so that not all come at once.
pub const OVERLOAD_WAIT: Duration = Duration::from_secs(1);

impl Admission {
    pub fn new(environment: &Environment) -> Self {
        let limits = environment.limits;
        Self {
            environment: environment.clone(),
            arrivals: Arrivals::new(environment.source.clone()),
            answers: Answers::new(),
            calls: Arc::new(Semaphore::new(limits.calls_max)),
            streams: Arc::new(Semaphore::new(limits.streams_max)),
        }
    }

    /// The requests that are on their way, which have no place yet.
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// A place for one call whose request is here, or the refusal: `OVERLOADED`, or `DRAINING` when the process stops.
    pub fn enter(&self, streams: bool) -> Result<OwnedSemaphorePermit, Problem> {
        if self.environment.drain.has_begun() {
            return Err(Problem::new(ErrorReason::Draining));
        }
        let places = if streams { &self.streams } else { &self.calls };
        Arc::clone(places).try_acquire_owned().map_err(|_| {
            let wait = self.environment.source.jitter(OVERLOAD_WAIT);
            Problem::new(ErrorReason::Overloaded).retry_after(wait)
        })
    }

    /// The answer to a call of this network, looked after until its reader has it: where nothing of it is taken for too long, what it
    /// holds is let go, and its call ended. What the answers of unary calls hold is bounded meanwhile.
    pub fn answer(&self, response: Response<Body>, network: RateKey, end: Option<CallEnd>) -> Response<Body> {
        let limits = self.environment.limits;
        let lasting = response.extensions().get::<Lasting>().copied();
        let patience = match lasting {
            Some(Lasting::Stream) => limits.stalled_after,
            Some(Lasting::Transfer) | None => limits.untaken_after,
        };
        let watch = Watch {
            patience,
            until: None,
            caller: lasting.is_none().then_some(network),
            trailers: false,
            on_let_go: end.map(CallEnd::on_let_go),
        };
        self.answers.watch_response(response, watch)
    }
}

/// What an answer is that lasts: how long its reader may take nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// A stream of messages, whose service looks after it too.
    Stream,
    /// A file, which is moved or given up.
    Transfer,
}

/// A response's body that keeps its call's place until it is sent or dropped.
pub struct Admitted {
    inner: Body,
    _permit: OwnedSemaphorePermit,
}

impl Admitted {
    /// The response, which keeps the place.
    pub fn keep(mut response: Response<Body>, permit: OwnedSemaphorePermit, lasting: Lasting) -> Response<Body> {
        response.extensions_mut().insert(lasting);
        response.map(|inner| Body::new(Self { inner, _permit: permit }))
    }
}

impl http_body::Body for Admitted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
