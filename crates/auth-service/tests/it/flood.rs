//! A flood of logins leaves the rest of the process responsive.

use std::time::Duration;

use tidings_auth_service::{Config, Throttle};
use tidings_proto_auth::v1::ListSigningKeysRequest;
use tokio::time::timeout;
use tonic_types::StatusExt as _;

use crate::world::{PASSWORD, World, reason};

const FLOOD: usize = 300;

/// Whoever has to wait longer beside the flood is not served.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logins_is_shed_and_everything_else_is_served() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let mut leaf = world.login("ada").await.expect("logged in").refresh_token;

    let flood: Vec<_> = (0..FLOOD)
        .map(|n| {
            let mut auth = world.auth();
            let request = tidings_proto_auth::v1::LoginRequest {
                identifier: format!("name{n}"),
                password: "guess".to_owned(),
                ..Default::default()
            };
            tokio::spawn(async move { auth.login(request).await })
        })
        .collect();
    let lasts = || flood.iter().any(|login| !login.is_finished());
    let mut served = 0;
    while lasts() {
        let other = async {
            leaf = world.refresh(&leaf, "").await.expect("refreshed").refresh_token;
            let keys = world.auth().list_signing_keys(ListSigningKeysRequest {}).await;
            assert_eq!(keys.expect("listed").into_inner().keys.len(), 1);
        };
        timeout(PATIENCE, other).await.expect("served");
        served += u32::from(lasts());
    }
    assert!(served > 0, "other calls were served while the flood lasted");

    let (mut looked_at, mut shed) = (0, 0);
    for login in flood {
        let outcome = login.await;
        let status = outcome.expect("no panic").expect_err("a wrong guess");
        match &*reason(&status) {
            "CREDENTIALS_INVALID" => looked_at += 1,
            "OVERLOADED" => {
                shed += 1;
                assert!(status.get_details_retry_info().is_some(), "it says when to try again");
            }
            reason => panic!("{reason}"),
        }
    }
    assert!(looked_at > 0 && shed > 0, "{looked_at} looked at, {shed} shed");
    // What was shed was no guess, and counts as none.
    let counted: i64 =
        sqlx::query_scalar("select count(*) from auth.throttles where streak = 1 and failure_times = '{}'")
            .fetch_one(&world.pool)
            .await
            .expect("counted");
    assert_eq!(counted, looked_at);
    world.login("ada").await.expect("logged in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_on_one_name_is_refused_before_it_costs_anything() {
    let world = World::with(|config| Config {
        throttle: Some(Throttle::STANDARD),
        ..config
    })
    .await;
    world.register("ada").await.expect("registered");
    let before = world.service.password_hash_runs();
    let guesses = (0..FLOOD).map(|_| world.login_with("ada", "guess"));
    for outcome in futures_util::future::join_all(guesses).await {
        let status = outcome.expect_err("a wrong guess");
        let reason = reason(&status);
        assert!(reason == "CREDENTIALS_INVALID" || reason == "RATE_LIMITED", "{reason}");
        assert_eq!(status.get_details_retry_info().is_some(), reason == "RATE_LIMITED");
    }
    assert!(world.service.password_hash_runs() - before <= 5);
    world.register("eve").await.expect("others are served");
    world.login_with("eve", PASSWORD).await.expect("others are served");
}
