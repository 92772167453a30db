//! What a port does with connections and answers that nobody uses.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use tidings_proto_gateway::v1::{GetServerInfoRequest, gateway_service_client::GatewayServiceClient};
use tidings_rpc::{Limits, PortLimits};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::{
    Status,
    body::Body,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::ServiceExt as _;

use crate::support::Port;

/// Longer than anything takes here, and shorter than whatever else would end it.
const LIMIT: Duration = Duration::from_secs(20);

const INFO: &str = "/tidings.gateway.v1.GatewayService/GetServerInfo";

/// A port whose connections may be idle for this long, or for this long where places are short, which is looked for as often.
async fn port(idle_max: Duration, idle_short: Duration, connections_max: usize) -> Port {
    let limits = PortLimits {
        connections_max,
        idle_max,
        idle_short,
        ..PortLimits::PUBLIC
    };
    Port::with(Limits::default(), limits).await
}

/// A connection of HTTP/2 that has been used once, byte by byte: nothing opens another in its stead.
async fn used(port: &Port) -> TcpStream {
    let mut stream = TcpStream::connect(port.address).await.expect("connects");
    // The preface, empty settings, and a GET of `/` in Huffman-free HPACK: `:method GET`, `:scheme http`, `:path /`.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let call = b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84";
    stream.write_all(&[&preface[..], call].concat()).await.expect("writes");
    // Its settings come at once, so what is read is more than an end.
    let mut first = [0; 9];
    stream.read_exact(&mut first).await.expect("it answers");
    stream
}

async fn ends(mut connection: TcpStream) -> bool {
    let mut rest = Vec::new();
    // Reset or closed, it is over.
    timeout(LIMIT, connection.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test]
async fn a_connection_without_calls_is_ended_and_one_with_a_call_is_not() {
    // A connection that was just made has time enough for its first call, also where that takes long.
    let port = port(Duration::from_secs(2), Duration::from_millis(50), 10_000).await;
    let mut client = HealthClient::new(port.channel().await);
    let watch = client.watch(HealthCheckRequest::default()).await.expect("watches");
    let mut watch = watch.into_inner();
    watch.message().await.expect("a first status");
    assert!(ends(used(&port).await).await, "nobody calls on it");
    let idle = timeout(Duration::from_millis(500), watch.message()).await;
    assert!(idle.is_err(), "the stream stands: {idle:?}");
}

#[tokio::test]
async fn a_connection_without_calls_stays_while_there_are_places() {
    let port = port(Duration::from_secs(60), Duration::from_millis(50), 100).await;
    let mut few = Vec::new();
    for _ in 0..5 {
        few.push(used(&port).await);
    }
    let mut byte = [0];
    for connection in &mut few {
        // The answer comes, and then nothing.
        let silent = timeout(Duration::from_millis(300), async {
            while connection.read(&mut byte).await.expect("it stands") > 0 {}
        });
        assert!(silent.await.is_err(), "it is not ended");
    }
}

#[tokio::test]
async fn who_holds_all_connections_and_calls_nothing_does_not_keep_others_out() {
    // As above.
    let port = port(Duration::from_secs(60), Duration::from_secs(2), 20).await;
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(used(&port).await);
    }
    let call = async {
        let mut client = GatewayServiceClient::connect(port.url()).await.expect("connects");
        client.get_server_info(GetServerInfoRequest {}).await
    };
    let answer = timeout(LIMIT, call).await.expect("there is a place in time");
    answer.expect("it is served");
}

/// A client that takes no byte of any answer.
async fn closed_window(port: &Port) -> Channel {
    let endpoint = Endpoint::from_shared(port.url()).expect("a URL");
    let endpoint = endpoint.initial_stream_window_size(0);
    endpoint.connect().await.expect("connects")
}

fn call(path: &str) -> Request<Body> {
    let body = Body::new(Full::new(vec![0; 5].into()));
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("content-type", "application/grpc");
    request.body(body).expect("well-formed")
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_reset_and_its_connection_stands() {
    let port = Port::open(Limits {
        untaken_after: Duration::from_secs(1),
        ..Limits::default()
    })
    .await;
    let channel = closed_window(&port).await;
    let answer = channel.clone().oneshot(call(INFO)).await.expect("its head comes");
    assert!(Status::from_header_map(answer.headers()).is_none(), "it has a body");
    let body = timeout(LIMIT, answer.into_body().collect()).await.expect("it is ended");
    assert!(body.is_err(), "it is not there");
    // What needs no window is still answered.
    let unknown = channel.oneshot(call("/nothing")).await.expect("it is answered");
    assert!(Status::from_header_map(unknown.headers()).is_some());
}

#[tokio::test]
async fn an_answer_that_is_taken_is_whole() {
    let port = Port::open(Limits::default()).await;
    let channel = port.channel().await;
    let answer = channel.oneshot(call(INFO)).await.expect("its head comes");
    let body = timeout(LIMIT, answer.into_body().collect()).await.expect("it comes");
    assert!(body.expect("whole").trailers().is_some());
}
