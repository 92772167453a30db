//! Calls that are denied leave an entry, through the middleware of a service.

use http::Request;
use tidings_audit::ListRequest;
use tidings_authn::{Service, ServiceIdentity};
use tidings_proto_common::v1::{AuditActorKind, AuditFilter, AuditOutcome};
use tidings_rpc::App;
use tonic::body::Body;

use crate::world::{World, until};

/// A call of nobody's, to an RPC that only services may call.
fn call(path: &str) -> Request<Body> {
    Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::empty())
        .expect("a request")
}

/// How many events there are, with those that have no number yet.
async fn written(world: &World) -> i64 {
    let count = sqlx::query_scalar("select count(*) from users.audit_events");
    count.fetch_one(&world.pool).await.expect("read")
}

#[tokio::test]
async fn what_nobody_was_denied_is_not_in_the_trail_and_what_they_were_is() {
    let world = World::new().await;
    let (stack, _health) = App::new(&world.environment)
        .descriptors(tidings_proto_user::FILE_DESCRIPTOR_SET)
        .build()
        .expect("every RPC has a policy");
    for work in world.trail.background() {
        world.environment.drain.spawn(work);
    }
    // Without a credential: not denied, but unauthenticated.
    stack
        .clone()
        .handle(call("/tidings.user.v1.ProvisioningService/CreateUser"))
        .await;
    // A service that may not: denied, where effects are recorded and where they are not.
    let chat = ServiceIdentity::new(Service::Chat, &world.environment.secret, world.source().clone());
    for path in [
        "/tidings.user.v1.ProvisioningService/CreateUser",
        "/tidings.user.v1.ProvisioningService/SetLoggedIn",
    ] {
        let mut request = call(path);
        let token = chat.token_for(Service::User);
        request
            .headers_mut()
            .insert(tidings_rpc::SERVICE_HEADER, token.parse().expect("a header"));
        stack.clone().handle(request).await;
    }

    let list = || async {
        let request = ListRequest {
            caller: world.source().new_id(),
            method: "list",
            filter: Some(AuditFilter::default()),
            order: 0,
            page_size: 0,
            page_token: String::new(),
        };
        world.trail.list(request).await.expect("listed").0
    };
    until("the denied call is in the trail", || async { !list().await.is_empty() }).await;
    let events = list().await;
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!(event.action, "tidings.user.v1.ProvisioningService/CreateUser");
    assert_eq!(
        (event.outcome(), event.reason.as_str()),
        (AuditOutcome::Refused, "PERMISSION_MISSING")
    );
    let actor = event.actor.clone().expect("an actor");
    assert_eq!(
        (actor.kind(), actor.service.as_str()),
        (AuditActorKind::Service, "chat")
    );
    // What waits is written before the process stops, and it was one.
    assert!(world.environment.drain.finish().await);
    assert_eq!(written(&world).await, 1);
}

#[tokio::test]
async fn who_is_refused_without_end_does_not_fill_the_trail() {
    /// Of one caller so many are written at once.
    const BURST: i64 = 600;
    let world = World::new().await;
    let (stack, _health) = App::new(&world.environment)
        .descriptors(tidings_proto_user::FILE_DESCRIPTOR_SET)
        .build()
        .expect("every RPC has a policy");
    for work in world.trail.background() {
        world.environment.drain.spawn(work);
    }
    let chat = ServiceIdentity::new(Service::Chat, &world.environment.secret, world.source().clone());
    for _ in 0..BURST + 400 {
        let mut request = call("/tidings.user.v1.ProvisioningService/CreateUser");
        let token = chat.token_for(Service::User);
        request
            .headers_mut()
            .insert(tidings_rpc::SERVICE_HEADER, token.parse().expect("a header"));
        stack.clone().handle(request).await;
    }
    // What waits is written before the process stops.
    assert!(world.environment.drain.finish().await);
    let written = written(&world).await;
    // One more in ten seconds, of which the calls take a few.
    assert!((BURST..BURST + 100).contains(&written), "{written}");
}
