//! Clients that leave their answers where they are, and what others notice of them: nothing.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body as AxumBody,
    routing::{get, put},
};
use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use tidings_proto_message::v1::GetSyncStateRequest;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tonic::{Code, body::Body, transport::Endpoint};
use tower::ServiceExt as _;

use crate::{
    calls::{STATE, framed, request},
    world::{Settings, Shape, World},
};

const GRPC: (&str, &str) = ("content-type", "application/grpc");

/// Longer than any answer takes here, and shorter than anything gives up.
const LIMIT: Duration = Duration::from_secs(20);

/// A request whose answer has as many bytes.
fn state(bytes: usize) -> GetSyncStateRequest {
    GetSyncStateRequest {
        page_token: "a".repeat(bytes),
        ..GetSyncStateRequest::default()
    }
}

/// A call of somebody else is answered.
async fn served(world: &World) {
    let bearer = world.bearer();
    let call = async { world.grpc(STATE, &[("authorization", &bearer)], &state(60_000)).await };
    let answer = tokio::time::timeout(LIMIT, call).await.expect("it is answered");
    assert_eq!(answer.outcome().0, Code::Ok);
}

/// The gateway has one connection to a service. What one client does not take must not fill it for all.
#[tokio::test]
async fn answers_that_are_not_taken_leave_the_connection_to_the_service_to_others() {
    let world = World::new(Shape::Remote).await;
    let bearer = world.bearer();
    let headers = [GRPC, ("authorization", bearer.as_str())];
    let mut unread = Vec::new();
    for _ in 0..120 {
        // 7 MB in all: more than a connection's window is where nothing else is said.
        let body = framed(0, &state(60_000).encode_to_vec());
        let answer = world.open(request(Method::POST, STATE, &headers, body));
        unread.push(tokio::time::timeout(LIMIT, answer).await.expect("its head comes"));
    }
    served(&world).await;
    // And each of those that wait is whole when it is taken at last.
    let whole = unread.pop().expect("one").into_body().collect();
    let whole = tokio::time::timeout(LIMIT, whole)
        .await
        .expect("it comes")
        .expect("whole");
    assert!(whole.to_bytes().len() > 60_000);
}

/// The other way round: uploads go over the same connection, to a service that writes them to a disk.
#[tokio::test]
async fn uploads_that_are_not_taken_leave_the_connection_to_the_service_to_others() {
    let mut settings = Settings::new(Shape::Remote);
    let stuck = |body: AxumBody| async move {
        std::future::pending::<()>().await;
        drop(body);
    };
    settings.media = Some(Router::new().route("/media/u/stuck", put(stuck)));
    let world = World::with(settings).await;
    let uploads: Vec<_> = (0..4)
        .map(|_| {
            let bytes = Bytes::from(vec![7; 2 << 20]);
            let upload = request(Method::PUT, "/media/u/stuck", &[], "").map(|_| Body::new(Full::new(bytes)));
            tokio::spawn(tower::ServiceExt::oneshot(world.gateway.clone(), upload))
        })
        .collect();
    for _ in 0..20 {
        // Each would have to go through the window that the uploads fill.
        served(&world).await;
    }
    for upload in uploads {
        assert!(!upload.is_finished());
        upload.abort();
    }
}

/// A file without an end, and how many are being sent.
fn endless_file() -> (Router, Arc<()>) {
    let sent = Arc::new(());
    let held = Arc::clone(&sent);
    let file = move || {
        let held = Arc::clone(&held);
        async move {
            AxumBody::from_stream(stream::repeat_with(move || {
                let _held = &held;
                Ok::<_, std::io::Error>(Bytes::from_static(&[7; 64 * 1024]))
            }))
        }
    };
    (Router::new().route("/media/d/endless", get(file)), sent)
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(LIMIT, wait).await;
    waited.unwrap_or_else(|_| panic!("{what} did not happen in time"));
}

/// Whatever the connection is, and wherever the file comes from: nothing is kept, and the place is free again.
#[tokio::test]
async fn a_file_that_nobody_takes_is_let_go() {
    for shape in [Shape::Local, Shape::Remote] {
        let mut settings = Settings::new(shape);
        let (routes, sent) = endless_file();
        // The router keeps one.
        let idle = Arc::strong_count(&sent);
        settings.media = Some(routes);
        // Time enough to begin both and to be refused the third, also where that takes long.
        settings.limits.untaken_after = Duration::from_secs(3);
        settings.limits.streams_max = 2;
        let world = World::with(settings).await;
        let address = world.port().await;

        let mut old = TcpStream::connect(address).await.expect("connects");
        let get = b"GET /media/d/endless HTTP/1.1\r\nhost: x\r\n\r\n";
        old.write_all(get).await.expect("writes");
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URL");
        let channel = endpoint
            .initial_stream_window_size(0)
            .connect()
            .await
            .expect("connects");
        let file = Request::get("/media/d/endless")
            .body(Body::empty())
            .expect("well-formed");
        let unread = channel.oneshot(file).await.expect("its head comes");
        until("the sending", || Arc::strong_count(&sent) == idle + 2).await;

        // Both places are taken.
        let refused = world.send(request(Method::GET, "/media/d/none", &[], "")).await;
        assert_eq!(refused.http, 429, "{shape:?}");
        until("the end", || Arc::strong_count(&sent) == idle).await;
        let served = world.send(request(Method::GET, "/media/d/none", &[], "")).await;
        assert_eq!(served.http, 404, "{shape:?}");
        drop((unread, old));
    }
}

/// JSON is made here, whole: it is more than the service's answer was, and nobody counts it there.
#[tokio::test]
async fn json_that_nobody_takes_is_let_go() {
    let mut settings = Settings::new(Shape::Local);
    settings.limits.untaken_after = Duration::from_secs(1);
    let world = World::with(settings).await;
    let bearer = world.bearer();
    let endpoint = Endpoint::from_shared(format!("http://{}", world.port().await)).expect("a URL");
    let closed = endpoint
        .clone()
        .initial_stream_window_size(0)
        .connect()
        .await
        .expect("connects");
    let json = || {
        let body = Body::new(Full::new(r#"{"pageToken":"a"}"#.into()));
        let request = Request::post(STATE)
            .header("content-type", "application/json")
            .header("authorization", bearer.as_str());
        request.body(body).expect("well-formed")
    };
    let untaken = closed.oneshot(json()).await.expect("its head comes");
    assert_eq!(untaken.status(), 200);
    let body = tokio::time::timeout(LIMIT, untaken.into_body().collect()).await;
    assert!(body.expect("it is ended").is_err(), "it is not there");
    let open = endpoint.connect().await.expect("connects");
    let taken = open.oneshot(json()).await.expect("its head comes");
    let body = taken.into_body().collect().await.expect("whole").to_bytes();
    assert!(body.ends_with(b"}"), "{body:?}");
}
