//! Logins that ask for a code of the app.

use std::time::Duration;

use tidings_proto_auth::v1::{GenerateRecoveryCodesRequest, LoginRequest};

use super::{ada, with_app, with_code, with_recovery};
use crate::world::{World, bytes, reason, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_asked_for_once_the_password_is_proven_and_not_before() {
    let (world, _, session, app) = with_app().await;
    let wrong_password = LoginRequest {
        password: "a wrong password".to_owned(),
        ..ada()
    };
    let right_code_wrong_password = LoginRequest {
        password: "a wrong password".to_owned(),
        ..with_code(&app.code(&world))
    };
    let nobody = LoginRequest {
        identifier: "nobody".to_owned(),
        ..with_code("123456")
    };
    let mut answers = Vec::new();
    for unproven in [
        wrong_password,
        right_code_wrong_password,
        nobody,
        with_code(&app.wrong_code(&world)),
        with_recovery("aaaa-aaaa-aaaa-aaaa"),
    ] {
        let before = world.service.password_hash_runs();
        answers.push(bytes(&world.login_as(unproven).await.expect_err("refused")));
        assert_eq!(world.service.password_hash_runs(), before + 1, "one hash on every path");
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "one answer for all");

    let before = world.service.password_hash_runs();
    assert_eq!(refusal(world.login_as(ada()).await), "SECOND_FACTOR_REQUIRED");
    let issued = world.login_as(with_code(&app.code(&world))).await.expect("logged in");
    assert_eq!(world.service.password_hash_runs(), before + 2);
    world.verifier.verify(&issued.access_token).expect("valid");
    world
        .refresh(&session.refresh_token, "")
        .await
        .expect("the older login session goes on");

    let both = LoginRequest {
        recovery_code: "aaaa-aaaa-aaaa-aaaa".to_owned(),
        ..with_code("123456")
    };
    assert_eq!(refusal(world.login_as(both).await), "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_of_an_account_without_an_app_are_not_looked_at() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    world.login_as(with_code("123456")).await.expect("logged in");
    world.login_as(with_recovery("aaaa")).await.expect("logged in");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_is_taken_once_and_one_early_or_late() {
    let (world, _, _, app) = with_app().await;
    // One step early, and then nothing older.
    let early = app.code_in(&world, 30);
    world.login_as(with_code(&early)).await.expect("one step early");
    for older in [early, app.code(&world), app.code_in(&world, -30)] {
        assert_eq!(refusal(world.login_as(with_code(&older)).await), "CREDENTIALS_INVALID");
    }
    world.source.advance(Duration::from_secs(90));
    let late = app.code_in(&world, -30);
    world.login_as(with_code(&late)).await.expect("one step late");
    for far in [-60, 60] {
        let code = app.code_in(&world, far);
        assert_eq!(refusal(world.login_as(with_code(&code)).await), "CREDENTIALS_INVALID");
    }
    world
        .login_as(with_code(&app.code(&world)))
        .await
        .expect("the present one");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_uses_of_one_code_at_once_one_counts() {
    let (world, _, session, app) = with_app().await;
    let code = app.code(&world);
    let uses = (0..50).map(|_| {
        let request = GenerateRecoveryCodesRequest {
            totp_code: code.clone(),
            ..Default::default()
        };
        world.generate_codes(&session.access_token, request)
    });
    let outcomes = futures_util::future::join_all(uses).await;
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for status in lost.into_iter().map(|lost| lost.expect_err("lost")) {
        assert!(
            ["CREDENTIALS_INVALID", "RATE_LIMITED", "CONFLICT"].contains(&reason(&status).as_str()),
            "{status:?}"
        );
    }
    assert_eq!(won.into_iter().flatten().flatten().count(), 10);
    assert_eq!(world.count("recovery_codes").await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn few_wrong_codes_are_looked_at_and_a_known_device_is_not_locked_out() {
    let (world, _, session, app) = with_app().await;
    let known = world.login_as(with_code(&app.code(&world))).await.expect("logged in");
    world.next_step();
    let wrong = app.wrong_code(&world);
    for _ in 0..10 {
        let refused = world.login_as(with_code(&wrong)).await;
        assert_eq!(refusal(refused), "CREDENTIALS_INVALID");
    }
    let right = app.code(&world);
    assert_eq!(refusal(world.login_as(with_code(&right)).await), "RATE_LIMITED");
    let by_code = GenerateRecoveryCodesRequest {
        totp_code: right.clone(),
        ..Default::default()
    };
    assert_eq!(
        refusal(world.generate_codes(&session.access_token, by_code).await),
        "RATE_LIMITED"
    );
    let own_device = LoginRequest {
        device_token: known.device_token,
        ..with_code(&right)
    };
    world.login_as(own_device).await.expect("the owner's own device");
    world
        .refresh(&session.refresh_token, "")
        .await
        .expect("no login session ends");
    world.source.advance(Duration::from_secs(901));
    world.login_as(with_code(&app.code(&world))).await.expect("logged in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_password_leaves_the_second_factor() {
    let (world, _, _, app) = with_app().await;
    world.ask_reset("ada@example.org", "").await.expect("asked");
    let token = world.token_of_mail(1).await;
    world.reset(&token, "another horse battery", "").await.expect("reset");
    let login = |code: &str| LoginRequest {
        password: "another horse battery".to_owned(),
        ..with_code(code)
    };
    assert_eq!(refusal(world.login_as(login("")).await), "SECOND_FACTOR_REQUIRED");
    world.login_as(login(&app.code(&world))).await.expect("logged in");
}
