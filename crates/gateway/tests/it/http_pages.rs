use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use tidings_gateway::{Config, DESCRIPTORS, Gateway, Upstreams};
use tidings_rpc::Slot;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::{
    calls::{Answer, INFO, LOGIN, framed, request},
    world::{PATIENCE, Settings, Shape, World},
};

async fn get(world: &World, path: &str) -> Answer {
    world.send(request(Method::GET, path, &[], "")).await
}

#[tokio::test]
async fn the_deployment_is_whole_when_every_service_serves() {
    let world = World::new(Shape::Local).await;
    world.gateway.start();
    let answer = get(&world, "/healthz").await;
    assert_eq!(
        (answer.http.as_u16(), &answer.json()["status"]),
        (503, &"NOT_SERVING".into())
    );
    // Auth and message serve; user and chat are not there.
    let there = serde_json::json!({"auth": true, "chat": false, "gateway": true, "message": true, "user": false});
    let told = async {
        while get(&world, "/healthz").await.json()["services"] != there {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told)
        .await
        .expect("those that serve are told");
    assert!(!world.gateway.is_whole());
    let mut health = HealthClient::new(world.channel().await);
    let status = health
        .check(HealthCheckRequest::default())
        .await
        .expect("known")
        .into_inner()
        .status();
    assert_eq!(status.as_str_name(), "NOT_SERVING");
    for unknown in ["nothing", "tidings.user.v1.ProvisioningService"] {
        let request = HealthCheckRequest {
            service: unknown.to_owned(),
        };
        assert_eq!(health.check(request).await.expect_err("unknown").code(), Code::NotFound);
    }
}

#[tokio::test]
async fn each_grpc_service_that_is_forwarded_has_its_health() {
    let world = World::new(Shape::Local).await;
    world.gateway.start();
    let mut health = HealthClient::new(world.channel().await);
    // Auth and message serve; user and chat are not there.
    for (name, expected) in [
        ("tidings.auth.v1.AuthService", "SERVING"),
        ("tidings.message.v1.MessageService", "SERVING"),
        ("tidings.user.v1.UserService", "NOT_SERVING"),
        ("tidings.chat.v1.ChatService", "NOT_SERVING"),
    ] {
        let told = async {
            loop {
                let service = name.to_owned();
                let answer = health.check(HealthCheckRequest { service }).await;
                if answer.is_ok_and(|answer| answer.get_ref().status().as_str_name() == expected) {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let told = tokio::time::timeout(PATIENCE, told).await;
        assert!(told.is_ok(), "{name} is {expected}");
    }
}

#[tokio::test]
async fn services_elsewhere_tell_their_release() {
    let world = World::new(Shape::Remote).await;
    let release = async |name: &str| {
        let info = world.json(INFO, "{}").await.json();
        let services = info["services"].as_array().expect("a list").clone();
        let service = services.into_iter().find(|service| service["name"] == name);
        service.expect("listed")["version"].as_str().expect("text").to_owned()
    };
    assert_eq!(release("auth").await, "", "not heard of yet");
    world.gateway.start();
    let told = async {
        while release("auth").await.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told)
        .await
        .expect("auth tells its release");
    assert_eq!(release("auth").await, release("gateway").await);
    assert_eq!(release("chat").await, "", "not there");
}

#[tokio::test]
async fn keys_are_published_for_those_who_verify_tokens() {
    let world = World::new(Shape::Remote).await;
    let answer = get(&world, "/.well-known/jwks.json").await;
    assert_eq!(
        (answer.http.as_u16(), answer.content_type()),
        (200, "application/jwk-set+json")
    );
    let key = &answer.json()["keys"][0];
    assert_eq!(
        (&key["kid"], &key["kty"], &key["crv"]),
        (&"key-1".into(), &"OKP".into(), &"Ed25519".into())
    );
    assert_eq!(key["x"], URL_SAFE_NO_PAD.encode([7; 32]));
    world.seen.take();
    get(&world, "/.well-known/jwks.json").await;
    assert!(world.seen.nothing(), "auth is not asked for each");
}

#[tokio::test]
async fn the_page_stands_alone_and_only_where_it_is_switched_on() {
    let world = World::new(Shape::Local).await;
    let page = get(&world, "/").await;
    assert_eq!(
        (page.http.as_u16(), page.content_type()),
        (200, "text/html; charset=utf-8")
    );
    let policy = page.headers["content-security-policy"].to_str().expect("ASCII");
    assert!(policy.starts_with("default-src 'none'") && policy.contains("script-src 'sha256-"));
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    let post = world.send(request(Method::POST, "/", &[], "")).await;
    assert_eq!(post.http, 405);
    let mut settings = Settings::new(Shape::Local);
    settings.config = Config::default();
    let bare = World::with(settings).await;
    assert_eq!(get(&bare, "/").await.http, 404);
    assert_eq!(get(&bare, "/favicon.ico").await.refusal().0, 404);
}

/// What mails say, with the paths of their links.
const LETTERS: &str = include_str!("../../../auth-service/src/mail/text.rs");

#[tokio::test]
async fn the_links_in_mails_lead_to_a_page() {
    let links = LETTERS.split("{public_url}").skip(1);
    let paths = links.map(|rest| {
        rest.split(|c: char| c != '/' && c != '-' && !c.is_ascii_lowercase())
            .next()
    });
    let paths: BTreeSet<&str> = paths
        .map(Option::unwrap_or_default)
        .filter(|path| path.starts_with('/'))
        .collect();
    assert!(paths.len() >= 3, "{paths:?}");
    let world = World::new(Shape::Local).await;
    let mut settings = Settings::new(Shape::Local);
    settings.config = Config::default();
    let bare = World::with(settings).await;
    for path in paths {
        let page = get(&world, path).await;
        assert_eq!(
            (page.http.as_u16(), page.content_type()),
            (200, "text/html; charset=utf-8"),
            "{path}"
        );
        let content = String::from_utf8(page.body.to_vec()).expect("text");
        assert!(
            content.contains(&format!("\"{}\": {{", &path[1..])),
            "the page knows {path}"
        );
        let policy = page.headers["content-security-policy"].to_str().expect("ASCII");
        assert!(policy.starts_with("default-src 'none'") && policy.contains("script-src 'sha256-"));
        assert!(
            policy.contains("connect-src 'self'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(page.headers["referrer-policy"], "no-referrer");
        assert_eq!(page.headers["cache-control"], "no-store");
        assert_eq!(
            world.send(request(Method::POST, path, &[], "")).await.http,
            405,
            "{path}"
        );
        assert_eq!(get(&bare, path).await.http, 404, "{path}");
    }
}

async fn reflected(world: &World) -> Result<Vec<String>, tonic::Status> {
    let mut client = ServerReflectionClient::new(world.channel().await);
    let list = MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(list),
    };
    let mut answers = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await?
        .into_inner();
    let answer = answers
        .message()
        .await?
        .expect("an answer")
        .message_response
        .expect("a list");
    let MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?} is no list")
    };
    Ok(list.service.into_iter().map(|service| service.name).collect())
}

#[tokio::test]
async fn reflection_shows_what_is_public_and_only_where_it_is_switched_on() {
    let world = World::new(Shape::Local).await;
    let names = reflected(&world).await.expect("switched on");
    for public in [
        "tidings.auth.v1.AuthService",
        "tidings.chat.v1.ChatService",
        "grpc.health.v1.Health",
    ] {
        assert!(names.iter().any(|name| name == public), "{public} in {names:?}");
    }
    assert!(
        !names
            .iter()
            .any(|name| name.contains("Provisioning") || name.contains("MembershipLog"))
    );
    let mut settings = Settings::new(Shape::Local);
    settings.config = Config::default();
    let bare = World::with(settings).await;
    assert_eq!(
        reflected(&bare).await.expect_err("switched off").code(),
        Code::Unimplemented
    );
}

#[tokio::test]
async fn what_is_not_in_the_descriptors_is_not_offered() {
    let world = World::new(Shape::Local).await;
    // The same deployment with a gateway that was built without auth's package.
    let environment = crate::world::alone();
    let peer = |service| tidings_rpc::Peer::local(service, Slot::new(), environment.identity.clone());
    let upstreams = Upstreams {
        auth: peer(tidings_authn::Service::Auth),
        user: peer(tidings_authn::Service::User),
        chat: peer(tidings_authn::Service::Chat),
        message: peer(tidings_authn::Service::Message),
        media: None,
    };
    let sets: Vec<&[u8]> = DESCRIPTORS[1..].to_vec();
    let gateway = Gateway::with_descriptors(&environment, &Config::default(), upstreams, &sets).expect("fit");
    let world = World { gateway, ..world };
    let answer = world
        .post(LOGIN, &[("content-type", "application/grpc")], framed(0, &[]))
        .await;
    assert_eq!(answer.outcome(), (Code::Unimplemented, "METHOD_UNKNOWN".to_owned()));
    assert_eq!(world.json(LOGIN, "{}").await.http, 501);
    assert_eq!(world.json(INFO, "{}").await.http, 200);
}
