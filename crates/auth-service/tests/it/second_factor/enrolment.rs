//! Apps that are enrolled, confirmed and removed.

use std::time::Duration;

use tidings_proto_auth::v1::{EnrollTotpRequest, RemoveTotpRequest};
use totp_rs::Secret;

use super::{App, with_app, with_code};
use crate::world::{PASSWORD, World, bearing, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn an_app_counts_for_nothing_until_a_code_of_it_was_shown() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in");
    let token = &session.access_token;
    assert_eq!(refusal(world.confirm(token, "123456", "").await), "STATE_UNSUITABLE");

    let first = App::of(&world.enrol(token).await.expect("enrolled"));
    let app = App::of(&world.enrol(token).await.expect("enrolled anew"));
    world.login("ada").await.expect("the password alone");
    let taken = [-30, 0, 30].map(|seconds| app.code_in(&world, seconds));
    for code in [first.code(&world), app.wrong_code(&world)] {
        if !taken.contains(&code) {
            assert_eq!(refusal(world.confirm(token, &code, "").await), "CREDENTIALS_INVALID");
        }
    }
    for bad in ["", "1\u{0}23456"] {
        assert_eq!(refusal(world.confirm(token, bad, "").await), "FIELD_INVALID");
    }
    let (code, request_id) = (app.code(&world), world.request_id());
    world.confirm(token, &code, &request_id).await.expect("confirmed");
    world.confirm(token, &code, &request_id).await.expect("repeated");
    assert_eq!(refusal(world.confirm(token, &code, "").await), "STATE_UNSUITABLE");
    assert_eq!(refusal(world.login("ada").await), "SECOND_FACTOR_REQUIRED");
    assert_eq!(
        refusal(world.login_as(with_code(&code)).await),
        "CREDENTIALS_INVALID",
        "the code that confirmed it was its first use"
    );
    assert_eq!(
        refusal(world.enrol(token).await),
        "STATE_UNSUITABLE",
        "there is one already"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_equal_confirmations_at_once_all_hear_that_it_is_confirmed() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in");
    let app = App::of(&world.enrol(&session.access_token).await.expect("enrolled"));
    let (code, request_id) = (app.code(&world), world.request_id());
    let calls = (0..4).map(|_| world.confirm(&session.access_token, &code, &request_id));
    for answer in futures_util::future::join_all(calls).await {
        answer.expect("confirmed, or repeated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_not_confirmed_in_time_is_none() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in");
    let app = App::of(&world.enrol(&session.access_token).await.expect("enrolled"));
    world.source.advance(Duration::from_secs(601));
    let session = world.refresh(&session.refresh_token, "").await.expect("refreshed");
    let late = world.confirm(&session.access_token, &app.code(&world), "").await;
    assert_eq!(refusal(late), "STATE_UNSUITABLE");
    world.service.upkeep_once().await.expect("purged");
    assert_eq!(world.count("totps").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolling_takes_the_password_and_leaves_no_secret_in_the_database() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in");
    for (password, expected) in [("a wrong password", "CREDENTIALS_INVALID"), ("", "FIELD_INVALID")] {
        let request = EnrollTotpRequest {
            current_password: password.to_owned(),
        };
        let refused = world
            .credentials()
            .enroll_totp(bearing(request, &session.access_token))
            .await;
        assert_eq!(refusal(refused), expected);
    }
    let enrolment = world.enrol(&session.access_token).await.expect("enrolled");
    let secret = Secret::try_from_base32(&enrolment.secret).expect("Base32");
    let stored: Vec<u8> = sqlx::query_scalar("select sealed_secret from auth.totps")
        .fetch_one(&world.pool)
        .await
        .expect("read");
    for plain in [secret.as_bytes(), enrolment.secret.as_bytes()] {
        assert!(!stored.windows(plain.len()).any(|window| window == plain));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_removes_an_app_by_password_code_or_recovery_code() {
    let (world, _, session, app) = with_app().await;
    let token = &session.access_token;
    let by = |password: &str, totp_code: &str, recovery_code: &str| RemoveTotpRequest {
        current_password: password.to_owned(),
        totp_code: totp_code.to_owned(),
        recovery_code: recovery_code.to_owned(),
        ..Default::default()
    };
    assert_eq!(
        refusal(world.remove_totp(token, by("", "", "")).await),
        "STEP_UP_REQUIRED"
    );
    for wrong in [
        by("a wrong password", "", ""),
        by("", &app.wrong_code(&world), ""),
        by("", "", "aaaa-aaaa-aaaa-aaaa"),
    ] {
        assert_eq!(refusal(world.remove_totp(token, wrong).await), "CREDENTIALS_INVALID");
    }
    let both = by(PASSWORD, &app.code(&world), "");
    assert_eq!(refusal(world.remove_totp(token, both).await), "FIELD_INVALID");
    assert_eq!(
        refusal(world.login("ada").await),
        "SECOND_FACTOR_REQUIRED",
        "nothing was removed"
    );

    let request = RemoveTotpRequest {
        request_id: world.request_id(),
        ..by("", &app.code(&world), "")
    };
    world.remove_totp(token, request.clone()).await.expect("by a code");
    world.remove_totp(token, request).await.expect("repeated");
    world.login("ada").await.expect("the password alone");
    world
        .remove_totp(token, by(PASSWORD, "", ""))
        .await
        .expect("there is none");

    world.set_up_app(token).await;
    let codes = world.new_codes(token).await;
    world
        .remove_totp(token, by("", "", &codes[0]))
        .await
        .expect("by a recovery code");
    assert_eq!(world.count("recovery_codes").await, 0, "they go with it");
    world.set_up_app(token).await;
    world
        .remove_totp(token, by(PASSWORD, "", ""))
        .await
        .expect("by the password");
    world.login("ada").await.expect("the password alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_removes_anothers_app_within_rank_and_permission() {
    let (world, ada_id, _, _) = with_app().await;
    world.register("eve").await.expect("registered");
    let eve = world.login("eve").await.expect("logged in");
    let (operator, operator_id) = world.operator().await;
    let of = |user_id: &str| RemoveTotpRequest {
        user_id: user_id.to_owned(),
        ..Default::default()
    };
    let absent = world.source.new_id::<tidings_ids::kind::User>().to_string();
    for target in [&ada_id, &absent] {
        assert_eq!(
            refusal(world.remove_totp(&eve.access_token, of(target)).await),
            "PERMISSION_MISSING"
        );
    }
    assert_eq!(refusal(world.remove_totp(&operator, of(&absent)).await), "NOT_FOUND");
    assert_eq!(
        refusal(world.remove_totp(&operator, of("no id")).await),
        "FIELD_INVALID"
    );
    let pair = (operator_id.clone(), ada_id.clone());
    world.users.above.lock().insert(pair.clone());
    assert_eq!(refusal(world.remove_totp(&operator, of(&ada_id)).await), "RANK_TOO_LOW");
    world.users.above.lock().remove(&pair);
    assert_eq!(
        refusal(world.login("ada").await),
        "SECOND_FACTOR_REQUIRED",
        "nothing was removed"
    );
    world.remove_totp(&operator, of(&ada_id)).await.expect("removed");
    world.login("ada").await.expect("the password alone");
    // Of oneself an operator too needs a proof.
    assert_eq!(
        refusal(world.remove_totp(&operator, of(&operator_id)).await),
        "STEP_UP_REQUIRED"
    );
}
