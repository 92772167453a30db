//! One connection, from its first byte to its end.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::{rt::TokioIo, server::conn::auto};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Semaphore,
    task::AbortHandle,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};
use tower::Service;

use crate::{
    Drain, PortLimits,
    context::{Certified, ClientAddress},
    serve::Security,
};

/// A connection that sends nothing for this long at its start is closed.
pub(crate) const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);

/// A TLS handshake that takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection on which no call has begun for this long after its first byte is closed: a preface that never ends.
const FIRST_CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What is open on a connection that was told to go away may take this long.
const CONNECTION_AGE_GRACE: Duration = Duration::from_secs(600);

/// The places for connections are short when fewer than one in so many is free.
const SHORT: usize = 10;

/// What a connection is driven with.
pub(crate) struct Connection {
    pub builder: auto::Builder<StreamTasks>,
    pub security: Security,
    pub drain: Drain,
    pub limits: PortLimits,
    /// The places of its port, one of which is its own.
    pub places: Arc<Semaphore>,
    pub age_max: Duration,
}

impl Connection {
    pub(crate) async fn serve<S>(self, stream: TcpStream, address: SocketAddr, service: S)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        // A peer that says nothing is not worth a connection's memory, nor a wait when the process stops.
        let mut byte = [0];
        let first = tokio::select! {
            first = tokio::time::timeout(FIRST_BYTE_TIMEOUT, stream.peek(&mut byte)) => first,
            () = self.drain.begun() => return,
        };
        if !matches!(first, Ok(Ok(1..))) || stream.set_nodelay(true).is_err() {
            return;
        }
        let service = Attributed {
            service,
            address,
            certified: None,
            calls: Arc::new(Calls::new()),
        };
        match &self.security {
            Security::Plain => self.drive(stream, service).await,
            Security::Mutual(tls) => match self.handshake(tls.accept(stream)).await {
                Some(Ok((stream, caller))) => {
                    let certified = Some(Certified(caller));
                    self.drive(stream, Attributed { certified, ..service }).await;
                }
                // Only services know this port.
                Some(Err(error)) => tracing::warn!(%address, %error, "a caller was refused at the TLS handshake"),
                None => {}
            },
            Security::Public(tls) => match self.handshake(tls.accept(stream)).await {
                Some(Ok(stream)) => self.drive(stream, service).await,
                Some(Err(error)) => tracing::debug!(%address, %error, "a TLS handshake failed"),
                None => {}
            },
        }
    }

    /// The handshake's outcome; nothing when the process stops meanwhile.
    async fn handshake<T>(&self, handshake: impl Future<Output = io::Result<T>>) -> Option<io::Result<T>> {
        tokio::select! {
            outcome = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake) => {
                Some(outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
            }
            () = self.drain.begun() => None,
        }
    }

    /// Runs the protocol until the peer leaves, the connection is too old, nothing is called for too long, or the process stops.
    async fn drive<I, S>(&self, stream: I, service: Attributed<S>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        let calls = Arc::clone(&service.calls);
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let begun = Instant::now();
        let mut first_call = pin!(tokio::time::sleep_until(begun + FIRST_CALL_TIMEOUT));
        let mut age = pin!(tokio::time::sleep_until(begun + self.age_max));
        let mut look = tokio::time::interval_at(begun + self.limits.idle_short, self.limits.idle_short);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waits_for_call = true;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(error, "a connection ended by an error");
                    }
                    return;
                }
                () = calls.broken.cancelled() => return,
                () = first_call.as_mut(), if waits_for_call => {
                    waits_for_call = false;
                    if !calls.any() {
                        return;
                    }
                }
                _ = look.tick() => if calls.idle_for(self.idle_max()) {
                    break;
                },
                () = age.as_mut() => break,
                () = self.drain.begun() => break,
            }
        }
        connection.as_mut().graceful_shutdown();
        if !calls.any() {
            // Nothing is in hand; a peer in the middle of its preface would never end.
            return;
        }
        let grace = tokio::time::sleep(CONNECTION_AGE_GRACE);
        let mut grace = pin!(grace);
        look.reset();
        loop {
            tokio::select! {
                _ = connection.as_mut() => return,
                () = calls.broken.cancelled() => return,
                () = grace.as_mut() => return,
                // A peer that has no call in hand and does not go away is not waited for.
                _ = look.tick() => if calls.idle_for(self.limits.idle_short) {
                    return;
                },
            }
        }
    }

    /// How long it may be without a call.
    fn idle_max(&self) -> Duration {
        let is_short = self.places.available_permits() < self.limits.connections_max.div_ceil(SHORT);
        if is_short {
            self.limits.idle_short
        } else {
            self.limits.idle_max
        }
    }
}

/// The calls of a connection.
struct Calls {
    open: Mutex<Open>,
    /// Set when a call of HTTP/1.1 is broken off, which ends the connection.
    broken: CancellationToken,
    any: AtomicBool,
}

struct Open {
    calls: usize,
    /// Since when there are none.
    idle_since: Instant,
}

impl Calls {
    fn new() -> Self {
        let idle_since = Instant::now();
        Self {
            open: Mutex::new(Open { calls: 0, idle_since }),
            broken: CancellationToken::new(),
            any: AtomicBool::new(false),
        }
    }

    fn begin(self: &Arc<Self>) -> OpenCall {
        self.any.store(true, Ordering::Relaxed);
        self.open.lock().calls += 1;
        OpenCall(Arc::clone(self))
    }

    /// Whether there ever was one.
    fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    fn idle_for(&self, duration: Duration) -> bool {
        let open = self.open.lock();
        open.calls == 0 && open.idle_since.elapsed() >= duration
    }
}

/// A call until its answer is handed out.
struct OpenCall(Arc<Calls>);

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut open = self.0.open.lock();
        open.calls -= 1;
        open.idle_since = Instant::now();
    }
}

tokio::task_local! {
    /// The task that carries the stream of HTTP/2 that is being polled, once it is known.
    static STREAM: Arc<OnceLock<AbortHandle>>;
}

/// Runs each stream of HTTP/2 in a task that can be ended from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamTasks;

impl<F> hyper::rt::Executor<F> for StreamTasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let known = Arc::new(OnceLock::new());
        let task = tokio::spawn(STREAM.scope(Arc::clone(&known), stream));
        known.set(task.abort_handle()).expect("it is set once");
    }
}

/// Ends a call from outside, with all that the protocol keeps of its answer: resets its stream of HTTP/2, or closes its connection
/// of HTTP/1.1. An extension of every request that comes from a port.
#[derive(Debug, Clone)]
pub struct CallEnd(End);

#[derive(Debug, Clone)]
enum End {
    Stream(Arc<OnceLock<AbortHandle>>),
    Connection(CancellationToken),
}

impl CallEnd {
    /// Ends the call. Its handler goes on, as when a client goes away.
    pub fn end(&self) {
        match &self.0 {
            End::Stream(task) => {
                if let Some(task) = task.get() {
                    task.abort();
                }
            }
            End::Connection(broken) => broken.cancel(),
        }
    }

    /// The same for [`Watch::on_let_go`](crate::Watch::on_let_go).
    #[must_use]
    pub fn on_let_go(self) -> Box<dyn FnOnce() + Send> {
        Box::new(move || self.end())
    }
}

/// Tells each call where it comes from and how it is ended, and the connection that it is used.
#[derive(Clone)]
struct Attributed<S> {
    service: S,
    address: SocketAddr,
    certified: Option<Certified>,
    calls: Arc<Calls>,
}

impl<S> hyper::service::Service<Request<Incoming>> for Attributed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = futures_util::future::BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let open = self.calls.begin();
        let mut request = request.map(Body::new);
        request
            .extensions_mut()
            .insert(ClientAddress(self.address.ip().to_canonical()));
        if let Some(certified) = self.certified {
            request.extensions_mut().insert(certified);
        }
        let service = self.service.clone();
        Box::pin(async move {
            let end = if request.version() == Version::HTTP_2 {
                STREAM.try_with(Arc::clone).ok().map(End::Stream)
            } else {
                Some(End::Connection(open.0.broken.clone()))
            };
            if let Some(end) = end {
                request.extensions_mut().insert(CallEnd(end));
            }
            let response = tower::ServiceExt::oneshot(service, request).await?;
            Ok(response.map(|inner| Body::new(OpenBody { inner, _open: open })))
        })
    }
}

/// The body of an answer, with which its call ends.
struct OpenBody {
    inner: Body,
    _open: OpenCall,
}

impl http_body::Body for OpenBody {
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
