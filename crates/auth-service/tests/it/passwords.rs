//! Passwords that are changed by their owners, set by operators, and refused.

use std::{io::Write as _, time::Duration};

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version, password_hash::phc::PasswordHash};
use tidings_auth_service::Config;
use tidings_proto_auth::v1::{ChangePasswordRequest, RegisterRequest, ResetPasswordRequest, SetPasswordRequest};
use tidings_proto_common::v1::Permission;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::world::{PASSWORD, World, bearing, eventually, reason, refusal, registration};

const NEW_PASSWORD: &str = "another horse battery";

impl World {
    async fn change_password(
        &self,
        access_token: &str,
        current: &str,
        new: &str,
        request_id: &str,
    ) -> Result<(), Status> {
        let request = ChangePasswordRequest {
            current_password: current.to_owned(),
            new_password: new.to_owned(),
            end_current: false,
            request_id: request_id.to_owned(),
        };
        let answer = self.credentials().change_password(bearing(request, access_token)).await;
        answer.map(|_| ())
    }

    async fn set_password(&self, access_token: &str, user_id: &str, new: &str, request_id: &str) -> Result<(), Status> {
        let request = SetPasswordRequest {
            user_id: user_id.to_owned(),
            new_password: new.to_owned(),
            request_id: request_id.to_owned(),
        };
        let answer = self.credentials().set_password(bearing(request, access_token)).await;
        answer.map(|_| ())
    }

    /// Somebody who manages others' credentials: their access token, and their id.
    pub async fn operator(&self) -> (String, String) {
        let user_id = self.register("root-admin").await.expect("registered");
        self.users.change(&user_id, |user| {
            user.permissions.push(Permission::CredentialsManage.into());
        });
        let issued = self.login("root-admin").await.expect("logged in");
        (issued.access_token, user_id)
    }
}

/// The field and the description of the only violation.
fn violation(status: &Status) -> (String, String) {
    let mut violations = status.get_details_bad_request().expect("fields").field_violations;
    assert_eq!((violations.len(), reason(status).as_str()), (1, "FIELD_INVALID"));
    let violation = violations.remove(0);
    (violation.field, violation.description)
}

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
    let request = ResetPasswordRequest {
        token,
        new_password: "a thief's password".to_owned(),
        request_id: String::new(),
    };
    assert_eq!(
        refusal(world.credentials().reset_password(request).await),
        "CREDENTIALS_INVALID"
    );
}

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
async fn passwords_that_are_tried_first_are_taken_nowhere() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let own = world.login("ada").await.expect("logged in");
    let (operator, _) = world.operator().await;
    let (_, eve) = (0, world.register("eve").await.expect("registered"));
    world.ask_reset("ada@example.org", "").await.expect("asked");
    let token = world.token_of_mail(1).await;

    for common in ["password1", "Iloveyou1", "1q2w3e4r5t"] {
        let register = RegisterRequest {
            password: common.to_owned(),
            ..registration("trudy")
        };
        let reset = |token: &str| ResetPasswordRequest {
            token: token.to_owned(),
            new_password: common.to_owned(),
            request_id: String::new(),
        };
        let hashes = world.service.password_hash_runs();
        let refused = [
            world.register_as(register).await.map(|_| ()).expect_err("register"),
            world
                .change_password(&own.access_token, PASSWORD, common, "")
                .await
                .expect_err("change"),
            world.set_password(&operator, &eve, common, "").await.expect_err("set"),
            world
                .credentials()
                .reset_password(reset(&token))
                .await
                .expect_err("reset"),
            // What is wrong with the word says nothing about a token.
            world
                .credentials()
                .reset_password(reset("guess"))
                .await
                .expect_err("reset"),
        ];
        for (status, field) in refused.iter().zip([
            "password",
            "new_password",
            "new_password",
            "new_password",
            "new_password",
        ]) {
            let (named, description) = violation(status);
            assert_eq!(named, field);
            assert_eq!(
                description,
                "must not be among the passwords that are known and tried first"
            );
        }
        assert_eq!(world.service.password_hash_runs(), hashes);
    }
    // The token was not used up by it.
    let reset = ResetPasswordRequest {
        token,
        new_password: NEW_PASSWORD.to_owned(),
        request_id: String::new(),
    };
    world.credentials().reset_password(reset).await.expect("reset");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_the_account_is_not_its_password() {
    let world = World::open().await;
    let named = |password: &str| RegisterRequest {
        password: password.to_owned(),
        ..registration("ada.lovelace")
    };
    for name in ["ada.lovelace", "Ada.Lovelace@example.org"] {
        let refused = world.register_as(named(name)).await.expect_err("refused");
        assert_eq!(violation(&refused).0, "password");
    }
    let user_id = world.register("ada.lovelace").await.expect("registered");
    let own = world.login("ada.lovelace").await.expect("logged in");
    let (operator, _) = world.operator().await;
    let refused = [
        world
            .change_password(&own.access_token, PASSWORD, "ADA.LOVELACE", "")
            .await
            .expect_err("change"),
        world
            .set_password(&operator, &user_id, "ada.lovelace@example.org", "")
            .await
            .expect_err("set"),
    ];
    for status in refused {
        assert_eq!(
            violation(&status),
            (
                "new_password".to_owned(),
                "must not be the account's own username or e-mail address".to_owned()
            )
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_file_of_breached_passwords_is_looked_into() {
    let hash = |word: &str| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, word.as_bytes());
        let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        format!("{digits}:3\r\n")
    };
    let breached = "a well-known secret";
    let mut lines: Vec<String> = (0..100)
        .map(|n| hash(&format!("word {n}")))
        .chain([hash(breached)])
        .collect();
    lines.sort();
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(lines.concat().as_bytes()).expect("written");
    let path = file.path().to_owned();
    let world = World::with(|config| Config {
        breached_passwords_file: Some(path),
        ..config
    })
    .await;
    let registers = |password: &str| RegisterRequest {
        password: password.to_owned(),
        ..registration("ada")
    };
    for refused in [breached, "password1"] {
        let status = world.register_as(registers(refused)).await.expect_err("refused");
        assert_eq!(violation(&status).0, "password");
    }
    world.register_as(registers(PASSWORD)).await.expect("registered");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sets_a_password_and_all_login_sessions_end() {
    let world = World::open().await;
    let ada = world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in");
    let (operator, _) = world.operator().await;
    let request_id = world.request_id();
    world
        .set_password(&operator, &ada, NEW_PASSWORD, &request_id)
        .await
        .expect("set");
    assert_eq!(
        refusal(world.logout(&session.access_token).await),
        "LOGIN_SESSION_REVOKED"
    );
    assert_eq!(
        refusal(world.refresh(&session.refresh_token, "").await.map(|_| ())),
        "LOGIN_SESSION_REVOKED"
    );
    assert_eq!(refusal(world.login("ada").await), "CREDENTIALS_INVALID");
    let later = world.login_with("ada", NEW_PASSWORD).await.expect("logged in");

    world
        .set_password(&operator, &ada, "yet another password", &request_id)
        .await
        .expect("repeated");
    world.refresh(&later.refresh_token, "").await.expect("not ended by it");
    let absent = world.source.new_id::<tidings_ids::kind::User>().to_string();
    let reused = world.set_password(&operator, &absent, NEW_PASSWORD, &request_id).await;
    assert_eq!(refusal(reused), "REQUEST_ID_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sets_anothers_password_without_the_permission_or_above_their_rank() {
    let world = World::open().await;
    let ada = world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in");
    world.register("eve").await.expect("registered");
    let eve = world.login("eve").await.expect("logged in");
    let (operator, operator_id) = world.operator().await;
    let absent = world.source.new_id::<tidings_ids::kind::User>().to_string();

    for target in [&ada, &absent] {
        let refused = world.set_password(&eve.access_token, target, NEW_PASSWORD, "").await;
        assert_eq!(refusal(refused), "PERMISSION_MISSING");
    }
    let missing = world.set_password(&operator, &absent, NEW_PASSWORD, "").await;
    assert_eq!(refusal(missing), "NOT_FOUND");
    world.users.above.lock().insert((operator_id.clone(), ada.clone()));
    let above = world.set_password(&operator, &ada, NEW_PASSWORD, "").await;
    assert_eq!(refusal(above), "RANK_TOO_LOW");
    let own = world.set_password(&operator, &operator_id, NEW_PASSWORD, "").await;
    assert_eq!(violation(&own.expect_err("refused")).0, "user_id");
    world.users.go_away(true);
    let away = world.set_password(&operator, &ada, NEW_PASSWORD, "").await;
    assert_eq!(refusal(away), "DEPENDENCY_UNAVAILABLE");
    world.users.go_away(false);
    world
        .refresh(&session.refresh_token, "")
        .await
        .expect("nothing has ended");
    world.login("ada").await.expect("the old password works");
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
    let reset = ResetPasswordRequest {
        token: world.token_of_mail(1).await,
        new_password: NEW_PASSWORD.to_owned(),
        request_id: String::new(),
    };
    world.credentials().reset_password(reset).await.expect("reset");
    let own = world.login_with("ada", NEW_PASSWORD).await.expect("logged in");
    world
        .change_password(&own.access_token, NEW_PASSWORD, PASSWORD, "")
        .await
        .expect("a new start");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_gets_no_password() {
    let world = World::open().await;
    let manager = world.manager("grace", &[Permission::CredentialsManage]).await;
    let program = world.service_account(&manager, "program").await;
    let refused = world
        .set_password(&manager.access_token, &program.user_id, NEW_PASSWORD, "")
        .await;
    assert_eq!(refusal(refused), "KIND_UNSUITABLE");
    assert_eq!(
        refusal(world.login_with("program", NEW_PASSWORD).await),
        "CREDENTIALS_INVALID"
    );
}
