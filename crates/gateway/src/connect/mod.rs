//! The Connect protocol: unary RPCs and server streams, in JSON and in binary, over HTTP/1.1 and HTTP/2.
//!
//! `POST /tidings.auth.v1.AuthService/Login` with a JSON body is all that curl needs. The specification is
//! <https://connectrpc.com/docs/protocol>. Client streams and two-way streams are not offered in it: each client stream has a unary
//! twin.

mod codec;
mod envelope;
pub mod error;
mod gzip;
mod negotiate;
mod query;
mod request;

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{
    HeaderValue, Method as HttpMethod, Request, Response, Version,
    header::{CONNECTION, CONTENT_TYPE},
    request::Parts,
};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::{ClientAddress, Problem, deadline, problem::reason_name};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tonic::{Status, Streaming, body::Body, client::Grpc, metadata::MetadataMap};
use tonic_types::StatusExt as _;

pub use self::codec::BytesCodec;
use self::negotiate::{Format, Shape, negotiate};
use crate::{
    admission::{Admission, Admitted, Lasting},
    catalogue::Method,
    dispatch::{Dispatch, Target},
    forward::is_in_contract,
    headers::ClientAgent,
    json, sse,
};

/// A page of 200 messages with the longest texts has 7 MB; services are trusted not to answer more than this.
const RESPONSE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Serves the other protocols by calling a gRPC target.
#[derive(Debug)]
pub struct Connect {
    dispatch: Arc<Dispatch>,
    admission: Arc<Admission>,
}

/// One call, of which all but the message is known.
struct Call {
    method: Arc<Method>,
    target: Target,
    format: Format,
    /// When the caller's patience ends, if the caller said so.
    named: Option<Instant>,
    headers: MetadataMap,
    address: Option<ClientAddress>,
    agent: Option<ClientAgent>,
}

impl Connect {
    pub fn new(dispatch: Arc<Dispatch>, admission: Arc<Admission>) -> Self {
        Self { dispatch, admission }
    }

    /// Serves one call. It always answers.
    pub async fn serve(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let (Ok(target), Some(method)) = (self.dispatch.target(path), self.dispatch.method(path)) else {
            return error::unknown_path(&parts.method);
        };
        let (format, shape) = match negotiate(&parts, method) {
            Ok(agreed) => agreed,
            Err(refusal) => return refusal.into_response(),
        };
        let method = Arc::clone(method);
        let version = parts.version;
        match shape {
            Shape::Unary => match self.unary(method, target, format, parts, body).await {
                Ok(response) => response,
                Err(status) => refusal(&status, version),
            },
            Shape::Events => match self.open(method, target, format, parts, body).await {
                Ok((method, stream, permit)) => sse::response(method, stream, permit),
                Err(status) => refusal(&status, version),
            },
            // A Connect stream has one HTTP status; how it ended stands in its last envelope.
            Shape::Stream => match self.open(method, target, format, parts, body).await {
                Ok((method, stream, permit)) => enveloped(format, messages(method, format, stream), Some(permit)),
                Err(status) => enveloped(format, stream::iter([Err(status)]), None),
            },
        }
    }

    async fn unary(
        &self,
        method: Arc<Method>,
        target: Target,
        format: Format,
        parts: Parts,
        body: Body,
    ) -> Result<Response<Body>, Status> {
        let call = Call::new(method, target, format, &parts)?;
        let deadline = call.deadline();
        let message = if parts.method == HttpMethod::GET {
            query::message(&parts, &call.method)?
        } else {
            let limit = format.bytes_max(&call.method);
            let bytes = request::read(self.admission.arrivals(), &parts, body, limit, deadline).await?;
            request::unary(&parts.headers, bytes, limit)?
        };
        let _permit = self.admission.enter(false)?;
        let message = call.to_binary(message)?;
        let path = call.method.path.clone();
        let mut client = Grpc::new(call.target.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX);
        let request = call.request(message, Some(deadline));
        let answer = client.unary(request, path, BytesCodec).await.map_err(contracted)?;
        let answer = encode(&call.method, format, answer.into_inner())?;
        let mut response = Response::new(Body::new(Full::new(answer)));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(format.unary_type()));
        Ok(response)
    }

    /// Opens a server stream.
    async fn open(
        &self,
        method: Arc<Method>,
        target: Target,
        format: Format,
        parts: Parts,
        body: Body,
    ) -> Result<(Arc<Method>, Streaming<Bytes>, OwnedSemaphorePermit), Status> {
        let call = Call::new(method, target, format, &parts)?;
        let limit = format.bytes_max(&call.method);
        let bytes = request::read(self.admission.arrivals(), &parts, body, limit, call.deadline()).await?;
        let message = if is_enveloped(&parts) {
            envelope::only(&parts.headers, bytes, limit)?
        } else {
            request::unary(&parts.headers, bytes, limit)?
        };
        let permit = self.admission.enter(true)?;
        let message = call.to_binary(message)?;
        let path = call.method.path.clone();
        let mut client = Grpc::new(call.target.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX);
        let request = call.request(message, call.named);
        let answer = client
            .server_streaming(request, path, BytesCodec)
            .await
            .map_err(contracted)?;
        Ok((call.method, answer.into_inner(), permit))
    }
}

impl Call {
    fn new(method: Arc<Method>, target: Target, format: Format, parts: &Parts) -> Result<Self, Problem> {
        request::check_version(&parts.headers)?;
        let named = request::deadline(&parts.headers, method.policy.server_streaming)?;
        let mut headers = http::HeaderMap::new();
        for value in parts.headers.get_all(http::header::AUTHORIZATION) {
            headers.append(http::header::AUTHORIZATION, value.clone());
        }
        Ok(Self {
            method,
            target,
            format,
            named,
            headers: MetadataMap::from_headers(headers),
            address: parts.extensions.get().copied(),
            agent: parts.extensions.get().cloned(),
        })
    }

    /// Until when the request must have arrived, and a unary call must have been answered.
    fn deadline(&self) -> Instant {
        deadline::to_answer(self.named)
    }

    fn to_binary(&self, message: Bytes) -> Result<Bytes, Problem> {
        match self.format {
            Format::Json => json::to_binary(&self.method.descriptor.input(), &message),
            Format::Proto => Ok(message),
        }
    }

    fn request(&self, message: Bytes, deadline: Option<Instant>) -> tonic::Request<Bytes> {
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        if let Some(deadline) = deadline {
            let timeout = deadline::write(deadline)
                .parse()
                .expect("digits and a letter are ASCII");
            request.metadata_mut().insert(deadline::HEADER, timeout);
        }
        if let Some(address) = self.address {
            request.extensions_mut().insert(address);
        }
        if let Some(agent) = &self.agent {
            request.extensions_mut().insert(agent.clone());
        }
        request
    }
}

/// A response that says how a call failed. Where HTTP/1 would have to read what is too large before the next request, the
/// connection ends, and the client is told so: it would else send its next request into a connection that is being closed.
fn refusal(status: &Status, version: Version) -> Response<Body> {
    let mut response = error::response(status);
    let unread = status
        .get_details_error_info()
        .is_some_and(|info| info.reason == reason_name(ErrorReason::MessageTooLarge));
    if unread && version < Version::HTTP_2 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A message as the client wants it.
fn encode(method: &Method, format: Format, message: Bytes) -> Result<Bytes, Problem> {
    match format {
        Format::Json => json::from_binary(&method.descriptor.output(), message).map(Bytes::from),
        Format::Proto => Ok(message),
    }
}

fn messages(
    method: Arc<Method>,
    format: Format,
    stream: Streaming<Bytes>,
) -> impl Stream<Item = Result<Bytes, Status>> + Send + 'static {
    stream.map(move |message| Ok(encode(&method, format, message.map_err(contracted)?)?))
}

/// A stream of envelopes: the messages up to the first error, and then how it ended.
fn enveloped(
    format: Format,
    messages: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
    permit: Option<OwnedSemaphorePermit>,
) -> Response<Body> {
    let items = messages.map(Some).chain(stream::iter([None]));
    let frames = items.scan(false, |ended, item| {
        let envelope = match item {
            _ if *ended => return std::future::ready(None),
            Some(Ok(message)) => envelope::message(&message),
            Some(Err(status)) => envelope::end(Some(&status)),
            None => envelope::end(None),
        };
        *ended = envelope.is_end;
        std::future::ready(Some(Ok::<_, Infallible>(Frame::data(envelope.bytes))))
    });
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    if let Some(permit) = permit {
        response = Admitted::keep(response, permit, Lasting::Stream);
    }
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(format.stream_type()));
    response
}

fn is_enveloped(parts: &Parts) -> bool {
    let content_type = parts.headers.get(CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/connect+"))
}

/// A status that a target answered. It is in the contract already; what is not was made between the target and here.
pub fn contracted(status: Status) -> Status {
    if is_in_contract(&status) {
        return status;
    }
    match status.code() {
        tonic::Code::Cancelled => Problem::new(ErrorReason::Cancelled).into(),
        _ => Problem::internal(&status).into(),
    }
}
