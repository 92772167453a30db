use std::{num::NonZeroU32, sync::atomic::Ordering, time::Duration};

use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use tidings_authn::{Service, SuiteSecret};
use tidings_ids::Source;
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_gateway::v1::{GetLimitsRequest, GetServerInfoRequest, gateway_service_client::GatewayServiceClient};
use tidings_rpc::{App, Drain, Environment, Limits, Stack, problem::reason_name};
use tonic::{Code, Status, body::Body};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

use crate::support::{Handle, Port, environment, stack, until};

const INFO: &str = "/tidings.gateway.v1.GatewayService/GetServerInfo";

pub fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("{status:?} has no ErrorInfo"))
        .reason
}

/// Sends raw bytes to a path and returns the status that comes back.
async fn raw(path: &str, headers: &[(&str, &str)], bytes: Vec<u8>) -> Status {
    call(
        stack(&environment(Limits::default()), &Handle::default()),
        path,
        headers,
        bytes,
    )
    .await
}

async fn call(stack: Stack, path: &str, headers: &[(&str, &str)], bytes: Vec<u8>) -> Status {
    let mut request = Request::builder().method(Method::POST).uri(format!("http://x{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::new(Full::new(bytes.into()))).expect("well-formed");
    let response = stack.handle(request).await;
    let head = Status::from_header_map(response.headers());
    let trailers = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .trailers()
        .cloned();
    head.or_else(|| trailers.as_ref().and_then(Status::from_header_map))
        .expect("a status")
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

#[tokio::test]
async fn a_call_is_answered() {
    assert_eq!(raw(INFO, &[GRPC], vec![0; 5]).await.code(), Code::Ok);
}

#[tokio::test]
async fn paths_other_than_the_canonical_one_are_unknown() {
    let name = INFO.trim_start_matches('/');
    for path in [
        format!("//{name}"),
        format!("{INFO}/"),
        INFO.to_lowercase(),
        INFO.replace("/Get", "%2FGet"),
        "/".into(),
    ] {
        let status = raw(&path, &[GRPC], vec![0; 5]).await;
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::Unimplemented, "METHOD_UNKNOWN".into()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn other_content_types_are_not_taken_for_grpc() {
    for kind in ["text/plain", "application/json", "application/grpcx", ""] {
        let status = raw(INFO, &[("content-type", kind)], vec![0; 5]).await;
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::Unimplemented, "PROTOCOL_UNSUPPORTED".into()),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn an_encoding_that_is_not_read_is_told_from_a_method_that_is_not_there() {
    let status = raw(INFO, &[GRPC, ("grpc-encoding", "nonsense")], vec![1, 0, 0, 0, 0]).await;
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::Unimplemented, "PROTOCOL_UNSUPPORTED".into())
    );
    assert_eq!(status.message(), "the method is not called in this way");
    let info = status.get_details_error_info().expect("every status has one");
    assert!(info.metadata.contains_key("accept_encoding"), "{info:?}");
}

#[tokio::test]
async fn garbage_is_an_invalid_argument() {
    let status = raw(INFO, &[GRPC], vec![0, 0, 0, 0, 1, 0xff]).await;
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::InvalidArgument, "FIELD_INVALID".into())
    );
    assert!(status.get_details_bad_request().is_some());
}

#[tokio::test]
async fn a_request_announced_too_large_is_refused_with_the_limit() {
    let status = raw(INFO, &[GRPC], vec![0, 0, 1, 0, 1]).await;
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".into())
    );
    let info = status.get_details_error_info().expect("has one");
    assert_eq!(info.metadata.get("limit_bytes").map(String::as_str), Some("65536"));
}

#[tokio::test]
async fn garbage_timeouts_are_refused_and_zero_does_no_work() {
    for garbage in ["abc", "-1S", "123456789S"] {
        let status = raw(INFO, &[GRPC, ("grpc-timeout", garbage)], vec![0; 5]).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{garbage}");
    }
    assert_eq!(
        raw(INFO, &[GRPC, ("grpc-timeout", "0n")], vec![0; 5]).await.code(),
        Code::DeadlineExceeded
    );
    assert_eq!(
        raw(INFO, &[GRPC, ("grpc-timeout", "99999999H")], vec![0; 5])
            .await
            .code(),
        Code::Ok
    );
}

#[tokio::test]
async fn a_panic_ends_its_call_only() {
    let port = Port::open(Limits::default()).await;
    let mut client = GatewayServiceClient::connect(port.url()).await.expect("connects");
    let mut request = tonic::Request::new(GetServerInfoRequest {});
    request.metadata_mut().insert("x-panic", "1".parse().expect("ascii"));
    let status = client.get_server_info(request).await.expect_err("panics");
    assert_eq!((status.code(), reason(&status)), (Code::Internal, "INTERNAL".into()));
    assert!(!status.message().contains("asked to panic"));
    client
        .get_server_info(GetServerInfoRequest {})
        .await
        .expect("the next call is served");
}

#[tokio::test]
async fn a_deadline_is_told_as_such_and_the_handler_goes_on() {
    // Without a transport, since tonic's client keeps deadlines itself and says `CANCELLED`.
    let handle = Handle::default();
    let stack = stack(&environment(Limits::default()), &handle);
    let status = call(
        stack,
        "/tidings.gateway.v1.GatewayService/GetLimits",
        &[GRPC, ("grpc-timeout", "50m")],
        vec![0; 5],
    )
    .await;
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into())
    );
    assert_eq!(handle.ended.load(Ordering::SeqCst), 0);
    handle.go_on.notify_one();
    until("the handler's end", || handle.ended.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_cancel_does_not_drop_the_handler_unless_the_protection_is_off() {
    for (detached, ended) in [(true, 1), (false, 0)] {
        let port = Port::open(Limits {
            detach_handlers: detached,
            ..Limits::default()
        })
        .await;
        let mut client = GatewayServiceClient::connect(port.url()).await.expect("connects");
        let mut cancelled = client.clone();
        let call = tokio::spawn(async move { cancelled.get_limits(GetLimitsRequest {}).await });
        until("the call's begin", || port.handle.begun.load(Ordering::SeqCst) == 1).await;
        call.abort();
        assert!(call.await.expect_err("it does not end by itself").is_cancelled());
        // A second call on the same connection comes after the cancel, which so has reached the server before the handler may go on.
        client
            .get_server_info(GetServerInfoRequest {})
            .await
            .expect("the next call is served");
        if !detached {
            until("the handler's drop", || port.handle.over.load(Ordering::SeqCst) == 1).await;
        }
        port.handle.go_on.notify_one();
        until("the handler's end", || port.handle.over.load(Ordering::SeqCst) == 1).await;
        assert_eq!(port.handle.ended.load(Ordering::SeqCst), ended, "detached: {detached}");
    }
}

#[tokio::test]
async fn more_calls_than_the_server_takes_are_refused_with_a_time_to_come_back() {
    let port = Port::open(Limits {
        calls_max: 1,
        ..Limits::default()
    })
    .await;
    let mut client = GatewayServiceClient::connect(port.url()).await.expect("connects");
    let mut waiting = client.clone();
    let held = tokio::spawn(async move { waiting.get_limits(GetLimitsRequest {}).await });
    until("the call's begin", || port.handle.begun.load(Ordering::SeqCst) == 1).await;
    let status = client
        .get_server_info(GetServerInfoRequest {})
        .await
        .expect_err("no place");
    assert_eq!(reason(&status), reason_name(ErrorReason::Overloaded));
    assert!(status.get_details_retry_info().is_some());
    port.handle.go_on.notify_one();
    held.await.expect("joins").expect("answered");
    client
        .get_server_info(GetServerInfoRequest {})
        .await
        .expect("there is a place again");
}

#[tokio::test]
async fn one_caller_does_not_take_the_places_of_all() {
    let port = Port::open(Limits {
        rate_factor: NonZeroU32::new(2).expect("not zero"),
        ..Limits::default()
    })
    .await;
    // Calls of one connection come from one address; more than a connection carries need several.
    let mut held = Vec::new();
    let mut client = GatewayServiceClient::new(port.channel().await);
    for number in 0..256 {
        if number % 64 == 0 {
            client = GatewayServiceClient::new(port.channel().await);
        }
        let mut client = client.clone();
        let mut limits = tonic::Request::new(GetLimitsRequest {});
        limits.set_timeout(Duration::from_secs(60));
        held.push(tokio::spawn(async move { client.get_limits(limits).await }));
    }
    until("the calls' begin", || port.handle.begun.load(Ordering::SeqCst) == 256).await;
    let refused = client
        .get_limits(GetLimitsRequest {})
        .await
        .expect_err("no place is left for this one");
    assert_eq!(reason(&refused), "RATE_LIMITED");
    assert!(refused.get_details_retry_info().is_some());
    assert_eq!(port.handle.begun.load(Ordering::SeqCst), 256, "nothing was done");
    until("the handlers' end", || {
        port.handle.go_on.notify_waiters();
        port.handle.ended.load(Ordering::SeqCst) == 256
    })
    .await;
    for call in held {
        call.await.expect("joins").expect("answered");
    }
    client
        .get_server_info(GetServerInfoRequest {})
        .await
        .expect("there is a place again");
}

#[tokio::test]
async fn a_call_that_is_given_up_keeps_its_place_as_long_as_its_handler_works() {
    let handle = Handle::default();
    let environment = environment(Limits {
        calls_max: 1,
        ..Limits::default()
    });
    let stack = stack(&environment, &handle);
    let limits = "/tidings.gateway.v1.GatewayService/GetLimits";
    let late = call(stack.clone(), limits, &[GRPC, ("grpc-timeout", "50m")], vec![0; 5]).await;
    assert_eq!(late.code(), Code::DeadlineExceeded);
    let refused = call(stack.clone(), INFO, &[GRPC], vec![0; 5]).await;
    assert_eq!(reason(&refused), "OVERLOADED");
    handle.go_on.notify_one();
    until("the handler's end", || handle.ended.load(Ordering::SeqCst) == 1).await;
    let answered = async {
        while call(stack.clone(), INFO, &[GRPC], vec![0; 5]).await.code() != Code::Ok {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), answered)
        .await
        .expect("there is a place again");
}

#[tokio::test]
async fn a_network_that_says_nothing_of_itself_does_not_use_up_all_streams() {
    let port = Port::open(Limits {
        rate_factor: NonZeroU32::MAX,
        ..Limits::default()
    })
    .await;
    let mut client = HealthClient::new(port.channel().await);
    let mut other = HealthClient::new(port.channel().await);
    let watch = || HealthCheckRequest::default();
    let mut open = Vec::new();
    for _ in 0..100 {
        let client = if open.len() < 50 { &mut client } else { &mut other };
        open.push(client.watch(watch()).await.expect("has a place"));
    }
    let refused = other.watch(watch()).await.expect_err("has no place");
    assert_eq!(reason(&refused), "QUOTA_EXCEEDED");
    open.clear();
    let again = async { while other.watch(watch()).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), again)
        .await
        .expect("places come back");
}

/// The middleware of another service, with nothing behind it and the limits of production.
fn bare(service: Service, descriptors: &'static [u8]) -> Stack {
    let secret = SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough");
    let verifier = environment(Limits::default()).verifier;
    let limits = Limits {
        rate_factor: NonZeroU32::MIN,
        ..Limits::default()
    };
    let environment = Environment::new(service, secret, verifier, Source::system(), Drain::new(), limits);
    let app = App::new(&environment).descriptors(descriptors);
    app.build().expect("every RPC has a policy").0
}

#[tokio::test]
async fn a_caller_over_its_rate_is_told_when_to_come_back() {
    // Of the class with the lowest rate: a slow machine too calls faster than once a second.
    let stack = bare(Service::Auth, tidings_proto_auth::FILE_DESCRIPTOR_SET);
    let mut passed = 0;
    let status = loop {
        let status = call(stack.clone(), "/tidings.auth.v1.AuthService/Login", &[GRPC], vec![0; 5]).await;
        if status.code() != Code::Unimplemented {
            break status;
        }
        passed += 1;
        assert!(passed < 2_000, "2,000 calls are more than the limit");
    };
    assert!(passed >= 20, "{passed}");
    assert_eq!(reason(&status), "RATE_LIMITED");
    assert!(status.get_details_retry_info().is_some());
}

/// Others share the connection: the gateway's to a service carries all its clients' calls.
#[tokio::test]
async fn a_request_that_is_too_large_does_not_end_its_connection() {
    let port = Port::open(Limits {
        rate_factor: NonZeroU32::MAX,
        ..Limits::default()
    })
    .await;
    let channel = tonic::transport::Endpoint::from_shared(port.url())
        .expect("a URL")
        .connect()
        .await
        .expect("connects");
    let calls = (0..20).map(|number| {
        let channel = channel.clone();
        async move {
            let mut grpc = tonic::client::Grpc::new(channel);
            grpc.ready().await.expect("the connection stands");
            let codec = tonic_prost::ProstCodec::<Vec<u8>, ()>::default();
            let message = vec![7_u8; if number % 2 == 0 { 1 << 20 } else { 0 }];
            let answer = grpc
                .unary(tonic::Request::new(message), INFO.parse().expect("a path"), codec)
                .await;
            (number, answer.map(drop))
        }
    });
    for (number, answer) in futures_util::future::join_all(calls).await {
        if number % 2 == 0 {
            assert_eq!(
                reason(&answer.expect_err("too large")),
                "MESSAGE_TOO_LARGE",
                "call {number}"
            );
        } else {
            answer.expect("small calls are served");
        }
    }
}

#[tokio::test]
async fn forged_tokens_are_looked_at_only_so_often() {
    let stack = bare(Service::Message, tidings_proto_message::FILE_DESCRIPTOR_SET);
    let path = "/tidings.message.v1.MessageService/ListMessages";
    let refused = async {
        for number in 0.. {
            let token = format!("Bearer forged.{number}.token");
            let status = call(stack.clone(), path, &[GRPC, ("authorization", &token)], vec![0; 5]).await;
            if reason(&status) != "TOKEN_INVALID" {
                return (number, status);
            }
            tokio::task::yield_now().await;
        }
        unreachable!("there are more numbers")
    };
    let refused = tokio::time::timeout(Duration::from_secs(60), refused).await;
    let (number, status) = refused.expect("as many as can be made are more than the limit");
    assert!(number >= 200, "{number}");
    assert_eq!(reason(&status), "RATE_LIMITED");
    assert!(status.get_details_retry_info().is_some());
    let without = call(stack, path, &[GRPC], vec![0; 5]).await;
    assert_eq!(reason(&without), "TOKEN_MISSING", "other calls go on");
}
