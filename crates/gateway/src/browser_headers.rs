//! What browsers are told about every answer that they could show: an API's answer is data for a program. It is not to be run, guessed
//! at, framed or kept, whatever page asked for it (ASVS 3.2.1, 3.4.1 to 3.4.6, 14.3.2).

use http::{
    HeaderMap, HeaderValue,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    },
};

/// For answers that are no pages and bring no policy of their own.
const CONTENT_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox",
);

/// Adds what is the same for all answers, and leaves what an answer says itself of its content and of how long it keeps.
pub fn set(headers: &mut HeaderMap, transport_security: Option<&HeaderValue>) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // URLs of media carry a signature.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(CONTENT_POLICY);
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    if let Some(policy) = transport_security {
        headers.insert(STRICT_TRANSPORT_SECURITY, policy.clone());
    }
}
