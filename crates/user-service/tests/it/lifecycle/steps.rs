//! What holds for every step of a life: repetitions, versions, states, the audit trail.

use tidings_proto_common::v1::ErrorReason as R;
use tidings_proto_user::v1::{BatchGetUserStatesRequest, SuspendUserRequest};

use super::{delete, get, reactivate, state, suspend, undelete};
use crate::support::{World, reason, wrong_fields};

#[tokio::test]
async fn a_repeated_call_has_one_effect_and_another_content_is_refused() {
    let world = World::begin().await;
    let (admin, ada) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
    );
    let request = SuspendUserRequest {
        user_id: ada.user_id.to_string(),
        request_id: world.request_id(),
        etag: String::new(),
    };
    world
        .users()
        .suspend_user(admin.asks(request.clone()))
        .await
        .expect("suspended");
    reactivate(&world, &admin, &ada).await.expect("reactivated");
    let active = state(&world, &ada).await;
    world
        .users()
        .suspend_user(admin.asks(request.clone()))
        .await
        .expect("a repetition");
    assert_eq!(state(&world, &ada).await, active, "it does not suspend again");
    let other = SuspendUserRequest {
        user_id: admin.user_id.to_string(),
        ..request
    };
    assert_eq!(
        reason(world.users().suspend_user(admin.asks(other)).await),
        R::RequestIdReused
    );
}

#[tokio::test]
async fn steps_need_an_existing_user_and_the_version_that_was_read() {
    let world = World::begin().await;
    let (admin, ada) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
    );
    let request = |user_id: String, etag: &str| SuspendUserRequest {
        user_id,
        etag: etag.to_owned(),
        request_id: String::new(),
    };
    let id = ada.user_id.to_string();
    let refused = world
        .users()
        .suspend_user(admin.asks(request(world.absent(), "")))
        .await;
    assert_eq!(reason(refused), R::NotFound);
    let pending = world.registration("pia");
    let pending_id = pending.user_id.clone();
    world.provisioning().create_user(pending).await.expect("pending");
    let refused = world.users().suspend_user(admin.asks(request(pending_id, ""))).await;
    assert_eq!(reason(refused), R::NotFound);
    let refused = world
        .users()
        .suspend_user(admin.asks(request("x".to_owned(), "")))
        .await;
    assert_eq!(wrong_fields(refused), ["user_id"]);
    let refused = world
        .users()
        .suspend_user(admin.asks(request(id.clone(), "nonsense")))
        .await;
    assert_eq!(reason(refused), R::EtagMismatch);
    let etag = get(&world, &admin, ada.user_id).await.etag;
    world
        .users()
        .suspend_user(admin.asks(request(id, &etag)))
        .await
        .expect("suspended");
}

#[tokio::test]
async fn states_are_for_auth_and_of_those_who_are_there() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let discarded = world.registration("dora");
    let discarded_id = discarded.user_id.clone();
    world.provisioning().create_user(discarded).await.expect("pending");
    let request = tidings_proto_user::v1::DiscardUserRequest {
        user_id: discarded_id.clone(),
        ..tidings_proto_user::v1::DiscardUserRequest::default()
    };
    world.provisioning().discard_user(request).await.expect("discarded");
    let request = BatchGetUserStatesRequest {
        user_ids: vec![world.absent(), ada.user_id.to_string(), discarded_id],
    };
    let found = world
        .provisioning()
        .batch_get_user_states(request.clone())
        .await
        .unwrap()
        .into_inner();
    let ids: Vec<_> = found.states.iter().map(|state| state.user_id.clone()).collect();
    assert_eq!(ids, [ada.user_id.to_string()]);
    let mut others = world.provisioning_as(tidings_authn::Service::Chat);
    assert_eq!(
        reason(others.batch_get_user_states(request).await),
        R::PermissionMissing
    );
    let none = BatchGetUserStatesRequest::default();
    assert_eq!(
        wrong_fields(world.provisioning().batch_get_user_states(none).await),
        ["user_ids"]
    );
    let many = BatchGetUserStatesRequest {
        user_ids: vec![world.absent(); 501],
    };
    assert_eq!(
        wrong_fields(world.provisioning().batch_get_user_states(many).await),
        ["user_ids"]
    );
}

#[tokio::test]
async fn each_step_is_in_the_audit_trail_once_and_names_nobody() {
    let world = World::begin().await;
    let (admin, ada) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
    );
    for _ in 0..2 {
        suspend(&world, &admin, &ada).await.expect("suspended");
    }
    reactivate(&world, &admin, &ada).await.expect("reactivated");
    delete(&world, &admin, &ada).await.expect("deleted");
    undelete(&world, &admin, &ada).await.expect("restored");
    let events: Vec<(String, String)> = sqlx::query_as(
        "select action, to_jsonb(e)::text from users.audit_events e where action like '%UserService/%' order by event_time, event_id",
    )
    .fetch_all(&world.pool())
    .await
    .unwrap();
    let actions: Vec<_> = events
        .iter()
        .filter_map(|(action, _)| action.rsplit('/').next())
        .collect();
    let mut expected = ["SuspendUser", "ReactivateUser", "DeleteUser", "UndeleteUser"]
        .map(str::to_owned)
        .to_vec();
    let mut found: Vec<String> = actions.iter().map(|action| (*action).to_owned()).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "what changes nothing is not recorded");
    for (_, event) in &events {
        assert!(
            event.contains(&admin.user_id.to_string()) && event.contains(&ada.user_id.to_string()),
            "{event}"
        );
        assert!(!event.contains("ada@") && !event.contains("\"ada\""), "{event}");
    }
}
