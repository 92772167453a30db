//! Tokens for a part of what their user may.

use tidings_proto_common::v1::{ErrorReason as R, Permission as P};
use tidings_proto_user::v1::{
    AssignRoleRequest, CheckAuthorityRequest, CreateRoleRequest, SuspendUserRequest, UpdateUserRequest,
};

use super::Stage;
use crate::support::{Actor, detail, reason};

#[tokio::test]
async fn a_token_for_a_part_gives_no_more_than_that_part() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let scoped = world.log_in_with(stage.ruth.user_id, &[P::RolesManage]).await;
    let create = |permissions: &[P]| CreateRoleRequest {
        name: "mine".to_owned(),
        permissions: permissions.iter().map(|permission| *permission as i32).collect(),
        ..CreateRoleRequest::default()
    };
    let refused = world.roles().create_role(scoped.asks(create(&[P::UsersManage]))).await;
    assert_eq!(detail(&refused, "permission"), "USERS_MANAGE");
    let admin = AssignRoleRequest {
        user_id: stage.actors[6].user_id.to_string(),
        role_id: stage.roles().await[0].role_id.clone(),
        request_id: String::new(),
    };
    assert_eq!(
        reason(world.roles().assign_role(scoped.asks(admin)).await),
        R::PermissionMissing
    );
    let another = UpdateUserRequest {
        user_id: stage.actors[6].user_id.to_string(),
        bio: "x".to_owned(),
        ..UpdateUserRequest::default()
    };
    assert_eq!(
        reason(world.users().update_user(scoped.asks(another)).await),
        R::PermissionMissing
    );
    world
        .roles()
        .create_role(scoped.asks(create(&[P::RolesManage])))
        .await
        .expect("within the part");
}

#[tokio::test]
async fn a_token_for_a_part_and_a_suspension_open_no_account() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let aide = world.register("some-aide", &["aide"]).await;
    let enter = async |actor: &Actor, reach: &[P]| {
        let request = CheckAuthorityRequest {
            actor_user_id: actor.user_id.to_string(),
            target_user_id: aide.user_id.to_string(),
            takes_over: true,
            actor_permissions: reach.iter().map(|permission| *permission as i32).collect(),
        };
        world.provisioning().check_authority(request).await
    };
    enter(&stage.ruth, &[P::RolesRead])
        .await
        .expect("all that the aide has");
    let refused = enter(&stage.ruth, &[P::CredentialsManage]).await;
    assert_eq!(detail(&refused, "permission"), "ROLES_READ");
    assert_eq!(reason(refused), R::PermissionMissing);
    enter(&aide, &[]).await.expect("one's own");

    // It is the user's again after a suspension, and so is the account.
    let suspend = SuspendUserRequest {
        user_id: aide.user_id.to_string(),
        ..SuspendUserRequest::default()
    };
    world
        .users()
        .suspend_user(stage.ruth.asks(suspend))
        .await
        .expect("suspended");
    let refused = enter(&stage.ruth, &[P::CredentialsManage]).await;
    assert_eq!(reason(refused), R::PermissionMissing);

    // The id by which another system lets people in is a way into the account too.
    let chief = &stage.actors[1];
    let link = |target: &Actor| UpdateUserRequest {
        user_id: target.user_id.to_string(),
        external_id: format!("of-{}", target.user_id),
        ..UpdateUserRequest::default()
    };
    let (clerk, member) = (&stage.actors[3], &stage.actors[6]);
    world
        .users()
        .update_user(chief.asks(link(clerk)))
        .await
        .expect("all that the clerk has");
    let refused = world.users().update_user(chief.asks(link(member))).await;
    assert_eq!(detail(&refused, "permission"), "USERS_LIST");

    let request = CheckAuthorityRequest {
        actor_user_id: stage.ruth.user_id.to_string(),
        target_user_id: aide.user_id.to_string(),
        takes_over: false,
        actor_permissions: vec![1],
    };
    assert_eq!(
        reason(world.provisioning().check_authority(request).await),
        R::FieldInvalid
    );
}
