//! What the audit trail has of sign-ins.

use sqlx::Row as _;
use tidings_proto_auth::v1::{
    CreateApiKeyRequest, CreateServiceAccountRequest, DeleteServiceAccountRequest, RevokeApiKeyRequest,
};
use tidings_proto_common::v1::Permission;

use crate::world::{PASSWORD, World, bearing, refusal};

/// The events so far, as `Login` or `Login CREDENTIALS_INVALID`, and how many subjects each has.
async fn events(world: &World) -> Vec<(String, usize)> {
    let rows = sqlx::query("select action, reason, subject_ids from auth.audit_events order by event_time, event_id")
        .fetch_all(&world.pool)
        .await
        .expect("read");
    let mut events: Vec<(String, usize)> = rows
        .iter()
        .map(|row| {
            let (action, reason): (String, String) = (row.get("action"), row.get("reason"));
            let name = action.rsplit('/').next().unwrap_or_default();
            let subjects: Vec<uuid::Uuid> = row.get("subject_ids");
            (format!("{name} {reason}").trim().to_owned(), subjects.len())
        })
        .collect();
    // The clock of the tests stands still, so that their order says nothing.
    events.sort();
    events
}

/// How many effects of this RPC are in the trail.
pub async fn done(world: &World, rpc: &str) -> i64 {
    sqlx::query_scalar("select count(*) from auth.audit_events where action like '%/' || $1 and outcome = 1")
        .bind(rpc)
        .fetch_one(&world.pool)
        .await
        .expect("read")
}

fn expected(events: &[(&str, usize)]) -> Vec<(String, usize)> {
    events
        .iter()
        .map(|(name, subjects)| ((*name).to_owned(), *subjects))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_and_their_ends_are_in_the_trail_once() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let first = world.login("ada").await.expect("logged in");
    let request_id = world.request_id();
    for _ in 0..2 {
        world
            .refresh(&first.refresh_token, &request_id)
            .await
            .expect("refreshed or repeated");
    }
    let second = world.login("ada").await.expect("logged in");
    world.logout(&second.access_token).await.expect("logged out");
    assert_eq!(
        events(&world).await,
        expected(&[
            ("Login", 2),
            ("Login", 2),
            ("Logout", 2),
            ("RefreshToken", 2),
            ("Register", 1)
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_are_in_the_trail_whether_there_is_an_account_or_not() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    for name in ["ada", "nobody"] {
        let refused = refusal(world.login_with(name, "another horse battery").await.map(|_| ()));
        assert_eq!(refused, "CREDENTIALS_INVALID");
    }
    assert_eq!(
        events(&world).await,
        expected(&[
            ("Login CREDENTIALS_INVALID", 0),
            ("Login CREDENTIALS_INVALID", 1),
            ("Register", 1)
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_was_used_twice_is_in_the_trail() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let first = world.login("ada").await.expect("logged in");
    let second = world.refresh(&first.refresh_token, "").await.expect("refreshed");
    world.refresh(&second.refresh_token, "").await.expect("refreshed");
    for _ in 0..2 {
        assert!(world.refresh(&first.refresh_token, "").await.is_err());
    }
    let reuses: Vec<_> = events(&world)
        .await
        .into_iter()
        .filter(|(name, _)| name.contains("REUSED"))
        .collect();
    assert_eq!(
        reuses,
        expected(&[("RefreshToken REFRESH_TOKEN_REUSED", 2)]),
        "the family ends once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_no_address_and_no_secret_is_in_the_trail() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let tokens = world.login("ada").await.expect("logged in");
    let next = world.refresh(&tokens.refresh_token, "").await.expect("refreshed");
    assert!(world.login_with("ada", "another horse battery").await.is_err());
    let trail: String = sqlx::query_scalar("select string_agg(to_jsonb(e)::text, ' ') from auth.audit_events e")
        .fetch_one(&world.pool)
        .await
        .expect("read");
    assert!(trail.contains(&tokens.login_session_id), "ids are: {trail}");
    for secret in [
        "\"ada\"",
        "ada@",
        PASSWORD,
        "another horse",
        &tokens.access_token,
        &tokens.refresh_token,
        &next.refresh_token,
    ] {
        assert!(!trail.contains(secret), "{secret} is in the trail: {trail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_service_accounts_names_its_request() {
    let world = World::open().await;
    let chats = [Permission::ChatsCreate];
    let manager = world.manager("manager", &chats).await;
    let ids: Vec<String> = (0..4).map(|_| world.request_id()).collect();
    let [create, create_key, revoke_key, delete] = &ids[..] else {
        panic!("four");
    };
    let request = CreateServiceAccountRequest {
        username: "helper".to_owned(),
        request_id: create.clone(),
        ..CreateServiceAccountRequest::default()
    };
    let bot = world
        .create_service_account(&manager, request)
        .await
        .expect("created")
        .user_id;
    world.grant(&bot, &chats);
    let request = CreateApiKeyRequest {
        user_id: bot.clone(),
        label: "one".to_owned(),
        permissions: chats.map(i32::from).to_vec(),
        request_id: create_key.clone(),
        ..CreateApiKeyRequest::default()
    };
    let key = world
        .create_key(&manager, request)
        .await
        .expect("created")
        .api_key
        .expect("a record");
    let mut client = world.service_accounts();
    let request = RevokeApiKeyRequest {
        user_id: bot.clone(),
        api_key_id: key.api_key_id,
        request_id: revoke_key.clone(),
    };
    client
        .revoke_api_key(bearing(request, &manager.access_token))
        .await
        .expect("revoked");
    let request = DeleteServiceAccountRequest {
        user_id: bot,
        request_id: delete.clone(),
    };
    client
        .delete_service_account(bearing(request, &manager.access_token))
        .await
        .expect("deleted");
    for id in &ids {
        let told = "select count(*) from auth.audit_events where request_id = $1::uuid";
        let told: i64 = sqlx::query_scalar(told)
            .bind(id)
            .fetch_one(&world.pool)
            .await
            .expect("counted");
        assert_eq!(told, 1, "{id}");
    }
}
