//! Which form of which protocol a request is in.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method as HttpMethod, Response, StatusCode,
    header::{ACCEPT, ALLOW, CONTENT_TYPE},
    request::Parts,
};
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::Problem;
use tonic::body::Body;

use super::{error, query};
use crate::catalogue::Method;

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Proto,
}

/// How an answer is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One message is the body.
    Unary,
    /// Envelopes.
    Stream,
    /// Server-Sent Events.
    Events,
}

impl Format {
    /// JSON is larger than what it stands for: letters outside of ASCII take up to six bytes where protobuf has two or three, as
    /// Python writes them. What it stands for is measured again when it goes on.
    const JSON_FACTOR: usize = 4;

    /// How large a request in this format may be.
    pub fn bytes_max(self, method: &Method) -> usize {
        match self {
            Self::Json => method.policy.request_bytes_max * Self::JSON_FACTOR,
            Self::Proto => method.policy.request_bytes_max,
        }
    }

    pub fn unary_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Proto => "application/proto",
        }
    }

    pub fn stream_type(self) -> &'static str {
        match self {
            Self::Json => "application/connect+json",
            Self::Proto => "application/connect+proto",
        }
    }
}

/// A request that is in no form that its RPC is offered in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The HTTP method is another.
    Method(&'static str),
    /// The content type is another; these would do.
    ContentType(&'static str),
}

impl Refusal {
    pub fn into_response(self) -> Response<Body> {
        let problem = Problem::new(ErrorReason::ProtocolUnsupported);
        let (status, header, expected, problem) = match self {
            Self::Method(allow) => (
                StatusCode::METHOD_NOT_ALLOWED,
                ALLOW,
                allow,
                problem.with("allow", allow),
            ),
            Self::ContentType(types) => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                ACCEPT_POST,
                types,
                problem.with("content_types", types),
            ),
        };
        let mut response = error::response(&problem.into());
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(header, HeaderValue::from_static(expected));
        response
    }
}

/// The form of a request for `method`.
pub fn negotiate(parts: &Parts, method: &Method) -> Result<(Format, Shape), Refusal> {
    let streams = method.streams();
    if parts.method == HttpMethod::GET && method.allows_get && !streams {
        // Another encoding than JSON is checked with the rest of the query.
        let format = if query::is_proto(&parts.uri) {
            Format::Proto
        } else {
            Format::Json
        };
        return Ok((format, Shape::Unary));
    }
    if parts.method != HttpMethod::POST {
        return Err(Refusal::Method(if method.allows_get && !streams {
            "GET, POST"
        } else {
            "POST"
        }));
    }
    if method.descriptor.is_client_streaming() {
        return Err(Refusal::ContentType("application/grpc"));
    }
    match content_type(&parts.headers).as_deref() {
        Some("application/json") if !streams => Ok((Format::Json, Shape::Unary)),
        Some("application/proto") if !streams => Ok((Format::Proto, Shape::Unary)),
        Some("application/json") if accepts_events(&parts.headers) => Ok((Format::Json, Shape::Events)),
        Some("application/connect+json") if streams => Ok((Format::Json, Shape::Stream)),
        Some("application/connect+proto") if streams => Ok((Format::Proto, Shape::Stream)),
        _ if streams => Err(Refusal::ContentType(
            "application/json with accept: text/event-stream, application/connect+json, application/connect+proto",
        )),
        _ => Err(Refusal::ContentType("application/json, application/proto")),
    }
}

/// The content type in small letters. Of its parameters only `charset=utf-8` can be there.
fn content_type(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let value = value.to_str().ok()?.to_ascii_lowercase();
    let (essence, parameters) = value.split_once(';').unwrap_or((&value, ""));
    let charset = parameters.trim().replace(['"', ' '], "");
    matches!(charset.as_str(), "" | "charset=utf-8").then(|| essence.trim().to_owned())
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|range| {
        range
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .eq_ignore_ascii_case("text/event-stream")
    })
}
