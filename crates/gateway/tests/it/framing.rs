//! Where a request ends (ASVS 4.2.1): what could be read in two ways is read in the standard's way or refused, so that nothing rides along
//! in another's request through a proxy in front.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::Full;
use prost::Message as _;
use tidings_proto_auth::v1::LoginRequest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::{Code, body::Body};
use tower::ServiceExt as _;

use crate::{
    calls::{LOGIN, framed},
    world::{Shape, World},
};

/// Nothing here takes longer on a machine that also compiles.
const SOON: Duration = Duration::from_secs(10);

/// A login in JSON: the fake answers with whom it names.
fn login(name: &str) -> String {
    format!(r#"{{"identifier":"{name}"}}"#)
}

fn chunked(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len())
}

/// The head of a login with these further lines.
fn head(lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("POST {LOGIN} HTTP/1.1\r\nhost: tidings\r\ncontent-type: application/json\r\n{lines}\r\n")
}

/// Sends these bytes over a connection of their own, and returns all that comes back until it ends.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let answered = timeout(SOON, async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        // A connection that is reset has said what it had to say.
        let _ = stream.read_to_end(&mut answer).await;
        std::io::Result::Ok(answer)
    });
    let answer = answered.await.expect("an answer in time").expect("a connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_request_in_chunks_ends_with_its_last_chunk_whatever_length_it_claims() {
    let world = World::new(Shape::Local).await;
    let address = world.port().await;
    let (first, second) = (login("first"), login("second"));
    let next = head(&["connection: close", &format!("content-length: {}", second.len())]) + &second;
    for claimed in [0, 4, chunked(&first).len() + next.len()] {
        let length = format!("content-length: {claimed}");
        for lines in [
            [length.as_str(), "transfer-encoding: chunked"],
            ["transfer-encoding: chunked", length.as_str()],
        ] {
            let answer = exchange(address, &(head(&lines) + &chunked(&first) + &next)).await;
            // By the length, the first would be another request, or none in JSON.
            let refused_by_the_transport = answer.starts_with("HTTP/1.1 400") && !answer.contains("{");
            // Most servers close the connection after such a request, as the standard advises.
            let second_at = answer.find(r#""userId":"second""#);
            let read_by_chunks = answer
                .find(r#""userId":"first""#)
                .is_some_and(|first_at| second_at.is_none_or(|second_at| first_at < second_at));
            assert!(refused_by_the_transport || read_by_chunks, "{claimed}: {answer}");
            assert!(!answer.contains("FIELD_INVALID"), "{claimed}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_request_whose_end_is_unclear_is_refused() {
    let world = World::new(Shape::Local).await;
    let address = world.port().await;
    let body = login("smuggled");
    let exact = format!("content-length: {}", body.len());
    for lines in [
        vec![exact.as_str(), "content-length: 4"],
        vec!["content-length: 4", exact.as_str()],
        vec!["content-length: 4, 5"],
        vec!["content-length: +4"],
        vec!["content-length: 0x4"],
        vec!["content-length: -1"],
        vec!["content-length: 99999999999999999999999"],
        vec!["transfer-encoding: gzip"],
        vec!["transfer-encoding: chunked, gzip"],
        vec!["transfer-encoding: chunked-and-more"],
        vec!["content-length : 4"],
        vec!["transfer-encoding : chunked"],
        vec![" content-length: 4"],
    ] {
        let answer = exchange(address, &(head(&lines) + &body)).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") || answer.is_empty(),
            "{lines:?}: {answer}"
        );
        assert!(
            !answer.contains("smuggled") && world.seen.nothing(),
            "{lines:?}: {answer}"
        );
    }
    for chunks in [
        "ffffffffffffffffff\r\n{}",
        "-1\r\n{}",
        "2 2\r\n{}\r\n0\r\n\r\n",
        "\r\n{}",
        "0x2\r\n{}\r\n0\r\n\r\n",
    ] {
        let answer = exchange(address, &(head(&["transfer-encoding: chunked"]) + chunks)).await;
        assert!(
            !answer.starts_with("HTTP/1.1 200") && world.seen.nothing(),
            "{chunks:?}: {answer}"
        );
    }
    // The same without its fault is answered.
    let answer = exchange(address, &(head(&[&exact]) + &body)).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("smuggled"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_length_that_disagrees_with_what_comes_ends_the_request_over_http_2() {
    let world = World::new(Shape::Local).await;
    let channel = world.channel().await;
    let message = LoginRequest {
        identifier: "ada".to_owned(),
        ..LoginRequest::default()
    };
    let body = Bytes::from(framed(0, &message.encode_to_vec()));
    let call = async |length: usize| {
        let request = Request::post(LOGIN)
            .version(Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("content-length", length)
            .body(Body::new(Full::new(body.clone())))
            .expect("well-formed");
        let answer = timeout(SOON, channel.clone().oneshot(request)).await.expect("in time");
        answer.ok().map(|response| {
            let status = tonic::Status::from_header_map(response.headers());
            status.map_or(Code::Ok, |status| status.code())
        })
    };
    for wrong in [0, body.len() - 1, body.len() + 1, body.len() + 1_000] {
        assert_ne!(call(wrong).await, Some(Code::Ok), "{wrong} of {}", body.len());
        assert!(world.seen.nothing(), "{wrong} of {}", body.len());
    }
    assert_eq!(call(body.len()).await, Some(Code::Ok));
}
