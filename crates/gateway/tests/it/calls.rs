//! Requests made by hand, as clients that are not ours make them.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use serde_json::Value;
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;

use crate::world::{World, client};

pub const LOGIN: &str = "/tidings.auth.v1.AuthService/Login";
pub const LOGOUT: &str = "/tidings.auth.v1.AuthService/Logout";
pub const STREAM: &str = "/tidings.message.v1.SyncService/StreamChanges";
pub const SYNC: &str = "/tidings.message.v1.SyncService/SyncChanges";
pub const STATE: &str = "/tidings.message.v1.SyncService/GetSyncState";
pub const INFO: &str = "/tidings.gateway.v1.GatewayService/GetServerInfo";

pub type Headers<'h> = &'h [(&'h str, &'h str)];

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub http: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The status of a gRPC answer.
    pub fn status(&self) -> Status {
        let status = Status::from_header_map(&self.headers).or_else(|| Status::from_header_map(&self.trailers));
        status.unwrap_or_else(|| panic!("no gRPC status in {self:?}"))
    }

    /// The code and the reason of a gRPC answer.
    pub fn outcome(&self) -> (Code, String) {
        let status = self.status();
        let reason = status
            .get_details_error_info()
            .map(|info| info.reason)
            .unwrap_or_default();
        (status.code(), reason)
    }

    /// The HTTP status, code and reason of a Connect error.
    pub fn refusal(&self) -> (u16, String, String) {
        let json = self.json();
        (self.http.as_u16(), text(&json["code"]), reason(&json))
    }

    pub fn content_type(&self) -> &str {
        self.headers["content-type"].to_str().expect("ASCII")
    }
}

pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

/// The reason in a Connect error, from its details.
pub fn reason(error: &Value) -> String {
    let details = error["details"]
        .as_array()
        .unwrap_or_else(|| panic!("no details in {error}"));
    let info = details.iter().find(|detail| detail["type"] == "google.rpc.ErrorInfo");
    text(&info.expect("every error has an ErrorInfo")["debug"]["reason"])
}

/// The fields that a Connect error names.
pub fn fields(error: &Value) -> Vec<String> {
    let details = error["details"].as_array().expect("details");
    let request = details.iter().find(|detail| detail["type"] == "google.rpc.BadRequest");
    let violations = request.expect("fields are named")["debug"]["fieldViolations"].clone();
    violations
        .as_array()
        .expect("a list")
        .iter()
        .map(|violation| text(&violation["field"]))
        .collect()
}

pub fn request(method: Method, path: &str, headers: Headers<'_>, body: impl Into<Bytes>) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .version(Version::HTTP_2)
        .extension(client());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::new(Full::new(body.into()))).expect("well-formed")
}

impl World {
    pub async fn open(&self, request: Request<Body>) -> Response<Body> {
        self.gateway.clone().oneshot(request).await.expect("never an error")
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.open(request).await.into_parts();
        let collected = body.collect().await.expect("bodies end well");
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Answer {
            http: parts.status,
            headers: parts.headers,
            body: collected.to_bytes(),
            trailers,
        }
    }

    pub async fn post(&self, path: &str, headers: Headers<'_>, body: impl Into<Bytes>) -> Answer {
        self.send(request(Method::POST, path, headers, body)).await
    }

    pub async fn json(&self, path: &str, json: &str) -> Answer {
        let bearer = self.bearer();
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        self.post(path, &headers, json.to_owned()).await
    }

    pub async fn grpc(&self, path: &str, headers: Headers<'_>, message: &impl Message) -> Answer {
        let mut all = vec![("content-type", "application/grpc"), ("te", "trailers")];
        all.extend_from_slice(headers);
        self.post(path, &all, framed(0, &message.encode_to_vec())).await
    }
}

/// A message behind its flags and length, as gRPC and Connect streams have it.
pub fn framed(flags: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("small");
    [&[flags][..], &length.to_be_bytes(), message].concat()
}

/// The frames of a body: flags and content.
pub fn frames(mut body: &[u8]) -> Vec<(u8, Bytes)> {
    let mut frames = Vec::new();
    while let [flags, a, b, c, d, rest @ ..] = body {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (content, rest) = rest.split_at(length);
        frames.push((*flags, Bytes::copy_from_slice(content)));
        body = rest;
    }
    assert!(body.is_empty(), "half a frame");
    frames
}
