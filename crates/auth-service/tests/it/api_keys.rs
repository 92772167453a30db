use std::time::Duration;

use tidings_proto_auth::v1::{
    ApiKey, ChangePasswordRequest, CreateApiKeyRequest, CreateApiKeyResponse, ExchangeApiKeyRequest,
    ExchangeApiKeyResponse, ListApiKeysRequest, ListLoginSessionsRequest, LoginResponse, RevokeApiKeyRequest,
};
use tidings_proto_common::v1::Permission;
use tidings_proto_user::v1::UserStatus;
use tonic::Status;

use crate::world::{World, bearing, bytes, eventually, refusal};

const MANAGE: Permission = Permission::ServiceAccountsManage;
const CHATS: Permission = Permission::ChatsCreate;
const ANSWER: Permission = Permission::ResponsesCreate;

impl World {
    /// A manager and a service account, each with these permissions (the manager may also manage).
    pub async fn bot(&self, permissions: &[Permission]) -> (LoginResponse, String) {
        let manager = self.manager("manager", permissions).await;
        let account = self.service_account(&manager, "helper").await;
        self.grant(&account.user_id, permissions);
        (manager, account.user_id)
    }

    pub fn grant(&self, user_id: &str, permissions: &[Permission]) {
        let numbers = permissions.iter().copied().map(i32::from).collect();
        self.users.change(user_id, |user| user.permissions = numbers);
    }

    pub async fn create_key(
        &self,
        manager: &LoginResponse,
        request: CreateApiKeyRequest,
    ) -> Result<CreateApiKeyResponse, Status> {
        let request = bearing(request, &manager.access_token);
        Ok(self.service_accounts().create_api_key(request).await?.into_inner())
    }

    pub async fn key(&self, manager: &LoginResponse, user_id: &str, permissions: &[Permission]) -> (ApiKey, String) {
        let created = self
            .create_key(manager, wanted(user_id, permissions))
            .await
            .expect("created");
        (created.api_key.expect("a record"), created.key)
    }

    pub async fn exchange(&self, key: &str) -> Result<ExchangeApiKeyResponse, Status> {
        let request = ExchangeApiKeyRequest { key: key.to_owned() };
        Ok(self.service_accounts().exchange_api_key(request).await?.into_inner())
    }

    async fn keys(&self, manager: &LoginResponse, user_id: &str) -> Vec<ApiKey> {
        let request = ListApiKeysRequest {
            user_id: user_id.to_owned(),
            ..ListApiKeysRequest::default()
        };
        let request = bearing(request, &manager.access_token);
        self.service_accounts()
            .list_api_keys(request)
            .await
            .expect("a page")
            .into_inner()
            .api_keys
    }

    async fn revoke(&self, manager: &LoginResponse, key: &ApiKey, request_id: &str) -> Result<ApiKey, Status> {
        let request = RevokeApiKeyRequest {
            user_id: key.user_id.clone(),
            api_key_id: key.api_key_id.clone(),
            request_id: request_id.to_owned(),
        };
        let request = bearing(request, &manager.access_token);
        let revoked = self.service_accounts().revoke_api_key(request).await?.into_inner();
        Ok(revoked.api_key.expect("a record"))
    }
}

fn wanted(user_id: &str, permissions: &[Permission]) -> CreateApiKeyRequest {
    CreateApiKeyRequest {
        user_id: user_id.to_owned(),
        label: "production".to_owned(),
        permissions: permissions.iter().copied().map(i32::from).collect(),
        ..CreateApiKeyRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_gets_tokens_for_what_it_and_its_account_allow() {
    let world = World::open().await;
    let (manager, bot) = world.bot(&[CHATS, ANSWER]).await;
    let (record, key) = world.key(&manager, &bot, &[CHATS, ANSWER, CHATS]).await;
    assert_eq!(record.permissions, [i32::from(CHATS), i32::from(ANSWER)]);
    assert!(key.starts_with("tdk_") && key.len() == 68);
    assert_eq!(record.hint, format!("tdk_…{}", &key[64..]));

    let exchanged = world.exchange(&key).await.expect("exchanged");
    let caller = world.verifier.verify(&exchanged.access_token).expect("valid");
    assert_eq!(caller.user_id.to_string(), bot);
    assert_eq!(caller.login_session_id.to_string(), record.api_key_id);
    assert_eq!(caller.permissions, [CHATS, ANSWER]);
    assert!(caller.is_bot);
    let expires = exchanged.access_token_expire_time.expect("a time").seconds;
    assert_eq!(expires - world.source.now().unix_timestamp(), 600);

    // What the account loses, the key loses; what it gets besides, the key does not get.
    world.grant(&bot, &[ANSWER, Permission::UsersManage]);
    let exchanged = world.exchange(&key).await.expect("exchanged");
    let caller = world.verifier.verify(&exchanged.access_token).expect("valid");
    assert_eq!(caller.permissions, [ANSWER]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_says_what_a_key_was_given() {
    let world = World::open().await;
    let (manager, bot) = world.bot(&[CHATS, ANSWER]).await;
    assert_eq!(
        refusal(world.create_key(&manager, wanted(&bot, &[CHATS, MANAGE])).await),
        "PERMISSION_MISSING"
    );
    world.key(&manager, &bot, &[ANSWER, CHATS, ANSWER]).await;
    world.key(&manager, &bot, &[ANSWER]).await;
    let told = "select detail_names, detail_values from auth.audit_events
         where action = 'tidings.auth.v1.ServiceAccountService/CreateApiKey' and reason = ''
         order by detail_values";
    let told: Vec<(Vec<String>, Vec<String>)> = sqlx::query_as(told).fetch_all(&world.pool).await.expect("read");
    let (chats, answer) = (i32::from(CHATS), i32::from(ANSWER));
    let given = |permissions: String| (vec!["permissions".to_owned()], vec![permissions]);
    assert_eq!(told, [given(format!("{chats},{answer}")), given(answer.to_string())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_never_given_what_its_creator_or_its_account_lacks() {
    let world = World::open().await;
    let (manager, bot) = world.bot(&[CHATS]).await;
    world.grant(&bot, &[CHATS, ANSWER]);
    assert_eq!(
        refusal(world.create_key(&manager, wanted(&bot, &[ANSWER])).await),
        "PERMISSION_MISSING"
    );
    assert_eq!(
        refusal(world.create_key(&manager, wanted(&bot, &[MANAGE])).await),
        "PERMISSION_MISSING"
    );
    world.users.above.lock().insert((manager.user_id.clone(), bot.clone()));
    assert_eq!(
        refusal(world.create_key(&manager, wanted(&bot, &[CHATS])).await),
        "RANK_TOO_LOW"
    );
    world.users.above.lock().clear();
    world.users.change(&bot, |user| user.status = UserStatus::Suspended);
    assert_eq!(
        refusal(world.create_key(&manager, wanted(&bot, &[CHATS])).await),
        "STATE_UNSUITABLE"
    );
    assert_eq!(
        refusal(world.create_key(&manager, wanted(&manager.user_id, &[CHATS])).await),
        "NOT_FOUND"
    );
    assert_eq!(world.count("api_keys").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_manages_gives_no_more_than_it_reaches_itself() {
    let world = World::open().await;
    let (manager, bot) = world.bot(&[MANAGE, CHATS]).await;
    let (_, key) = world.key(&manager, &bot, &[MANAGE]).await;
    let mut narrow = manager.clone();
    narrow.access_token = world.exchange(&key).await.expect("exchanged").access_token;
    assert_eq!(
        refusal(world.create_key(&narrow, wanted(&bot, &[CHATS])).await),
        "PERMISSION_MISSING"
    );
    world
        .create_key(&narrow, wanted(&bot, &[MANAGE]))
        .await
        .expect("within its reach");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once() {
    let world = World::open().await;
    let (manager, bot) = world.bot(&[CHATS]).await;
    let request = CreateApiKeyRequest {
        request_id: world.request_id(),
        ..wanted(&bot, &[CHATS])
    };
    let first = world.create_key(&manager, request.clone()).await.expect("created");
    let again = world.create_key(&manager, request.clone()).await.expect("repeated");
    assert_eq!(again.api_key, first.api_key);
    assert!(again.key.is_empty() && !first.key.is_empty());
    let other = CreateApiKeyRequest {
        label: "other".to_owned(),
        ..request
    };
    assert_eq!(refusal(world.create_key(&manager, other).await), "REQUEST_ID_REUSED");
    let secret = first.key.trim_start_matches("tdk_");
    let stored: String = sqlx::query_scalar(
        "select concat(k::text, (select string_agg(r::text, '') from auth.requests r)) from auth.api_keys k",
    )
    .fetch_one(&world.pool)
    .await
    .expect("read");
    assert!(
        !stored.contains(secret) && !stored.contains(&secret[22..]),
        "no secret is stored"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_exactly_a_live_key_is_refused_alike() {
    let world = World::open().await;
    let (manager, bot) = world.bot(&[CHATS]).await;
    let (_, key) = world.key(&manager, &bot, &[CHATS]).await;
    let (revoked, revoked_key) = world.key(&manager, &bot, &[CHATS]).await;
    world.revoke(&manager, &revoked, "").await.expect("revoked");
    let expiring = CreateApiKeyRequest {
        expire_time: Some(prost_types::Timestamp {
            seconds: world.source.now().unix_timestamp() + 60,
            nanos: 0,
        }),
        ..wanted(&bot, &[CHATS])
    };
    let expiring = world.create_key(&manager, expiring).await.expect("created").key;
    let token = world.exchange(&expiring).await.expect("exchanged");
    let until = token.access_token_expire_time.expect("a time").seconds;
    assert_eq!(
        until - world.source.now().unix_timestamp(),
        60,
        "no longer than the key"
    );
    world.source.advance(Duration::from_secs(60));

    let mut bad = vec![
        expiring,
        revoked_key,
        format!("{key}A"),
        key.to_uppercase(),
        "tdk_".to_owned(),
        "nonsense".to_owned(),
        format!("tdk_{}", "A".repeat(64)),
    ];
    bad.extend((1..key.len()).step_by(7).map(|length| key[..length].to_owned()));
    for index in (4..key.len()).step_by(5) {
        let mut altered = key.clone().into_bytes();
        altered[index] = if altered[index] == b'A' { b'B' } else { b'A' };
        bad.push(String::from_utf8(altered).expect("ASCII"));
    }
    let mut answers = Vec::new();
    for key in &bad {
        answers.push(bytes(&world.exchange(key).await.expect_err("refused")));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(refusal(world.exchange(&bad[0]).await), "CREDENTIALS_INVALID");
    assert_eq!(refusal(world.exchange("").await), "FIELD_INVALID");
    assert_eq!(refusal(world.exchange(&"x".repeat(1_025)).await), "FIELD_INVALID");
    world.exchange(&key).await.expect("the key itself works");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_account_is_told_so_once_its_key_is_proven() {
    let world = World::open().await;
    let (manager, bot) = world.bot(&[CHATS]).await;
    let (_, key) = world.key(&manager, &bot, &[CHATS]).await;
    world.users.change(&bot, |user| user.status = UserStatus::Suspended);
    assert_eq!(refusal(world.exchange(&key).await), "ACCOUNT_SUSPENDED");
    assert_eq!(refusal(world.exchange(&key[..67]).await), "CREDENTIALS_INVALID");
    world.users.change(&bot, |user| user.status = UserStatus::Deleted);
    assert_eq!(refusal(world.exchange(&key).await), "CREDENTIALS_INVALID");
    world.users.go_away(true);
    assert_eq!(refusal(world.exchange(&key).await), "DEPENDENCY_UNAVAILABLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_keys_tokens_end_on_every_node() {
    let world = World::open().await;
    let other = world.second_node().await;
    let (manager, bot) = world.bot(&[CHATS]).await;
    let (record, key) = world.key(&manager, &bot, &[CHATS]).await;
    let (_, kept) = world.key(&manager, &bot, &[CHATS]).await;
    let token = world.exchange(&key).await.expect("exchanged").access_token;
    let kept = world.exchange(&kept).await.expect("exchanged").access_token;
    eventually("the other node knows the key", async || {
        other.verifier.verify(&token).is_ok()
    })
    .await;

    let request_id = world.request_id();
    let revoked = world.revoke(&manager, &record, &request_id).await.expect("revoked");
    assert!(revoked.revoke_time.is_some());
    assert!(
        world.verifier.verify(&token).is_err(),
        "at once on the node that was asked"
    );
    eventually("the other node refuses", async || {
        other.verifier.verify(&token).is_err()
    })
    .await;
    assert!(other.verifier.verify(&kept).is_ok(), "no other key ends by it");
    world.source.advance(Duration::from_secs(5));
    assert_eq!(
        world.revoke(&manager, &record, &request_id).await.expect("repeated"),
        revoked
    );
    assert_eq!(world.revoke(&manager, &record, "").await.expect("again"), revoked);
    assert_eq!(world.count("revocations").await, 1);

    let mut foreign = record.clone();
    foreign.user_id = world.service_account(&manager, "other").await.user_id;
    assert_eq!(refusal(world.revoke(&manager, &foreign, "").await), "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_has_one_clock_whatever_the_node_has() {
    let world = World::open().await;
    let (manager, bot) = world.bot(&[CHATS]).await;
    let (record, _) = world.key(&manager, &bot, &[CHATS]).await;
    world.source.advance(Duration::from_secs(300));
    world.revoke(&manager, &record, "").await.expect("revoked");
    let by_the_database = "select revoke_time <= clock_timestamp() from auth.revocations";
    let by_the_database: bool = sqlx::query_scalar(by_the_database)
        .fetch_one(&world.pool)
        .await
        .expect("one entry");
    assert!(by_the_database, "readers begin where the database's clock says");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_account_every_key_ends() {
    let world = World::open().await;
    let (manager, bot) = world.bot(&[CHATS]).await;
    let (_, one) = world.key(&manager, &bot, &[CHATS]).await;
    let (_, two) = world.key(&manager, &bot, &[CHATS]).await;
    let token = world.exchange(&one).await.expect("exchanged").access_token;
    world.delete_service_account(&manager, &bot, "").await.expect("deleted");
    assert!(world.verifier.verify(&token).is_err());
    for key in [one, two] {
        assert_eq!(refusal(world.exchange(&key).await), "CREDENTIALS_INVALID");
    }
    assert_eq!(world.count("revocations").await, 2);
    // Whoever restores the user does not restore the keys.
    world.users.change(&bot, |user| user.status = UserStatus::Active);
    assert_eq!(
        refusal(world.create_key(&manager, wanted(&bot, &[CHATS])).await),
        "NOT_FOUND"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_is_noted_once_a_minute() {
    let world = World::open().await;
    let (manager, bot) = world.bot(&[CHATS]).await;
    let (record, key) = world.key(&manager, &bot, &[CHATS]).await;
    assert!(record.last_use_time.is_none());
    let used = async || {
        world.keys(&manager, &bot).await[0]
            .last_use_time
            .map(|time| time.seconds)
    };
    let begin = world.source.now().unix_timestamp();
    world.exchange(&key).await.expect("exchanged");
    assert_eq!(used().await, Some(begin));
    world.source.advance(Duration::from_secs(59));
    world.exchange(&key).await.expect("exchanged");
    assert_eq!(used().await, Some(begin));
    world.source.advance(Duration::from_secs(1));
    world.exchange(&key).await.expect("exchanged");
    assert_eq!(used().await, Some(begin + 60));
    assert_eq!(refusal(world.exchange(&key[..60]).await), "CREDENTIALS_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_few_keys_and_those_that_ended_do_not_count() {
    let world = World::open().await;
    let (manager, bot) = world.bot(&[CHATS]).await;
    let mut last = None;
    for _ in 0..20 {
        last = Some(world.key(&manager, &bot, &[CHATS]).await.0);
    }
    assert_eq!(
        refusal(world.create_key(&manager, wanted(&bot, &[CHATS])).await),
        "QUOTA_EXCEEDED"
    );
    world.revoke(&manager, &last.expect("some"), "").await.expect("revoked");
    world.key(&manager, &bot, &[CHATS]).await;

    let request = ListApiKeysRequest {
        user_id: bot.clone(),
        page_size: 15,
        page_token: String::new(),
    };
    let first = world
        .service_accounts()
        .list_api_keys(bearing(request.clone(), &manager.access_token))
        .await;
    let first = first.expect("a page").into_inner();
    let rest = ListApiKeysRequest {
        page_token: first.next_page_token.clone(),
        ..request
    };
    let rest = world
        .service_accounts()
        .list_api_keys(bearing(rest, &manager.access_token))
        .await;
    let rest = rest.expect("a page").into_inner();
    assert_eq!((first.api_keys.len(), rest.api_keys.len()), (15, 6));
    assert!(rest.next_page_token.is_empty());
    let moved = ListApiKeysRequest {
        user_id: world.service_account(&manager, "other").await.user_id,
        page_size: 15,
        page_token: first.next_page_token,
    };
    let moved = world
        .service_accounts()
        .list_api_keys(bearing(moved, &manager.access_token))
        .await;
    assert_eq!(refusal(moved), "PAGE_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_of_a_key_are_told() {
    let world = World::open().await;
    let (manager, bot) = world.bot(&[CHATS]).await;
    let at = |seconds: i64, nanos: i32| Some(prost_types::Timestamp { seconds, nanos });
    let now = world.source.now().unix_timestamp();
    let good = wanted(&bot, &[CHATS]);
    let expiring = |expire_time| CreateApiKeyRequest {
        expire_time,
        ..good.clone()
    };
    for bad in [
        wanted("nobody", &[CHATS]),
        wanted(&bot, &[]),
        wanted(&bot, &[Permission::Unspecified]),
        CreateApiKeyRequest {
            permissions: vec![99_999],
            ..good.clone()
        },
        CreateApiKeyRequest {
            permissions: vec![7; 101],
            ..good.clone()
        },
        CreateApiKeyRequest {
            label: String::new(),
            ..good.clone()
        },
        CreateApiKeyRequest {
            label: "x".repeat(129),
            ..good.clone()
        },
        expiring(at(now, 0)),
        expiring(at(now + 60, -1)),
        expiring(at(now + 60, 1_000_000_000)),
        expiring(at(i64::MAX, 0)),
        expiring(at(now + 11 * 365 * 86_400, 0)),
    ] {
        assert_eq!(
            refusal(world.create_key(&manager, bad.clone()).await),
            "FIELD_INVALID",
            "{bad:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_token_reaches_nothing_that_belongs_to_a_login_session() {
    let world = World::open().await;
    let (manager, bot) = world.bot(&[CHATS, Permission::CredentialsManage]).await;
    let (_, key) = world.key(&manager, &bot, &[CHATS, Permission::CredentialsManage]).await;
    let token = world.exchange(&key).await.expect("exchanged").access_token;
    assert_eq!(refusal(world.logout(&token).await), "KIND_UNSUITABLE");
    assert_eq!(refusal(world.logout_all(&token, false).await), "KIND_UNSUITABLE");
    let change = ChangePasswordRequest {
        current_password: "correct horse battery".to_owned(),
        new_password: "battery horse correct".to_owned(),
        ..ChangePasswordRequest::default()
    };
    let changed = world.credentials().change_password(bearing(change, &token)).await;
    assert_eq!(refusal(changed), "KIND_UNSUITABLE");
    let list = bearing(ListLoginSessionsRequest::default(), &token);
    assert_eq!(
        refusal(world.login_sessions().list_login_sessions(list).await),
        "KIND_UNSUITABLE"
    );
    // It has ended nothing by that.
    assert!(world.verifier.verify(&token).is_ok());
    world.exchange(&key).await.expect("exchanged");
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_keys_are_forgotten_after_a_month() {
    let world = World::open().await;
    let (manager, bot) = world.bot(&[CHATS]).await;
    let (record, _) = world.key(&manager, &bot, &[CHATS]).await;
    world.key(&manager, &bot, &[CHATS]).await;
    world.revoke(&manager, &record, "").await.expect("revoked");
    world.source.advance(Duration::from_secs(29 * 86_400));
    world.service.upkeep_once().await.expect("purged");
    assert_eq!(world.count("api_keys").await, 2);
    world.source.advance(Duration::from_secs(2 * 86_400));
    world.service.upkeep_once().await.expect("purged");
    assert_eq!(world.count("api_keys").await, 1);
}
