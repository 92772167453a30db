//! Suspension and deletion, and what undoes them.

use std::time::Duration;

use tidings_ids::UserId;
use tidings_proto_common::v1::ErrorReason as R;
use tidings_proto_user::v1::{
    AssignRoleRequest, BatchGetUserStatesRequest, BatchGetUsersRequest, DeleteUserRequest, DeleteUserResponse,
    GetUserRequest, ListUsersRequest, ReactivateUserRequest, SuspendUserRequest, UndeleteUserRequest,
    UpdateUserRequest, User, UserState, UserStatus,
};
use tokio::time::Instant;
use tonic::{Response, Status};

use crate::support::{Actor, World, detail, reason, wrong_fields};

const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const ADMIN: &str = "00000000-0000-7000-8000-000000000001";

async fn suspend(world: &World, by: &Actor, whom: &Actor) -> Result<User, Status> {
    let request = SuspendUserRequest {
        user_id: whom.user_id.to_string(),
        ..SuspendUserRequest::default()
    };
    let response = world.users().suspend_user(by.asks(request)).await?;
    Ok(response.into_inner().user.expect("a user"))
}

async fn reactivate(world: &World, by: &Actor, whom: &Actor) -> Result<User, Status> {
    let request = ReactivateUserRequest {
        user_id: whom.user_id.to_string(),
        ..ReactivateUserRequest::default()
    };
    let response = world.users().reactivate_user(by.asks(request)).await?;
    Ok(response.into_inner().user.expect("a user"))
}

async fn delete(world: &World, by: &Actor, whom: &Actor) -> Result<DeleteUserResponse, Status> {
    let request = DeleteUserRequest {
        user_id: whom.user_id.to_string(),
        ..DeleteUserRequest::default()
    };
    world
        .users()
        .delete_user(by.asks(request))
        .await
        .map(Response::into_inner)
}

async fn undelete(world: &World, by: &Actor, whom: &Actor) -> Result<User, Status> {
    let request = UndeleteUserRequest {
        user_id: whom.user_id.to_string(),
        ..UndeleteUserRequest::default()
    };
    let response = world.users().undelete_user(by.asks(request)).await?;
    Ok(response.into_inner().user.expect("a user"))
}

async fn get(world: &World, by: &Actor, whom: UserId) -> User {
    let request = GetUserRequest {
        user_id: whom.to_string(),
    };
    let response = world.users().get_user(by.asks(request)).await.expect("shown");
    response.into_inner().user.expect("a user")
}

/// The user's state without any side effect.
async fn state(world: &World, whom: &Actor) -> UserState {
    let request = BatchGetUserStatesRequest {
        user_ids: vec![whom.user_id.to_string()],
    };
    let response = world
        .provisioning()
        .batch_get_user_states(request)
        .await
        .expect("states");
    response.into_inner().states.pop().expect("a state")
}

fn only_deleted(whom: &Actor) -> User {
    User {
        user_id: whom.user_id.to_string(),
        deleted: true,
        ..User::default()
    }
}

/// Does the service's housekeeping until the condition holds, for ten seconds at the most.
async fn after_housekeeping(world: &World, mut condition: impl AsyncFnMut() -> bool) {
    for work in world.service.background() {
        world.environment.drain.spawn(work);
    }
    let limit = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(Instant::now() < limit, "housekeeping did not get there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

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

#[tokio::test]
async fn states_are_for_auth_and_of_those_who_are_there() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let discarded = world.registration("dora");
    let discarded_id = discarded.user_id.clone();
    world.provisioning().create_user(discarded).await.expect("pending");
    let request = tidings_proto_user::v1::DiscardUserRequest {
        user_id: discarded_id.clone(),
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
