//! Calls that are made twice.

use tidings_proto_common::v1::ErrorReason as R;
use tidings_proto_user::v1::{
    AssignRoleRequest, CreateRoleRequest, DeleteRoleRequest, UnassignRoleRequest, UpdateUserRequest,
};

use crate::support::{World, reason};

const BOT: &str = "00000000-0000-7000-8000-000000000003";

#[tokio::test]
async fn a_repeated_call_has_the_first_outcome() {
    let world = World::begin().await;
    let admin = world.register("ruth", &["admin"]).await;
    let create = CreateRoleRequest {
        name: "helper".to_owned(),
        request_id: world.request_id(),
        ..CreateRoleRequest::default()
    };
    let first = world
        .roles()
        .create_role(admin.asks(create.clone()))
        .await
        .unwrap()
        .into_inner()
        .role
        .unwrap();
    let again = world
        .roles()
        .create_role(admin.asks(create.clone()))
        .await
        .unwrap()
        .into_inner()
        .role
        .unwrap();
    assert_eq!(first, again);

    let other = CreateRoleRequest {
        description: "x".to_owned(),
        ..create.clone()
    };
    assert_eq!(
        reason(world.roles().create_role(admin.asks(other)).await),
        R::RequestIdReused
    );
    let without = CreateRoleRequest {
        request_id: String::new(),
        ..create.clone()
    };
    assert_eq!(
        reason(world.roles().create_role(admin.asks(without)).await),
        R::NameTaken
    );

    let delete = DeleteRoleRequest {
        role_id: first.role_id,
        request_id: world.request_id(),
        ..DeleteRoleRequest::default()
    };
    world.roles().delete_role(admin.asks(delete.clone())).await.unwrap();
    world
        .roles()
        .delete_role(admin.asks(delete))
        .await
        .expect("the same again");
    assert_eq!(
        reason(world.roles().create_role(admin.asks(create)).await),
        R::NotFound,
        "what it made is gone"
    );
}

#[tokio::test]
async fn ids_of_different_callers_have_nothing_to_do_with_each_other() {
    let world = World::begin().await;
    let (ruth, rosa) = (
        world.register("ruth", &["admin"]).await,
        world.register("rosa", &["admin"]).await,
    );
    let request_id = world.request_id();
    let create = |name: &str| CreateRoleRequest {
        name: name.to_owned(),
        request_id: request_id.clone(),
        ..CreateRoleRequest::default()
    };
    world.roles().create_role(ruth.asks(create("one"))).await.unwrap();
    world.roles().create_role(rosa.asks(create("two"))).await.unwrap();
    let profile = UpdateUserRequest {
        bio: "x".to_owned(),
        request_id,
        ..UpdateUserRequest::default()
    };
    world
        .users()
        .update_user(ruth.asks(profile))
        .await
        .expect("another method");
}

#[tokio::test]
async fn a_call_that_is_made_many_times_at_once_acts_once() {
    let world = World::begin().await;
    let admin = world.register("ruth", &["admin"]).await;
    let create = CreateRoleRequest {
        name: "helper".to_owned(),
        request_id: world.request_id(),
        ..CreateRoleRequest::default()
    };
    let calls = (0..8).map(|_| {
        let (mut client, request) = (world.roles(), admin.asks(create.clone()));
        async move {
            client
                .create_role(request)
                .await
                .map(|role| role.into_inner().role.unwrap().role_id)
        }
    });
    let outcomes = futures_util::future::join_all(calls).await;
    let first = outcomes[0].clone().unwrap();
    for outcome in outcomes {
        assert_eq!(outcome.unwrap(), first);
    }
}

#[tokio::test]
async fn a_refused_call_does_not_use_up_its_id() {
    let world = World::begin().await;
    let (admin, ada) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
    );
    let update = UpdateUserRequest {
        user_id: ada.user_id.to_string(),
        bio: "x".to_owned(),
        etag: "stale".to_owned(),
        request_id: world.request_id(),
        ..UpdateUserRequest::default()
    };
    assert_eq!(
        reason(world.users().update_user(admin.asks(update.clone())).await),
        R::EtagMismatch
    );
    let fresh = UpdateUserRequest {
        etag: String::new(),
        ..update
    };
    world.users().update_user(admin.asks(fresh.clone())).await.unwrap();
    let again = world
        .users()
        .update_user(admin.asks(fresh))
        .await
        .unwrap()
        .into_inner()
        .user
        .unwrap();
    assert_eq!(again.etag, "2", "changed once");
}

#[tokio::test]
async fn a_repeated_assignment_tells_what_is_there_now() {
    let world = World::begin().await;
    let (admin, ada) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
    );
    let user_id = ada.user_id.to_string();
    let assign = AssignRoleRequest {
        user_id: user_id.clone(),
        role_id: BOT.to_owned(),
        request_id: world.request_id(),
    };
    let first = world
        .roles()
        .assign_role(admin.asks(assign.clone()))
        .await
        .unwrap()
        .into_inner()
        .assignment;
    assert_eq!(first.as_ref().unwrap().assigner_user_id, admin.user_id.to_string());
    let again = world
        .roles()
        .assign_role(admin.asks(assign.clone()))
        .await
        .unwrap()
        .into_inner()
        .assignment;
    assert_eq!(first, again);

    let unassign = UnassignRoleRequest {
        user_id,
        role_id: BOT.to_owned(),
        request_id: world.request_id(),
    };
    world.roles().unassign_role(admin.asks(unassign.clone())).await.unwrap();
    let late = world
        .roles()
        .assign_role(admin.asks(assign))
        .await
        .unwrap()
        .into_inner()
        .assignment;
    assert_eq!(late, None);
    world.roles().unassign_role(admin.asks(unassign)).await.unwrap();
}
