//! Users who are deleted, restored within thirty days, and gone after them.

use std::time::Duration;

use tidings_ids::UserId;
use tidings_proto_common::v1::ErrorReason as R;
use tidings_proto_user::v1::{BatchGetUsersRequest, ListUsersRequest, UpdateUserRequest, UserStatus};

use super::{MONTH, after_housekeeping, delete, get, only_deleted, reactivate, state, suspend, undelete};
use crate::support::{World, reason};

#[tokio::test]
async fn a_deleted_user_is_hidden_and_can_be_restored_as_they_were() {
    let world = World::begin().await;
    let (admin, ada, bob) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
        world.register("bob", &[]).await,
    );
    let request = UpdateUserRequest {
        bio: "poet".to_owned(),
        ..UpdateUserRequest::default()
    };
    world.users().update_user(ada.asks(request)).await.expect("a profile");
    let before = get(&world, &admin, ada.user_id).await;

    let deleted = delete(&world, &ada, &ada).await.expect("deleted");
    let final_time = deleted.final_time.expect("it can be restored");
    let month = i64::try_from(MONTH.as_secs()).expect("fits");
    assert_eq!(final_time.seconds, world.source.now().unix_timestamp() + month);
    assert_eq!(get(&world, &bob, ada.user_id).await, only_deleted(&ada));
    assert_eq!(
        get(&world, &admin, ada.user_id).await,
        only_deleted(&ada),
        "nobody sees more"
    );
    let batch = BatchGetUsersRequest {
        user_ids: vec![ada.user_id.to_string()],
    };
    let batch = world
        .users()
        .batch_get_users(bob.asks(batch))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(batch.users, [only_deleted(&ada)]);
    let listed = world
        .users()
        .list_users(admin.asks(ListUsersRequest::default()))
        .await
        .unwrap();
    assert!(
        listed
            .into_inner()
            .users
            .iter()
            .all(|user| user.user_id != ada.user_id.to_string())
    );
    let gone = state(&world, &ada).await;
    assert_eq!(
        (gone.status(), gone.username.as_str(), gone.deletion_final),
        (UserStatus::Deleted, "", false)
    );
    assert_eq!(gone.login_epoch, gone.token_epoch);

    assert_eq!(reason(suspend(&world, &admin, &ada).await), R::NotFound);
    assert_eq!(reason(reactivate(&world, &admin, &ada).await), R::NotFound);
    delete(&world, &admin, &ada).await.expect("deleted already");
    assert_eq!(state(&world, &ada).await, gone);
    for (name, address) in [("ada", "other@example.org"), ("other", "ADA@example.org")] {
        let mut taken = world.registration(name);
        taken.email = address.to_owned();
        let refused = world.provisioning().create_user(taken).await;
        let expected = if name == "ada" { R::UsernameTaken } else { R::EmailTaken };
        assert_eq!(reason(refused), expected, "name and address stay reserved");
    }

    world.source.advance(MONTH - Duration::from_secs(1));
    let admin = world.log_in(admin.user_id).await;
    undelete(&world, &admin, &ada).await.expect("restored");
    assert_eq!(get(&world, &admin, ada.user_id).await, before);
    undelete(&world, &admin, &ada).await.expect("no harm");
    let restored = state(&world, &ada).await;
    assert_eq!(
        (restored.status(), restored.login_epoch),
        (UserStatus::Active, gone.login_epoch)
    );
}

#[tokio::test]
async fn after_thirty_days_a_deletion_is_final_and_nothing_is_left_of_the_user() {
    let world = World::begin().await;
    let (admin, ada, cy) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
        world.register("cy", &[]).await,
    );
    let profile = UpdateUserRequest {
        user_id: ada.user_id.to_string(),
        bio: "poet".to_owned(),
        avatar_url: "https://example.org/a.png".to_owned(),
        metadata: [("k".to_owned(), "v".to_owned())].into(),
        external_id: "crm-1".to_owned(),
        ..UpdateUserRequest::default()
    };
    world.users().update_user(admin.asks(profile)).await.expect("a profile");
    delete(&world, &ada, &ada).await.expect("deleted");
    world.source.advance(MONTH / 2);
    let cy = world.log_in(cy.user_id).await;
    delete(&world, &cy, &cy).await.expect("deleted later");
    world.source.advance(MONTH / 2);

    let admin = world.log_in(admin.user_id).await;
    assert_eq!(
        reason(undelete(&world, &admin, &ada).await),
        R::StateUnsuitable,
        "also before the sweep"
    );
    after_housekeeping(&world, async || state(&world, &ada).await.deletion_final).await;

    let gone = state(&world, &ada).await;
    assert_eq!(
        (gone.status(), gone.username.as_str(), gone.roles.len()),
        (UserStatus::Deleted, "", 0)
    );
    assert!(!state(&world, &cy).await.deletion_final, "not before its time");
    let left: String = sqlx::query_scalar(
        "select concat(username, email, email_canonical, display_name, bio, avatar_url, nullif(metadata::text, '{}'), external_id,
                create_hash::text, search_text)
         from users.users where user_id = $1",
    )
    .bind(ada.user_id.uuid())
    .fetch_one(&world.pool())
    .await
    .unwrap();
    assert_eq!(left, "");
    assert_eq!(
        get(&world, &admin, ada.user_id).await,
        only_deleted(&ada),
        "messages keep an author"
    );
    assert_eq!(reason(undelete(&world, &admin, &ada).await), R::StateUnsuitable);
    let done = delete(&world, &admin, &ada).await.expect("deleted already");
    assert_eq!(done.final_time, None);
    world.register("ada", &[]).await;
}

#[tokio::test]
async fn a_program_does_not_delete_itself() {
    let world = World::begin().await;
    let mut request = world.registration("helper");
    request.is_bot = true;
    let user_id = UserId::parse(&request.user_id).expect("an id");
    world.provisioning().create_user(request).await.expect("created");
    let activate = tidings_proto_user::v1::ActivateUserRequest {
        user_id: user_id.to_string(),
        email_verified: false,
    };
    world.provisioning().activate_user(activate).await.expect("activated");
    let bot = world.log_in(user_id).await;
    assert_eq!(reason(delete(&world, &bot, &bot).await), R::PermissionMissing);
    let admin = world.register("ruth", &["admin"]).await;
    delete(&world, &admin, &bot).await.expect("deleted");
}
