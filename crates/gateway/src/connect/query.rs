//! Reads by `GET`, with the message in the query, so that browsers need not ask before they call.

use axum::extract::Query;
use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use http::{Uri, request::Parts};
use serde::Deserialize;
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::Problem;

use super::gzip;
use crate::catalogue::Method;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Debug, Default, Deserialize)]
struct Parameters {
    connect: Option<String>,
    #[serde(default)]
    encoding: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    base64: String,
    #[serde(default)]
    compression: String,
}

fn parameters(uri: &Uri) -> Option<Parameters> {
    Query::<Parameters>::try_from_uri(uri)
        .ok()
        .map(|Query(parameters)| parameters)
}

/// Whether the message is in binary.
pub fn is_proto(uri: &Uri) -> bool {
    parameters(uri).is_some_and(|parameters| parameters.encoding == "proto")
}

/// The message in the query.
///
/// # Errors
///
/// `FIELD_INVALID` naming the parameter, `MESSAGE_TOO_LARGE`, `PROTOCOL_UNSUPPORTED` for an unknown compression.
pub fn message(parts: &Parts, method: &Method) -> Result<Bytes, Problem> {
    let malformed = || Problem::field("", "the query must have each parameter once, percent-encoded");
    let parameters = parameters(&parts.uri).ok_or_else(malformed)?;
    if parameters.connect.is_some_and(|version| version != "v1") {
        return Err(Problem::field("connect", "must be v1"));
    }
    if !matches!(parameters.encoding.as_str(), "json" | "proto") {
        return Err(Problem::field("encoding", "must be json or proto"));
    }
    let message = match parameters.base64.as_str() {
        "" => Bytes::from(parameters.message),
        "1" => BASE64
            .decode(parameters.message)
            .map_err(|_| Problem::field("message", "must be URL-safe base64"))?
            .into(),
        _ => return Err(Problem::field("base64", "must be 1 or absent")),
    };
    let bytes_max = method.policy.request_bytes_max;
    let message = match parameters.compression.as_str() {
        "" | "identity" => message,
        "gzip" => gzip::decompress(&message, bytes_max)?,
        _ => return Err(gzip::unknown_encoding()),
    };
    if message.len() > bytes_max {
        return Err(Problem::new(ErrorReason::MessageTooLarge).with("limit_bytes", bytes_max));
    }
    Ok(message)
}
