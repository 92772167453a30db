use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, Version};
use prost::Message as _;
use tidings_proto_auth::v1::{LoginRequest, LoginResponse};
use tidings_proto_message::v1::StreamChangesRequest;

use crate::{
    calls::{LOGIN, STREAM, framed, frames, request},
    world::{SHAPES, Shape, World},
};

fn login(identifier: &str) -> Vec<u8> {
    let request = LoginRequest {
        identifier: identifier.to_owned(),
        ..LoginRequest::default()
    };
    framed(0, &request.encode_to_vec())
}

/// The trailers that gRPC-Web puts into a last frame.
fn trailers(frame: &(u8, bytes::Bytes)) -> String {
    assert_eq!(frame.0, 0x80, "the last frame holds trailers");
    String::from_utf8(frame.1.to_vec()).expect("ASCII")
}

#[tokio::test]
async fn browsers_call_in_binary_over_http_1() {
    for shape in SHAPES {
        let world = World::new(shape).await;
        let headers = [("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")];
        let mut call = request(Method::POST, LOGIN, &headers, login("alice"));
        *call.version_mut() = Version::HTTP_11;
        let answer = world.send(call).await;
        let frames = frames(&answer.body);
        assert_eq!(
            LoginResponse::decode(frames[0].1.clone()).expect("a message").user_id,
            "alice"
        );
        assert!(trailers(&frames[1]).contains("grpc-status:0"));
    }
}

#[tokio::test]
async fn browsers_call_in_text() {
    let world = World::new(Shape::Remote).await;
    let headers = [
        ("content-type", "application/grpc-web-text"),
        ("accept", "application/grpc-web-text"),
    ];
    let answer = world.post(LOGIN, &headers, STANDARD.encode(login("alice"))).await;
    assert_eq!(answer.content_type(), "application/grpc-web-text+proto");
    // Each part was encoded for itself, so that padding stands in the middle too.
    let bytes: Vec<u8> = answer
        .body
        .chunks(4)
        .flat_map(|four| STANDARD.decode(four).expect("base64"))
        .collect();
    let frames = frames(&bytes);
    assert_eq!(
        LoginResponse::decode(frames[0].1.clone()).expect("a message").user_id,
        "alice"
    );
}

#[tokio::test]
async fn errors_and_streams_end_in_trailers_of_the_body() {
    let world = World::new(Shape::Local).await;
    let web = ("content-type", "application/grpc-web");
    let answer = world.post(LOGIN, &[web], login("wrong")).await;
    assert_eq!(answer.outcome().1, "CREDENTIALS_INVALID");
    let bearer = world.bearer();
    let request = framed(0, &StreamChangesRequest::default().encode_to_vec());
    let answer = world.post(STREAM, &[web, ("authorization", &bearer)], request).await;
    let frames = frames(&answer.body);
    assert_eq!(frames.len(), 3);
    assert!(trailers(&frames[2]).contains("grpc-status:0"));
}
