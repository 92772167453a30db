use http::{HeaderValue, Method};
use tidings_gateway::{Config, Cors};

use crate::{
    calls::{Answer, LOGIN, STREAM, framed, request},
    world::{Settings, Shape, World},
};

async fn world(cors: Cors) -> World {
    let mut settings = Settings::new(Shape::Local);
    settings.config = Config {
        cors,
        ..Config::default()
    };
    World::with(settings).await
}

async fn preflight(world: &World, origin: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,content-type,connect-protocol-version",
        ),
    ];
    world.send(request(Method::OPTIONS, LOGIN, &headers, "")).await
}

fn allowed(answer: &Answer) -> Option<&str> {
    answer
        .headers
        .get("access-control-allow-origin")
        .map(|value| value.to_str().expect("ASCII"))
}

#[tokio::test]
async fn no_page_may_call_unless_it_is_named() {
    let off = world(Cors::Off).await;
    assert_eq!(allowed(&preflight(&off, "http://localhost:3000").await), None);
    let named = world(Cors::Origins(vec![HeaderValue::from_static(
        "https://chat.example.org",
    )]))
    .await;
    assert_eq!(
        allowed(&preflight(&named, "https://chat.example.org").await),
        Some("https://chat.example.org")
    );
    assert_eq!(allowed(&preflight(&named, "https://evil.example.org").await), None);
    assert_eq!(allowed(&preflight(&named, "null").await), None);
}

/// What browsers are told about every answer, beside what it is.
fn assert_guarded(answer: &Answer, what: &str) {
    assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{what}");
    assert_eq!(answer.headers["referrer-policy"], "no-referrer", "{what}");
    assert_eq!(
        answer.headers["strict-transport-security"], "max-age=31536000",
        "{what}"
    );
    assert_eq!(answer.headers["cache-control"], "no-store", "{what}");
    let policy = answer.headers["content-security-policy"].to_str().expect("ASCII");
    for directive in ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(directive), "{what}: {policy}");
    }
}

#[tokio::test]
async fn answers_are_not_run_guessed_at_framed_or_kept_by_browsers() {
    let mut settings = Settings::new(Shape::Local);
    settings.config.transport_security = Some(HeaderValue::from_static("max-age=31536000"));
    let world = World::with(settings).await;
    let bearer = world.bearer();
    for (path, kind, body) in [
        (LOGIN, "application/json", b"{}".to_vec()),
        (LOGIN, "application/json", b"nonsense".to_vec()),
        (LOGIN, "application/json", br#"{"identifier":"wrong"}"#.to_vec()),
        (LOGIN, "application/json", br#"{"identifier":"panic"}"#.to_vec()),
        (LOGIN, "application/proto", Vec::new()),
        (LOGIN, "application/grpc-web", framed(0, &[])),
        (LOGIN, "text/html", b"<script>".to_vec()),
        (STREAM, "application/connect+json", framed(0, b"{}")),
        ("/nowhere", "application/json", b"{}".to_vec()),
    ] {
        let headers = [("content-type", kind), ("authorization", bearer.as_str())];
        let answer = world.post(path, &headers, body).await;
        assert_guarded(&answer, &format!("{path} as {kind}: {answer:?}"));
    }
    let events = [
        ("content-type", "application/json"),
        ("accept", "text/event-stream"),
        ("authorization", bearer.as_str()),
    ];
    assert_guarded(&world.post(STREAM, &events, "{}").await, "events");
    for path in ["/", "/healthz", "/media/none"] {
        assert_guarded(&world.send(request(Method::GET, path, &[], "")).await, path);
    }
    let trace = world
        .send(request(Method::TRACE, LOGIN, &[("x-secret", "x")], ""))
        .await;
    assert_eq!(trace.http, 405);
    assert_guarded(&trace, "TRACE");
    assert_guarded(&preflight(&world, "https://chat.example.org").await, "a preflight");

    let quiet = World::new(Shape::Local).await;
    let answer = quiet.json(LOGIN, "{}").await;
    assert!(!answer.headers.contains_key("strict-transport-security"));
}

#[tokio::test]
async fn in_development_pages_of_the_same_machine_may_call() {
    let world = world(Cors::Localhost).await;
    let answer = preflight(&world, "http://localhost:5173").await;
    assert_eq!(allowed(&answer), Some("http://localhost:5173"));
    let headers = answer.headers["access-control-allow-headers"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    assert!(headers.contains("authorization") && headers.contains("connect-protocol-version"));
    assert_eq!(allowed(&preflight(&world, "http://localhost.example.org").await), None);
    let call = [
        ("origin", "http://localhost:5173"),
        ("content-type", "application/json"),
    ];
    let answer = world.post(LOGIN, &call, "{}").await;
    assert_eq!(
        (answer.http.as_u16(), allowed(&answer)),
        (200, Some("http://localhost:5173"))
    );
    assert!(
        answer.headers["access-control-expose-headers"]
            .to_str()
            .expect("ASCII")
            .contains("grpc-status")
    );
    // No cookie is ever used, so none is allowed to be sent along.
    assert!(!answer.headers.contains_key("access-control-allow-credentials"));
}
