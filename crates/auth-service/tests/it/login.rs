use std::time::Duration;

use tidings_proto_auth::v1::LoginRequest;
use tidings_proto_user::v1::UserStatus;

use crate::world::{PASSWORD, World, bytes, eventually, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn the_access_token_says_who_it_is_and_what_they_may_do() {
    let world = World::open().await;
    let user_id = world.register("ada").await.expect("registered");
    world
        .users
        .change(&user_id, |user| (user.token_epoch, user.permissions) = (7, vec![1, 3]));
    let issued = world.login("ada").await.expect("logged in");
    let caller = world.verifier.verify(&issued.access_token).expect("valid");
    assert_eq!(caller.user_id.to_string(), user_id);
    assert_eq!(caller.login_session_id.to_string(), issued.login_session_id);
    assert_eq!(caller.token_epoch, 7);
    assert_eq!(
        caller.permissions.iter().map(|p| i32::from(*p)).collect::<Vec<_>>(),
        [1, 3]
    );
    let expires = issued.access_token_expire_time.expect("a time").seconds;
    assert_eq!(expires - world.source.now().unix_timestamp(), 600);
    world.source.advance(Duration::from_secs(601));
    assert!(world.verifier.verify(&issued.access_token).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_login_session_is_a_new_one() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let (one, two) = (
        world.login("ada").await.expect("one"),
        world.login("ada").await.expect("two"),
    );
    assert_ne!(one.login_session_id, two.login_session_id);
    assert_ne!(one.refresh_token, two.refresh_token);
}

#[tokio::test(flavor = "multi_thread")]
async fn until_the_password_is_proven_all_accounts_look_alike() {
    let world = World::open().await;
    let ids = [
        world.register("ada").await,
        world.register("suspended").await,
        world.register("deleted").await,
    ];
    let [_, suspended, deleted] = ids.map(|id| id.expect("registered"));
    world
        .users
        .change(&suspended, |user| user.status = UserStatus::Suspended);
    world.users.change(&deleted, |user| user.status = UserStatus::Deleted);
    let mut answers = Vec::new();
    for name in [
        "ada",
        "suspended",
        "deleted",
        "nobody",
        "nobody@example.org",
        "ada@example.org",
        "not a name",
    ] {
        let before = world.service.password_hash_runs();
        let refused = world.login_with(name, "wrong password").await.expect_err("refused");
        assert_eq!(world.service.password_hash_runs() - before, 1, "one hash for {name}");
        answers.push(bytes(&refused));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].0, tonic::Code::Unauthenticated);
    // With the right password the suspended user is told; the deleted one is as good as unknown.
    assert_eq!(refusal(world.login("suspended").await), "ACCOUNT_SUSPENDED");
    assert_eq!(bytes(&world.login("deleted").await.expect_err("refused")), answers[0]);
    world.login("ada").await.expect("logged in");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_of_a_login_are_told_before_anything_is_hashed() {
    let world = World::open().await;
    let good = LoginRequest {
        identifier: "ada".to_owned(),
        password: PASSWORD.to_owned(),
        ..LoginRequest::default()
    };
    let before = world.service.password_hash_runs();
    for bad in [
        LoginRequest {
            identifier: String::new(),
            ..good.clone()
        },
        LoginRequest {
            identifier: "a\0b".to_owned(),
            ..good.clone()
        },
        LoginRequest {
            identifier: "a".repeat(255),
            ..good.clone()
        },
        LoginRequest {
            password: String::new(),
            ..good.clone()
        },
        LoginRequest {
            password: "a".repeat(257),
            ..good.clone()
        },
        LoginRequest {
            password: "😀".repeat(257),
            ..good.clone()
        },
        LoginRequest {
            device_label: "a".repeat(129),
            ..good.clone()
        },
        LoginRequest {
            device_label: "a\nb".to_owned(),
            ..good.clone()
        },
        LoginRequest {
            device_token: "a".repeat(257),
            ..good.clone()
        },
    ] {
        assert_eq!(refusal(world.auth().login(bad).await), "FIELD_INVALID");
    }
    assert_eq!(world.service.password_hash_runs(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_ends_the_login_session_at_once_and_no_other() {
    let world = World::open().await;
    let user_id = world.register("ada").await.expect("registered");
    let (phone, laptop) = (
        world.login("ada").await.expect("one"),
        world.login("ada").await.expect("two"),
    );
    assert!(world.users.get(&user_id).expect("there").logged_in_until.is_some());

    world.logout(&phone.access_token).await.expect("logged out");
    assert_eq!(
        refusal(world.logout(&phone.access_token).await),
        "LOGIN_SESSION_REVOKED"
    );
    assert_eq!(
        refusal(world.refresh(&phone.refresh_token, "").await.map(|_| ())),
        "LOGIN_SESSION_REVOKED"
    );
    assert!(world.verifier.verify(&laptop.access_token).is_ok());
    assert!(
        world.users.get(&user_id).expect("there").logged_in_until.is_some(),
        "the laptop is still logged in"
    );

    world.logout(&laptop.access_token).await.expect("logged out");
    assert_eq!(world.users.get(&user_id).expect("there").logged_in_until, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_needs_a_valid_token() {
    let world = World::open().await;
    let status = world
        .auth()
        .logout(tidings_proto_auth::v1::LogoutRequest {})
        .await
        .expect_err("refused");
    assert_eq!(crate::world::reason(&status), "TOKEN_MISSING");
    assert_eq!(refusal(world.logout("nonsense").await), "TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_refuses_a_logged_out_token_within_a_second() {
    let world = World::open().await;
    let other = world.second_node().await;
    world.register("ada").await.expect("registered");
    let issued = world.login("ada").await.expect("logged in");
    eventually("the other node knows the key", async || {
        other.verifier.verify(&issued.access_token).is_ok()
    })
    .await;
    world.logout(&issued.access_token).await.expect("logged out");
    other.refuses_ended(&issued.access_token).await;
    assert_eq!(
        refusal(other.refresh(&issued.refresh_token, "").await.map(|_| ())),
        "LOGIN_SESSION_REVOKED"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_of_all_may_keep_the_one_that_calls() {
    let world = World::open().await;
    let user_id = world.register("ada").await.expect("registered");
    world.register("eve").await.expect("registered");
    let eve = world.login("eve").await.expect("logged in");
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(world.login("ada").await.expect("logged in"));
    }
    world
        .logout_all(&sessions[0].access_token, true)
        .await
        .expect("others logged out");
    assert!(world.verifier.verify(&sessions[0].access_token).is_ok());
    for ended in &sessions[1..] {
        assert_eq!(
            refusal(world.logout(&ended.access_token).await),
            "LOGIN_SESSION_REVOKED"
        );
    }
    world
        .logout_all(&sessions[0].access_token, false)
        .await
        .expect("all logged out");
    assert_eq!(
        refusal(world.logout(&sessions[0].access_token).await),
        "LOGIN_SESSION_REVOKED"
    );
    assert_eq!(world.users.get(&user_id).expect("there").logged_in_until, None);
    assert!(
        world.verifier.verify(&eve.access_token).is_ok(),
        "nobody else is logged out"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_works_while_the_user_service_is_away_and_is_told_it_later() {
    let world = World::open().await;
    let user_id = world.register("ada").await.expect("registered");
    let issued = world.login("ada").await.expect("logged in");
    world.users.go_away(true);
    assert_eq!(refusal(world.login("ada").await), "DEPENDENCY_UNAVAILABLE");
    world.logout(&issued.access_token).await.expect("logged out");
    assert!(world.verifier.verify(&issued.access_token).is_err());
    assert!(world.users.get(&user_id).expect("there").logged_in_until.is_some());
    world.users.go_away(false);
    eventually("the user service is told", async || {
        world.users.get(&user_id).expect("there").logged_in_until.is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_whose_login_never_came_to_be_is_taken_back() {
    let world = World::open().await;
    let user_id = world.register("ada").await.expect("registered");
    world.login("ada").await.expect("logged in");
    // As if the process had died between the announcement and the login session. What is due may be seen to at once.
    sqlx::query("delete from auth.login_sessions")
        .execute(&world.pool)
        .await
        .expect("deleted");
    let gone = "update auth.accounts set logged_in_due_time = $1";
    sqlx::query(gone)
        .bind(world.source.now())
        .execute(&world.pool)
        .await
        .expect("updated");
    world.source.advance(Duration::from_secs(1));
    world.service.upkeep_once().await.expect("upkeep");
    assert_eq!(world.users.get(&user_id).expect("there").logged_in_until, None);
}
