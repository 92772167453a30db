//! A status as Connect writes it: an HTTP status, and JSON with the code, the text and the details.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::{
    HeaderValue, Method as HttpMethod, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::Full;
use prost::Message as _;
use serde_json::{Value, json};
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::Problem;
use tonic::{Code, Status, body::Body};
use tonic_types::{ErrorDetails, StatusExt as _};

/// A response that says how a call failed.
pub fn response(status: &Status) -> Response<Body> {
    let json = to_json(status).to_string();
    let mut response = Response::new(Body::new(Full::from(json)));
    *response.status_mut() = http_status(status.code());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(wait) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
        // Whole seconds, rounded up, and so never 0.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// What is answered where there is nothing: 501 to a call, since its RPC may exist in another release, and 404 to a browser.
pub fn unknown_path(method: &HttpMethod) -> Response<Body> {
    let mut response = response(&Problem::new(ErrorReason::MethodUnknown).into());
    if method != HttpMethod::POST {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}

/// The status in JSON. `value` holds each detail as it is; `debug` is the same for people and for clients without the types.
pub fn to_json(status: &Status) -> Value {
    let details = tonic_types::pb::Status::decode(status.details())
        .unwrap_or_default()
        .details;
    let known = status.get_error_details();
    let details: Vec<Value> = details
        .iter()
        .map(|detail| {
            let name = detail.type_url.rsplit('/').next().unwrap_or_default();
            let mut json = json!({ "type": name, "value": STANDARD_NO_PAD.encode(&detail.value) });
            if let Some(debug) = debug(name, &known) {
                json["debug"] = debug;
            }
            json
        })
        .collect();
    json!({ "code": code_name(status.code()), "message": status.message(), "details": details })
}

/// The details of the error contract.
fn debug(name: &str, details: &ErrorDetails) -> Option<Value> {
    match name {
        "google.rpc.ErrorInfo" => details
            .error_info()
            .map(|info| json!({ "reason": info.reason, "domain": info.domain, "metadata": info.metadata })),
        "google.rpc.BadRequest" => details.bad_request().map(|request| {
            let violations = request.field_violations.iter();
            let violations: Vec<Value> = violations
                .map(|violation| json!({ "field": violation.field, "description": violation.description }))
                .collect();
            json!({ "fieldViolations": violations })
        }),
        "google.rpc.RetryInfo" => details
            .retry_info()
            .and_then(|info| info.retry_delay)
            .map(|delay| json!({ "retryDelay": format!("{}s", delay.as_secs_f64()) })),
        _ => None,
    }
}

/// <https://connectrpc.com/docs/protocol#error-codes>
pub fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).expect("three digits"),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "canceled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}
