use std::sync::Arc;

use parking_lot::Mutex;
use tidings_auth_service::{Config, CrashPoints, Step};
use tidings_proto_auth::v1::{CreateUserTokenRequest, CreateUserTokenResponse};
use tidings_proto_common::v1::Permission;
use tidings_proto_user::v1::UserStatus;
use tokio::sync::oneshot;
use tonic::Status;

use crate::{
    trail,
    world::{World, bearing, refusal},
};

const BRING: Permission = Permission::UserTokensCreate;
const LIST: Permission = Permission::UsersList;

impl World {
    /// An access token of a product's service account.
    async fn product(&self, reach: &[Permission]) -> (String, String) {
        let (manager, bot) = self.bot(&[BRING, LIST, Permission::UsersManage]).await;
        let (_, key) = self.key(&manager, &bot, reach).await;
        (self.exchange(&key).await.expect("exchanged").access_token, bot)
    }

    async fn user_token(
        &self,
        token: &str,
        request: CreateUserTokenRequest,
    ) -> Result<CreateUserTokenResponse, Status> {
        Ok(self
            .auth()
            .create_user_token(bearing(request, token))
            .await?
            .into_inner())
    }
}

fn user(external_id: &str, username: &str) -> CreateUserTokenRequest {
    CreateUserTokenRequest {
        external_id: external_id.to_owned(),
        username: username.to_owned(),
        ..CreateUserTokenRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_brings_its_users_in() {
    let world = World::open().await;
    let (product, _) = world.product(&[BRING, LIST]).await;
    assert_eq!(
        refusal(world.user_token(&product, user("shop:1", "")).await),
        "NOT_FOUND"
    );
    let first = world
        .user_token(&product, user("shop:1", "Ada"))
        .await
        .expect("created");
    assert!(first.created);
    let caller = world.verifier.verify(&first.access_token).expect("valid");
    assert_eq!(caller.user_id.to_string(), first.user_id);
    assert!(!caller.is_bot);
    let ada = world.users.get(&first.user_id).expect("there");
    assert_eq!(
        (ada.username.as_str(), ada.external_id.as_str(), ada.status),
        ("ada", "shop:1", UserStatus::Active)
    );

    // She is known from then on, by her id alone.
    let again = world.user_token(&product, user("shop:1", "eve")).await.expect("found");
    assert!(!again.created && again.user_id == first.user_id && again.login_session_id != first.login_session_id);
    // An account and two login sessions.
    assert_eq!(trail::done(&world, "CreateUserToken").await, 3);
    world
        .refresh(&again.refresh_token, "")
        .await
        .expect("a login session like others");
    world.logout(&first.access_token).await.expect("logged out");
    assert!(world.verifier.verify(&again.access_token).is_ok());
    assert_eq!(refusal(world.login("ada").await), "CREDENTIALS_INVALID");
    assert_eq!(
        refusal(world.user_token(&product, user("shop:2", "ada")).await),
        "USERNAME_TAKEN"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn brought_in_twice_at_once_a_user_is_one() {
    let world = World::open().await;
    let (product, _) = world.product(&[BRING, LIST]).await;
    let calls = (0..8).map(|number| world.user_token(&product, user("shop:1", &format!("ada-{number}"))));
    let outcomes = futures_util::future::join_all(calls).await;
    let (mut ids, mut creators): (Vec<String>, usize) = (Vec::new(), 0);
    for outcome in outcomes {
        match outcome {
            Ok(issued) => {
                creators += usize::from(issued.created);
                ids.push(issued.user_id);
            }
            Err(refused) => assert_eq!(crate::world::reason(&refused), "CONFLICT"),
        }
    }
    assert!(!ids.is_empty());
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert!(creators <= 1, "{creators} calls say that they have created one user");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_call_that_created_a_user_says_so() {
    // The first call after it is set stops before anything is created, says so and waits.
    let gate = Arc::new(Mutex::new(None::<(oneshot::Sender<()>, oneshot::Receiver<()>)>));
    let at_step = Arc::clone(&gate);
    let points = CrashPoints::new(move |step| {
        let waits = (step == Step::IntentStored).then(|| at_step.lock().take()).flatten();
        async move {
            if let Some((arrived, goes_on)) = waits {
                arrived.send(()).expect("the test waits for it");
                goes_on.await.expect("the test lets it go on");
            }
            false
        }
    });
    let world = World::with(|config| Config {
        crash_points: Some(points),
        ..config
    })
    .await;
    let (product, _) = world.product(&[BRING, LIST]).await;
    for (external_id, name, others_name) in [("shop:1", "ada", "countess"), ("shop:2", "eve", "eve")] {
        let ((arrived, arrives), (go_on, goes_on)) = (oneshot::channel(), oneshot::channel());
        *gate.lock() = Some((arrived, goes_on));
        let late = world.user_token(&product, user(external_id, name));
        let quick = async {
            arrives.await.expect("the late one has found no user");
            let quick = world.user_token(&product, user(external_id, others_name)).await;
            go_on.send(()).expect("the late one waits");
            quick
        };
        let (late, quick) = tokio::join!(late, quick);
        let (late, quick) = (late.expect("found"), quick.expect("created"));
        assert!(quick.created && !late.created, "{external_id}");
        assert_eq!(late.user_id, quick.user_id);
        assert!(world.users.named(others_name).is_some());
    }
    // Somebody else's name stays taken.
    assert_eq!(
        refusal(world.user_token(&product, user("shop:3", "eve")).await),
        "USERNAME_TAKEN"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_service_account_with_the_permission_brings_users_in() {
    let world = World::open().await;
    let (without, _) = world.product(&[LIST]).await;
    assert_eq!(
        refusal(world.user_token(&without, user("shop:1", "ada")).await),
        "PERMISSION_MISSING"
    );
    let person = world.holder("person", &[BRING, LIST]).await;
    assert_eq!(
        refusal(world.user_token(&person.access_token, user("shop:1", "ada")).await),
        "PERMISSION_MISSING"
    );
    let anonymous = world.auth().create_user_token(user("shop:1", "ada")).await;
    assert_eq!(refusal(anonymous), "TOKEN_MISSING");
    assert!(world.users.named("ada").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_becomes_more_by_it() {
    let world = World::open().await;
    // The account holds USERS_MANAGE, the key does not reach it.
    let (product, bot) = world.product(&[BRING, LIST]).await;
    let admin = world.register("root-of-all").await.expect("registered");
    world.users.change(&admin, |user| {
        user.external_id = "shop:root".to_owned();
        user.permissions = vec![i32::from(LIST), i32::from(Permission::UsersManage)];
    });
    assert_eq!(
        refusal(world.user_token(&product, user("shop:root", "")).await),
        "PERMISSION_MISSING"
    );
    world
        .users
        .change(&admin, |user| user.permissions = vec![i32::from(LIST)]);
    world.users.above.lock().insert((bot.clone(), admin.clone()));
    assert_eq!(
        refusal(world.user_token(&product, user("shop:root", "")).await),
        "RANK_TOO_LOW"
    );
    world.users.above.lock().clear();
    world
        .user_token(&product, user("shop:root", ""))
        .await
        .expect("an ordinary user by now");

    world
        .users
        .change(&bot, |user| user.external_id = "shop:bot".to_owned());
    assert_eq!(
        refusal(world.user_token(&product, user("shop:bot", "")).await),
        "KIND_UNSUITABLE"
    );
    // Users of issuers are theirs.
    assert_eq!(
        refusal(world.user_token(&product, user("oidc:abc", "ada")).await),
        "FIELD_INVALID"
    );
    assert_eq!(world.count("login_sessions").await, 2, "the manager's and one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_or_deleted_user_gets_none() {
    let world = World::open().await;
    let (product, _) = world.product(&[BRING, LIST]).await;
    let ada = world
        .user_token(&product, user("shop:1", "ada"))
        .await
        .expect("created")
        .user_id;
    world.users.change(&ada, |user| user.status = UserStatus::Suspended);
    assert_eq!(
        refusal(world.user_token(&product, user("shop:1", "ada")).await),
        "ACCOUNT_SUSPENDED"
    );
    world.users.change(&ada, |user| user.status = UserStatus::Deleted);
    assert_eq!(
        refusal(world.user_token(&product, user("shop:1", "ada")).await),
        "NOT_FOUND"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_told() {
    let world = World::open().await;
    let (product, _) = world.product(&[BRING, LIST]).await;
    for bad in [
        user("", "ada"),
        user(&"x".repeat(129), "ada"),
        user("a\0b", "ada"),
        user("shop:1", "no name"),
        CreateUserTokenRequest {
            display_name: "x".repeat(129),
            ..user("shop:1", "ada")
        },
        CreateUserTokenRequest {
            device_label: "x".repeat(129),
            ..user("shop:1", "ada")
        },
    ] {
        assert_eq!(refusal(world.user_token(&product, bad).await), "FIELD_INVALID");
    }
}
