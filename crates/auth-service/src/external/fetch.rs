//! Fetches a JSON document of an issuer: over TLS, without redirects, cookies or proxies, and within limits of time and size.
//!
//! What is fetched comes from the configuration or from the issuer's own discovery document, never from a request or a token.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Finding, connecting, asking and reading all together.
const PATIENCE: Duration = Duration::from_secs(5);

/// Documents of issuers have some KiB.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// The answer's head, which hyper keeps in a buffer of this size.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Where a document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    uri: Uri,
    host: String,
    port: u16,
    tls: bool,
}

/// Why a text is no address of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidAddress(&'static str);

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Why a document could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("it took longer than {} s", PATIENCE.as_secs())]
    TimedOut,
    #[error("it cannot be reached: {0}")]
    Unreachable(std::io::Error),
    #[error("it does not speak HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("it answered {0}, where only 200 counts")]
    Status(StatusCode),
    #[error("its document is longer than {DOCUMENT_BYTES_MAX} bytes, or broke off")]
    Body,
    #[error("its document is not the JSON that it should be")]
    Document,
}

impl Address {
    /// Reads an `https` URL, or an `http` one of this machine.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let uri: Uri = text.parse().map_err(|_| InvalidAddress("is no URL"))?;
        let authority = uri.authority().ok_or(InvalidAddress("is no URL"))?;
        if authority.as_str().contains('@') {
            return Err(InvalidAddress("must not name a user"));
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(&host) => false,
            Some("http") => return Err(InvalidAddress("must be https")),
            _ => return Err(InvalidAddress("must begin with https://")),
        };
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        if host.is_empty() {
            return Err(InvalidAddress("names no host"));
        }
        Ok(Self { uri, host, port, tls })
    }

    /// Where an issuer's discovery document is (OpenID Connect Discovery 1.0, section 4).
    pub(crate) fn discovery(issuer: &str) -> Result<Self, InvalidAddress> {
        Self::parse(&format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        ))
    }

    /// Whether what is said there is said under TLS.
    pub(crate) fn has_tls(&self) -> bool {
        self.tls
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Whom the machine trusts.
pub(crate) fn machine_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "a certificate of the machine's trust store cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}

/// Fetches documents.
#[derive(Clone)]
pub(crate) struct Fetcher {
    tls: Arc<ClientConfig>,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher")
    }
}

impl Fetcher {
    /// A fetcher that trusts these.
    pub(crate) fn trusting(roots: RootCertStore) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the usual versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { tls: Arc::new(config) }
    }

    /// The document at this address.
    pub(crate) async fn json(&self, address: &Address) -> Result<Value, FetchError> {
        timeout(PATIENCE, self.get(address))
            .await
            .map_err(|_| FetchError::TimedOut)?
    }

    async fn get(&self, address: &Address) -> Result<Value, FetchError> {
        let stream = connect(address).await.map_err(FetchError::Unreachable)?;
        if !address.tls {
            return ask(stream, address).await;
        }
        let unreachable = |error| FetchError::Unreachable(std::io::Error::other(error));
        let name = ServerName::try_from(address.host.clone()).map_err(unreachable)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(name, stream).await.map_err(FetchError::Unreachable)?;
        ask(stream, address).await
    }
}

async fn connect(address: &Address) -> std::io::Result<TcpStream> {
    let mut last = None;
    for found in lookup_host((address.host.as_str(), address.port)).await? {
        // Without TLS nobody but this machine is asked, whatever `localhost` is told to be.
        if !address.tls && !found.ip().is_loopback() {
            continue;
        }
        match TcpStream::connect(found).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::other("the name has no address")))
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: &Address,
) -> Result<Value, FetchError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    let authority = address.uri.authority().map_or("", http::uri::Authority::as_str);
    let path = address
        .uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "tidings")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Document)?;
    let exchange = pin!(async move {
        let response = sender.send_request(request).await?;
        // A redirect is an answer like any other that is not the document.
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX).collect().await;
        let body = body.map_err(|_| FetchError::Body)?.to_bytes();
        serde_json::from_slice(&body).map_err(|_| FetchError::Document)
    });
    // Driven here and not by a task of its own, so that giving up closes it.
    match select(exchange, pin!(connection)).await {
        Either::Left((document, _)) => document,
        Either::Right((ended, exchange)) => {
            ended?;
            exchange.await
        }
    }
}

#[cfg(test)]
mod tests;
