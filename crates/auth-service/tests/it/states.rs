//! What follows here when a user is renamed, suspended or deleted.

use tidings_proto_user::v1::UserStatus;

use crate::world::{World, eventually, refusal, registration};

/// Why a login session ended; empty while it lives.
async fn end_reason(world: &World, login_session_id: &str) -> String {
    let reason: Option<Option<String>> =
        sqlx::query_scalar("select end_reason from auth.login_sessions where login_session_id = $1::uuid")
            .bind(login_session_id)
            .fetch_optional(&world.pool)
            .await
            .expect("asked");
    reason.expect("the login session is there").unwrap_or_default()
}

async fn username(world: &World, user_id: &str) -> String {
    sqlx::query_scalar("select username from auth.accounts where user_id = $1::uuid")
        .bind(user_id)
        .fetch_one(&world.pool)
        .await
        .expect("the account is there")
}

/// Up to which number the feed was applied; `None` while everything is compared.
async fn position(world: &World) -> Option<i64> {
    sqlx::query_scalar("select position from auth.followed_feeds where resync_after is null")
        .fetch_optional(&world.pool)
        .await
        .expect("asked")
}

async fn applied(world: &World, number: i64) {
    eventually("the feed was applied", async || position(world).await == Some(number)).await;
}

#[tokio::test]
async fn a_suspension_ends_all_login_sessions_and_tells_those_who_verify() {
    let world = World::open().await;
    let ada = world.register("ada").await.expect("registered");
    let bob = world.register("bob").await.expect("registered");
    let (phone, laptop) = (
        world.login("ada").await.expect("logged in"),
        world.login("ada").await.expect("logged in"),
    );
    let others = world.login("bob").await.expect("logged in");
    // Before the feed tells it.
    world.users.change(&ada, |user| user.status = UserStatus::Suspended);
    assert_eq!(
        refusal(world.refresh(&phone.refresh_token, &world.request_id()).await),
        "ACCOUNT_SUSPENDED",
        "at once"
    );
    world.users.suspend(&ada);
    for session in [&phone, &laptop] {
        eventually("the login session ended", async || {
            end_reason(&world, &session.login_session_id).await == "suspended"
        })
        .await;
    }
    assert_eq!(world.count("revocations").await, 2);
    eventually("the token is refused", async || {
        world.verifier.verify(&laptop.access_token).is_err()
    })
    .await;
    let revoked = world.logout(&laptop.access_token).await;
    assert_eq!(
        refusal(revoked),
        "LOGIN_SESSION_REVOKED",
        "streams end by the same feed"
    );
    assert_eq!(refusal(world.login("ada").await), "ACCOUNT_SUSPENDED");
    assert_eq!(end_reason(&world, &others.login_session_id).await, "");
    assert_eq!(username(&world, &bob).await, "bob");

    world.users.reactivate(&ada);
    let again = world.login("ada").await.expect("logged in");
    applied(&world, 2).await;
    assert_eq!(end_reason(&world, &again.login_session_id).await, "");
    assert_eq!(
        refusal(world.refresh(&phone.refresh_token, &world.request_id()).await),
        "LOGIN_SESSION_REVOKED",
        "what was ended does not come back"
    );
}

#[tokio::test]
async fn a_suspension_that_was_taken_back_before_it_was_read_ends_what_began_before_it() {
    let world = World::open().await;
    let ada = world.register("ada").await.expect("registered");
    let before = world.login("ada").await.expect("logged in");
    world.users.change(&ada, |user| {
        // Told later: the feed lags.
        user.token_epoch = 3;
        user.login_epoch = 2;
    });
    let after = world.login("ada").await.expect("logged in");
    assert_eq!(
        refusal(world.refresh(&before.refresh_token, &world.request_id()).await),
        "LOGIN_SESSION_REVOKED",
        "refreshing does not wait for the feed"
    );
    world.users.tell(&ada, |_| {});
    applied(&world, 1).await;
    assert_eq!(end_reason(&world, &before.login_session_id).await, "suspended");
    assert_eq!(end_reason(&world, &after.login_session_id).await, "");
    world
        .refresh(&after.refresh_token, &world.request_id())
        .await
        .expect("it began after the suspension");
}

#[tokio::test]
async fn a_deletion_ends_login_sessions_and_a_final_one_removes_the_account() {
    let world = World::open().await;
    let ada = world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in");
    world.users.tell(&ada, |user| {
        user.status = UserStatus::Deleted;
        user.token_epoch += 1;
        user.login_epoch = user.token_epoch;
    });
    assert_eq!(
        refusal(world.refresh(&session.refresh_token, &world.request_id()).await),
        "LOGIN_SESSION_REVOKED",
        "at once"
    );
    eventually("the login session ended", async || {
        end_reason(&world, &session.login_session_id).await == "deleted"
    })
    .await;
    assert_eq!(refusal(world.login("ada").await), "CREDENTIALS_INVALID");
    assert_eq!(username(&world, &ada).await, "ada", "it can be restored");

    world.users.tell(&ada, |user| {
        user.deletion_final = true;
        user.username = String::new();
        user.email = String::new();
    });
    eventually("the account is gone", async || world.count("accounts").await == 0).await;
    assert_eq!(world.count("login_sessions").await, 0);
    assert_eq!(refusal(world.login("ada").await), "CREDENTIALS_INVALID");
    let again = world.register("ada").await.expect("name and address are free");
    assert_ne!(again, ada);
    world.login("ada").await.expect("logged in");
}

#[tokio::test]
async fn a_user_logs_in_by_the_new_name_and_no_longer_by_the_old_one() {
    let world = World::open().await;
    let ada = world.register("ada").await.expect("registered");
    world.users.tell(&ada, |user| user.username = "countess".to_owned());
    eventually("the new name is known", async || world.login("countess").await.is_ok()).await;
    assert_eq!(refusal(world.login("ada").await), "CREDENTIALS_INVALID");
    world.login("ada@example.org").await.expect("the address stays");
}

#[tokio::test]
async fn users_take_each_others_names_at_once() {
    let world = World::open().await;
    let (ada, bob, cy) = (
        world.register("ada").await.expect("registered"),
        world.register("bob").await.expect("registered"),
        world.register("cy").await.expect("registered"),
    );
    world.users.go_away(true);
    for (user_id, name) in [(&ada, "away"), (&bob, "ada"), (&cy, "bob"), (&ada, "cy")] {
        world.users.tell(user_id, |user| user.username = name.to_owned());
    }
    world.users.go_away(false);
    applied(&world, 4).await;
    assert_eq!(username(&world, &ada).await, "cy");
    assert_eq!(username(&world, &bob).await, "ada");
    assert_eq!(username(&world, &cy).await, "bob");
}

#[tokio::test]
async fn a_name_that_is_free_at_the_user_service_is_registered_before_the_feed_is_read() {
    let world = World::open().await;
    let ada = world.register("ada").await.expect("registered");
    applied(&world, 0).await;
    // Renamed there, and not told yet.
    world.users.change(&ada, |user| user.username = "countess".to_owned());
    let mut request = registration("ada");
    request.email = "new@example.org".to_owned();
    request.password = "another horse battery".to_owned();
    let new = world
        .register_as(request)
        .await
        .expect("never refused for what is not known here yet");
    assert_eq!(
        world
            .login_with("ada", "another horse battery")
            .await
            .expect("logged in")
            .user_id,
        new
    );
    assert_eq!(
        refusal(world.login("ada").await),
        "CREDENTIALS_INVALID",
        "never into another's account"
    );
    world.login("ada@example.org").await.expect("the address stays");
    world.users.tell(&ada, |_| {});
    eventually("the new name is known", async || world.login("countess").await.is_ok()).await;
    assert_eq!(username(&world, &new).await, "ada");
}

#[tokio::test]
async fn a_lost_place_is_found_by_comparing_everything() {
    let world = World::open().await;
    let (ada, bob) = (
        world.register("ada").await.expect("registered"),
        world.register("bob").await.expect("registered"),
    );
    let session = world.login("bob").await.expect("logged in");
    world.users.tell(&ada, |_| {});
    applied(&world, 1).await;
    world.users.go_away(true);
    world.users.tell(&ada, |user| user.username = "countess".to_owned());
    world.users.suspend(&bob);
    world.users.forget_feed();
    world.users.go_away(false);
    applied(&world, 3).await;
    assert_eq!(username(&world, &ada).await, "countess");
    assert_eq!(end_reason(&world, &session.login_session_id).await, "suspended");
    world.users.tell(&ada, |user| user.username = "duchess".to_owned());
    applied(&world, 4).await;
    assert_eq!(username(&world, &ada).await, "duchess", "and it is followed on");
}

#[tokio::test]
async fn a_feed_that_was_restored_is_followed_from_its_new_numbers() {
    let world = World::open().await;
    let ada = world.register("ada").await.expect("registered");
    for name in ["ada1", "ada2", "ada3"] {
        world.users.tell(&ada, |user| user.username = name.to_owned());
    }
    applied(&world, 3).await;
    world.users.change(&ada, |user| user.username = "ada1".to_owned());
    world.users.restore_feed(1);
    applied(&world, 1).await;
    assert_eq!(username(&world, &ada).await, "ada1");
    world.users.tell(&ada, |user| user.username = "ada4".to_owned());
    applied(&world, 2).await;
    assert_eq!(username(&world, &ada).await, "ada4");
}

#[tokio::test]
async fn of_two_nodes_each_entry_is_applied_by_one_and_all_are() {
    let world = World::open().await;
    let second = world.second_node().await;
    let mut users = Vec::new();
    for index in 0..10 {
        users.push(world.register(&format!("user{index}")).await.expect("registered"));
    }
    let session = world.login("user0").await.expect("logged in");
    for round in 0..5 {
        for (index, user_id) in users.iter().enumerate() {
            world
                .users
                .tell(user_id, |user| user.username = format!("user{index}.{round}"));
        }
    }
    world.users.suspend(&users[0]);
    applied(&world, 51).await;
    for (index, user_id) in users.iter().enumerate() {
        assert_eq!(username(&second, user_id).await, format!("user{index}.4"));
    }
    assert_eq!(end_reason(&world, &session.login_session_id).await, "suspended");
    assert_eq!(world.count("revocations").await, 1, "once, however many nodes read it");
}
