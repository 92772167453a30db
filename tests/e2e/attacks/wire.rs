//! Requests as no client library would send them.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::poll_fn;
use tidings_testkit::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::{
    Status,
    body::Body,
    codegen::{Service as _, http},
    transport::Channel,
};

/// Nothing here takes longer on a machine that also compiles.
const SOON: Duration = Duration::from_secs(60);

/// The path of an RPC.
pub fn path(method: &Method) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// Posts JSON over HTTP/1.1 with exactly this target and these headers, and returns the status and what came with it.
pub async fn post(address: SocketAddr, target: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let mut request = format!("POST {target} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = body.len();
    request.push_str(&format!(
        "content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ));
    let answer = timeout(SOON, async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    });
    let answer = answer.await.expect("an answer in time").expect("a connection");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no HTTP: {answer}")), answer)
}

/// Calls over gRPC with exactly this path, these headers and no message, and returns the refusal; `None` where the answer is not
/// refused at once.
pub async fn refusal(channel: &Channel, path: &str, headers: &[(&str, String)]) -> Option<Status> {
    let mut request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::empty())
        .expect("a path that can be sent");
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().expect("the name of a header");
        request
            .headers_mut()
            .append(name, value.parse().expect("the value of a header"));
    }
    let mut channel = channel.clone();
    let response = timeout(SOON, async {
        poll_fn(|context| channel.poll_ready(context)).await?;
        channel.call(request).await
    });
    let response = response.await.expect("an answer in time").expect("a connection");
    Status::from_header_map(response.headers())
}
