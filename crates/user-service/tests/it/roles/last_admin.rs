//! One admin stays, whatever happens at once.

use tidings_proto_common::v1::ErrorReason as R;
use tidings_proto_user::v1::{DeleteUserRequest, SuspendUserRequest};

use super::{ADMIN, assign, id, unassign};
use crate::support::{Actor, World, insist, reason};

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

/// Makes a bot of a user, as if a service account had been made for it.
async fn make_a_bot(world: &World, user: &Actor) {
    sqlx::query("update users.users set is_bot = true where user_id = $1")
        .bind(user.user_id.uuid())
        .execute(&world.pool())
        .await
        .expect("updated");
}

#[tokio::test]
async fn a_bot_is_no_admin_that_remains() {
    let world = World::begin().await;
    let ruth = world.register("ruth", &["admin"]).await;
    let robot = world.register("robot", &["admin"]).await;
    make_a_bot(&world, &robot).await;
    let resigned = unassign(&world, &ruth, ruth.user_id, id(ADMIN)).await;
    assert_eq!(reason(resigned), R::LastAdmin, "she would leave the bot alone");
    let deposed = unassign(&world, &robot, ruth.user_id, id(ADMIN)).await;
    assert_eq!(reason(deposed), R::LastAdmin);
    let suspend = SuspendUserRequest {
        user_id: ruth.user_id.to_string(),
        ..SuspendUserRequest::default()
    };
    let suspended = world.users().suspend_user(robot.asks(suspend.clone())).await;
    assert_eq!(reason(suspended), R::LastAdmin);
    let delete = DeleteUserRequest {
        user_id: ruth.user_id.to_string(),
        ..DeleteUserRequest::default()
    };
    assert_eq!(reason(world.users().delete_user(ruth.asks(delete)).await), R::LastAdmin);

    // The bot is not missed, and with another person she is not either.
    let taken = unassign(&world, &ruth, robot.user_id, id(ADMIN)).await;
    taken.expect("a bot is never the last");
    let rosa = world.register("rosa", &["admin"]).await;
    let suspended = world.users().suspend_user(rosa.asks(suspend)).await;
    suspended.expect("rosa remains");
}

#[tokio::test]
async fn of_two_admins_who_depose_each_other_a_thousand_times_one_stays() {
    let world = World::begin().await;
    let [ruth, rosa] = [
        world.register("ruth", &["admin"]).await,
        world.register("rosa", &["admin"]).await,
    ];
    for round in 0..1_000 {
        let (ruths, rosas) = tokio::join!(
            unassign(&world, &ruth, rosa.user_id, id(ADMIN)),
            unassign(&world, &rosa, ruth.user_id, id(ADMIN)),
        );
        let (winner, loser, refused) = match (ruths, rosas) {
            (Ok(()), refused @ Err(_)) => (&ruth, &rosa, refused),
            (refused @ Err(_), Ok(())) => (&rosa, &ruth, refused),
            both => panic!("round {round}: one of them stays: {both:?}"),
        };
        assert!(matches!(reason(refused), R::LastAdmin | R::PermissionMissing));
        let again = assign(&world, winner, loser.user_id, id(ADMIN)).await;
        again.expect("who has stayed is an admin");
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
    let resigning = admins
        .iter()
        .map(|ruth| insist(|| unassign(&world, ruth, ruth.user_id, id(ADMIN))));
    let resigned = futures_util::future::join_all(resigning).await;
    let refused: Vec<_> = resigned.into_iter().filter(Result::is_err).map(reason).collect();
    assert_eq!(refused, [R::LastAdmin]);
}
