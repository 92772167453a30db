use std::time::Duration;

use http::{
    HeaderName, HeaderValue, Method, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RANGE, RETRY_AFTER},
};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::Cors;

/// Browsers ask again after this long; Chromium allows no more.
const MAX_AGE: Duration = Duration::from_secs(7_200);

/// What pages may send: the headers of Connect, of gRPC-Web and of traces, and a token.
const REQUEST_HEADERS: [HeaderName; 12] = [
    ACCEPT,
    AUTHORIZATION,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    RANGE,
    HeaderName::from_static("connect-protocol-version"),
    HeaderName::from_static("connect-timeout-ms"),
    HeaderName::from_static("connect-content-encoding"),
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-user-agent"),
    HeaderName::from_static("traceparent"),
];

/// What pages may read beside the few headers that they always may: how a gRPC-Web call ended, and when to come back.
const RESPONSE_HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    RETRY_AFTER,
];

/// Answers browsers that ask whether a page may call.
pub fn layer(cors: &Cors) -> CorsLayer {
    let origins = match cors {
        Cors::Off => AllowOrigin::list([]),
        Cors::Localhost => AllowOrigin::predicate(|origin, _| is_localhost(origin)),
        Cors::Origins(origins) => AllowOrigin::list(origins.iter().cloned()),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT])
        .allow_headers(REQUEST_HEADERS)
        .expose_headers(RESPONSE_HEADERS)
        .max_age(MAX_AGE)
}

fn is_localhost(origin: &HeaderValue) -> bool {
    let uri = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok());
    let host = uri.as_ref().and_then(Uri::host);
    host.is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::is_localhost;

    #[test]
    fn only_the_same_machine_is_localhost() {
        let is = |origin| is_localhost(&HeaderValue::from_static(origin));
        assert!(is("http://localhost:5173") && is("http://127.0.0.1") && is("https://[::1]:3000"));
        assert!(!is("http://localhost.example.org") && !is("http://127.0.0.1.example.org") && !is("null"));
        assert!(!is("http://example.org/localhost"));
    }
}
