use std::time::Duration;

use tidings_proto_auth::v1::{
    LoginRequest, RequestEmailVerificationRequest, RequestPasswordResetRequest, ResetPasswordRequest,
    SetPasswordRequest, VerifyEmailRequest,
};
use tidings_proto_common::v1::Permission;
use tonic::Status;

use crate::world::{PASSWORD, World, bearing, bytes, eventually, refusal, token};

const NEW_PASSWORD: &str = "a new password";

impl World {
    pub async fn ask_reset(&self, email: &str, request_id: &str) -> Result<String, Status> {
        let request = RequestPasswordResetRequest {
            email: email.to_owned(),
            request_id: request_id.to_owned(),
        };
        Ok(format!(
            "{:?}",
            self.credentials().request_password_reset(request).await?.into_inner()
        ))
    }

    pub async fn reset(&self, token: &str, new_password: &str, request_id: &str) -> Result<(), Status> {
        let request = ResetPasswordRequest {
            token: token.to_owned(),
            new_password: new_password.to_owned(),
            request_id: request_id.to_owned(),
        };
        self.credentials().reset_password(request).await.map(|_| ())
    }

    /// Nothing waits in the outbox.
    pub async fn outbox_is_empty(&self) {
        eventually("the outbox is empty", async || self.count("mails").await == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_password_is_reset_by_mail_and_everything_older_ends() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let before = world.login("ada").await.expect("logged in");
    world.ask_reset("ADA@example.org", "").await.expect("asked");
    let mails = world.mails(1).await;
    assert!(mails[0].contains("To: ada@example.org"));
    let token = token(&mails[0]);
    assert!(mails[0].contains(&format!("https://chat.example.org/reset-password#token={token}")));

    world.reset(&token, NEW_PASSWORD, "").await.expect("reset");
    assert_eq!(refusal(world.login("ada").await), "CREDENTIALS_INVALID");
    assert_eq!(
        refusal(world.logout(&before.access_token).await),
        "LOGIN_SESSION_REVOKED"
    );
    assert_eq!(
        refusal(world.refresh(&before.refresh_token, "").await.map(|_| ())),
        "LOGIN_SESSION_REVOKED"
    );
    assert_eq!(
        refusal(world.reset(&token, "yet another password", "").await),
        "CREDENTIALS_INVALID"
    );
    world.login_with("ada", NEW_PASSWORD).await.expect("logged in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_reset_has_the_first_outcome_and_keeps_the_first_password() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    world.ask_reset("ada@example.org", "").await.expect("asked");
    let token = world.token_of_mail(1).await;
    let request_id = world.request_id();
    world.reset(&token, NEW_PASSWORD, &request_id).await.expect("reset");
    world
        .reset(&token, "yet another password", &request_id)
        .await
        .expect("repeated");
    world.login_with("ada", NEW_PASSWORD).await.expect("logged in");
    assert_eq!(
        refusal(world.reset(&token, NEW_PASSWORD, &world.request_id()).await),
        "CREDENTIALS_INVALID"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_tells_whether_an_address_has_an_account() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let before = world.service.password_hash_runs();
    let known = world.ask_reset("ada@example.org", "").await.expect("asked");
    let unknown = world.ask_reset("nobody@example.org", "").await.expect("asked");
    assert_eq!(known, unknown);
    assert_eq!(world.service.password_hash_runs(), before);
    world.outbox_is_empty().await;
    let mails = world.mails(1).await;
    assert_eq!(mails.len(), 1, "nobody is mailed at an unknown address");
    assert_eq!(refusal(world.ask_reset("nowhere", "").await), "FIELD_INVALID");
    assert_eq!(
        refusal(world.ask_reset("a@b.org\r\nBcc: c@d.org", "").await),
        "FIELD_INVALID"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_gets_three_mails_an_hour_whoever_asks() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let asked = futures_util::future::join_all((0..8).map(|_| world.ask_reset("ada@example.org", ""))).await;
    assert!(asked.iter().all(Result::is_ok), "and nobody is told");
    world.outbox_is_empty().await;
    assert_eq!(world.mails(3).await.len(), 3);
    world.source.advance(Duration::from_secs(3_601));
    world.ask_reset("ada@example.org", "").await.expect("asked");
    world.mails(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_sends_no_second_mail() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let request_id = world.request_id();
    for _ in 0..3 {
        world.ask_reset("ada@example.org", &request_id).await.expect("asked");
    }
    world.outbox_is_empty().await;
    assert_eq!(world.mails(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_used_foreign_and_guessed_tokens_fail_alike() {
    let world = World::open().await;
    for name in ["ada", "eve"] {
        world.register(name).await.expect("registered");
    }
    world.ask_reset("ada@example.org", "").await.expect("asked");
    world.ask_reset("ada@example.org", "").await.expect("asked");
    let mails = world.mails(2).await;
    let [used, older] = [token(&mails[0]), token(&mails[1])];
    world.ask_reset("eve@example.org", "").await.expect("asked");
    let eves = world
        .mails(3)
        .await
        .iter()
        .find(|mail| mail.contains("To: eve@"))
        .map(|mail| token(mail))
        .expect("Eve's mail");
    let verify = RequestEmailVerificationRequest {
        email: "eve@example.org".to_owned(),
        request_id: String::new(),
    };
    world
        .credentials()
        .request_email_verification(verify)
        .await
        .expect("asked");
    let mails = world.mails(4).await;
    let other_purpose = mails
        .iter()
        .find(|mail| mail.contains("verify-email#"))
        .map(|mail| token(mail))
        .expect("a mail");

    world.reset(&used, NEW_PASSWORD, "").await.expect("reset");
    let mut answers = Vec::new();
    for wrong in [
        &used,
        &older,
        &other_purpose,
        &used[..42].to_owned(),
        &used.to_lowercase(),
        &"A".repeat(43),
        &"x".to_owned(),
    ] {
        let before = world.service.password_hash_runs();
        answers.push(bytes(&world.reset(wrong, PASSWORD, "").await.expect_err("refused")));
        assert_eq!(world.service.password_hash_runs(), before, "a guess costs no hash");
    }
    // One second too old.
    world.source.advance(Duration::from_secs(600));
    answers.push(bytes(&world.reset(&eves, PASSWORD, "").await.expect_err("refused")));
    answers.dedup();
    assert_eq!(answers.len(), 1);
    world.login_with("eve", PASSWORD).await.expect("unchanged");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_uses_of_a_token_at_once_one_counts() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    world.ask_reset("ada@example.org", "").await.expect("asked");
    let token = world.token_of_mail(1).await;
    let uses = futures_util::future::join_all((0..50).map(|n| {
        let (world, token) = (&world, &token);
        async move { world.reset(token, &format!("new password {n}"), "").await.map(|()| n) }
    }))
    .await;
    let (winners, losers): (Vec<_>, Vec<_>) = uses.into_iter().partition(Result::is_ok);
    let winners: Vec<_> = winners.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    for loser in losers {
        // Of so many at once some are shed before their password is hashed.
        let reason = refusal(loser);
        assert!(reason == "CREDENTIALS_INVALID" || reason == "OVERLOADED", "{reason}");
    }
    world
        .login_with("ada", &format!("new password {}", winners[0]))
        .await
        .expect("the winner's password counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_mailbox_alone_gets_no_further_codes_by_resets() {
    let world = World::open().await;
    let user_id = world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in");
    world.give_second_factor(&session.access_token).await;
    let guess = async |password: &str| {
        let request = LoginRequest {
            identifier: "ada".to_owned(),
            password: password.to_owned(),
            recovery_code: "aaaa-aaaa-aaaa-aaaa".to_owned(),
            ..LoginRequest::default()
        };
        refusal(world.auth().login(request).await)
    };
    for _ in 0..10 {
        assert_eq!(guess(PASSWORD).await, "CREDENTIALS_INVALID");
    }
    assert_eq!(guess(PASSWORD).await, "RATE_LIMITED");
    world.ask_reset("ada@example.org", "").await.expect("asked");
    let token = world.token_of_mail(1).await;
    world.reset(&token, "another horse battery", "").await.expect("reset");
    assert_eq!(guess("another horse battery").await, "RATE_LIMITED");

    let operator = world.register("operator").await.expect("registered");
    let manages = Permission::CredentialsManage.into();
    world.users.change(&operator, |user| user.permissions.push(manages));
    let operator = world.login("operator").await.expect("logged in");
    let request = SetPasswordRequest {
        user_id,
        new_password: "a third horse battery".to_owned(),
        request_id: String::new(),
    };
    let set = bearing(request, &operator.access_token);
    world.credentials().set_password(set).await.expect("set");
    assert_eq!(
        guess("a third horse battery").await,
        "CREDENTIALS_INVALID",
        "a new start"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weak_new_password_is_refused_and_the_token_is_not_used_up() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    world.ask_reset("ada@example.org", "").await.expect("asked");
    let token = world.token_of_mail(1).await;
    assert_eq!(refusal(world.reset(&token, "short", "").await), "FIELD_INVALID");
    assert_eq!(refusal(world.reset("", NEW_PASSWORD, "").await), "FIELD_INVALID");
    world.reset(&token, NEW_PASSWORD, "").await.expect("reset");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_open_registration_an_address_can_still_be_verified() {
    let world = World::open().await;
    let user_id = world.register("ada").await.expect("registered");
    world.outbox_is_empty().await;
    assert!(!world.users.get(&user_id).expect("there").email_verified);
    let ask = RequestEmailVerificationRequest {
        email: "ada@example.org".to_owned(),
        request_id: String::new(),
    };
    world
        .credentials()
        .request_email_verification(ask)
        .await
        .expect("asked");
    let token = world.token_of_mail(1).await;
    // The user service is away just then: it is told later, and the token is used all the same.
    world.users.go_away(true);
    let request = VerifyEmailRequest {
        token,
        request_id: world.request_id(),
    };
    assert_eq!(
        refusal(world.credentials().verify_email(request.clone()).await),
        "DEPENDENCY_UNAVAILABLE"
    );
    world.users.go_away(false);
    world.credentials().verify_email(request).await.expect("repeated");
    assert!(world.users.get(&user_id).expect("there").email_verified);
}
