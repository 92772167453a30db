//! `IntrospectToken`.

use std::time::Duration;

use tidings_proto_auth::v1::{
    IntrospectTokenRequest, IntrospectTokenResponse, LoginResponse, RevokeApiKeyRequest, TokenKind,
};
use tidings_proto_common::v1::Permission;
use tonic::Status;

use crate::world::{World, bearing, refusal};

impl World {
    async fn introspect(&self, by: &LoginResponse, token: &str) -> Result<IntrospectTokenResponse, Status> {
        let request = IntrospectTokenRequest {
            token: token.to_owned(),
        };
        let response = self.auth().introspect_token(bearing(request, &by.access_token)).await?;
        Ok(response.into_inner())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_works_is_described() {
    let world = World::open().await;
    let operator = world.holder("boss", &[Permission::TokensIntrospect]).await;
    let ada = world
        .holder("ada", &[Permission::UsersList, Permission::ChatsCreate])
        .await;
    let access = world.introspect(&operator, &ada.access_token).await.expect("answered");
    let expected = IntrospectTokenResponse {
        active: true,
        kind: TokenKind::Access.into(),
        user_id: ada.user_id.clone(),
        login_session_id: ada.login_session_id.clone(),
        permissions: vec![Permission::UsersList.into(), Permission::ChatsCreate.into()],
        is_bot: false,
        expire_time: ada.access_token_expire_time,
        api_key_id: String::new(),
    };
    assert_eq!(access, expected);

    let refresh = world.introspect(&operator, &ada.refresh_token).await.expect("answered");
    let idle = ada.access_token_expire_time.expect("a time").seconds - 600 + 30 * 24 * 3_600;
    assert_eq!((refresh.active, refresh.kind()), (true, TokenKind::Refresh));
    assert_eq!(refresh.login_session_id, ada.login_session_id);
    assert_eq!(refresh.expire_time.expect("a time").seconds, idle);
    assert!(refresh.permissions.is_empty());
    world
        .refresh(&ada.refresh_token, "")
        .await
        .expect("it was only looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_is_not_active_nothing_else_is_said() {
    let world = World::open().await;
    let operator = world.holder("boss", &[Permission::TokensIntrospect]).await;
    let ada = world.holder("ada", &[]).await;
    let next = world.refresh(&ada.refresh_token, "").await.expect("refreshed");
    let ended = world.login("ada").await.expect("logged in");
    world.logout(&ended.access_token).await.expect("logged out");
    let inactive = IntrospectTokenResponse::default();
    let (signed, end) = next.access_token.split_at(next.access_token.len() - 20);
    let flipped = if end.starts_with('x') { 'y' } else { 'x' };
    let forged = format!("{signed}{flipped}{}", &end[1..]);
    let tokens = [
        "nonsense",
        &ada.refresh_token,
        &ended.access_token,
        &ended.refresh_token,
        &ended.device_token,
        &forged,
        &next.refresh_token[1..],
        &"x".repeat(4_096),
    ];
    for token in tokens {
        assert_eq!(
            world.introspect(&operator, token).await.expect("answered"),
            inactive,
            "{token}"
        );
    }
    // Looking at a spent token is not using it.
    let seen = world
        .introspect(&operator, &next.refresh_token)
        .await
        .expect("answered");
    assert!(seen.active);
    for bad in ["", "a\0b", &"x".repeat(4_097)] {
        assert_eq!(refusal(world.introspect(&operator, bad).await), "FIELD_INVALID");
    }
    world.source.advance(Duration::from_secs(500));
    let fresh = world.refresh(&operator.refresh_token, "").await.expect("refreshed");
    world.source.advance(Duration::from_secs(200));
    let operator = LoginResponse {
        access_token: fresh.access_token,
        ..operator
    };
    let expired = world.introspect(&operator, &next.access_token).await.expect("answered");
    assert_eq!(expired, inactive);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_holds_the_permission_may_ask() {
    let world = World::open().await;
    let ada = world.holder("ada", &[Permission::CredentialsManage]).await;
    let refused = world.introspect(&ada, &ada.access_token).await;
    assert_eq!(refusal(refused), "PERMISSION_MISSING");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_and_what_is_got_with_it_are_described_until_the_key_is_revoked() {
    let world = World::open().await;
    let operator = world.holder("boss", &[Permission::TokensIntrospect]).await;
    let (manager, bot) = world.bot(&[Permission::ChatsCreate, Permission::UsersList]).await;
    let (key, text) = world.key(&manager, &bot, &[Permission::ChatsCreate]).await;
    let described = world.introspect(&operator, &text).await.expect("answered");
    let expected = IntrospectTokenResponse {
        active: true,
        kind: TokenKind::ApiKey.into(),
        user_id: bot.clone(),
        permissions: vec![Permission::ChatsCreate.into()],
        is_bot: true,
        expire_time: key.expire_time,
        api_key_id: key.api_key_id.clone(),
        ..IntrospectTokenResponse::default()
    };
    assert_eq!(described, expected);
    let exchanged = world.exchange(&text).await.expect("exchanged");
    let described = world
        .introspect(&operator, &exchanged.access_token)
        .await
        .expect("answered");
    assert_eq!((described.active, described.kind()), (true, TokenKind::Access));
    assert_eq!(
        (&described.api_key_id, &*described.login_session_id),
        (&key.api_key_id, "")
    );

    let inactive = IntrospectTokenResponse::default();
    for damaged in [&text[..text.len() - 1], &format!("{text}A"), &text[4..]] {
        assert_eq!(world.introspect(&operator, damaged).await.expect("answered"), inactive);
    }
    world.grant(&bot, &[]);
    let described = world.introspect(&operator, &text).await.expect("answered");
    assert!(
        described.active && described.permissions.is_empty(),
        "what it reaches now"
    );
    let revocation = RevokeApiKeyRequest {
        user_id: bot.clone(),
        api_key_id: key.api_key_id.clone(),
        ..RevokeApiKeyRequest::default()
    };
    let revocation = bearing(revocation, &manager.access_token);
    world
        .service_accounts()
        .revoke_api_key(revocation)
        .await
        .expect("revoked");
    for token in [&text, &exchanged.access_token] {
        assert_eq!(world.introspect(&operator, token).await.expect("answered"), inactive);
    }
}
