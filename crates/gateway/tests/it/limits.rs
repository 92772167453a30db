//! What bounds a call (`reliability.md` D4, 3.2 "Transport and framing").

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Method, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message as _;
use tidings_proto_auth::v1::LoginRequest;
use tidings_proto_message::v1::{After, StreamChangesRequest};
use tidings_rpc::{Drain, deadline};
use tokio::time::Instant;
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;

use crate::{
    calls::{LOGIN, STREAM, SYNC, framed, frames, request},
    world::{PATIENCE, SHAPES, Settings, Shape, World, pass},
};

const GRPC: (&str, &str) = ("content-type", "application/grpc");

fn login(identifier: &str) -> LoginRequest {
    LoginRequest {
        identifier: identifier.to_owned(),
        ..LoginRequest::default()
    }
}

fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}

/// A request whose body begins and never ends.
fn endless(path: &str, headers: &[(&str, &str)], begin: &'static [u8]) -> Request<Body> {
    let begin = Ok::<_, Status>(Frame::data(Bytes::from_static(begin)));
    let body = Body::new(StreamBody::new(stream::iter([begin]).chain(stream::pending())));
    request(Method::POST, path, headers, "").map(|_| body)
}

#[tokio::test]
async fn a_message_that_is_announced_too_large_is_refused_before_it_comes() {
    let too_large = (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".to_owned());
    for shape in SHAPES {
        let world = World::new(shape).await;
        for begin in [b"\0\x00\x01\x00\x01", b"\0\x00\x40\x00\x00", b"\0\xff\xff\xff\xff"] {
            let call = world.send(endless(LOGIN, &[GRPC], begin));
            let answer = tokio::time::timeout(PATIENCE, call).await.expect("it is answered");
            assert_eq!(answer.outcome(), too_large, "{shape:?}");
        }
        let whole = world.grpc(LOGIN, &[], &login(&"a".repeat(70_000))).await;
        assert_eq!(whole.outcome(), too_large, "{shape:?}");
        let fits = world.grpc(LOGIN, &[], &login(&"a".repeat(65_000))).await;
        assert_eq!(fits.outcome().0, Code::Ok, "{shape:?}");
        assert!(!world.seen.nothing());
    }
}

#[tokio::test]
async fn json_is_bounded_by_what_it_stands_for_and_by_itself() {
    let world = World::new(Shape::Local).await;
    let refusal = (429, "resource_exhausted".to_owned(), "MESSAGE_TOO_LARGE".to_owned());
    let of = |text: &str| format!(r#"{{"identifier":"{text}"}}"#);
    assert_eq!(world.json(LOGIN, &of(&"a".repeat(70_000))).await.refusal(), refusal);
    assert_eq!(world.json(LOGIN, &of(&"a".repeat(300_000))).await.refusal(), refusal);
    // 8,000 letters beyond the BMP, as Python writes them, are 96 kB of JSON and 32 kB of text.
    assert_eq!(world.json(LOGIN, &of(&r"\ud83d\ude00".repeat(8_000))).await.http, 200);
    let json = [("content-type", "application/json"), ("content-length", "9999999")];
    let announced = endless(LOGIN, &json, b"{");
    let answer = tokio::time::timeout(PATIENCE, world.send(announced)).await;
    let answer = answer.expect("it is answered");
    assert_eq!(answer.refusal(), refusal);
    // Other RPCs take more.
    let chats = r#"{"chatId":"0191e7a0-0000-7000-8000-000000000000","position":"1"}"#;
    let after = vec![chats; 4_000].join(",");
    let answer = world.json(SYNC, &format!(r#"{{"after":{{"chats":[{after}]}}}}"#)).await;
    assert_eq!(answer.http, 200);
}

#[tokio::test]
async fn a_request_that_does_not_come_is_not_waited_for() {
    // Less than what a request has whose caller says nothing.
    const SOON: Duration = Duration::from_secs(8);
    for shape in SHAPES {
        let world = World::new(shape).await;
        for begin in [&b""[..], b"\0\0\0\0\x09\x0a"] {
            let call = world.send(endless(LOGIN, &[GRPC, ("grpc-timeout", "200m")], begin));
            let answer = tokio::time::timeout(SOON, call).await.expect("in time");
            assert_eq!(
                answer.outcome(),
                (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned()),
                "{shape:?}"
            );
        }
        let json = [("content-type", "application/json"), ("connect-timeout-ms", "200")];
        let call = world.send(endless(LOGIN, &json, b"{"));
        let answer = tokio::time::timeout(SOON, call).await.expect("in time");
        assert_eq!(
            answer.refusal(),
            (504, "deadline_exceeded".to_owned(), "DEADLINE_EXCEEDED".to_owned())
        );
    }
}

/// No connection is made, so the clock goes on by itself to what is waited for.
#[tokio::test(start_paused = true)]
async fn without_a_deadline_of_the_caller_ours_holds() {
    let world = World::new(Shape::Remote).await;
    let begun = Instant::now();
    let answer = world.send(endless(LOGIN, &[GRPC], b"")).await;
    assert_eq!(answer.outcome().0, Code::DeadlineExceeded);
    assert_eq!(begun.elapsed().as_secs(), deadline::DEFAULT.as_secs());
}

#[tokio::test]
async fn a_deadline_is_kept_and_garbage_is_none() {
    for shape in SHAPES {
        let world = World::new(shape).await;
        let late = world.grpc(LOGIN, &[("grpc-timeout", "200m")], &login("slow")).await;
        assert_eq!(late.outcome(), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned()));
        let json = ("content-type", "application/json");
        let late = world
            .post(
                LOGIN,
                &[json, ("connect-timeout-ms", "200")],
                r#"{"identifier":"slow"}"#,
            )
            .await;
        assert_eq!(
            late.refusal(),
            (504, "deadline_exceeded".to_owned(), "DEADLINE_EXCEEDED".to_owned())
        );
        for garbage in ["abc", "-1S", "123456789S", "1", ""] {
            let answer = world.grpc(LOGIN, &[("grpc-timeout", garbage)], &login("a")).await;
            assert_eq!(
                answer.outcome(),
                (Code::InvalidArgument, "FIELD_INVALID".to_owned()),
                "{garbage}"
            );
        }
        for garbage in ["abc", "-1", "12345678901", "1.5", ""] {
            let answer = world.post(LOGIN, &[json, ("connect-timeout-ms", garbage)], "{}").await;
            assert_eq!(answer.refusal().2, "FIELD_INVALID", "{garbage}");
        }
        let over = world.grpc(LOGIN, &[("grpc-timeout", "0n")], &login("a")).await;
        assert_eq!(over.outcome().0, Code::DeadlineExceeded);
        let over = world.post(LOGIN, &[json, ("connect-timeout-ms", "0")], "{}").await;
        assert_eq!(over.refusal().2, "DEADLINE_EXCEEDED");
    }
}

/// Nobody has asked yet who sends them.
#[tokio::test]
async fn requests_that_do_not_come_take_no_place() {
    let minute = ("grpc-timeout", "60S");
    let json = ("content-type", "application/json");
    let long = ("connect-timeout-ms", "60000");
    let events = ("accept", "text/event-stream");
    for shape in SHAPES {
        let mut settings = Settings::new(shape);
        settings.limits.calls_max = 1;
        settings.limits.streams_max = 1;
        let world = World::with(settings).await;
        let requests = [
            endless(LOGIN, &[GRPC, minute], b""),
            endless(LOGIN, &[GRPC, minute], b"\0\0\0\0\x09\x0a"),
            endless(LOGIN, &[("content-type", "application/grpc-web+proto"), minute], b"\0"),
            endless(LOGIN, &[json, long], b"{"),
            endless(STREAM, &[GRPC, minute], b"\0"),
            endless(STREAM, &[json, long, events], b"{"),
            endless(STREAM, &[("content-type", "application/connect+json"), long], b"\0"),
        ];
        let waiting = requests.map(|request| {
            let mut call = Box::pin(tower::ServiceExt::oneshot(world.gateway.clone(), request));
            assert!(futures_util::FutureExt::now_or_never(&mut call).is_none());
            call
        });
        assert_eq!(world.grpc(LOGIN, &[], &login("a")).await.outcome().0, Code::Ok);
        let bearer = world.bearer();
        let open = StreamChangesRequest::default();
        let stream = world.grpc(STREAM, &[("authorization", &bearer)], &open).await;
        assert_eq!(stream.outcome().0, Code::Ok, "{shape:?}");
        drop(waiting);
    }
}

/// How long a request takes that is not given up yet.
const TAKEN: Duration = Duration::from_secs(5);

/// What its coming took is gone from a call's time.
#[tokio::test]
async fn a_request_that_comes_late_has_less_time() {
    for shape in SHAPES {
        let world = World::new(shape).await;
        let (asks, asked) = tokio::sync::oneshot::channel();
        let (sender, piece) = tokio::sync::oneshot::channel::<Bytes>();
        let pieces = futures_util::stream::once(async move {
            asks.send(()).expect("the test waits for it");
            Ok::<_, Status>(Frame::data(piece.await.expect("it is sent")))
        });
        let body = Body::new(StreamBody::new(pieces));
        let late = request(Method::POST, LOGIN, &[GRPC, ("grpc-timeout", "30S")], "").map(|_| body);
        let call = tokio::spawn(tower::ServiceExt::oneshot(world.gateway.clone(), late));
        asked.await.expect("the request is waited for");
        pass(TAKEN).await;
        let message = framed(0, &login("a").encode_to_vec());
        sender.send(message.into()).expect("it is waited for");
        let answer = tokio::time::timeout(PATIENCE, call).await.expect("in time");
        assert_eq!(answer.expect("joins").expect("never an error").status(), 200);
        let left = world.seen.take().time_left;
        assert!(left <= Duration::from_secs(30) - TAKEN, "{left:?}");
    }
}

#[tokio::test]
async fn a_stream_ends_at_the_deadline_that_its_caller_named() {
    for shape in SHAPES {
        let world = World::new(shape).await;
        let bearer = world.bearer();
        let after = Some(After {
            log_id: "open".to_owned(),
            ..After::default()
        });
        let headers = [GRPC, ("authorization", bearer.as_str()), ("grpc-timeout", "60S")];
        let open = framed(0, &StreamChangesRequest { after }.encode_to_vec());
        let stream = world.open(request(Method::POST, STREAM, &headers, open)).await;
        let mut stream = stream.into_body();
        let mut came = Vec::new();
        while frames(&came).len() < 2 {
            let frame = tokio::time::timeout(PATIENCE, stream.frame()).await;
            let frame = frame.expect("in time").expect("it goes on").expect("well");
            came.extend(frame.into_data().expect("no end"));
        }
        pass(Duration::from_secs(60)).await;
        let rest = tokio::time::timeout(PATIENCE, stream.collect()).await;
        let rest = rest.expect("it is ended").expect("well");
        let end = Status::from_header_map(rest.trailers().expect("trailers")).expect("a status");
        assert_eq!(
            (end.code(), reason(&end)),
            (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned())
        );
        assert!(rest.to_bytes().is_empty(), "nothing else came");
    }
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_at_once() {
    let mut settings = Settings::new(Shape::Remote);
    settings.limits.calls_max = 2;
    let world = World::with(settings).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let gateway = world.gateway.clone();
        let body = framed(0, &login("slow").encode_to_vec());
        let call = request(Method::POST, LOGIN, &[GRPC, ("grpc-timeout", "60S")], body);
        slow.push(tokio::spawn(tower::ServiceExt::oneshot(gateway, call)));
        world.until_called().await;
    }
    let overloaded = (Code::ResourceExhausted, "OVERLOADED".to_owned());
    assert_eq!(world.grpc(LOGIN, &[], &login("a")).await.outcome(), overloaded);
    assert_eq!(world.json(LOGIN, "{}").await.refusal().2, "OVERLOADED");
    pass(Duration::from_secs(60)).await;
    for call in slow {
        drop(call.await.expect("joins"));
    }
    let answered = async {
        while world.grpc(LOGIN, &[], &login("a")).await.outcome().0 != Code::Ok {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, answered)
        .await
        .expect("there is a place again");
}

/// A client can open a window of no bytes and leave answers where they are, for as long as its connection lives.
#[tokio::test]
async fn answers_that_nobody_fetches_take_no_place() {
    for shape in SHAPES {
        let mut settings = Settings::new(shape);
        settings.limits.calls_max = 1;
        let world = World::with(settings).await;
        let headers = [GRPC];
        let body = framed(0, &login("a").encode_to_vec());
        let unread = world.open(request(Method::POST, LOGIN, &headers, body)).await;
        assert_eq!(
            world.grpc(LOGIN, &[], &login("b")).await.outcome().0,
            Code::Ok,
            "{shape:?}"
        );
        drop(unread);
    }
}

#[tokio::test]
async fn when_the_process_stops_streams_are_ended_and_calls_refused() {
    let mut settings = Settings::new(Shape::Remote);
    settings.services_drain = false;
    let world = World::with(settings).await;
    let bearer = world.bearer();
    let headers = [
        ("content-type", "application/connect+json"),
        ("authorization", bearer.as_str()),
    ];
    let open = request(
        Method::POST,
        STREAM,
        &headers,
        framed(0, br#"{"after":{"logId":"open"}}"#),
    );
    let stream = world.open(open).await;
    world.drain.begin();
    assert_eq!(world.grpc(LOGIN, &[], &login("a")).await.outcome().1, "DRAINING");
    let rest = tokio::time::timeout(Drain::GRACE, stream.into_body().collect()).await;
    let rest = rest.expect("it is ended").expect("well");
    let last = frames(&rest.to_bytes()).pop().expect("an end");
    assert!(String::from_utf8_lossy(&last.1).contains("DRAINING"));
}
