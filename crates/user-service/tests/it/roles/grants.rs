//! Roles that users get and lose, and who gives and takes them.

use tidings_ids::RoleId;
use tidings_proto_common::v1::{ErrorReason as R, Permission as P};
use tidings_proto_user::v1::{CreateRoleRequest, DeleteRoleRequest, UpdateRoleRequest};
use tidings_user_service::Config;

use super::{ADMIN, BOT, assign, get, id, unassign};
use crate::support::{World, detail, reason};

#[tokio::test]
async fn a_role_gives_its_permissions_and_raises_the_token_epoch() {
    let world = World::begin().await;
    let (admin, ada) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
    );
    let role = world.role(&admin, "reader", &[P::RolesRead]).await;
    let before = world.state_of(ada.user_id).await;

    assign(&world, &admin, ada.user_id, role).await.unwrap();
    let held = world.state_of(ada.user_id).await;
    assert_eq!(held.token_epoch, before.token_epoch + 1);
    assert!(held.permissions.contains(&(P::RolesRead as i32)) && held.number > before.number);
    assert_eq!(held.roles, ["member", "reader"]);

    assign(&world, &admin, ada.user_id, role).await.expect("held already");
    assert_eq!(world.state_of(ada.user_id).await, held);

    unassign(&world, &admin, ada.user_id, role).await.unwrap();
    let taken = world.state_of(ada.user_id).await;
    assert_eq!(
        (taken.token_epoch, &taken.permissions),
        (held.token_epoch + 1, &before.permissions)
    );
    unassign(&world, &admin, ada.user_id, role)
        .await
        .expect("taken already");
    assert_eq!(world.state_of(ada.user_id).await, taken);
}

#[tokio::test]
async fn a_role_that_allows_nothing_new_does_not_end_tokens() {
    let world = World::begin().await;
    let (admin, ada) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
    );
    let role = world.role(&admin, "chatter", &[P::ChatsCreate]).await;
    let before = world.state_of(ada.user_id).await;
    assign(&world, &admin, ada.user_id, role).await.unwrap();
    let after = world.state_of(ada.user_id).await;
    assert_eq!(after.token_epoch, before.token_epoch);
    assert!(after.number > before.number, "but others learn of it");
}

#[tokio::test]
async fn nobody_gives_or_takes_what_they_do_not_hold() {
    let world = World::begin().await;
    let (admin, ada) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
    );
    let manager = world.role(&admin, "manager", &[P::RolesManage, P::RolesRead]).await;
    let strong = world.role(&admin, "strong", &[P::RolesRead, P::UsersManage]).await;
    let weak = world.role(&admin, "weak", &[P::RolesRead]).await;
    let bob = world.register("bob", &["manager"]).await;

    let create = |permissions: &[P]| CreateRoleRequest {
        name: "mine".to_owned(),
        permissions: permissions.iter().map(|permission| *permission as i32).collect(),
        ..CreateRoleRequest::default()
    };
    let refused = world
        .roles()
        .create_role(bob.asks(create(&[P::RolesRead, P::UsersManage])))
        .await;
    assert_eq!(detail(&refused, "permission"), "USERS_MANAGE");
    assert_eq!(reason(refused), R::PermissionMissing);
    world
        .roles()
        .create_role(bob.asks(create(&[P::RolesRead])))
        .await
        .unwrap();

    for user_id in [ada.user_id, bob.user_id] {
        assert_eq!(
            reason(assign(&world, &bob, user_id, id(ADMIN)).await),
            R::PermissionMissing
        );
        assert_eq!(
            reason(assign(&world, &bob, user_id, strong).await),
            R::PermissionMissing
        );
    }
    assign(&world, &bob, ada.user_id, weak).await.unwrap();
    assign(&world, &admin, ada.user_id, strong).await.unwrap();
    assert_eq!(
        reason(unassign(&world, &bob, ada.user_id, strong).await),
        R::PermissionMissing
    );
    assert_eq!(
        reason(unassign(&world, &bob, admin.user_id, id(ADMIN)).await),
        R::PermissionMissing
    );

    let update = |role_id: RoleId, permissions: &[P]| UpdateRoleRequest {
        role_id: role_id.to_string(),
        permissions: permissions.iter().map(|permission| *permission as i32).collect(),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["permissions".to_owned()],
        }),
        ..UpdateRoleRequest::default()
    };
    let gives = update(manager, &[P::RolesManage, P::RolesRead, P::UsersManage]);
    assert_eq!(
        reason(world.roles().update_role(bob.asks(gives)).await),
        R::PermissionMissing
    );
    let takes = update(strong, &[P::RolesRead]);
    assert_eq!(
        reason(world.roles().update_role(bob.asks(takes)).await),
        R::PermissionMissing
    );
    let within = update(strong, &[P::UsersManage]);
    world
        .roles()
        .update_role(bob.asks(within))
        .await
        .expect("takes only what they hold");
    let delete = DeleteRoleRequest {
        role_id: strong.to_string(),
        ..DeleteRoleRequest::default()
    };
    assert_eq!(
        reason(world.roles().delete_role(bob.asks(delete)).await),
        R::PermissionMissing
    );
}

#[tokio::test]
async fn without_the_permission_nothing_about_roles_is_done() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    assert_eq!(reason(get(&world, &ada, ADMIN).await), R::PermissionMissing);
    assert_eq!(
        reason(assign(&world, &ada, ada.user_id, id(ADMIN)).await),
        R::PermissionMissing
    );
}

#[tokio::test]
async fn an_old_token_of_a_former_admin_changes_nothing() {
    let world = World::begin().await;
    let (ruth, rosa) = (
        world.register("ruth", &["admin"]).await,
        world.register("rosa", &["admin", "member"]).await,
    );
    unassign(&world, &ruth, rosa.user_id, id(ADMIN)).await.unwrap();
    // The middleware of this test has not heard of it.
    assert_eq!(
        reason(assign(&world, &rosa, rosa.user_id, id(ADMIN)).await),
        R::PermissionMissing
    );
    let create = CreateRoleRequest {
        name: "mine".to_owned(),
        ..CreateRoleRequest::default()
    };
    assert_eq!(
        reason(world.roles().create_role(rosa.asks(create)).await),
        R::PermissionMissing
    );
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_roles() {
    let world = World::begin_with(Config {
        roles_per_user_max: 2,
        ..Config::default()
    })
    .await;
    let (admin, ada) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
    );
    assign(&world, &admin, ada.user_id, id(BOT)).await.unwrap();
    let third = world.role(&admin, "third", &[]).await;
    assert_eq!(
        reason(assign(&world, &admin, ada.user_id, third).await),
        R::QuotaExceeded
    );
}
