//! Who may end whom.

use tidings_proto_common::v1::ErrorReason as R;
use tidings_proto_user::v1::{AssignRoleRequest, UserStatus};

use super::{ADMIN, delete, get, reactivate, state, suspend, undelete};
use crate::support::{World, detail, reason};

#[tokio::test]
async fn only_who_manages_users_suspends_reactivates_and_restores() {
    let world = World::begin().await;
    let (bob, ada) = (world.register("bob", &[]).await, world.register("ada", &[]).await);
    let before = state(&world, &ada).await;
    for refused in [
        suspend(&world, &bob, &ada).await.map(drop),
        reactivate(&world, &bob, &ada).await.map(drop),
        undelete(&world, &bob, &ada).await.map(drop),
        delete(&world, &bob, &ada).await.map(drop),
    ] {
        assert_eq!(detail(&refused, "permission"), "USERS_MANAGE");
        assert_eq!(reason(refused), R::PermissionMissing);
    }
    assert_eq!(state(&world, &ada).await, before);
}

#[tokio::test]
async fn nobody_acts_on_a_user_of_higher_rank() {
    let world = World::begin().await;
    let admin = world.register("ruth", &["admin"]).await;
    let manager_role = world
        .role(&admin, "manager", &[tidings_proto_common::v1::Permission::UsersManage])
        .await;
    let manager = world.register("max", &["manager"]).await;
    let peer = world.register("mia", &["manager"]).await;
    assert!(!manager_role.to_string().is_empty());
    for refused in [
        suspend(&world, &manager, &admin).await.map(drop),
        reactivate(&world, &manager, &admin).await.map(drop),
        delete(&world, &manager, &admin).await.map(drop),
        undelete(&world, &manager, &admin).await.map(drop),
    ] {
        assert_eq!(reason(refused), R::RankTooLow);
    }
    suspend(&world, &manager, &peer).await.expect("equal is allowed");
    assert_eq!(state(&world, &admin).await.status(), UserStatus::Active);
}

#[tokio::test]
async fn a_higher_user_who_was_deleted_is_not_restored_from_below() {
    let world = World::begin().await;
    let (ruth, olga) = (
        world.register("ruth", &["admin"]).await,
        world.register("olga", &["admin"]).await,
    );
    world
        .role(&ruth, "manager", &[tidings_proto_common::v1::Permission::UsersManage])
        .await;
    let manager = world.register("max", &["manager"]).await;
    delete(&world, &ruth, &olga).await.expect("deleted");
    assert_eq!(reason(undelete(&world, &manager, &olga).await), R::RankTooLow);
    assert_eq!(reason(delete(&world, &manager, &olga).await.map(drop)), R::RankTooLow);
    undelete(&world, &ruth, &olga).await.expect("restored");
    assert_eq!(get(&world, &ruth, olga.user_id).await.roles, ["admin"]);
}

#[tokio::test]
async fn the_last_admin_is_neither_suspended_nor_deleted() {
    let world = World::begin().await;
    let (ruth, olga) = (
        world.register("ruth", &["admin"]).await,
        world.register("olga", &["admin"]).await,
    );
    suspend(&world, &ruth, &olga).await.expect("one remains");
    assert_eq!(reason(suspend(&world, &ruth, &ruth).await), R::LastAdmin);
    assert_eq!(reason(delete(&world, &ruth, &ruth).await), R::LastAdmin);
    delete(&world, &ruth, &olga)
        .await
        .expect("a suspended one is no admin who acts");
    assert_eq!(state(&world, &ruth).await.status(), UserStatus::Active);

    let ada = world.register("ada", &[]).await;
    let request = AssignRoleRequest {
        user_id: ada.user_id.to_string(),
        role_id: ADMIN.to_owned(),
        request_id: String::new(),
    };
    world.roles().assign_role(ruth.asks(request)).await.expect("assigned");
    delete(&world, &ruth, &ruth).await.expect("another has come");
}

#[tokio::test]
async fn of_two_admins_who_delete_each_other_at_once_one_remains() {
    let world = World::begin().await;
    for round in 0..5 {
        let (ruth, olga) = (
            world.register(&format!("ruth{round}"), &["admin"]).await,
            world.register(&format!("olga{round}"), &["admin"]).await,
        );
        let (first, second) = tokio::join!(delete(&world, &ruth, &olga), suspend(&world, &olga, &ruth));
        assert!(
            first.is_ok() != second.is_ok(),
            "one of {first:?} and {second:?} must have come too late"
        );
        let admins: i64 = sqlx::query_scalar(
            "select count(*) from users.role_assignments a join users.users u using (user_id)
             where a.role_id = $1::uuid and u.status = 'active'",
        )
        .bind(ADMIN)
        .fetch_one(&world.pool())
        .await
        .unwrap();
        assert_eq!(admins, 1);
        sqlx::query("update users.users set status = 'suspended' where status = 'active'")
            .execute(&world.pool())
            .await
            .unwrap();
    }
}
