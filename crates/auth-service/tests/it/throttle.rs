//! How many failed logins are looked at (`reliability.md` G28, A22, A23).

use std::{num::NonZeroU32, time::Duration};

use tidings_auth_service::{Config, Throttle};
use tidings_proto_auth::v1::RegisterRequest;
use tidings_proto_user::v1::UserStatus;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::world::{PASSWORD, World, bytes, from, reason, refusal, registration};

const HOME: &str = "192.0.2.7";
const WRONG: &str = "not the password";

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

const fn with(throttle: Throttle) -> impl FnOnce(Config) -> Config {
    move |config| Config {
        throttle: Some(throttle),
        ..config
    }
}

async fn standard() -> World {
    World::with(with(Throttle::STANDARD)).await
}

/// An address in a network of its own.
fn elsewhere(n: usize) -> String {
    format!("198.51.{n}.1")
}

/// After how long the refusal says to try again.
fn wait(status: &Status) -> Duration {
    assert_eq!(reason(status), "RATE_LIMITED");
    let retry = status.get_details_retry_info().expect("it says when");
    retry.retry_delay.expect("it says when")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_gets_few_failures_for_a_name_whether_it_exists_or_not() {
    let world = standard().await;
    world.register("ada").await.expect("registered");
    let mut refusals = Vec::new();
    for name in ["ada", "ada@example.org", "nobody", "nobody@example.org"] {
        for n in 0..5 {
            // Addresses of one network.
            let address = format!("192.0.2.{n}");
            let refused = world.login_from(&address, name, WRONG, "").await;
            assert_eq!(refusal(refused), "CREDENTIALS_INVALID", "{name}");
        }
        let before = world.service.password_hash_runs();
        let refused = world.login_from(HOME, name, WRONG, "").await.expect_err("refused");
        assert_eq!(wait(&refused), Duration::from_secs(15 * 60 + 1), "{name}");
        // Not even the right password is looked at.
        let right = world.login_from(HOME, name, PASSWORD, "").await.expect_err("refused");
        assert_eq!(world.service.password_hash_runs(), before, "no hash for {name}");
        refusals.extend([bytes(&refused), bytes(&right)]);
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "all look alike");
    world
        .login_from(&elsewhere(1), "ada", PASSWORD, "")
        .await
        .expect("another network");

    world.source.advance(Duration::from_secs(15 * 60));
    assert_eq!(
        refusal(world.login_from(HOME, "ada", WRONG, "").await),
        "CREDENTIALS_INVALID"
    );
    world
        .login_from(HOME, "ada", PASSWORD, "")
        .await
        .expect("the window is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_guesses_at_once_no_more_are_looked_at_than_of_as_many_in_a_row() {
    let world = standard().await;
    world.register("ada").await.expect("registered");
    let other = world.second_node_with(with(Throttle::STANDARD)).await;
    let hashed = |world: &World| world.service.password_hash_runs();
    let before = hashed(&world) + hashed(&other);
    let guesses = (0..40).map(|n| {
        let node = if n % 2 == 0 { &world } else { &other };
        node.login_from(HOME, "ada", WRONG, "")
    });
    let mut looked_at = 0;
    for outcome in futures_util::future::join_all(guesses).await {
        match &*refusal(outcome) {
            "CREDENTIALS_INVALID" => looked_at += 1,
            reason => assert_eq!(reason, "RATE_LIMITED"),
        }
    }
    assert!((1..=5).contains(&looked_at), "{looked_at} guesses were looked at");
    assert!(hashed(&world) + hashed(&other) - before <= 5, "nothing else was hashed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_logs_in_many_times_at_once_is_no_guesser() {
    let world = standard().await;
    world.register("ada").await.expect("registered");
    // More than are looked at in a row, and few enough for the two seconds that one waits for another.
    let logins = (0..7).map(|_| world.login_from(HOME, "ada", PASSWORD, ""));
    for outcome in futures_util::future::join_all(logins).await {
        outcome.expect("each is right");
    }
    assert_eq!(
        refusal(world.login_from(HOME, "ada", WRONG, "").await),
        "CREDENTIALS_INVALID"
    );
}

/// A throttle whose streak is short, so that tests need few hashes.
fn short_streak() -> Throttle {
    Throttle {
        streak_max: number(6),
        ..Throttle::STANDARD
    }
}

async fn exhaust_streak(world: &World, name: &str) {
    for n in 0..6 {
        assert_eq!(
            refusal(world.login_from(&elsewhere(n), name, WRONG, "").await),
            "CREDENTIALS_INVALID",
            "{n}"
        );
    }
    let refused = world.login_from(&elsewhere(100), name, PASSWORD, "").await;
    assert!(wait(&refused.expect_err("refused")) > Duration::from_secs(29 * 24 * 3_600));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_in_a_row_from_everywhere_end_with_a_success_of_a_known_device() {
    let world = World::with(with(short_streak())).await;
    world.register("ada").await.expect("registered");
    let known = world.login_from(HOME, "ada", PASSWORD, "").await.expect("logged in");
    for name in ["ada", "nobody"] {
        exhaust_streak(&world, name).await;
    }
    world.source.advance(Duration::from_secs(3_600));
    assert!(
        world.login_from(HOME, "ada", PASSWORD, "").await.is_err(),
        "time alone does not end it"
    );
    let token = &known.device_token;
    world
        .login_from(HOME, "ada", PASSWORD, token)
        .await
        .expect("never locked out");
    world
        .login_from(&elsewhere(100), "ada", PASSWORD, "")
        .await
        .expect("the streak has ended");
    assert!(world.login_from(HOME, "nobody", PASSWORD, "").await.is_err());
    world.source.advance(Duration::from_secs(31 * 24 * 3_600));
    assert_eq!(
        refusal(world.login_from(HOME, "nobody", PASSWORD, "").await),
        "CREDENTIALS_INVALID",
        "it is forgotten in the end"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_the_failures_in_a_row() {
    let world = World::with(with(short_streak())).await;
    world.register("ada").await.expect("registered");
    for name in ["ada", "ada@example.org"] {
        exhaust_streak(&world, name).await;
    }
    world.ask_reset("ada@example.org", "").await.expect("asked");
    let token = world.token_of_mail(1).await;
    world.reset(&token, "a new horse battery", "").await.expect("reset");
    for name in ["ada", "ada@example.org"] {
        world
            .login_from(&elsewhere(100), name, "a new horse battery", "")
            .await
            .expect("the lock is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_locks_out_a_known_device_and_it_locks_out_nobody() {
    let world = standard().await;
    world.register("ada").await.expect("registered");
    world.register("eve").await.expect("registered");
    let ada = world.login_from(HOME, "ada", PASSWORD, "").await.expect("logged in");
    let eve = world.login_from(HOME, "eve", PASSWORD, "").await.expect("logged in");
    // An attacker in the same network, with a device that is known to another account.
    for _ in 0..5 {
        let token = &eve.device_token;
        assert_eq!(
            refusal(world.login_from(HOME, "ada", WRONG, token).await),
            "CREDENTIALS_INVALID"
        );
    }
    for bad in ["", "nonsense", &eve.device_token, &ada.device_token[1..]] {
        assert_eq!(
            refusal(world.login_from(HOME, "ada", PASSWORD, bad).await),
            "RATE_LIMITED"
        );
    }
    let again = world.login_from(HOME, "ada", PASSWORD, &ada.device_token).await;
    let again = again.expect("the known device is not locked out");
    // Neither is the session that it holds.
    world.refresh(&ada.refresh_token, "").await.expect("refreshed");

    // The device has a limit of its own, under whichever of its tokens.
    for n in 0..5 {
        let token = if n % 2 == 0 {
            &ada.device_token
        } else {
            &again.device_token
        };
        assert_eq!(
            refusal(world.login_from(&elsewhere(n), "ada", WRONG, token).await),
            "CREDENTIALS_INVALID"
        );
    }
    let refused = world
        .login_from(&elsewhere(9), "ada", PASSWORD, &again.device_token)
        .await;
    wait(&refused.expect_err("refused"));
    world
        .login_from(&elsewhere(9), "ada", PASSWORD, "")
        .await
        .expect("others are not refused for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshing_is_not_throttled_by_failures() {
    let throttle = Throttle {
        streak_max: number(3),
        minute_max: number(3),
        ..Throttle::STANDARD
    };
    let world = World::with(with(throttle)).await;
    world.register("ada").await.expect("registered");
    let mut leaf = world
        .login_from(HOME, "ada", PASSWORD, "")
        .await
        .expect("logged in")
        .refresh_token;
    for _ in 0..3 {
        refusal(world.login_from(HOME, "ada", WRONG, "").await);
    }
    assert_eq!(
        refusal(world.login_from(HOME, "ada", PASSWORD, "").await),
        "RATE_LIMITED"
    );
    for _ in 0..10 {
        leaf = world.refresh(&leaf, "").await.expect("refreshed").refresh_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_names_together_have_a_limit_that_known_devices_do_not_share() {
    let throttle = Throttle {
        minute_max: number(3),
        ..Throttle::STANDARD
    };
    let world = World::with(with(throttle)).await;
    world.register("ada").await.expect("registered");
    let known = world.login_from(HOME, "ada", PASSWORD, "").await.expect("logged in");
    let other = world.second_node_with(with(throttle)).await;
    for n in 0..3 {
        let sprayed = world.login_from(&elsewhere(n), &format!("name{n}"), WRONG, "").await;
        assert_eq!(refusal(sprayed), "CREDENTIALS_INVALID");
    }
    let before = world.service.password_hash_runs();
    for name in ["ada", "nobody"] {
        let refused = world.login_from(&elsewhere(9), name, PASSWORD, "").await;
        assert!(wait(&refused.expect_err("refused")) <= Duration::from_secs(60));
    }
    assert_eq!(world.service.password_hash_runs(), before);
    let token = &known.device_token;
    world
        .login_from(HOME, "ada", PASSWORD, token)
        .await
        .expect("not locked out");
    world.source.advance(Duration::from_secs(60));
    world
        .login_from(HOME, "ada", PASSWORD, "")
        .await
        .expect("the minute is over");
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_count_together() {
    let world = standard().await;
    world.register("ada").await.expect("registered");
    let other = world.second_node_with(with(Throttle::STANDARD)).await;
    for node in [&world, &other, &world, &other, &world] {
        assert_eq!(
            refusal(node.login_from(HOME, "ada", WRONG, "").await),
            "CREDENTIALS_INVALID"
        );
    }
    assert_eq!(
        refusal(other.login_from(HOME, "ada", PASSWORD, "").await),
        "RATE_LIMITED"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_comes_to_nothing_for_another_reason_is_no_failure() {
    let world = standard().await;
    let user_id = world.register("ada").await.expect("registered");
    world.users.change(&user_id, |user| user.status = UserStatus::Suspended);
    for _ in 0..7 {
        assert_eq!(
            refusal(world.login_from(HOME, "ada", PASSWORD, "").await),
            "ACCOUNT_SUSPENDED"
        );
    }
    world.users.change(&user_id, |user| user.status = UserStatus::Active);
    world.users.go_away(true);
    for _ in 0..2 {
        assert_eq!(
            refusal(world.login_from(HOME, "ada", PASSWORD, "").await),
            "DEPENDENCY_UNAVAILABLE"
        );
    }
    world.users.go_away(false);
    world.login_from(HOME, "ada", PASSWORD, "").await.expect("logged in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_is_told_of_few_taken_names() {
    let throttle = Throttle {
        taken_max: number(3),
        ..Throttle::STANDARD
    };
    let world = World::with(with(throttle)).await;
    world.register("ada").await.expect("registered");
    let register = async |address: &str, request: RegisterRequest| {
        let registered = world.auth().register(from(request, address)).await;
        registered.map(|response| response.into_inner().user_id)
    };
    let same_name = RegisterRequest {
        email: "other@example.org".to_owned(),
        ..registration("ada")
    };
    let same_address = RegisterRequest {
        email: "ada@example.org".to_owned(),
        ..registration("eve")
    };
    for request in [&same_name, &same_address, &same_name] {
        let told = refusal(register(HOME, request.clone()).await);
        assert!(told == "USERNAME_TAKEN" || told == "EMAIL_TAKEN", "{told}");
    }
    let before = world.service.password_hash_runs();
    let refusals = [
        register(HOME, same_name.clone()).await.expect_err("taken"),
        register(HOME, registration("free")).await.expect_err("free"),
    ];
    assert_eq!(bytes(&refusals[0]), bytes(&refusals[1]), "taken and free look alike");
    wait(&refusals[0]);
    assert_eq!(world.service.password_hash_runs(), before);
    register(&elsewhere(1), registration("free"))
        .await
        .expect("another network");
    world.source.advance(Duration::from_secs(15 * 60));
    register(HOME, registration("late")).await.expect("the window is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_counts_no_longer_is_forgotten() {
    let world = standard().await;
    for name in ["a1", "a2", "a3"] {
        refusal(world.login_from(HOME, name, WRONG, "").await);
    }
    // Of each name and of its network, and all of the minute.
    assert_eq!(world.count("throttles").await, 7);
    world.source.advance(Duration::from_secs(16 * 60));
    world.service.upkeep_once().await.expect("purged");
    assert_eq!(world.count("throttles").await, 3, "the failures in a row");
    world.source.advance(Duration::from_secs(31 * 24 * 3_600));
    world.service.upkeep_once().await.expect("purged");
    assert_eq!(world.count("throttles").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_rows_are_kept_than_the_bound() {
    let world = standard().await;
    let many = "insert into auth.throttles (bucket, streak, expire_time)
         select sha256(n::text::bytea), case when n <= 5 then 9 else 1 end, now() + interval '10 days'
         from generate_series(1, 200050) as n";
    sqlx::query(many).execute(&world.pool).await.expect("filled");
    for _ in 0..5 {
        let guess = world.login_from(HOME, "ada", WRONG, "").await;
        assert_eq!(refusal(guess), "CREDENTIALS_INVALID");
    }
    world.service.upkeep_once().await.expect("purged");
    // Two rounds at once, of which the service's own may be one, each delete what is too much.
    let kept = world.count("throttles").await;
    assert!((199_900..=200_000).contains(&kept), "{kept} are kept");
    let guess = world.login_from(HOME, "ada", WRONG, "").await;
    assert_eq!(refusal(guess), "RATE_LIMITED", "however many names others make up");
    let high: i64 = sqlx::query_scalar("select count(*) from auth.throttles where streak = 9")
        .fetch_one(&world.pool)
        .await
        .expect("counted");
    assert_eq!(high, 5, "those with the most failures stay");
}
