//! What goes on to the services beside the message.

use std::{net::IpAddr, time::Duration};

use http::Method;
use tidings_gateway::Config;
use tidings_proto_auth::v1::LoginRequest;
use tidings_rpc::{AGENT_HEADER, CLIENT_HEADER, SERVICE_HEADER};

use crate::{
    calls::{LOGIN, STREAM, framed, request},
    fakes::Call,
    world::{CLIENT, SHAPES, Settings, Shape, World},
};

const FORGED: [(&str, &str); 10] = [
    ("x-tidings-service", "forged"),
    ("x-tidings-client", "127.0.0.1"),
    ("x-tidings-agent", "forged"),
    ("x-tidings-anything", "forged"),
    ("x-user-id", "forged"),
    ("x-internal-role", "admin"),
    ("x-forwarded-for", "127.0.0.1"),
    ("baggage", "user=forged"),
    ("cookie", "session=forged"),
    ("tracestate", "a=b"),
];

fn assert_clean(call: &Call, protocol: &str) {
    let client: IpAddr = CLIENT.parse().expect("an address");
    assert_eq!(call.address, Some(client), "{protocol}");
    assert_eq!(call.headers[CLIENT_HEADER], CLIENT, "{protocol}");
    assert!(
        !call.headers.contains_key(SERVICE_HEADER),
        "the middleware has taken it: {protocol}"
    );
    for (name, _) in FORGED.iter().filter(|(name, _)| *name != "x-tidings-client") {
        assert!(!call.headers.contains_key(*name), "{name} in {protocol}");
    }
}

#[tokio::test]
async fn headers_that_a_service_could_trust_are_not_the_clients_to_set() {
    for shape in SHAPES {
        let world = World::new(shape).await;
        assert_eq!(
            world
                .grpc(LOGIN, &FORGED, &LoginRequest::default())
                .await
                .status()
                .code(),
            tonic::Code::Ok
        );
        assert_clean(&world.seen.take(), "gRPC");
        for (kind, body) in [
            ("application/json", b"{}".to_vec()),
            ("application/proto", Vec::new()),
            ("application/grpc-web", framed(0, &[])),
        ] {
            let headers: Vec<(&str, &str)> = FORGED.iter().copied().chain([("content-type", kind)]).collect();
            assert_eq!(world.post(LOGIN, &headers, body).await.http, 200);
            assert_clean(&world.seen.take(), kind);
        }
    }
}

#[tokio::test]
async fn what_a_client_calls_itself_goes_on_in_every_protocol() {
    for shape in SHAPES {
        let world = World::new(shape).await;
        let bearer = world.bearer();
        let named = [
            ("user-agent", "browser/1.0"),
            ("x-tidings-agent", "forged"),
            ("authorization", bearer.as_str()),
        ];
        world.grpc(LOGIN, &named, &LoginRequest::default()).await;
        assert_eq!(world.seen.take().headers[AGENT_HEADER], "browser/1.0", "gRPC");
        for (path, kind, body) in [
            (LOGIN, "application/json", b"{}".to_vec()),
            (LOGIN, "application/proto", Vec::new()),
            (LOGIN, "application/grpc-web", framed(0, &[])),
            (STREAM, "application/connect+json", framed(0, b"{}")),
        ] {
            let headers: Vec<(&str, &str)> = named.iter().copied().chain([("content-type", kind)]).collect();
            assert_eq!(world.post(path, &headers, body).await.http, 200);
            assert_eq!(world.seen.take().headers[AGENT_HEADER], "browser/1.0", "{kind}");
        }
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_where_a_call_comes_from() {
    let trusted_proxies = vec!["192.0.2.0/24".parse().expect("a network")];
    let mut settings = Settings::new(Shape::Remote);
    settings.config = Config {
        trusted_proxies,
        ..Config::default()
    };
    let world = World::with(settings).await;
    let forwarded = ("x-forwarded-for", "127.0.0.1, 198.51.100.9");
    world.grpc(LOGIN, &[forwarded], &LoginRequest::default()).await;
    assert_eq!(world.seen.take().headers[CLIENT_HEADER], "198.51.100.9");
}

#[tokio::test]
async fn the_time_that_is_left_goes_on() {
    let world = World::new(Shape::Remote).await;
    let close = |left: Duration, named: u64| {
        let named = Duration::from_secs(named);
        left <= named && left + Duration::from_secs(1) > named
    };
    world
        .grpc(LOGIN, &[("grpc-timeout", "4S")], &LoginRequest::default())
        .await;
    assert!(close(world.seen.take().time_left, 4));
    world.grpc(LOGIN, &[], &LoginRequest::default()).await;
    assert!(close(world.seen.take().time_left, 10));
    world
        .grpc(LOGIN, &[("grpc-timeout", "99999999H")], &LoginRequest::default())
        .await;
    assert!(close(world.seen.take().time_left, 60));
    let json = ("content-type", "application/json");
    world.post(LOGIN, &[json, ("connect-timeout-ms", "4000")], "{}").await;
    assert!(close(world.seen.take().time_left, 4));
    world
        .post(LOGIN, &[json, ("connect-timeout-ms", "9999999999")], "{}")
        .await;
    assert!(close(world.seen.take().time_left, 60));
    // What is another protocol's word counts for nothing.
    world.post(LOGIN, &[json, ("grpc-timeout", "1S")], "{}").await;
    assert!(close(world.seen.take().time_left, 10));
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_stream_at_the_service() {
    for shape in SHAPES {
        let mut settings = Settings::new(shape);
        settings.limits.streams_per_user_max = 1;
        let world = World::with(settings).await;
        let bearer = world.bearer();
        let headers = [
            ("content-type", "application/connect+json"),
            ("authorization", bearer.as_str()),
        ];
        let open = || {
            request(
                Method::POST,
                STREAM,
                &headers,
                framed(0, br#"{"after":{"logId":"open"}}"#),
            )
        };
        let first = world.open(open()).await;
        let refused = world.post(STREAM, &headers, framed(0, b"{}")).await;
        assert!(
            String::from_utf8_lossy(&refused.body).contains("QUOTA_EXCEEDED"),
            "{refused:?}"
        );
        drop(first);
        let again = async {
            loop {
                let answer = world.post(STREAM, &headers, framed(0, b"{}")).await;
                if !String::from_utf8_lossy(&answer.body).contains("QUOTA_EXCEEDED") {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), again)
            .await
            .expect("the place is free again");
    }
}
