//! Accounts: registered, logged into and out of, and got back by mail.

use tidings_proto_auth::v1::{
    LogoutRequest, RegisterRequest, RequestPasswordResetRequest, ResetPasswordRequest,
    auth_service_client::AuthServiceClient, credential_service_client::CredentialServiceClient,
};
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_user::v1::{GetCurrentUserRequest, GetUserRequest, UpdateUserRequest};
use tidings_testkit::{Actor, Suite, mail, reason_of, request_id, until, until_some};
use tonic::Code;

use super::SOON;

pub async fn registration(suite: &Suite) {
    let ada = Actor::register(&suite.channel(), "ada").await;
    let user = ada
        .users()
        .get_current_user(GetCurrentUserRequest {})
        .await
        .expect("a user")
        .into_inner()
        .user;
    let user = user.expect("a user");
    assert_eq!(
        (user.username.as_str(), user.email.as_str()),
        (ada.username.as_str(), ada.email.as_str())
    );

    let mut auth = AuthServiceClient::new(suite.channel());
    let again = |username: &str, email: &str| {
        let request = RegisterRequest {
            username: username.to_owned(),
            email: email.to_owned(),
            password: "correct horse battery".to_owned(),
            display_name: "Another".to_owned(),
            bio: String::new(),
            request_id: request_id(),
        };
        let mut auth = auth.clone();
        async move { auth.register(request).await }
    };
    let taken = again(&ada.username.to_uppercase().to_lowercase(), "other@example.org")
        .await
        .expect_err("the name is taken");
    assert_eq!(reason_of(&taken), ErrorReason::UsernameTaken);
    let taken = again(&format!("{}2", ada.username), &ada.email)
        .await
        .expect_err("the address is taken");
    assert_eq!(reason_of(&taken), ErrorReason::EmailTaken);

    // The same request again has the same outcome.
    let request = RegisterRequest {
        username: format!("{}-twice", ada.username),
        email: format!("twice-{}", ada.email),
        password: "correct horse battery".to_owned(),
        request_id: request_id(),
        ..RegisterRequest::default()
    };
    let first = auth
        .register(request.clone())
        .await
        .expect("registers")
        .into_inner()
        .user_id;
    assert_eq!(
        auth.register(request).await.expect("replays").into_inner().user_id,
        first
    );

    let update = UpdateUserRequest {
        bio: "counts engines".to_owned(),
        request_id: request_id(),
        ..UpdateUserRequest::default()
    };
    let user = ada
        .users()
        .update_user(update)
        .await
        .expect("updates")
        .into_inner()
        .user
        .expect("a user");
    assert_eq!(user.bio, "counts engines");
}

pub async fn logging_in_and_out(suite: &Suite) {
    let ada = Actor::register(&suite.channel(), "ada").await;
    let bob = Actor::register(&suite.channel(), "bob").await;
    let seen_by_bob = async || {
        let request = GetUserRequest {
            user_id: ada.user_id.clone(),
        };
        bob.users()
            .get_user(request)
            .await
            .expect("a user")
            .into_inner()
            .user
            .expect("a user")
    };
    let seen = seen_by_bob().await;
    assert!(seen.logged_in && seen.email.is_empty());
    let wrong = Actor::login(&suite.channel(), &ada.username, &ada.email, "a wrong password")
        .await
        .expect_err("refused");
    assert_eq!(
        (wrong.code(), reason_of(&wrong)),
        (Code::Unauthenticated, ErrorReason::CredentialsInvalid)
    );

    ada.auth().logout(LogoutRequest {}).await.expect("logs out");
    until("the token is refused everywhere", SOON, || async {
        ada.users().get_current_user(GetCurrentUserRequest {}).await.is_err() && ada.listen().await.is_err()
    })
    .await;
    until("nobody is seen there any more", SOON, async || {
        !seen_by_bob().await.logged_in
    })
    .await;
}

pub async fn a_forgotten_password(suite: &Suite) {
    let ada = Actor::register(&suite.channel(), "forgetful").await;
    let mut credentials = CredentialServiceClient::new(suite.channel());
    for email in [ada.email.clone(), "nobody-at-all@example.org".to_owned()] {
        let ask = RequestPasswordResetRequest {
            email,
            request_id: request_id(),
        };
        credentials
            .request_password_reset(ask)
            .await
            .expect("answers alike for any address");
    }
    let folder = suite.mail_folder();
    let token = until_some("the mail", SOON, || async {
        mail::newest_token(&folder, &ada.email, "reset-password")
    })
    .await;
    let reset = |token: &str| ResetPasswordRequest {
        token: token.to_owned(),
        new_password: "a new battery staple".to_owned(),
        request_id: request_id(),
    };
    credentials.reset_password(reset(&token)).await.expect("resets");
    let used = credentials.reset_password(reset(&token)).await.expect_err("used once");
    assert_eq!(reason_of(&used), ErrorReason::CredentialsInvalid);
    Actor::login(&suite.channel(), &ada.username, &ada.email, "a new battery staple")
        .await
        .expect("the new password works");
    assert!(ada.login_again().await.is_err(), "the old password still works");
    until("all login sessions have ended", SOON, || async {
        ada.users().get_current_user(GetCurrentUserRequest {}).await.is_err()
    })
    .await;
}
