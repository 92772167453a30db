//! What is neither an RPC nor media: a health check for load balancers that speak HTTP, the keys of access tokens, and the page to
//! try the deployment with.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_FRAME_OPTIONS},
};
use http_body_util::Full;
use serde_json::json;
use tidings_authn::Service;
use tonic::body::Body;

use crate::{connect::error, jwks::Jwks, upstreams::Serving};

/// The page, whole: it loads nothing from anywhere.
const PAGE: &str = include_str!("../web/index.html");

/// Verifiers may keep the keys this long; a new key is published for longer before it signs.
const JWKS_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=60");

/// The pages.
#[derive(Debug)]
pub struct Pages {
    serving: Serving,
    jwks: Jwks,
    /// The policy of the page's content; `None` where there is no page.
    page_policy: Option<HeaderValue>,
}

impl Pages {
    pub fn new(serving: Serving, jwks: Jwks, web: bool) -> Self {
        Self {
            serving,
            jwks,
            page_policy: web.then(|| content_policy(PAGE)),
        }
    }

    /// The page at this path, if there is one.
    pub async fn get(&self, method: &Method, path: &str) -> Option<Response<Body>> {
        let is_page = match path {
            "/healthz" | "/.well-known/jwks.json" => true,
            "/" => self.page_policy.is_some(),
            _ => false,
        };
        if !is_page {
            return None;
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Some(response);
        }
        Some(match path {
            "/healthz" => self.health(),
            "/.well-known/jwks.json" => self.keys().await,
            _ => self.page(),
        })
    }

    fn health(&self) -> Response<Body> {
        let whole = self.serving.all();
        let services: serde_json::Map<String, serde_json::Value> = Service::ALL
            .into_iter()
            .map(|service| (service.name().to_owned(), self.serving.is(service).into()))
            .collect();
        let status = if whole { "SERVING" } else { "NOT_SERVING" };
        let mut response = of(
            "application/json",
            json!({ "status": status, "services": services }).to_string(),
        );
        if !whole {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }

    async fn keys(&self) -> Response<Body> {
        match self.jwks.get().await {
            Ok(set) => {
                let mut response = of("application/jwk-set+json", set);
                response.headers_mut().insert(CACHE_CONTROL, JWKS_CACHE);
                response
            }
            Err(problem) => error::response(&problem.into()),
        }
    }

    fn page(&self) -> Response<Body> {
        let mut response = of("text/html; charset=utf-8", PAGE);
        let headers = response.headers_mut();
        if let Some(policy) = &self.page_policy {
            headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
        }
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        response
    }
}

fn of(content_type: &'static str, content: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(content.into())));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A policy that lets the page run the script and use the style that stand in it, by their digests, call the origin that it came
/// from, and nothing else.
fn content_policy(page: &str) -> HeaderValue {
    let mut policy =
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'"
            .to_owned();
    for (directive, tag) in [("script-src", "script"), ("style-src", "style")] {
        let digest = digest(&SHA256, inline(page, tag).as_bytes());
        write!(policy, "; {directive} 'sha256-{}'", STANDARD.encode(digest)).expect("a string takes text");
    }
    HeaderValue::try_from(policy).expect("base64 is ASCII")
}

/// What stands between the only pair of these tags.
fn inline<'p>(page: &'p str, tag: &str) -> &'p str {
    let content = page.split_once(&format!("<{tag}>")).map_or("", |(_, rest)| rest);
    content
        .split_once(&format!("</{tag}>"))
        .map_or("", |(content, _)| content)
}

#[cfg(test)]
mod tests {
    use super::{PAGE, content_policy, inline};

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        for tag in ["script", "style"] {
            assert!(!inline(PAGE, tag).is_empty(), "{tag}");
            assert_eq!(PAGE.matches(&format!("<{tag}")).count(), 1, "{tag}");
        }
        for foreign in [
            "http://",
            "https://",
            "src=",
            "@import",
            "url(",
            "innerHTML",
            "style=\"",
            " onclick",
        ] {
            assert!(!PAGE.contains(foreign), "{foreign}");
        }
        let policy = content_policy(PAGE);
        let policy = policy.to_str().expect("ASCII");
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
    }
}
