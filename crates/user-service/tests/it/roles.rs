use tidings_ids::{RoleId, UserId};
use tidings_proto_common::v1::{ErrorReason as R, Permission as P};
use tidings_proto_user::v1::{
    AssignRoleRequest, CreateRoleRequest, DeleteRoleRequest, DeleteUserRequest, GetRoleRequest, Role,
    SuspendUserRequest, UnassignRoleRequest, UpdateRoleRequest,
};
use tidings_user_service::Config;
use tonic::Status;

use crate::support::{Actor, World, detail, reason, wrong_fields};

const ADMIN: &str = "00000000-0000-7000-8000-000000000001";
const MEMBER: &str = "00000000-0000-7000-8000-000000000002";
const BOT: &str = "00000000-0000-7000-8000-000000000003";

fn id(text: &str) -> RoleId {
    RoleId::parse(text).expect("an id")
}

async fn assign(world: &World, caller: &Actor, user_id: UserId, role_id: RoleId) -> Result<(), Status> {
    let request = AssignRoleRequest {
        user_id: user_id.to_string(),
        role_id: role_id.to_string(),
        request_id: String::new(),
    };
    world.roles().assign_role(caller.asks(request)).await.map(drop)
}

async fn unassign(world: &World, caller: &Actor, user_id: UserId, role_id: RoleId) -> Result<(), Status> {
    let request = UnassignRoleRequest {
        user_id: user_id.to_string(),
        role_id: role_id.to_string(),
        request_id: String::new(),
    };
    world.roles().unassign_role(caller.asks(request)).await.map(drop)
}

async fn get(world: &World, caller: &Actor, role_id: &str) -> Result<Role, Status> {
    let request = GetRoleRequest {
        role_id: role_id.to_owned(),
    };
    Ok(world
        .roles()
        .get_role(caller.asks(request))
        .await?
        .into_inner()
        .role
        .expect("a role"))
}

/// All permissions that there are: an enum's numbers have no holes here.
fn every_permission() -> Vec<i32> {
    (1..).take_while(|number| P::try_from(*number).is_ok()).collect()
}

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

#[tokio::test]
async fn the_last_admin_stays() {
    let world = World::begin().await;
    let ruth = world.register("ruth", &["admin"]).await;
    assert_eq!(
        reason(unassign(&world, &ruth, ruth.user_id, id(ADMIN)).await),
        R::LastAdmin
    );

    let rosa = world.register("rosa", &["admin"]).await;
    sqlx::query("update users.users set status = 'suspended' where user_id = $1")
        .bind(rosa.user_id.uuid())
        .execute(&world.pool())
        .await
        .unwrap();
    assert_eq!(
        reason(unassign(&world, &ruth, ruth.user_id, id(ADMIN)).await),
        R::LastAdmin,
        "a suspended one is none"
    );
}

#[tokio::test]
async fn of_two_admins_who_depose_each_other_one_stays() {
    let world = World::begin().await;
    for round in 0..60 {
        let ruth = world.register(&format!("ruth{round}"), &["admin"]).await;
        let rosa = world.register(&format!("rosa{round}"), &["admin"]).await;
        // Nobody else.
        sqlx::query("delete from users.role_assignments where role_id = $1 and user_id <> all ($2)")
            .bind(id(ADMIN).uuid())
            .bind(vec![ruth.user_id.uuid(), rosa.user_id.uuid()])
            .execute(&world.pool())
            .await
            .unwrap();
        let (one, other) = tokio::join!(
            unassign(&world, &ruth, rosa.user_id, id(ADMIN)),
            unassign(&world, &rosa, ruth.user_id, id(ADMIN)),
        );
        let refused = if one.is_ok() { other } else { one };
        assert!(matches!(reason(refused), R::LastAdmin | R::PermissionMissing));
    }
}

#[tokio::test]
async fn of_two_admins_who_end_each_other_in_different_ways_one_stays() {
    let world = World::begin().await;
    for round in 0..60 {
        let ruth = world.register(&format!("ruth{round}"), &["admin"]).await;
        let rosa = world.register(&format!("rosa{round}"), &["admin"]).await;
        // Nobody else.
        sqlx::query("delete from users.role_assignments where role_id = $1 and user_id <> all ($2)")
            .bind(id(ADMIN).uuid())
            .bind(vec![ruth.user_id.uuid(), rosa.user_id.uuid()])
            .execute(&world.pool())
            .await
            .unwrap();
        let delete = DeleteUserRequest {
            user_id: ruth.user_id.to_string(),
            ..DeleteUserRequest::default()
        };
        let suspend = SuspendUserRequest {
            user_id: rosa.user_id.to_string(),
            ..SuspendUserRequest::default()
        };
        let (mut users, mut more) = (world.users(), world.users());
        let (one, other) = tokio::join!(
            async { users.suspend_user(ruth.asks(suspend)).await.map(drop) },
            async {
                match round % 2 {
                    0 => unassign(&world, &rosa, ruth.user_id, id(ADMIN)).await,
                    _ => more.delete_user(rosa.asks(delete)).await.map(drop),
                }
            },
        );
        assert!(
            one.is_ok() != other.is_ok(),
            "one is done and one is not: {one:?} {other:?}"
        );
        let refused = if one.is_ok() { other } else { one };
        assert!(matches!(
            reason(refused),
            R::LastAdmin | R::PermissionMissing | R::LoginSessionRevoked
        ));
    }
}

#[tokio::test]
async fn of_many_admins_who_all_resign_at_once_one_stays() {
    let world = World::begin().await;
    let mut admins = Vec::new();
    for number in 0..60 {
        admins.push(world.register(&format!("ruth{number}"), &["admin"]).await);
    }
    let resigned = futures_util::future::join_all(
        admins
            .iter()
            .map(|ruth| unassign(&world, ruth, ruth.user_id, id(ADMIN))),
    )
    .await;
    let refused: Vec<_> = resigned.into_iter().filter(Result::is_err).map(reason).collect();
    assert_eq!(refused, [R::LastAdmin]);
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
