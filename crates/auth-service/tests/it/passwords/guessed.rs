//! Passwords that are tried: how many are looked at, and what a right one leads to.

use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version, password_hash::phc::PasswordHash};
use tonic_types::StatusExt as _;

use super::NEW_PASSWORD;
use crate::world::{PASSWORD, World, eventually, reason, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn few_wrong_current_passwords_are_looked_at_and_no_login_session_ends_by_them() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let own = world.login("ada").await.expect("logged in");
    let guess = || world.change_password(&own.access_token, "a wrong password", NEW_PASSWORD, "");
    // Many at once and in a row alike.
    let guesses = futures_util::future::join_all((0..20).map(|_| guess())).await;
    let reasons: Vec<String> = guesses.into_iter().map(refusal).collect();
    let looked_at = reasons.iter().filter(|reason| *reason == "CREDENTIALS_INVALID").count();
    assert_eq!(looked_at, 10, "{reasons:?}");
    assert!(
        reasons
            .iter()
            .all(|reason| reason == "CREDENTIALS_INVALID" || reason == "RATE_LIMITED")
    );

    let before = world.service.password_hash_runs();
    let status = world
        .change_password(&own.access_token, PASSWORD, NEW_PASSWORD, "")
        .await
        .expect_err("the right one too");
    assert_eq!(reason(&status), "RATE_LIMITED");
    let wait = status.get_details_retry_info().and_then(|info| info.retry_delay);
    assert!(wait.is_some_and(|wait| wait > Duration::from_secs(800) && wait <= Duration::from_secs(900)));
    assert_eq!(world.service.password_hash_runs(), before, "and is not hashed");
    let own = world
        .refresh(&own.refresh_token, "")
        .await
        .expect("the login session goes on");

    world.source.advance(Duration::from_secs(901));
    let own = world.refresh(&own.refresh_token, "").await.expect("goes on");
    world
        .change_password(&own.access_token, PASSWORD, NEW_PASSWORD, "")
        .await
        .expect("changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_password_is_not_counted_among_the_wrong_ones() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let own = world.login("ada").await.expect("logged in");
    for n in 0..6 {
        let (from, to) = if n % 2 == 0 {
            (PASSWORD, NEW_PASSWORD)
        } else {
            (NEW_PASSWORD, PASSWORD)
        };
        world
            .change_password(&own.access_token, from, to, "")
            .await
            .expect("changed");
        let wrong = world
            .change_password(&own.access_token, "a wrong password", to, "")
            .await;
        assert_eq!(refusal(wrong), "CREDENTIALS_INVALID");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weak_hash_is_made_stronger_by_the_next_login_only() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let params = Params::new(8 * 1024, 1, 1, None).expect("in range");
    let weak: PasswordHash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(PASSWORD.as_bytes(), b"sixteen bytes of")
        .expect("hashed");
    let weak = weak.to_string();
    sqlx::query("update auth.accounts set password_hash = $1")
        .bind(&weak)
        .execute(&world.pool)
        .await
        .expect("weakened");
    let stored = async || {
        let hash: String = sqlx::query_scalar("select password_hash from auth.accounts")
            .fetch_one(&world.pool)
            .await
            .expect("read");
        hash
    };

    let before = world.service.password_hash_runs();
    assert_eq!(
        refusal(world.login_with("ada", "a wrong password").await),
        "CREDENTIALS_INVALID"
    );
    assert_eq!(
        (stored().await, world.service.password_hash_runs()),
        (weak.clone(), before + 1)
    );

    let session = world.login("ada").await.expect("logged in");
    eventually("the hash is stronger", async || {
        stored().await.starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
    })
    .await;
    assert_eq!(
        world.service.password_hash_runs(),
        before + 3,
        "one for the login, one for the new hash"
    );
    world
        .refresh(&session.refresh_token, "")
        .await
        .expect("nothing has ended");

    let strong = stored().await;
    world.login("ada").await.expect("logged in");
    assert_eq!(
        (stored().await, world.service.password_hash_runs()),
        (strong, before + 4)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_hundred_wrong_passwords_without_a_right_one_only_a_reset_helps() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let mut refresh_token = world.login("ada").await.expect("logged in").refresh_token;
    for _ in 0..10 {
        world.source.advance(Duration::from_secs(901));
        let issued = world
            .refresh(&refresh_token, "")
            .await
            .expect("the login session goes on");
        refresh_token.clone_from(&issued.refresh_token);
        let guesses =
            (0..10).map(|_| world.change_password(&issued.access_token, "a wrong password", NEW_PASSWORD, ""));
        for guess in futures_util::future::join_all(guesses).await {
            assert_eq!(refusal(guess), "CREDENTIALS_INVALID");
        }
    }
    world.source.advance(Duration::from_secs(901));
    let issued = world.refresh(&refresh_token, "").await.expect("goes on");
    let right = world
        .change_password(&issued.access_token, PASSWORD, NEW_PASSWORD, "")
        .await;
    assert_eq!(refusal(right), "RATE_LIMITED");
    world.service.upkeep_once().await.expect("purged");
    let right = world
        .change_password(&issued.access_token, PASSWORD, NEW_PASSWORD, "")
        .await;
    assert_eq!(refusal(right), "RATE_LIMITED", "the purge leaves it");

    world.ask_reset("ada@example.org", "").await.expect("asked");
    let token = world.token_of_mail(1).await;
    world.reset(&token, NEW_PASSWORD, "").await.expect("reset");
    let own = world.login_with("ada", NEW_PASSWORD).await.expect("logged in");
    world
        .change_password(&own.access_token, NEW_PASSWORD, PASSWORD, "")
        .await
        .expect("a new start");
}
