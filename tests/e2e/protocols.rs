//! The protocols that clients speak to the gateway, by hand: with any header.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::poll_fn;
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::Value;
use tidings_testkit::{Api, Suite};
use tokio::time::timeout;
use tonic::{
    body::Body,
    codegen::{Service as _, http},
};

use crate::attacks::path;

/// The RPC that everybody begins with.
pub const LOGIN: &str = "tidings.auth.v1.AuthService.Login";

/// Nothing here takes longer on a machine that also compiles.
const SOON: Duration = Duration::from_secs(60);

/// A protocol of the public port, in which unary RPCs can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web in binary.
    GrpcWeb,
    /// Connect with JSON, as curl speaks it.
    Json,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Grpc, Self::GrpcWeb, Self::Json];

    /// Calls a unary RPC over HTTP/2 with these headers, and reads the whole answer.
    ///
    /// # Errors
    ///
    /// What the answer is where it is not a success.
    pub async fn call(
        self,
        suite: &Suite,
        rpc: &str,
        request: &Value,
        headers: &[(&'static str, &[u8])],
    ) -> Result<(), String> {
        let method = Api::method(rpc);
        let message = DynamicMessage::deserialize(method.input(), request.clone());
        let message = message.unwrap_or_else(|error| panic!("a request of {rpc}: {error}"));
        let (content_type, body) = match self {
            Self::Grpc => ("application/grpc", framed(&message)),
            Self::GrpcWeb => ("application/grpc-web+proto", framed(&message)),
            Self::Json => ("application/json", request.to_string().into_bytes()),
        };
        let mut request = http::Request::post(path(&method))
            .header("content-type", content_type)
            .header("te", "trailers")
            .body(Body::new(Full::new(Bytes::from(body))))
            .expect("names make a path");
        for (name, value) in headers {
            let value = http::HeaderValue::from_bytes(value).expect("the value of a header");
            request.headers_mut().append(*name, value);
        }
        let mut channel = suite.channel();
        let answer = timeout(SOON, async {
            poll_fn(|context| channel.poll_ready(context)).await?;
            let response = channel.call(request).await?;
            Ok::<_, tonic::transport::Error>(whole(response).await)
        });
        answer.await.expect("an answer in time").expect("a connection")
    }
}

/// How a whole answer says that the call went: gRPC in trailers, gRPC-Web at the end of the body, where trailers are lines, Connect by
/// the HTTP status.
async fn whole(response: http::Response<Body>) -> Result<(), String> {
    let (parts, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|status| format!("the body breaks off: {status}"))?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let bytes = body.to_bytes();
    let text = String::from_utf8_lossy(&bytes);
    let is_success = match parts.headers["content-type"].to_str() {
        Ok("application/grpc") => trailers.get("grpc-status").is_some_and(|status| status == "0"),
        Ok(web) if web.starts_with("application/grpc-web") => text.contains("grpc-status:0"),
        _ => parts.status == 200,
    };
    let told = || format!("{} {:?} {trailers:?} {text}", parts.status, parts.headers);
    if is_success { Ok(()) } else { Err(told()) }
}

/// A message behind its flags and its length.
fn framed(message: &DynamicMessage) -> Vec<u8> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("small");
    [&[0][..], &length.to_be_bytes(), &message].concat()
}
