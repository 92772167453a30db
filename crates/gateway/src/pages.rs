//! What is neither an RPC nor media: a health check for load balancers that speak HTTP, the keys of access tokens, the page to try the
//! deployment with, and the page that the links in mails lead to.

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

/// The page to try it with, whole: it loads nothing from anywhere.
const TRY: &str = include_str!("../web/index.html");

/// What the links in mails lead to, as whole as the other. It sees by its path what it is asked for. The token of a link stands behind
/// `#`, so it does not come here but with the RPC.
const ACCOUNT: &str = include_str!("../web/account.html");

/// Verifiers may keep the keys this long; a new key is published for longer before it signs.
const JWKS_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=60");

/// The pages.
#[derive(Debug)]
pub struct Pages {
    serving: Serving,
    jwks: Jwks,
    /// `None` where there are no web pages.
    web: Option<Web>,
}

/// The web pages.
#[derive(Debug)]
struct Web {
    try_it: Page,
    account: Page,
}

/// A web page, and the policy of its content.
#[derive(Debug)]
struct Page {
    content: &'static str,
    policy: HeaderValue,
}

impl Page {
    fn new(content: &'static str) -> Self {
        Self {
            content,
            policy: content_policy(content),
        }
    }

    fn response(&self) -> Response<Body> {
        let mut response = of("text/html; charset=utf-8", self.content);
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        response
    }
}

impl Web {
    fn page(&self, path: &str) -> Option<&Page> {
        match path {
            "/" => Some(&self.try_it),
            "/reset-password" | "/verify-email" | "/forgot-password" => Some(&self.account),
            _ => None,
        }
    }
}

impl Pages {
    pub fn new(serving: Serving, jwks: Jwks, web: bool) -> Self {
        Self {
            serving,
            jwks,
            web: web.then(|| Web {
                try_it: Page::new(TRY),
                account: Page::new(ACCOUNT),
            }),
        }
    }

    /// The page at this path, if there is one.
    pub async fn get(&self, method: &Method, path: &str) -> Option<Response<Body>> {
        let page = self.web.as_ref().and_then(|web| web.page(path));
        if page.is_none() && !matches!(path, "/healthz" | "/.well-known/jwks.json") {
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
        Some(match page {
            Some(page) => page.response(),
            None if path == "/healthz" => self.health(),
            None => self.keys().await,
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
    use super::{ACCOUNT, TRY, content_policy, inline};
    use crate::catalogue::{Catalogue, DESCRIPTORS};

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        for page in [TRY, ACCOUNT] {
            for tag in ["script", "style"] {
                assert!(!inline(page, tag).is_empty(), "{tag}");
                assert_eq!(page.matches(&format!("<{tag}")).count(), 1, "{tag}");
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
                assert!(!page.contains(foreign), "{foreign}");
            }
            let policy = content_policy(page);
            let policy = policy.to_str().expect("ASCII");
            assert!(
                policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
                "{policy}"
            );
        }
    }

    #[test]
    fn the_token_of_a_link_leaves_the_address_bar_and_is_not_kept() {
        let script = inline(ACCOUNT, "script");
        assert!(script.contains("history.replaceState(null, \"\", location.pathname)"));
        for kept in ["Storage", "cookie", "indexedDB", "caches."] {
            assert!(!script.contains(kept), "{kept}");
        }
    }

    #[test]
    fn the_links_in_mails_make_calls_that_there_are() {
        let catalogue = Catalogue::new(&DESCRIPTORS).expect("our own descriptors");
        let calls = inline(ACCOUNT, "script").split("method: \"").skip(1);
        let names: Vec<&str> = calls.filter_map(|rest| rest.split('"').next()).collect();
        for name in [
            "ResetPassword",
            "VerifyEmail",
            "RequestPasswordReset",
            "RequestEmailVerification",
        ] {
            assert!(names.contains(&name), "{name} in {names:?}");
            let method = catalogue.get(&format!("/tidings.auth.v1.CredentialService/{name}"));
            let request = method.expect("public").descriptor.input();
            for field in request.fields() {
                assert!(
                    inline(ACCOUNT, "script").contains(field.json_name()),
                    "{}",
                    field.json_name()
                );
            }
        }
    }
}
