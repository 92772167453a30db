use http::{HeaderValue, Method};
use tidings_gateway::{Config, Cors};

use crate::{
    calls::{Answer, LOGIN, request},
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
