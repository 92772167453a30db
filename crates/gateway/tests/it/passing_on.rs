//! What goes on to the services beside the message.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use http::Method;
use tidings_gateway::Config;
use tidings_proto_auth::v1::LoginRequest;
use tidings_rpc::{AGENT_HEADER, CLIENT_HEADER, SERVICE_HEADER};
use tokio::time::Instant;

use crate::{
    calls::{LOGIN, STREAM, framed, request},
    fakes::Call,
    world::{CLIENT, PATIENCE, SHAPES, Settings, Shape, World},
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
    let json = ("content-type", "application/json");
    for (is_grpc, timeout, named) in [
        (true, Some(("grpc-timeout", "40S")), 40),
        (true, None, 10),
        (true, Some(("grpc-timeout", "99999999H")), 60),
        (false, Some(("connect-timeout-ms", "40000")), 40),
        (false, Some(("connect-timeout-ms", "9999999999")), 60),
        // What is another protocol's word counts for nothing.
        (false, Some(("grpc-timeout", "1S")), 10),
    ] {
        let begun = Instant::now();
        if is_grpc {
            let headers: Vec<_> = timeout.into_iter().collect();
            world.grpc(LOGIN, &headers, &LoginRequest::default()).await;
        } else {
            let headers: Vec<_> = [json].into_iter().chain(timeout).collect();
            world.post(LOGIN, &headers, "{}").await;
        }
        let (left, named) = (world.seen.take().time_left, Duration::from_secs(named));
        // What is gone is at most what the call took, to the millisecond that the header tells.
        let gone = begun.elapsed() + Duration::from_millis(2);
        assert!(
            left <= named && left + gone >= named,
            "{left:?} of {named:?} with {timeout:?}"
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_stream_at_the_service() {
    for shape in SHAPES {
        let mut settings = Settings::new(shape);
        settings.limits.streams_per_user_max = 1;
        // It is asked again and again whether there is a place.
        settings.limits.rate_factor = NonZeroU32::MAX;
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
                let text = String::from_utf8_lossy(&answer.body);
                if !text.contains("error") {
                    break;
                }
                assert!(text.contains("QUOTA_EXCEEDED"), "{text}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, again)
            .await
            .expect("the place is free again");
    }
}
