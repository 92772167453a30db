//! A client of the public API that does not give up easily: calls are repeated with the same `request_id`, login sessions renew
//! themselves, and what a server refuses for good comes back as a [`Failure`] with its reason and fields.

mod calls;
mod failure;
mod retry;
mod session;
mod stream;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

pub use failure::Failure;
pub use retry::{Attempts, Patience};
pub use session::{Account, Session};
pub use stream::ChangeStream;
use tidings_ids::Source;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint},
};

use crate::meter::Meter;

/// A call that has no answer after this long is tried again. Longer than the server's own time-outs, so that it answers first.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Streams on one connection; the server takes 100 calls there.
const STREAMS_PER_CONNECTION: usize = 50;

/// How to speak to a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the gateway listens: `host:port`, or an `http://` URL.
    pub target: String,
    /// Connections for calls.
    pub connections: usize,
    /// Streams that are open at once; they have connections of their own.
    pub streams: usize,
    /// How long a call is repeated before it has failed.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            target: "http://127.0.0.1:7700".to_owned(),
            connections: 4,
            streams: STREAMS_PER_CONNECTION,
            patience: Duration::from_secs(60),
        }
    }
}

/// Connections to one server. Clones share them.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    calls: Vec<Channel>,
    streams: Vec<Channel>,
    next: AtomicUsize,
    patience: Patience,
    meter: Arc<Meter>,
    source: Source,
}

impl Client {
    /// A client; it connects with the first call. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// When the target is no address.
    pub fn new(options: &Options, meter: Arc<Meter>, source: Source) -> Result<Self, tonic::transport::Error> {
        let endpoint = endpoint(&options.target)?;
        let channels = |count: usize| (0..count.max(1)).map(|_| endpoint.connect_lazy()).collect();
        Ok(Self {
            inner: Arc::new(Inner {
                calls: channels(options.connections),
                streams: channels(options.streams.div_ceil(STREAMS_PER_CONNECTION)),
                next: AtomicUsize::new(0),
                patience: Patience(options.patience),
                meter,
                source,
            }),
        })
    }

    /// Makes a call that carries no access token, until it succeeds or is refused for good. `request` must be repeatable: a read,
    /// or with a `request_id`, or harmless twice.
    ///
    /// # Errors
    ///
    /// What the server refuses, or what the last attempt met when patience is over.
    pub async fn call<M, R, F, A>(&self, method: &'static str, request: &M, invoke: F) -> Result<R, Failure>
    where
        M: Clone,
        F: Fn(Channel, Request<M>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        let mut attempts = self.attempts(method);
        loop {
            match self.attempt(Request::new(request.clone()), &invoke).await {
                Ok(answer) => return Ok(answer),
                Err(status) => attempts.pause_after(&status).await?,
            }
        }
    }

    /// Counts the attempts of a call.
    #[must_use]
    pub fn attempts(&self, method: &'static str) -> Attempts {
        Attempts::new(
            method,
            self.inner.patience,
            Arc::clone(&self.inner.meter),
            self.inner.source.clone(),
        )
    }

    /// What counts the calls.
    #[must_use]
    pub fn meter(&self) -> &Arc<Meter> {
        &self.inner.meter
    }

    /// Time and randomness.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.inner.source
    }

    pub(crate) fn stream_channel(&self) -> Channel {
        self.channel(&self.inner.streams)
    }

    async fn attempt<M, R, F, A>(&self, mut request: Request<M>, invoke: &F) -> Result<R, Status>
    where
        F: Fn(Channel, Request<M>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        request.set_timeout(CALL_TIMEOUT);
        // tonic's own time-out ends with the headers; this one holds for the whole answer.
        match tokio::time::timeout(CALL_TIMEOUT, invoke(self.channel(&self.inner.calls), request)).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        }
    }

    fn channel(&self, channels: &[Channel]) -> Channel {
        let index = self.inner.next.fetch_add(1, Ordering::Relaxed) % channels.len();
        channels[index].clone()
    }
}

/// A connection to one process, by itself: for what is measured call by call.
///
/// # Errors
///
/// When the target is no address.
pub fn channel(target: &str) -> Result<Channel, tonic::transport::Error> {
    Ok(endpoint(target)?.connect_lazy())
}

/// A request with an access token.
///
/// # Panics
///
/// When the token is none: they are ASCII.
pub fn authorized<M>(message: M, access_token: &str) -> Request<M> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {access_token}").parse().expect("a token is ASCII");
    request.metadata_mut().insert("authorization", bearer);
    request
}

fn endpoint(target: &str) -> Result<Endpoint, tonic::transport::Error> {
    let url = if target.contains("://") {
        target.to_owned()
    } else {
        format!("http://{target}")
    };
    Ok(Endpoint::from_shared(url)?
        .user_agent(concat!("tidings-load/", env!("CARGO_PKG_VERSION")))?
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(5))
        // A server that was stopped in mid-air (SIGSTOP, a cut cable) does not close its connections.
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true))
}
