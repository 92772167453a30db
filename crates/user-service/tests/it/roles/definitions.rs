//! Roles themselves: the built-in ones, and those that are made.

use tidings_ids::{RoleId, UserId};
use tidings_proto_common::v1::{ErrorReason as R, Permission as P};
use tidings_proto_user::v1::{CreateRoleRequest, DeleteRoleRequest, UpdateRoleRequest};
use tidings_user_service::Config;

use super::{ADMIN, BOT, MEMBER, assign, every_permission, get, id, unassign};
use crate::support::{World, detail, reason, wrong_fields};

#[tokio::test]
async fn the_built_in_roles_are_there_and_admin_has_every_permission() {
    let world = World::begin().await;
    let admin = world.register("ruth", &["admin"]).await;
    let roles = [(ADMIN, "admin"), (MEMBER, "member"), (BOT, "bot")];
    for (role_id, name) in roles {
        let role = get(&world, &admin, role_id).await.unwrap();
        assert!(role.built_in && role.name == name);
    }
    assert_eq!(
        get(&world, &admin, ADMIN).await.unwrap().permissions,
        every_permission()
    );
}

#[tokio::test]
async fn built_in_roles_stay_as_they_are() {
    let world = World::begin().await;
    let admin = world.register("ruth", &["admin"]).await;
    for role_id in [ADMIN, MEMBER, BOT] {
        let update = UpdateRoleRequest {
            role_id: role_id.to_owned(),
            description: "x".to_owned(),
            ..UpdateRoleRequest::default()
        };
        assert_eq!(
            reason(world.roles().update_role(admin.asks(update)).await),
            R::KindUnsuitable
        );
        let delete = DeleteRoleRequest {
            role_id: role_id.to_owned(),
            ..DeleteRoleRequest::default()
        };
        assert_eq!(
            reason(world.roles().delete_role(admin.asks(delete)).await),
            R::KindUnsuitable
        );
    }
}

#[tokio::test]
async fn a_role_is_created_changed_and_deleted() {
    let world = World::begin().await;
    let admin = world.register("ruth", &["admin"]).await;
    let role_id = world
        .role(&admin, "helper", &[P::UsersReadPrivate, P::UsersList, P::UsersList])
        .await
        .to_string();
    let role = get(&world, &admin, &role_id).await.unwrap();
    assert_eq!(role.permissions, [P::UsersList as i32, P::UsersReadPrivate as i32]);
    assert_eq!((role.display_name.as_str(), role.built_in), ("helper", false));

    let update = UpdateRoleRequest {
        role_id: role_id.clone(),
        display_name: "Helper".to_owned(),
        etag: role.etag.clone(),
        ..UpdateRoleRequest::default()
    };
    let updated = world
        .roles()
        .update_role(admin.asks(update.clone()))
        .await
        .unwrap()
        .into_inner()
        .role
        .unwrap();
    assert_eq!(
        (updated.display_name.as_str(), &updated.permissions),
        ("Helper", &role.permissions)
    );
    assert_ne!(updated.etag, role.etag);
    assert_eq!(
        reason(world.roles().update_role(admin.asks(update)).await),
        R::EtagMismatch
    );

    let stale = DeleteRoleRequest {
        role_id: role_id.clone(),
        etag: role.etag,
        request_id: String::new(),
    };
    assert_eq!(
        reason(world.roles().delete_role(admin.asks(stale)).await),
        R::EtagMismatch
    );
    let delete = DeleteRoleRequest {
        role_id: role_id.clone(),
        etag: updated.etag,
        request_id: String::new(),
    };
    world.roles().delete_role(admin.asks(delete.clone())).await.unwrap();
    assert_eq!(reason(world.roles().delete_role(admin.asks(delete)).await), R::NotFound);
    assert_eq!(reason(get(&world, &admin, &role_id).await), R::NotFound);
    world.role(&admin, "helper", &[]).await;
}

#[tokio::test]
async fn names_of_roles_are_unique_and_their_number_is_bounded() {
    let world = World::begin_with(Config {
        roles_max: 5,
        ..Config::default()
    })
    .await;
    let admin = world.register("ruth", &["admin"]).await;
    let create = |name: &str| CreateRoleRequest {
        name: name.to_owned(),
        ..CreateRoleRequest::default()
    };
    for taken in ["admin", "member"] {
        assert_eq!(
            reason(world.roles().create_role(admin.asks(create(taken))).await),
            R::NameTaken
        );
    }
    world.role(&admin, "one", &[]).await;
    world.role(&admin, "two", &[]).await;
    let refused = world.roles().create_role(admin.asks(create("three"))).await;
    assert_eq!(
        (detail(&refused, "quota"), detail(&refused, "limit")),
        ("roles".to_owned(), "5".to_owned())
    );
    assert_eq!(reason(refused), R::QuotaExceeded);
}

#[tokio::test]
async fn wrong_fields_of_roles_are_told_at_once() {
    let world = World::begin().await;
    let admin = world.register("ruth", &["admin"]).await;
    let create = CreateRoleRequest {
        name: "A B".to_owned(),
        display_name: "\n".to_owned(),
        description: "\0".to_owned(),
        permissions: vec![1, 0, 999],
        request_id: "x".to_owned(),
        rank: 1_001,
    };
    let fields = wrong_fields(world.roles().create_role(admin.asks(create)).await);
    assert_eq!(
        fields,
        [
            "request_id",
            "name",
            "display_name",
            "description",
            "rank",
            "permissions[1]",
            "permissions[2]"
        ]
    );
    let update = UpdateRoleRequest {
        role_id: "x".to_owned(),
        rank: -1,
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["name".to_owned(), "display_name".to_owned(), "rank".to_owned()],
        }),
        ..UpdateRoleRequest::default()
    };
    let fields = wrong_fields(world.roles().update_role(admin.asks(update)).await);
    assert_eq!(fields, ["role_id", "update_mask.paths[0]", "display_name", "rank"]);
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let world = World::begin().await;
    let (admin, ada) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
    );
    let absent = UserId::parse(&world.absent()).unwrap();
    let no_role: RoleId = world.source.new_id();
    let pending = world.registration("bob");
    world.provisioning().create_user(pending.clone()).await.unwrap();
    let pending = UserId::parse(&pending.user_id).unwrap();
    for (user_id, role_id) in [(absent, id(MEMBER)), (ada.user_id, no_role), (pending, id(MEMBER))] {
        assert_eq!(reason(assign(&world, &admin, user_id, role_id).await), R::NotFound);
        assert_eq!(reason(unassign(&world, &admin, user_id, role_id).await), R::NotFound);
    }
}
