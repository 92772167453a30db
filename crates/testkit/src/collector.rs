use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use parking_lot::Mutex;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, NamedService, UnaryService},
    transport::Server,
};
use tower::Service;

use crate::spans::{ExportedSpan, spans_of};

/// An OpenTelemetry collector for traces, as far as a process that exports knows: it takes everything, and keeps it as it came.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Bytes>>>,
    server: JoinHandle<()>,
}

impl Collector {
    /// A collector on a port of its own.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let received = Arc::new(Mutex::new(Vec::new()));
        let service = Exports(Arc::clone(&received));
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            let served = Server::builder().add_service(service).serve_with_incoming(incoming);
            served.await.expect("the listener stays");
        });
        Self {
            address,
            received,
            server,
        }
    }

    /// What processes are told to export to.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bodies of all exports so far: messages `ExportTraceServiceRequest`, in protobuf.
    #[must_use]
    pub fn received(&self) -> Vec<Bytes> {
        self.received.lock().clone()
    }

    /// The spans in all exports so far.
    ///
    /// # Panics
    ///
    /// When something that came is no export.
    #[must_use]
    pub fn spans(&self) -> Vec<ExportedSpan> {
        self.received().into_iter().flat_map(spans_of).collect()
    }

    /// Takes this as if a process had exported it.
    pub fn take(&self, body: Bytes) {
        self.received.lock().push(body);
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The RPC that is exported by.
#[derive(Debug, Clone)]
struct Exports(Arc<Mutex<Vec<Bytes>>>);

impl NamedService for Exports {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl Service<http::Request<Body>> for Exports {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let export = Export(Arc::clone(&self.0));
        Box::pin(async move { Ok(Grpc::new(Raw).unary(export, request).await) })
    }
}

/// Keeps one export.
struct Export(Arc<Mutex<Vec<Bytes>>>);

impl UnaryService<Bytes> for Export {
    type Response = ();
    type Future = std::future::Ready<Result<Response<()>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        self.0.lock().push(request.into_inner());
        std::future::ready(Ok(Response::new(())))
    }
}

/// Messages as they come, and empty ones back.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = ();
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
