//! Clients that leave their answers where they are, and what others notice of them: nothing.

use std::time::Duration;

use axum::{Router, body::Body as AxumBody, routing::put};
use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use tidings_proto_message::v1::GetSyncStateRequest;
use tonic::{Code, body::Body};

use crate::{
    calls::{STATE, framed, request},
    world::{Settings, Shape, World},
};

const GRPC: (&str, &str) = ("content-type", "application/grpc");

/// Longer than any answer takes here, and shorter than anything gives up.
const LIMIT: Duration = Duration::from_secs(10);

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
