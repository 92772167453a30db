//! Passwords that their owners change.

use tidings_proto_auth::v1::ChangePasswordRequest;

use super::{NEW_PASSWORD, violation};
use crate::world::{PASSWORD, World, bearing, eventually, reason, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_ends_the_other_login_sessions_and_keeps_this_one() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let (own, other) = (
        world.login("ada").await.expect("own"),
        world.login("ada").await.expect("other"),
    );
    let node = world.second_node().await;
    node.verifier.verify(&other.access_token).expect("alive there too");

    let before = world.service.password_hash_runs();
    world
        .change_password(&own.access_token, PASSWORD, NEW_PASSWORD, "")
        .await
        .expect("changed");
    assert_eq!(
        world.service.password_hash_runs(),
        before + 2,
        "one proof, one new hash"
    );
    assert_eq!(
        refusal(world.logout(&other.access_token).await),
        "LOGIN_SESSION_REVOKED"
    );
    assert_eq!(
        refusal(world.refresh(&other.refresh_token, "").await.map(|_| ())),
        "LOGIN_SESSION_REVOKED"
    );
    eventually("the other node refuses it too", async || {
        node.verifier.verify(&other.access_token).is_err()
    })
    .await;
    node.verifier.verify(&own.access_token).expect("alive");
    world.refresh(&own.refresh_token, "").await.expect("goes on");
    assert_eq!(refusal(world.login("ada").await), "CREDENTIALS_INVALID");
    world.login_with("ada", NEW_PASSWORD).await.expect("logged in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_ends_this_login_session_too_where_asked() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let own = world.login("ada").await.expect("logged in");
    let request = ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: NEW_PASSWORD.to_owned(),
        end_current: true,
        request_id: String::new(),
    };
    let answer = world
        .credentials()
        .change_password(bearing(request, &own.access_token))
        .await;
    answer.expect("changed");
    assert_eq!(refusal(world.logout(&own.access_token).await), "LOGIN_SESSION_REVOKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_current_password_changes_nothing_and_is_hashed_once() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let (own, other) = (
        world.login("ada").await.expect("own"),
        world.login("ada").await.expect("other"),
    );
    let before = world.service.password_hash_runs();
    let refused = world
        .change_password(&own.access_token, "a wrong password", NEW_PASSWORD, "")
        .await;
    assert_eq!(refusal(refused), "CREDENTIALS_INVALID");
    assert_eq!(world.service.password_hash_runs(), before + 1);
    world.refresh(&other.refresh_token, "").await.expect("goes on");
    world.login("ada").await.expect("the old password works");

    assert_eq!(
        refusal(world.change_password("", PASSWORD, NEW_PASSWORD, "").await),
        "TOKEN_INVALID"
    );
    for (current, new, field) in [
        ("", NEW_PASSWORD, "current_password"),
        (PASSWORD, "short", "new_password"),
    ] {
        let refused = world.change_password(&own.access_token, current, new, "").await;
        assert_eq!(violation(&refused.expect_err("refused")).0, field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_change_has_the_first_outcome_and_keeps_the_first_password() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let own = world.login("ada").await.expect("logged in");
    let request_id = world.request_id();
    world
        .change_password(&own.access_token, PASSWORD, NEW_PASSWORD, &request_id)
        .await
        .expect("changed");
    let later = world.login_with("ada", NEW_PASSWORD).await.expect("logged in");
    let before = world.service.password_hash_runs();
    // The proof is not looked at, as it proves nothing any more.
    world
        .change_password(&own.access_token, PASSWORD, "yet another password", &request_id)
        .await
        .expect("repeated");
    assert_eq!(world.service.password_hash_runs(), before);
    world.refresh(&later.refresh_token, "").await.expect("not ended by it");
    world
        .login_with("ada", NEW_PASSWORD)
        .await
        .expect("the first one counts");

    let other = ChangePasswordRequest {
        current_password: NEW_PASSWORD.to_owned(),
        new_password: PASSWORD.to_owned(),
        end_current: true,
        request_id,
    };
    let reused = world
        .credentials()
        .change_password(bearing(other, &own.access_token))
        .await;
    assert_eq!(refusal(reused), "REQUEST_ID_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_repetitions_at_once_all_get_the_one_outcome() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let own = world.login("ada").await.expect("logged in");
    let request_id = world.request_id();
    let repetitions = (0..8).map(|_| world.change_password(&own.access_token, PASSWORD, NEW_PASSWORD, &request_id));
    for outcome in futures_util::future::join_all(repetitions).await {
        if let Err(status) = outcome {
            // One that had not proven the old password when it was changed: the next repetition finds the outcome.
            assert_eq!(reason(&status), "CREDENTIALS_INVALID");
        }
    }
    world
        .change_password(&own.access_token, PASSWORD, NEW_PASSWORD, &request_id)
        .await
        .expect("repeated");
    world.login_with("ada", NEW_PASSWORD).await.expect("logged in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_makes_reset_tokens_useless() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let own = world.login("ada").await.expect("logged in");
    world.ask_reset("ada@example.org", "").await.expect("asked");
    let token = world.token_of_mail(1).await;
    world
        .change_password(&own.access_token, PASSWORD, NEW_PASSWORD, "")
        .await
        .expect("changed");
    assert_eq!(
        refusal(world.reset(&token, "a thief's password", "").await),
        "CREDENTIALS_INVALID"
    );
}
