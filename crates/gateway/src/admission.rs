use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::{Environment, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};

use crate::arrivals::Arrivals;

/// How much goes through the gateway at once. Services have limits of their own; these bound what waits for them here. How often
/// a caller may call is theirs to say, since they know who calls.
#[derive(Debug)]
pub struct Admission {
    environment: Environment,
    arrivals: Arrivals,
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
}

/// A response's body that keeps its call's place until it is sent or dropped.
pub struct Admitted {
    inner: Body,
    _permit: OwnedSemaphorePermit,
}

impl Admitted {
    pub fn body(inner: Body, permit: OwnedSemaphorePermit) -> Body {
        Body::new(Self { inner, _permit: permit })
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
