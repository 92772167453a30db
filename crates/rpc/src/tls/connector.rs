use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::rt::TokioIo;
use tidings_authn::Service;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::MutualTls;

/// What is read at once at a connection's start: a record of TLS.
const FIRST_BYTES_MAX: usize = 16 * 1024;

/// Connects to one service, each time with the certificates that are in use then.
#[derive(Debug, Clone)]
pub struct Connector {
    tls: MutualTls,
    callee: Service,
}

impl Connector {
    pub fn new(tls: MutualTls, callee: Service) -> Self {
        Self { tls, callee }
    }

    async fn connect(self, uri: Uri) -> io::Result<TokioIo<BufReader<TlsStream<TcpStream>>>> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(stream, self.callee).await?;
        // The callee judges our certificate after the handshake has ended for us. It speaks first in HTTP/2, so what comes now
        // are its settings, or why it refuses. A call that is sent before might have been read, and would not be repeated.
        let mut stream = BufReader::with_capacity(FIRST_BYTES_MAX, stream);
        if stream.fill_buf().await?.is_empty() {
            return Err(io::Error::other(format!("{} has closed the connection", self.callee)));
        }
        Ok(TokioIo::new(stream))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<BufReader<TlsStream<TcpStream>>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}
