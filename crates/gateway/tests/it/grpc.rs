use http::Method;
use prost::Message as _;
use tidings_proto_auth::v1::{LoginRequest, LoginResponse, auth_service_client::AuthServiceClient};
use tidings_proto_gateway::v1::{GetLimitsRequest, GetServerInfoRequest, gateway_service_client::GatewayServiceClient};
use tidings_proto_message::v1::{
    After, StreamChangesRequest, StreamChangesResponse, sync_service_client::SyncServiceClient,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    calls::{INFO, LOGIN, LOGOUT, STREAM, framed, frames, request},
    fakes::BIG,
    world::{SHAPES, Shape, World},
};

fn login(identifier: &str) -> LoginRequest {
    LoginRequest {
        identifier: identifier.to_owned(),
        password: "pass".to_owned(),
        ..LoginRequest::default()
    }
}

fn after(log_id: &str) -> StreamChangesRequest {
    StreamChangesRequest {
        after: Some(After {
            log_id: log_id.to_owned(),
            ..After::default()
        }),
    }
}

#[tokio::test]
async fn a_generated_client_calls_any_service_at_the_public_port() {
    for shape in SHAPES {
        let world = World::new(shape).await;
        let url = format!("http://{}", world.port().await);
        let mut auth = AuthServiceClient::connect(url.clone()).await.expect("connects");
        let answer = auth.login(login("alice")).await.expect("served").into_inner();
        assert_eq!(
            (answer.user_id.as_str(), answer.access_token.as_str()),
            ("alice", "pass")
        );

        let mut sync = SyncServiceClient::connect(url.clone()).await.expect("connects");
        let mut call = tonic::Request::new(after("log"));
        call.metadata_mut()
            .insert("authorization", world.bearer().parse().expect("ASCII"));
        let mut stream = sync.stream_changes(call).await.expect("opens").into_inner();
        let mut frames = 0;
        while stream.message().await.expect("ends well").is_some() {
            frames += 1;
        }
        assert_eq!(frames, 2);

        let mut gateway = GatewayServiceClient::connect(url).await.expect("connects");
        let limits = gateway
            .get_limits(GetLimitsRequest {})
            .await
            .expect("served")
            .into_inner()
            .limits;
        assert_eq!(limits.expect("told").text_code_points_max, 8_000);
        let info = gateway
            .get_server_info(GetServerInfoRequest {})
            .await
            .expect("served")
            .into_inner();
        assert_eq!(info.features, ["reflection", "web"]);
        let names: Vec<&str> = info.services.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(names, ["auth", "chat", "gateway", "message", "user"]);
        let is_told = |name: &str| {
            info.services
                .iter()
                .any(|service| service.name == name && !service.version.is_empty())
        };
        assert_eq!(is_told("auth"), shape == Shape::Local);
        assert!(is_told("gateway"));
    }
}

#[tokio::test]
async fn messages_go_through_untouched() {
    let world = World::new(Shape::Remote).await;
    let answer = world.grpc(LOGIN, &[], &login("alice")).await;
    assert_eq!(answer.status().code(), Code::Ok);
    let [(flags, message)] = frames(&answer.body).try_into().expect("one message");
    assert_eq!(flags, 0);
    assert_eq!(LoginResponse::decode(message).expect("a message").user_id, "alice");
    let bearer = world.bearer();
    let answer = world.grpc(STREAM, &[("authorization", &bearer)], &after("log")).await;
    let frames = frames(&answer.body);
    assert_eq!(frames.len(), 2);
    let first = StreamChangesResponse::decode(frames[0].1.clone()).expect("a message");
    assert!(format!("{first:?}").contains(&BIG.to_string()));
    assert_eq!(answer.status().code(), Code::Ok);
}

#[tokio::test]
async fn errors_come_as_the_service_gave_them() {
    for shape in SHAPES {
        let world = World::new(shape).await;
        let wrong = world.grpc(LOGIN, &[], &login("wrong")).await;
        assert_eq!(
            wrong.outcome(),
            (Code::Unauthenticated, "CREDENTIALS_INVALID".to_owned())
        );
        let invalid = world.grpc(LOGIN, &[], &login("invalid")).await.status();
        let fields = invalid.get_details_bad_request().expect("fields").field_violations;
        assert_eq!(
            (invalid.code(), fields[0].field.as_str()),
            (Code::InvalidArgument, "password")
        );
        let bearer = world.bearer();
        let fails = world.grpc(STREAM, &[("authorization", &bearer)], &after("fails")).await;
        assert_eq!(frames(&fails.body).len(), 2);
        assert_eq!(fails.outcome(), (Code::ResourceExhausted, "SLOW_CONSUMER".to_owned()));
        let panic = world.grpc(LOGIN, &[], &login("panic")).await;
        assert_eq!(panic.outcome(), (Code::Internal, "INTERNAL".to_owned()));
    }
}

#[tokio::test]
async fn services_check_tokens_themselves() {
    let world = World::new(Shape::Local).await;
    let (bearer, forged) = (world.bearer(), "Bearer forged");
    let missing = world.grpc(LOGOUT, &[], &()).await;
    assert_eq!(missing.outcome(), (Code::Unauthenticated, "TOKEN_MISSING".to_owned()));
    assert_eq!(
        world
            .grpc(LOGOUT, &[("authorization", &bearer)], &())
            .await
            .status()
            .code(),
        Code::Ok
    );
    for both in [
        [bearer.as_str(), forged],
        [forged, bearer.as_str()],
        [bearer.as_str(), bearer.as_str()],
    ] {
        let answer = world
            .grpc(LOGOUT, &both.map(|value| ("authorization", value)), &())
            .await;
        assert_eq!(
            answer.outcome(),
            (Code::Unauthenticated, "TOKEN_INVALID".to_owned()),
            "{both:?}"
        );
    }
}

#[tokio::test]
async fn internal_and_unlisted_methods_are_unknown_in_every_protocol() {
    let world = World::new(Shape::Local).await;
    let bearer = world.bearer();
    for path in [
        "/tidings.auth.v1.AuthService/WatchRevocations",
        "/tidings.auth.v1.AuthService/Nothing",
        "/tidings.user.v1.ProvisioningService/CreateUser",
        "/tidings.user.v1.UserStateService/WatchUserStates",
        "/tidings.message.v1.MembershipLogService/ApplyMembershipChanges",
        "/tidings.future.v1.FutureService/Do",
        "/grpc.channelz.v1.Channelz/GetServers",
    ] {
        let answer = world.grpc(path, &[("authorization", &bearer)], &()).await;
        assert_eq!(
            answer.outcome(),
            (Code::Unimplemented, "METHOD_UNKNOWN".to_owned()),
            "{path}"
        );
        let web = world
            .post(path, &[("content-type", "application/grpc-web")], framed(0, &[]))
            .await;
        assert_eq!(web.outcome().0, Code::Unimplemented, "{path}");
        for kind in ["application/json", "application/proto", "application/connect+json"] {
            let answer = world.post(path, &[("content-type", kind)], "{}").await;
            let refusal = (501, "unimplemented".to_owned(), "METHOD_UNKNOWN".to_owned());
            assert_eq!(answer.refusal(), refusal, "{path} as {kind}");
        }
    }
    assert!(world.seen.nothing());
}

#[tokio::test]
async fn a_path_is_its_canonical_form_or_unknown() {
    let world = World::new(Shape::Local).await;
    let name = LOGOUT.trim_start_matches('/');
    for path in [
        format!("//{name}"),
        format!("{LOGOUT}/"),
        LOGOUT.to_lowercase(),
        LOGOUT.replace("/Logout", "%2FLogout"),
        LOGOUT.replace("Logout", "%4Cogout"),
        format!("/x/..{LOGOUT}"),
        format!("{LOGOUT};x"),
    ] {
        let bearer = world.bearer();
        let answer = world.grpc(&path, &[("authorization", &bearer)], &()).await;
        assert_eq!(answer.outcome().0, Code::Unimplemented, "{path}");
        let answer = world.json(&path, "{}").await;
        assert_eq!(answer.http.as_u16(), 501, "{path}");
    }
    assert!(world.seen.nothing());
    // A query changes nothing about who may call.
    let answer = world.grpc(&format!("{LOGOUT}?x=1"), &[], &()).await;
    assert_eq!(answer.outcome().0, Code::Unauthenticated);
    let answer = world.json(&format!("{LOGOUT}?x=1"), "{}").await;
    assert_eq!(answer.http.as_u16(), 200);
}

#[tokio::test]
async fn grpc_over_http_1_is_refused_since_it_would_lose_its_trailers() {
    let world = World::new(Shape::Local).await;
    let mut call = request(
        Method::POST,
        INFO,
        &[("content-type", "application/grpc")],
        framed(0, &[]),
    );
    *call.version_mut() = http::Version::HTTP_11;
    assert_eq!(
        world.send(call).await.outcome(),
        (Code::Unimplemented, "PROTOCOL_UNSUPPORTED".to_owned())
    );
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_unavailable() {
    for shape in SHAPES {
        let world = World::new(shape).await;
        let bearer = world.bearer();
        let path = "/tidings.chat.v1.ChatService/ListChats";
        let answer = world.grpc(path, &[("authorization", &bearer)], &()).await;
        assert_eq!(
            answer.outcome(),
            (Code::Unavailable, "DEPENDENCY_UNAVAILABLE".to_owned()),
            "{shape:?}"
        );
        assert!(answer.status().get_details_retry_info().is_some());
        let answer = world.json(path, "{}").await;
        let refusal = (503, "unavailable".to_owned(), "DEPENDENCY_UNAVAILABLE".to_owned());
        assert_eq!(answer.refusal(), refusal, "{shape:?}");
        assert!(answer.headers.contains_key("retry-after"));
    }
}
