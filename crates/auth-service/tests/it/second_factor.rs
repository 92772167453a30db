//! Authenticator apps and recovery codes, and the logins that ask for them.

use std::time::Duration;

use tidings_auth_service::{Config, Throttle};
use tidings_proto_auth::v1::{
    ConfirmTotpRequest, EnrollTotpRequest, EnrollTotpResponse, GenerateRecoveryCodesRequest, LoginRequest,
    LoginResponse, RemoveTotpRequest, ResetPasswordRequest,
};
use tonic::Status;
use totp_rs::{Builder, Secret, Totp};

use crate::world::{PASSWORD, World, bearing, bytes, reason, refusal};

/// An authenticator app that was told a secret.
struct App(Totp);

impl App {
    fn of(enrolment: &EnrollTotpResponse) -> Self {
        let secret = Secret::try_from_base32(&enrolment.secret).expect("Base32");
        assert_eq!(secret.as_bytes().len(), 20);
        assert!(enrolment.otpauth_url.contains(&enrolment.secret));
        let app = Builder::new().with_secret(secret).build();
        Self(app.expect("what every app can do"))
    }

    fn code_in(&self, world: &World, seconds: i64) -> String {
        let time = world.source.now().unix_timestamp() + seconds;
        self.0.generate(u64::try_from(time).expect("after 1970")).to_string()
    }

    fn code(&self, world: &World) -> String {
        self.code_in(world, 0)
    }

    /// A code that is none of those taken now.
    fn wrong_code(&self, world: &World) -> String {
        let taken = [-30, 0, 30].map(|seconds| self.code_in(world, seconds));
        (0..)
            .map(|n| format!("{n:06}"))
            .find(|code| !taken.contains(code))
            .expect("one of four")
    }
}

impl World {
    async fn enrol(&self, access_token: &str) -> Result<EnrollTotpResponse, Status> {
        let request = EnrollTotpRequest {
            current_password: PASSWORD.to_owned(),
        };
        let answer = self.credentials().enroll_totp(bearing(request, access_token)).await;
        Ok(answer?.into_inner())
    }

    async fn confirm(&self, access_token: &str, code: &str, request_id: &str) -> Result<(), Status> {
        let request = ConfirmTotpRequest {
            totp_code: code.to_owned(),
            request_id: request_id.to_owned(),
        };
        let answer = self.credentials().confirm_totp(bearing(request, access_token)).await;
        answer.map(|_| ())
    }

    /// Sets an app up. The time goes on, so that its present code was not taken yet.
    async fn set_up_app(&self, access_token: &str) -> App {
        let app = App::of(&self.enrol(access_token).await.expect("enrolled"));
        self.confirm(access_token, &app.code(self), "")
            .await
            .expect("confirmed");
        self.next_step();
        app
    }

    /// An app and recovery codes, one of them used.
    pub async fn give_second_factor(&self, access_token: &str) {
        self.set_up_app(access_token).await;
        let codes = self.new_codes(access_token).await;
        self.login_as(with_recovery(&codes[0])).await.expect("logged in");
    }

    fn next_step(&self) {
        self.source.advance(Duration::from_secs(30));
    }

    async fn generate_codes(
        &self,
        access_token: &str,
        request: GenerateRecoveryCodesRequest,
    ) -> Result<Vec<String>, Status> {
        let answer = self
            .credentials()
            .generate_recovery_codes(bearing(request, access_token))
            .await;
        Ok(answer?.into_inner().recovery_codes)
    }

    async fn new_codes(&self, access_token: &str) -> Vec<String> {
        let request = GenerateRecoveryCodesRequest {
            current_password: PASSWORD.to_owned(),
            ..Default::default()
        };
        self.generate_codes(access_token, request).await.expect("generated")
    }

    async fn remove(&self, access_token: &str, request: RemoveTotpRequest) -> Result<(), Status> {
        let answer = self.credentials().remove_totp(bearing(request, access_token)).await;
        answer.map(|_| ())
    }

    async fn login_as(&self, request: LoginRequest) -> Result<LoginResponse, Status> {
        Ok(self.auth().login(request).await?.into_inner())
    }
}

fn ada() -> LoginRequest {
    LoginRequest {
        identifier: "ada".to_owned(),
        password: PASSWORD.to_owned(),
        ..Default::default()
    }
}

fn with_code(code: &str) -> LoginRequest {
    LoginRequest {
        totp_code: code.to_owned(),
        ..ada()
    }
}

fn with_recovery(code: &str) -> LoginRequest {
    LoginRequest {
        recovery_code: code.to_owned(),
        ..ada()
    }
}

/// Ada with an app, in a world where failed logins are not limited for their own sake.
async fn with_app() -> (World, String, LoginResponse, App) {
    let world = World::with(|config| Config {
        throttle: Some(Throttle::STANDARD.times(1_000.try_into().expect("not zero"))),
        ..config
    })
    .await;
    let user_id = world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in");
    let app = world.set_up_app(&session.access_token).await;
    (world, user_id, session, app)
}

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
        world.remove(&session.access_token, request)
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
    for (password, code) in [("a wrong password", ""), ("", "000000"), ("", "12345")] {
        if code == app.code(&world) {
            continue;
        }
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
async fn an_app_counts_for_nothing_until_a_code_of_it_was_shown() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in");
    let token = &session.access_token;
    assert_eq!(refusal(world.confirm(token, "123456", "").await), "STATE_UNSUITABLE");

    let first = App::of(&world.enrol(token).await.expect("enrolled"));
    let app = App::of(&world.enrol(token).await.expect("enrolled anew"));
    world.login("ada").await.expect("the password alone");
    for code in [first.code(&world), app.wrong_code(&world)] {
        if code != app.code(&world) {
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
async fn a_reset_password_leaves_the_second_factor() {
    let (world, _, _, app) = with_app().await;
    world.ask_reset("ada@example.org", "").await.expect("asked");
    let request = ResetPasswordRequest {
        token: world.token_of_mail(1).await,
        new_password: "another horse battery".to_owned(),
        request_id: String::new(),
    };
    world.credentials().reset_password(request).await.expect("reset");
    let login = |code: &str| LoginRequest {
        password: "another horse battery".to_owned(),
        ..with_code(code)
    };
    assert_eq!(refusal(world.login_as(login("")).await), "SECOND_FACTOR_REQUIRED");
    world.login_as(login(&app.code(&world))).await.expect("logged in");
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
    assert_eq!(refusal(world.remove(token, by("", "", "")).await), "STEP_UP_REQUIRED");
    for wrong in [
        by("a wrong password", "", ""),
        by("", &app.wrong_code(&world), ""),
        by("", "", "aaaa-aaaa-aaaa-aaaa"),
    ] {
        assert_eq!(refusal(world.remove(token, wrong).await), "CREDENTIALS_INVALID");
    }
    let both = by(PASSWORD, &app.code(&world), "");
    assert_eq!(refusal(world.remove(token, both).await), "FIELD_INVALID");
    assert_eq!(
        refusal(world.login("ada").await),
        "SECOND_FACTOR_REQUIRED",
        "nothing was removed"
    );

    let request = RemoveTotpRequest {
        request_id: world.request_id(),
        ..by("", &app.code(&world), "")
    };
    world.remove(token, request.clone()).await.expect("by a code");
    world.remove(token, request).await.expect("repeated");
    world.login("ada").await.expect("the password alone");
    world.remove(token, by(PASSWORD, "", "")).await.expect("there is none");

    world.set_up_app(token).await;
    let codes = world.new_codes(token).await;
    world
        .remove(token, by("", "", &codes[0]))
        .await
        .expect("by a recovery code");
    assert_eq!(world.count("recovery_codes").await, 0, "they go with it");
    world.set_up_app(token).await;
    world
        .remove(token, by(PASSWORD, "", ""))
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
            refusal(world.remove(&eve.access_token, of(target)).await),
            "PERMISSION_MISSING"
        );
    }
    assert_eq!(refusal(world.remove(&operator, of(&absent)).await), "NOT_FOUND");
    assert_eq!(refusal(world.remove(&operator, of("no id")).await), "FIELD_INVALID");
    let pair = (operator_id.clone(), ada_id.clone());
    world.users.above.lock().insert(pair.clone());
    assert_eq!(refusal(world.remove(&operator, of(&ada_id)).await), "RANK_TOO_LOW");
    world.users.above.lock().remove(&pair);
    assert_eq!(
        refusal(world.login("ada").await),
        "SECOND_FACTOR_REQUIRED",
        "nothing was removed"
    );
    world.remove(&operator, of(&ada_id)).await.expect("removed");
    world.login("ada").await.expect("the password alone");
    // Of oneself an operator too needs a proof.
    assert_eq!(
        refusal(world.remove(&operator, of(&operator_id)).await),
        "STEP_UP_REQUIRED"
    );
}
