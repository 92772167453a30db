use std::time::Duration;

use tidings_proto_user::v1::UserStatus;

use crate::world::{World, eventually, refusal};

impl World {
    /// The hash of the leaf that is live.
    async fn leaf(&self, session: &str) -> Option<Vec<u8>> {
        let leaf = "select leaf_hash from auth.login_sessions where login_session_id = $1::uuid and end_time is null";
        sqlx::query_scalar(leaf)
            .bind(session)
            .fetch_optional(&self.pool)
            .await
            .expect("asked")
    }

    async fn live_sessions(&self) -> i64 {
        sqlx::query_scalar("select count(*) from auth.login_sessions where end_time is null")
            .fetch_one(&self.pool)
            .await
            .expect("counted")
    }
}

fn sha256(text: &str) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes())
        .as_ref()
        .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_gives_a_new_pair_with_the_rights_of_now() {
    let world = World::open().await;
    let user_id = world.register("ada").await.expect("registered");
    let first = world.login("ada").await.expect("logged in");
    world
        .users
        .change(&user_id, |user| (user.token_epoch, user.permissions) = (2, vec![2]));
    let second = world
        .refresh(&first.refresh_token, &world.request_id())
        .await
        .expect("refreshed");
    assert_eq!(second.login_session_id, first.login_session_id);
    assert_ne!(second.refresh_token, first.refresh_token);
    let caller = world.verifier.verify(&second.access_token).expect("valid");
    assert_eq!(caller.token_epoch, 2);
    let third = world.refresh(&second.refresh_token, "").await.expect("refreshed");
    world.refresh(&third.refresh_token, "").await.expect("refreshed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_given_again_to_the_same_request_only() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let first = world.login("ada").await.expect("logged in");
    let request_id = world.request_id();
    let lost = world
        .refresh(&first.refresh_token, &request_id)
        .await
        .expect("refreshed");
    world.source.advance(Duration::from_secs(29));
    let again = world
        .refresh(&first.refresh_token, &request_id)
        .await
        .expect("repeated");
    assert_eq!(again.refresh_token, lost.refresh_token);
    assert!(world.verifier.verify(&again.access_token).is_ok());
    world.refresh(&again.refresh_token, "").await.expect("the leaf works");
    // Now that the successor is used, the repetition is a reuse.
    assert_eq!(
        refusal(world.refresh(&first.refresh_token, &request_id).await.map(|_| ())),
        "REFRESH_TOKEN_REUSED"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_thirty_seconds_a_repetition_is_a_reuse() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let first = world.login("ada").await.expect("logged in");
    let request_id = world.request_id();
    world
        .refresh(&first.refresh_token, &request_id)
        .await
        .expect("refreshed");
    world.source.advance(Duration::from_secs(31));
    assert_eq!(
        refusal(world.refresh(&first.refresh_token, &request_id).await.map(|_| ())),
        "REFRESH_TOKEN_REUSED"
    );
}

/// Whoever refreshes first, the second use of the stolen token ends the login session for both.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_token_ends_the_login_session_whoever_is_first() {
    let world = World::open().await;
    let user_id = world.register("ada").await.expect("registered");
    for (first_id, second_id) in [(world.request_id(), world.request_id()), (String::new(), String::new())] {
        let stolen = world.login("ada").await.expect("logged in");
        let first = world
            .refresh(&stolen.refresh_token, &first_id)
            .await
            .expect("the first is served");
        assert_eq!(
            refusal(world.refresh(&stolen.refresh_token, &second_id).await.map(|_| ())),
            "REFRESH_TOKEN_REUSED"
        );
        assert_eq!(
            refusal(world.refresh(&first.refresh_token, "").await.map(|_| ())),
            "LOGIN_SESSION_REVOKED"
        );
        for token in [&stolen.access_token, &first.access_token] {
            assert_eq!(refusal(world.logout(token).await), "LOGIN_SESSION_REVOKED");
        }
    }
    assert_eq!(world.users.get(&user_id).expect("there").logged_in_until, None);
}

/// The thief first, then the owner first, each on a node of its own: both end with the family over, and with its access tokens
/// refused everywhere soon after. Asking again for a lost answer does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_token_ends_the_family_on_every_node_and_a_lost_answer_does_not() {
    let world = World::open().await;
    let other = world.second_node().await;
    world.register("ada").await.expect("registered");
    for (thief, owner, thief_first) in [(&other, &world, true), (&world, &other, false)] {
        let stolen = world.login("ada").await.expect("logged in");
        let (first, second) = if thief_first { (thief, owner) } else { (owner, thief) };
        let pair = first
            .refresh(&stolen.refresh_token, &first.request_id())
            .await
            .expect("the first is served");
        eventually("both nodes know the tokens", async || {
            [&world, &other]
                .iter()
                .all(|node| node.verifier.verify(&pair.access_token).is_ok())
        })
        .await;
        assert_eq!(
            refusal(second.refresh(&stolen.refresh_token, &second.request_id()).await),
            "REFRESH_TOKEN_REUSED"
        );
        for node in [&world, &other] {
            for token in [&stolen.access_token, &pair.access_token] {
                node.refuses_ended(token).await;
            }
        }
        for node in [&world, &other] {
            assert_eq!(
                refusal(node.refresh(&pair.refresh_token, "").await),
                "LOGIN_SESSION_REVOKED"
            );
        }
        assert_eq!(world.live_sessions().await, 0);
    }

    let lost = world.login("ada").await.expect("logged in");
    let request_id = world.request_id();
    let answers = [
        world
            .refresh(&lost.refresh_token, &request_id)
            .await
            .expect("refreshed"),
        other.refresh(&lost.refresh_token, &request_id).await.expect("repeated"),
        world.refresh(&lost.refresh_token, &request_id).await.expect("repeated"),
    ];
    assert!(
        answers
            .iter()
            .all(|answer| answer.refresh_token == answers[0].refresh_token)
    );
    assert_eq!(world.live_sessions().await, 1);
    other
        .refresh(&answers[2].refresh_token, "")
        .await
        .expect("the leaf works");
    assert_eq!(world.live_sessions().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_refreshes_at_once_leave_at_most_one_live_leaf() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");

    // One client that retries: all get the same pair.
    let one = world.login("ada").await.expect("logged in");
    let request_id = world.request_id();
    let outcomes =
        futures_util::future::join_all((0..50).map(|_| world.refresh(&one.refresh_token, &request_id))).await;
    let leaves: std::collections::HashSet<_> = outcomes
        .into_iter()
        .map(|outcome| outcome.expect("the same for all").refresh_token)
        .collect();
    assert_eq!(leaves.len(), 1);
    let leaf = leaves.iter().next().expect("one");
    assert_eq!(
        world.leaf(&one.login_session_id).await,
        Some(sha256(leaf)),
        "that is the one in the database"
    );
    world.refresh(leaf, "").await.expect("it is live");

    // Fifty clients: one is served, and the reuse ends it for all.
    let many = world.login("ada").await.expect("logged in");
    let outcomes = futures_util::future::join_all(
        (0..50).map(|_| async { world.refresh(&many.refresh_token, &world.request_id()).await }),
    )
    .await;
    let (served, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert!(served.len() <= 1, "{} were served", served.len());
    assert_eq!(world.leaf(&many.login_session_id).await, None, "no leaf is live");
    for outcome in refused {
        let reason = refusal(outcome.map(|_| ()));
        assert!(
            reason == "REFRESH_TOKEN_REUSED" || reason == "LOGIN_SESSION_REVOKED",
            "{reason}"
        );
    }
    for pair in served.into_iter().flatten() {
        assert_eq!(
            refusal(world.refresh(&pair.refresh_token, "").await.map(|_| ())),
            "LOGIN_SESSION_REVOKED"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_refresh_token_is_refused_and_harms_nothing() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let issued = world.login("ada").await.expect("logged in");
    let token = &issued.refresh_token;
    let variants = [
        token[..token.len() - 1].to_owned(),
        format!("{token}A"),
        format!("{token}="),
        token.to_lowercase(),
        "nonsense".to_owned(),
        issued.access_token.clone(),
        "A".repeat(1_024),
    ];
    for variant in variants {
        assert_eq!(
            refusal(world.refresh(&variant, "").await.map(|_| ())),
            "CREDENTIALS_INVALID"
        );
    }
    for bad in ["", "a\0b", &"A".repeat(1_025)] {
        assert_eq!(refusal(world.refresh(bad, "").await.map(|_| ())), "FIELD_INVALID");
    }
    assert_eq!(
        refusal(world.refresh(token, "not a uuid").await.map(|_| ())),
        "FIELD_INVALID"
    );
    world.refresh(token, "").await.expect("still live");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_user_gets_no_new_pair_and_keeps_the_login_session_for_better_days() {
    let world = World::open().await;
    let user_id = world.register("ada").await.expect("registered");
    let issued = world.login("ada").await.expect("logged in");
    world.users.change(&user_id, |user| user.status = UserStatus::Suspended);
    assert_eq!(
        refusal(world.refresh(&issued.refresh_token, "").await.map(|_| ())),
        "ACCOUNT_SUSPENDED"
    );
    world.users.change(&user_id, |user| user.status = UserStatus::Active);
    let next = world
        .refresh(&issued.refresh_token, "")
        .await
        .expect("nothing was spent");
    world.users.change(&user_id, |user| user.status = UserStatus::Deleted);
    assert_eq!(
        refusal(world.refresh(&next.refresh_token, "").await.map(|_| ())),
        "LOGIN_SESSION_REVOKED"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_user_service_is_away_no_refresh_token_is_spent() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let issued = world.login("ada").await.expect("logged in");
    world.users.go_away(true);
    assert_eq!(
        refusal(world.refresh(&issued.refresh_token, "").await.map(|_| ())),
        "DEPENDENCY_UNAVAILABLE"
    );
    world.users.go_away(false);
    world.refresh(&issued.refresh_token, "").await.expect("still live");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_session_ends_when_it_is_idle_and_when_it_is_old() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let day = Duration::from_secs(24 * 3_600);
    let idle = world.login("ada").await.expect("logged in");
    let used = world.login("ada").await.expect("logged in");
    let mut leaf = used.refresh_token;
    for _ in 0..3 {
        world.source.advance(day * 29);
        leaf = world.refresh(&leaf, "").await.expect("refreshed").refresh_token;
    }
    assert_eq!(
        refusal(world.refresh(&idle.refresh_token, "").await.map(|_| ())),
        "CREDENTIALS_INVALID"
    );
    world.source.advance(day * 4);
    assert_eq!(
        refusal(world.refresh(&leaf, "").await.map(|_| ())),
        "CREDENTIALS_INVALID"
    );
    world.service.upkeep_once().await.expect("upkeep");
}
