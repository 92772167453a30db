use http::Response;
use tidings_proto_common::v1::ErrorReason;
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;

use crate::{Problem, problem::DOMAIN};

/// The status that a response ends with at once, if it does: `None` for a response that has a body, whose status comes in its
/// trailers.
pub(crate) fn status_of(response: &Response<Body>) -> Option<Status> {
    response
        .extensions()
        .get::<Status>()
        .cloned()
        .or_else(|| Status::from_header_map(response.headers()))
}

/// Brings a status that did not come from our own code into the contract: tonic answers an over-size message with `OUT_OF_RANGE`,
/// garbage with `INTERNAL`, and none of its statuses has details.
pub(crate) fn normalise(status: &Status) -> Option<Status> {
    if status.code() == Code::Ok || is_ours(status) {
        return None;
    }
    let problem = match status.code() {
        // h2 found that the peer floods it, and ended the connection.
        Code::ResourceExhausted if status.message().starts_with("h2 protocol error") => {
            Problem::new(ErrorReason::Overloaded)
        }
        // "Error, decoded message length too large" and the like for what was compressed.
        Code::OutOfRange | Code::ResourceExhausted => Problem::new(ErrorReason::MessageTooLarge),
        Code::Internal | Code::InvalidArgument => malformed(status),
        Code::Cancelled => Problem::new(ErrorReason::Cancelled),
        Code::DeadlineExceeded => Problem::new(ErrorReason::DeadlineExceeded),
        // The path was known: only the encoding of the message was not.
        Code::Unimplemented if status.message().starts_with("Content is compressed with") => unread(status),
        Code::Unimplemented => Problem::new(ErrorReason::MethodUnknown),
        // The standard health service about a service that it does not know.
        Code::NotFound => Problem::not_found(),
        Code::Unavailable => Problem::new(ErrorReason::DependencyUnavailable),
        _ => Problem::internal(status),
    };
    Some(problem.into())
}

/// Whether the status was made by a [`Problem`].
pub(crate) fn is_ours(status: &Status) -> bool {
    status
        .get_details_error_info()
        .is_some_and(|info| info.domain == DOMAIN)
}

/// An encoding that is not read here, with those that are, which tonic names beside its status.
fn unread(status: &Status) -> Problem {
    let read = status.metadata().get("grpc-accept-encoding");
    let read = read.and_then(|names| names.to_str().ok()).unwrap_or("identity");
    Problem::new(ErrorReason::ProtocolUnsupported).with("accept_encoding", read)
}

/// What tonic answers before a handler has run: the request's bytes are no message of this RPC.
fn malformed(status: &Status) -> Problem {
    const BEGINNINGS: [&str; 7] = [
        "failed to decode Protobuf message",
        "protocol error",
        "Missing request message",
        "Unexpected EOF decoding stream",
        "Error decompressing",
        "error reading a body",
        "h2 protocol error",
    ];
    if BEGINNINGS
        .iter()
        .any(|beginning| status.message().starts_with(beginning))
    {
        return Problem::field("", "the request must be one well-formed message of the method's type");
    }
    Problem::internal(status)
}
