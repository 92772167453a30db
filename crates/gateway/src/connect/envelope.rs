//! The framing of Connect streams: a byte of flags, four of length, and a message or how the stream ended.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName};
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::Problem;
use tonic::Status;

use super::{error, gzip};

const COMPRESSED: u8 = 0b01;
const END_STREAM: u8 = 0b10;
const PREFIX_BYTES: usize = 5;

const CONTENT_ENCODING: HeaderName = HeaderName::from_static("connect-content-encoding");

/// An envelope to send.
pub struct Envelope {
    pub bytes: Bytes,
    pub is_end: bool,
}

pub fn message(message: &[u8]) -> Envelope {
    Envelope {
        bytes: envelope(0, message),
        is_end: false,
    }
}

/// The last envelope of a stream: `{}` where all went well.
pub fn end(status: Option<&Status>) -> Envelope {
    let json = match status {
        Some(status) => serde_json::json!({ "error": error::to_json(status) }),
        None => serde_json::json!({}),
    };
    Envelope {
        bytes: envelope(END_STREAM, json.to_string().as_bytes()),
        is_end: true,
    }
}

fn envelope(flags: u8, data: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + data.len());
    bytes.put_u8(flags);
    bytes.put_u32(u32::try_from(data.len()).expect("messages are bounded far below 4 GiB"));
    bytes.put_slice(data);
    bytes.freeze()
}

/// The one message of a request to a server stream.
///
/// # Errors
///
/// `PROTOCOL_UNSUPPORTED` for none or several, since the RPC takes one; `FIELD_INVALID` for what is no envelope; `MESSAGE_TOO_LARGE`.
pub fn only(headers: &HeaderMap, mut body: Bytes, bytes_max: usize) -> Result<Bytes, Problem> {
    let malformed = || Problem::field("", "the request must be one well-formed envelope");
    if body.is_empty() {
        return Err(Problem::new(ErrorReason::ProtocolUnsupported));
    }
    if body.len() < PREFIX_BYTES {
        return Err(malformed());
    }
    let flags = body.get_u8();
    let length = usize::try_from(body.get_u32()).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(Problem::new(ErrorReason::MessageTooLarge).with("limit_bytes", bytes_max));
    }
    if flags & !COMPRESSED != 0 || body.len() < length {
        return Err(malformed());
    }
    let message = body.split_to(length);
    if !body.is_empty() {
        return Err(Problem::new(ErrorReason::ProtocolUnsupported));
    }
    if flags & COMPRESSED == 0 {
        return Ok(message);
    }
    // The flag without a known encoding cannot be read.
    match headers.get(CONTENT_ENCODING).map(http::HeaderValue::as_bytes) {
        Some(b"gzip") => gzip::decompress(&message, bytes_max),
        _ => Err(gzip::unknown_encoding()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use tidings_proto_common::v1::ErrorReason;

    use super::{envelope, only};

    fn reason(bytes: &[u8]) -> ErrorReason {
        only(&HeaderMap::new(), Bytes::copy_from_slice(bytes), 10)
            .expect_err("refused")
            .reason()
    }

    #[test]
    fn a_request_is_exactly_one_envelope() {
        let one = envelope(0, b"hello");
        assert_eq!(only(&HeaderMap::new(), one.clone(), 10).expect("one"), "hello");
        assert_eq!(reason(b""), ErrorReason::ProtocolUnsupported);
        assert_eq!(
            reason(&[one.as_ref(), one.as_ref()].concat()),
            ErrorReason::ProtocolUnsupported
        );
        assert_eq!(reason(&one[..4]), ErrorReason::FieldInvalid);
        assert_eq!(reason(&one[..8]), ErrorReason::FieldInvalid);
        assert_eq!(reason(&[7, 0, 0, 0, 0]), ErrorReason::FieldInvalid);
        assert_eq!(reason(&envelope(2, b"{}")), ErrorReason::FieldInvalid);
        assert_eq!(reason(&envelope(1, b"x")), ErrorReason::ProtocolUnsupported);
        assert_eq!(reason(&[0, 0xff, 0xff, 0xff, 0xff]), ErrorReason::MessageTooLarge);
        assert_eq!(reason(&envelope(0, b"longer than ten")), ErrorReason::MessageTooLarge);
    }
}
