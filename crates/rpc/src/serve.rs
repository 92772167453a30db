//! The accept loop: what tonic's own does not limit (`reliability.md` D3, D4).

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::{Request, Response};
use hyper_util::{rt::TokioTimer, server::conn::auto};
use parking_lot::Mutex;
use tidings_ids::Source;
use tokio::{net::TcpListener, sync::Semaphore};
use tonic::body::Body;
use tower::Service;

use crate::{
    Drain, MutualTls, PublicTls, RateKey,
    connection::{Connection, FIRST_BYTE_TIMEOUT, StreamTasks},
    windows,
};

/// What one port takes.
#[derive(Debug, Clone, Copy)]
pub struct PortLimits {
    /// Connections at once. Further ones wait in the system's queue.
    pub connections_max: usize,
    /// Connections at once from one address, of IPv6 from one /56, of which a customer may use every address; further ones are closed.
    /// A proxy in front has one address.
    pub connections_per_address_max: usize,
    /// Calls at once on one connection.
    pub streams_per_connection_max: u32,
    /// What a caller may send of one call's body before it is read, in bytes.
    pub stream_window_bytes: u32,
    /// What a caller may send of all its bodies on one connection before they are read, in bytes.
    pub connection_window_bytes: u32,
    /// A connection without a call for this long is ended (MAX_CONNECTION_IDLE of gRFC A9).
    pub idle_max: Duration,
    /// The same when fewer than a tenth of the places for connections are free. It is looked for this often.
    pub idle_short: Duration,
    /// Whether HTTP/1.1 is spoken too, as at the gateway.
    pub http1: bool,
}

impl PortLimits {
    /// A port that clients reach: 100 calls a connection, as HTTP/2 recommends at least.
    pub const PUBLIC: Self = Self {
        connections_max: 10_000,
        connections_per_address_max: 2_000,
        streams_per_connection_max: 100,
        stream_window_bytes: windows::CLIENT_BYTES,
        connection_window_bytes: windows::CLIENT_BYTES,
        idle_max: Duration::from_secs(300),
        idle_short: Duration::from_secs(10),
        http1: true,
    };

    /// A port between services, where one connection carries the calls of many users.
    pub const INTERNAL: Self = Self {
        connections_max: 1_000,
        connections_per_address_max: 1_000,
        streams_per_connection_max: 20_000,
        stream_window_bytes: windows::STREAM_BYTES,
        connection_window_bytes: windows::CONNECTION_BYTES,
        // As long as a connection gets old: services are few, and call again.
        idle_max: Duration::from_secs(3_600),
        idle_short: Duration::from_secs(10),
        http1: false,
    };
}

/// A port that is listened on, and what is spoken below HTTP there.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    security: Security,
}

#[derive(Debug, Clone)]
pub(crate) enum Security {
    Plain,
    Mutual(MutualTls),
    Public(PublicTls),
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self {
            socket,
            security: Security::Plain,
        }
    }
}

impl Listener {
    /// Takes only callers with a certificate of a service, where there is TLS between services.
    #[must_use]
    pub fn mutual(socket: TcpListener, tls: Option<MutualTls>) -> Self {
        let security = tls.map_or(Security::Plain, Security::Mutual);
        Self { socket, security }
    }

    /// Speaks TLS with clients, where the public port has a certificate.
    #[must_use]
    pub fn public(socket: TcpListener, tls: Option<PublicTls>) -> Self {
        let security = tls.map_or(Security::Plain, Security::Public);
        Self { socket, security }
    }
}

/// The headers of a call, names and values together, in bytes. An access token has about 500.
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;

/// A silent HTTP/2 peer is probed this often (gRFC A8 has two hours; clients on phones vanish sooner).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// A probe that is not answered for this long ends the connection.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection is told to go away at this age, so that clients spread over nodes again (gRFC A9), ±10 %.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(3_600);

/// Serves `service` on a port. Returns when the process begins to stop: the port is closed then, and [`Drain::finish`] waits for the
/// connections that are open.
///
/// # Errors
///
/// When the port cannot be accepted from at all.
pub async fn serve<S>(
    listener: impl Into<Listener>,
    service: S,
    limits: PortLimits,
    drain: Drain,
    source: Source,
) -> io::Result<()>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let Listener { socket, security } = listener.into();
    let port = Port {
        builder: builder(limits),
        security,
        connections: Arc::new(Semaphore::new(limits.connections_max)),
        by_address: Arc::default(),
        limits,
        drain,
        source,
    };
    port.accept_until_drained(socket, service).await
}

struct Port {
    builder: auto::Builder<StreamTasks>,
    security: Security,
    connections: Arc<Semaphore>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    limits: PortLimits,
    drain: Drain,
    source: Source,
}

fn builder(limits: PortLimits) -> auto::Builder<StreamTasks> {
    let mut builder = auto::Builder::new(StreamTasks);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection_max)
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(FIRST_BYTE_TIMEOUT)
        .max_buf_size(64 * 1024)
        .half_close(false);
    if limits.http1 { builder } else { builder.http2_only() }
}

impl Port {
    async fn accept_until_drained<S>(self, listener: TcpListener, service: S) -> io::Result<()>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&self.connections).acquire_owned() => permit.expect("the semaphore is never closed"),
                () = self.drain.begun() => return Ok(()),
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.drain.begun() => return Ok(()),
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or a connection that was gone before it was accepted: pause, never spin.
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Some(counted) = self.count(host(address.ip())) else {
                continue;
            };
            let connection = Connection {
                builder: self.builder.clone(),
                security: self.security.clone(),
                drain: self.drain.clone(),
                limits: self.limits,
                places: Arc::clone(&self.connections),
                age_max: CONNECTION_AGE_MAX.mul_f64(0.9 + 0.2 * self.source.fraction()),
            };
            let service = service.clone();
            // The tracker waits for the connection's task; it is dropped at the hard end.
            self.drain.spawn(async move {
                connection.serve(stream, address, service).await;
                drop((permit, counted));
            });
        }
    }

    /// Counts a connection for its address, or says that the address has too many.
    fn count(&self, address: IpAddr) -> Option<Counted> {
        let mut by_address = self.by_address.lock();
        let count = by_address.entry(address).or_default();
        if *count >= self.limits.connections_per_address_max {
            return None;
        }
        *count += 1;
        Some(Counted {
            address,
            by_address: Arc::clone(&self.by_address),
        })
    }
}

/// What counts as one host.
fn host(address: IpAddr) -> IpAddr {
    match (address.to_canonical(), RateKey::prefix(address)) {
        (IpAddr::V6(_), RateKey::Prefix(network)) => network,
        (address, _) => address,
    }
}

struct Counted {
    address: IpAddr,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut by_address = self.by_address.lock();
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

/// Listens on an address, and says which flag to change when it is taken.
///
/// # Errors
///
/// When the address cannot be listened on.
pub async fn listen(address: SocketAddr, flag: &str) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot listen on {address} ({error}): free it or choose another with {flag}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::host;

    #[test]
    fn the_addresses_that_one_host_can_take_count_as_one() {
        let host = |text: &str| host(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(host("2001:db8:0:1::1"), host("2001:db8:0:2:ffff::2"));
        assert_ne!(host("2001:db8:0:1::1"), host("2001:db8:0:100::1"));
        assert_eq!(host("::ffff:192.0.2.1"), host("192.0.2.1"));
        assert_ne!(host("192.0.2.1"), host("192.0.2.2"));
    }
}
