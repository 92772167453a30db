//! Users who are suspended.

use tidings_proto_common::v1::ErrorReason as R;
use tidings_proto_user::v1::UserStatus;

use super::{delete, get, reactivate, state, suspend, undelete};
use crate::support::{World, reason};

#[tokio::test]
async fn a_suspension_ends_tokens_and_login_sessions_until_it_is_taken_back() {
    let world = World::begin().await;
    let (admin, ada, bob) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
        world.register("bob", &[]).await,
    );
    let before = state(&world, &ada).await;
    assert_eq!((before.login_epoch, before.status()), (0, UserStatus::Active));

    suspend(&world, &admin, &ada).await.expect("suspended");
    let suspended = state(&world, &ada).await;
    assert_eq!(suspended.status(), UserStatus::Suspended);
    assert_eq!(suspended.token_epoch, before.token_epoch + 1);
    assert_eq!(suspended.login_epoch, suspended.token_epoch);
    assert!(suspended.number > before.number && suspended.permissions.is_empty());
    assert_eq!(
        get(&world, &admin, ada.user_id).await.username,
        "ada",
        "others go on seeing the user"
    );

    assert!(
        get(&world, &admin, ada.user_id).await.suspended,
        "who manages users sees it"
    );
    assert!(!get(&world, &bob, ada.user_id).await.suspended, "others do not");

    let again = suspend(&world, &admin, &ada).await.expect("no harm");
    assert_eq!(again.user_id, ada.user_id.to_string());
    assert_eq!(state(&world, &ada).await, suspended, "nothing changes again");

    let shown = reactivate(&world, &admin, &ada).await.expect("reactivated");
    assert!(!shown.suspended);
    let active = state(&world, &ada).await;
    assert_eq!(
        (active.status(), &active.permissions),
        (UserStatus::Active, &before.permissions)
    );
    assert!(active.token_epoch > suspended.token_epoch);
    assert_eq!(
        active.login_epoch, suspended.login_epoch,
        "login sessions do not come back"
    );
    reactivate(&world, &admin, &ada).await.expect("no harm");
    assert_eq!(state(&world, &ada).await, active);
}

#[tokio::test]
async fn a_suspended_user_cannot_act_by_an_older_token() {
    let world = World::begin().await;
    let (admin, other) = (
        world.register("ruth", &["admin"]).await,
        world.register("olga", &["admin"]).await,
    );
    suspend(&world, &admin, &other).await.expect("suspended");
    // The test follows no feed, so the token itself is still taken.
    assert_eq!(reason(suspend(&world, &other, &admin).await), R::LoginSessionRevoked);
    assert_eq!(reason(delete(&world, &other, &other).await), R::LoginSessionRevoked);
    assert_eq!(state(&world, &admin).await.status(), UserStatus::Active);
}

#[tokio::test]
async fn a_suspended_user_who_is_restored_is_suspended() {
    let world = World::begin().await;
    let (admin, ada) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
    );
    suspend(&world, &admin, &ada).await.expect("suspended");
    delete(&world, &admin, &ada).await.expect("deleted");
    undelete(&world, &admin, &ada).await.expect("restored");
    assert_eq!(state(&world, &ada).await.status(), UserStatus::Suspended);
}
