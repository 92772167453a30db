//! Connections that do not come about, on either side.

use std::{sync::Arc, time::Duration};

use rustls::version::{TLS12, TLS13};
use tidings_authn::{Service, ServiceIdentity};
use tidings_rpc::{Peer, testing::Authority};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::world::{World, assert_unreachable, client, greet, load, secret};

const DAY: Duration = Duration::from_secs(86_400);

/// Whoever is no service is told so at once: before a handshake is given up.
const SOON: Duration = Duration::from_secs(8);

#[tokio::test]
async fn a_caller_without_a_certificate_is_refused() {
    let world = World::new().await;
    let refused = timeout(SOON, world.raw(client(&world.authority, None, &TLS13))).await;
    refused.expect("at once").expect_err("has no certificate");
    let certificate = world.authority.service(Service::Chat, world.source.now());
    let taken = timeout(SOON, world.raw(client(&world.authority, Some(&certificate), &TLS13))).await;
    taken
        .expect("at once")
        .expect("the same with a certificate gets through");
}

#[tokio::test]
async fn a_caller_of_another_authority_is_refused() {
    let world = World::new().await;
    let stranger = Authority::new();
    let certificate = stranger.service(Service::Chat, world.source.now());
    let trusted = [&world.authority, &stranger];
    let (_, tls) = load(Service::Chat, &certificate, &trusted, world.source.clone());
    assert_unreachable(greet(world.peer(&tls, Service::Chat)).await);
}

#[tokio::test]
async fn a_callee_of_another_authority_is_refused() {
    let world = World::new().await;
    let stranger = Authority::new();
    let certificate = stranger.service(Service::Chat, world.source.now());
    let (_, tls) = load(Service::Chat, &certificate, &[&stranger], world.source.clone());
    assert_unreachable(greet(world.peer(&tls, Service::Chat)).await);
}

#[tokio::test]
async fn a_callers_certificate_counts_from_its_first_to_its_last_moment() {
    let world = World::new().await;
    let now = world.source.now();
    for (from, to, valid) in [
        (now - 2 * DAY, now - DAY, false),
        (now + DAY, now + 2 * DAY, false),
        (now - DAY, now + DAY, true),
    ] {
        let certificate = world.authority.sign(&[Service::Chat.host()], from, to);
        let outcome = timeout(SOON, world.raw(client(&world.authority, Some(&certificate), &TLS13))).await;
        assert_eq!(outcome.expect("at once").is_ok(), valid, "from {from} to {to}");
    }
}

#[tokio::test]
async fn a_callee_whose_certificate_has_expired_is_refused() {
    let world = World::new().await;
    let tls = world.tls_of(Service::Chat);
    greet(world.peer(&tls, Service::Chat)).await.expect("is valid today");
    world.source.advance(2 * DAY);
    let renewed = world.tls_of(Service::Chat);
    assert_unreachable(greet(world.peer(&renewed, Service::Chat)).await);
}

#[tokio::test]
async fn a_callee_with_the_certificate_of_another_service_is_refused() {
    let world = World::new().await;
    let tls = world.tls_of(Service::Gateway);
    let identity = Arc::new(ServiceIdentity::new(Service::Gateway, &secret(), world.source.clone()));
    let address = format!("https://{}", world.address);
    let peer =
        |callee| Peer::remote_over_tls(callee, &address, Arc::clone(&identity), &tls).expect("an address makes a URL");
    // The message service listens where chat is looked for.
    assert_unreachable(greet(peer(Service::Chat)).await);
    greet(peer(Service::Message)).await.expect("as itself it is welcome");
}

#[tokio::test]
async fn a_callers_certificate_must_name_one_service() {
    let world = World::new().await;
    let now = world.source.now();
    let (chat, gateway) = (Service::Chat.host(), Service::Gateway.host());
    for (names, valid) in [
        (&["printer.tidings.internal"][..], false),
        (&["*.tidings.internal"], false),
        (&[chat, gateway], false),
        (&["chat"], false),
        (&["chat.tidings.internal.example.org"], false),
        (&[chat], true),
        (&[chat, "chat-7.cluster.local"], true),
    ] {
        let certificate = world.authority.sign(names, now - DAY, now + DAY);
        let outcome = timeout(SOON, world.raw(client(&world.authority, Some(&certificate), &TLS13))).await;
        assert_eq!(outcome.expect("at once").is_ok(), valid, "{names:?}");
    }
}

#[tokio::test]
async fn older_versions_of_tls_are_not_spoken() {
    let world = World::new().await;
    let certificate = world.authority.service(Service::Chat, world.source.now());
    let config = client(&world.authority, Some(&certificate), &TLS12);
    let refused = timeout(SOON, world.raw(config)).await.expect("at once");
    refused.expect_err("is too old");
}

#[tokio::test]
async fn what_is_not_tls_is_turned_away() {
    let world = World::new().await;
    let mut plain = TcpStream::connect(world.address).await.expect("connects");
    plain
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .expect("writes");
    let mut answer = Vec::new();
    let read = timeout(SOON, plain.read_to_end(&mut answer)).await.expect("at once");
    assert!(
        read.is_err() || !answer.windows(4).any(|bytes| bytes == [0, 0, 0, 4]),
        "{answer:?}"
    );
    let identity = Arc::new(ServiceIdentity::new(Service::Chat, &secret(), world.source.clone()));
    let peer = Peer::remote(Service::Message, &format!("http://{}", world.address), identity).expect("a URL");
    greet(peer).await.expect_err("plaintext is not answered");
}

#[tokio::test]
async fn a_peer_in_the_middle_of_its_handshake_does_not_hold_up_the_drain() {
    let world = World::new().await;
    let mut half = TcpStream::connect(world.address).await.expect("connects");
    // A record of 512 bytes is announced, and two come.
    half.write_all(&[0x16, 3, 1, 2, 0, 1, 0]).await.expect("writes");
    greet(world.peer(&world.tls_of(Service::Chat), Service::Chat))
        .await
        .expect("others are served");
    let drained = timeout(SOON, world.drain.finish()).await;
    assert!(drained.expect("at once"), "something was dropped");
    world.served.await.expect("joins").expect("accepts until the end");
}
