//! A process stops in time whatever its peers do (`reliability.md` D3, F52).

use std::{sync::atomic::Ordering, time::Duration};

use tidings_proto_gateway::v1::{GetLimitsRequest, GetServerInfoRequest, gateway_service_client::GatewayServiceClient};
use tidings_rpc::Limits;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{Port, until};

/// Peers that hold a connection without a call in hand do not hold up the drain at all. Less than what a connection has for its first
/// byte, and than the drain has in all.
const QUICK: Duration = Duration::from_secs(8);

/// A call of somebody else, before which all connections were accepted that were made before it.
async fn others_are_served(port: &Port) {
    let mut client = GatewayServiceClient::connect(port.url()).await.expect("connects");
    client.get_server_info(GetServerInfoRequest {}).await.expect("served");
}

async fn drained_quickly(port: Port) {
    let begun = Instant::now();
    let in_time = port.drain.finish().await;
    assert!(in_time && begun.elapsed() < QUICK, "it took {:?}", begun.elapsed());
    port.served.await.expect("joins").expect("accepts until the end");
}

#[tokio::test]
async fn a_silent_peer_does_not_hold_up_the_drain() {
    let port = Port::open(Limits::default()).await;
    let _silent = TcpStream::connect(port.address).await.expect("connects");
    others_are_served(&port).await;
    drained_quickly(port).await;
}

#[tokio::test]
async fn a_peer_in_the_middle_of_its_preface_does_not_hold_up_the_drain() {
    let port = Port::open(Limits::default()).await;
    let mut half = TcpStream::connect(port.address).await.expect("connects");
    half.write_all(b"PRI * HTTP/2").await.expect("writes");
    others_are_served(&port).await;
    drained_quickly(port).await;
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_drain() {
    let port = Port::open(Limits::default()).await;
    let mut client = GatewayServiceClient::connect(port.url()).await.expect("connects");
    client.get_server_info(GetServerInfoRequest {}).await.expect("served");
    drained_quickly(port).await;
}

#[tokio::test]
async fn a_watch_of_the_health_does_not_hold_up_the_drain() {
    let port = Port::open(Limits::default()).await;
    let mut client = HealthClient::new(port.channel().await);
    let watch = client.watch(HealthCheckRequest::default()).await.expect("watches");
    let mut watch = watch.into_inner();
    watch.message().await.expect("a first status");
    drained_quickly(port).await;
    let end = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ends with a status"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_call_in_hand_is_finished_and_new_connections_are_refused() {
    let port = Port::open(Limits::default()).await;
    let mut client = GatewayServiceClient::connect(port.url()).await.expect("connects");
    let call = tokio::spawn(async move { client.get_limits(GetLimitsRequest {}).await });
    until("the call's begin", || port.handle.begun.load(Ordering::SeqCst) == 1).await;
    port.drain.begin();
    let refused = async {
        while TcpStream::connect(port.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(QUICK, refused).await.expect("the port closes");
    port.handle.go_on.notify_one();
    call.await.expect("joins").expect("the call in hand is answered");
    drained_quickly(port).await;
}

#[tokio::test]
async fn bytes_that_are_no_protocol_close_the_connection() {
    let port = Port::open(Limits::default()).await;
    let mut garbage = TcpStream::connect(port.address).await.expect("connects");
    garbage
        .write_all(&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3, b'\r', b'\n', b'\r', b'\n'])
        .await
        .expect("writes");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(15), garbage.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection stays open");
    drained_quickly(port).await;
}
