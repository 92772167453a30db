//! Recovery codes: each counts once, and who is shown them.

use tidings_proto_auth::v1::{GenerateRecoveryCodesRequest, RemoveTotpRequest};

use super::{with_app, with_recovery};
use crate::world::{PASSWORD, reason, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_logins_with_one_recovery_code_at_once_one_counts() {
    let (world, _, session, _) = with_app().await;
    let codes = world.new_codes(&session.access_token).await;
    let before = world.count("login_sessions").await;
    let logins = futures_util::future::join_all((0..50).map(|_| world.login_as(with_recovery(&codes[0])))).await;
    let won = logins.iter().filter(|login| login.is_ok()).count();
    assert_eq!(
        won,
        1,
        "{:?}",
        logins
            .iter()
            .filter_map(|login| login.as_ref().err().map(reason))
            .collect::<Vec<_>>()
    );
    assert_eq!(world.count("login_sessions").await, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_removals_with_one_recovery_code_at_once_one_counts() {
    let (world, _, session, _) = with_app().await;
    let codes = world.new_codes(&session.access_token).await;
    let removals = (0..50).map(|_| {
        let request = RemoveTotpRequest {
            recovery_code: codes[0].clone(),
            ..Default::default()
        };
        world.remove_totp(&session.access_token, request)
    });
    let won = futures_util::future::join_all(removals)
        .await
        .iter()
        .filter(|outcome| outcome.is_ok())
        .count();
    assert_eq!(won, 1);
    world.login("ada").await.expect("the password alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_code_stands_in_for_the_app_once_however_it_is_typed() {
    let (world, _, session, _) = with_app().await;
    let codes = world.new_codes(&session.access_token).await;
    assert_eq!(codes.len(), 10);
    assert!(codes.iter().all(|code| code.len() == 19));
    let typed = codes[0].to_uppercase().replace('-', " ");
    world.login_as(with_recovery(&typed)).await.expect("logged in");
    assert_eq!(
        refusal(world.login_as(with_recovery(&codes[0])).await),
        "CREDENTIALS_INVALID"
    );
    world.login_as(with_recovery(&codes[1])).await.expect("each of them");

    let fresh = world.new_codes(&session.access_token).await;
    for old in &codes[2..4] {
        assert_eq!(refusal(world.login_as(with_recovery(old)).await), "CREDENTIALS_INVALID");
    }
    world.login_as(with_recovery(&fresh[9])).await.expect("a new one");
    let stored: Vec<Vec<u8>> = sqlx::query_scalar("select code_hash from auth.recovery_codes")
        .fetch_all(&world.pool)
        .await
        .expect("read");
    assert!(
        stored
            .iter()
            .all(|hash| hash.len() == 32 && hash != fresh[0].as_bytes())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_codes_are_shown_once_to_who_proves_to_be_the_owner() {
    let (world, _, session, app) = with_app().await;
    let token = &session.access_token;
    let none = GenerateRecoveryCodesRequest::default();
    assert_eq!(refusal(world.generate_codes(token, none).await), "STEP_UP_REQUIRED");
    let both = GenerateRecoveryCodesRequest {
        current_password: PASSWORD.to_owned(),
        totp_code: app.code(&world),
        ..Default::default()
    };
    assert_eq!(refusal(world.generate_codes(token, both).await), "FIELD_INVALID");
    for (password, code) in [("a wrong password", ""), ("", &*app.wrong_code(&world)), ("", "12345")] {
        let wrong = GenerateRecoveryCodesRequest {
            current_password: password.to_owned(),
            totp_code: code.to_owned(),
            ..Default::default()
        };
        assert_eq!(refusal(world.generate_codes(token, wrong).await), "CREDENTIALS_INVALID");
    }
    let by_code = GenerateRecoveryCodesRequest {
        totp_code: app.code(&world),
        request_id: world.request_id(),
        ..Default::default()
    };
    let codes = world.generate_codes(token, by_code.clone()).await.expect("generated");
    let again = world.generate_codes(token, by_code).await.expect("repeated");
    assert!(again.is_empty(), "shown once");
    world
        .login_as(with_recovery(&codes[0]))
        .await
        .expect("and they are what they were");

    world.register("eve").await.expect("registered");
    let eve = world.login("eve").await.expect("logged in");
    let without_app = GenerateRecoveryCodesRequest {
        current_password: PASSWORD.to_owned(),
        ..Default::default()
    };
    let refused = world.generate_codes(&eve.access_token, without_app.clone()).await;
    assert_eq!(refusal(refused), "STATE_UNSUITABLE");
    world.enrol(&eve.access_token).await.expect("enrolled");
    let refused = world.generate_codes(&eve.access_token, without_app).await;
    assert_eq!(
        refusal(refused),
        "STATE_UNSUITABLE",
        "not for an app that was not confirmed"
    );
}
