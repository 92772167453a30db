//! What a Connect request says beside its message, and its body within the limits.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{
    HeaderMap, HeaderName,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
    request::Parts,
};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::{Problem, deadline as deadlines};
use tokio::time::Instant;
use tonic::{Status, body::Body};

use super::gzip;
use crate::{arrivals::Arrivals, headers};

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");

/// The framing of a request with one envelope.
const ENVELOPE_BYTES: usize = 5;

/// Checks the version of the protocol, which need not be named: curl does not.
pub fn check_version(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(PROTOCOL_VERSION) {
        Some(version) if version != "1" => Err(Problem::field(PROTOCOL_VERSION.as_str(), "must be 1")),
        _ => Ok(()),
    }
}

/// When the caller's patience ends: `None` when the caller does not say.
///
/// # Errors
///
/// `FIELD_INVALID` for what is no number of up to 10 digits, `DEADLINE_EXCEEDED` for 0.
pub fn deadline(headers: &HeaderMap, server_streaming: bool) -> Result<Option<Instant>, Problem> {
    let Some(value) = headers.get(TIMEOUT) else {
        return Ok(None);
    };
    let digits = value
        .to_str()
        .ok()
        .filter(|text| (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()));
    let millis: Option<u64> = digits.and_then(|digits| digits.parse().ok());
    match millis {
        None => Err(Problem::field(
            TIMEOUT.as_str(),
            "must be milliseconds of up to 10 digits",
        )),
        Some(0) => Err(Problem::new(ErrorReason::DeadlineExceeded)),
        Some(millis) => Ok(Some(deadlines::after(Duration::from_millis(millis), server_streaming))),
    }
}

/// The body, of which no more than `bytes_max` and an envelope is ever read.
///
/// # Errors
///
/// `MESSAGE_TOO_LARGE`, at once when the length is announced; `CANCELLED` when it breaks off; those of [`Arrivals::whole`].
pub async fn read(
    arrivals: &Arrivals,
    parts: &Parts,
    body: Body,
    bytes_max: usize,
    deadline: Instant,
) -> Result<Bytes, Status> {
    let too_large = || Status::from(Problem::new(ErrorReason::MessageTooLarge).with("limit_bytes", bytes_max));
    let limit = bytes_max + ENVELOPE_BYTES;
    let announced = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut left = limit;
    let body = body
        .map_err(|_| Status::from(Problem::new(ErrorReason::Cancelled)))
        .into_data_stream()
        .map(move |piece| {
            let piece = piece?;
            left = left.checked_sub(piece.len()).ok_or_else(too_large)?;
            Ok(Frame::data(piece))
        });
    let network = headers::network(&parts.extensions);
    let whole = arrivals
        .whole(network, StreamBody::new(body), bytes_max, deadline)
        .await?;
    Ok(whole.into_bytes())
}

/// The message of a body that is one.
///
/// # Errors
///
/// `MESSAGE_TOO_LARGE`, `FIELD_INVALID`, and `PROTOCOL_UNSUPPORTED` for an encoding other than gzip.
pub fn unary(headers: &HeaderMap, body: Bytes, bytes_max: usize) -> Result<Bytes, Problem> {
    let message = match headers.get(CONTENT_ENCODING).map(http::HeaderValue::as_bytes) {
        None | Some(b"identity") => body,
        Some(b"gzip") => gzip::decompress(&body, bytes_max)?,
        Some(_) => return Err(gzip::unknown_encoding()),
    };
    if message.len() > bytes_max {
        return Err(Problem::new(ErrorReason::MessageTooLarge).with("limit_bytes", bytes_max));
    }
    Ok(message)
}
