use tidings_auth_service::{CrashPoints, Step};
use tidings_proto_auth::v1::{
    CreateServiceAccountRequest, DeleteServiceAccountRequest, GetServiceAccountRequest, ListServiceAccountsRequest,
    LoginResponse, ServiceAccount, service_account_service_client::ServiceAccountServiceClient,
};
use tidings_proto_common::v1::Permission;
use tidings_proto_user::v1::UserStatus;
use tonic::Status;

use crate::{
    user::UNKNOWN_ROLE,
    world::{Client, World, bearing, eventually, refusal},
};

impl World {
    pub fn service_accounts(&self) -> ServiceAccountServiceClient<Client> {
        ServiceAccountServiceClient::new(self.client())
    }

    /// Somebody who manages service accounts, and holds some permissions besides.
    pub async fn manager(&self, username: &str, besides: &[Permission]) -> LoginResponse {
        self.holder(username, &[&[Permission::ServiceAccountsManage], besides].concat())
            .await
    }

    pub async fn create_service_account(
        &self,
        manager: &LoginResponse,
        request: CreateServiceAccountRequest,
    ) -> Result<ServiceAccount, Status> {
        let request = bearing(request, &manager.access_token);
        let created = self
            .service_accounts()
            .create_service_account(request)
            .await?
            .into_inner();
        Ok(created.service_account.expect("an account"))
    }

    pub async fn service_account(&self, manager: &LoginResponse, username: &str) -> ServiceAccount {
        self.create_service_account(manager, wanted(username))
            .await
            .expect("created")
    }

    async fn get_service_account(&self, manager: &LoginResponse, user_id: &str) -> Result<ServiceAccount, Status> {
        let request = GetServiceAccountRequest {
            user_id: user_id.to_owned(),
        };
        let request = bearing(request, &manager.access_token);
        let got = self.service_accounts().get_service_account(request).await?.into_inner();
        Ok(got.service_account.expect("an account"))
    }

    pub async fn delete_service_account(
        &self,
        manager: &LoginResponse,
        user_id: &str,
        request_id: &str,
    ) -> Result<(), Status> {
        let request = DeleteServiceAccountRequest {
            user_id: user_id.to_owned(),
            request_id: request_id.to_owned(),
        };
        let request = bearing(request, &manager.access_token);
        self.service_accounts()
            .delete_service_account(request)
            .await
            .map(|_| ())
    }
}

pub fn wanted(username: &str) -> CreateServiceAccountRequest {
    CreateServiceAccountRequest {
        username: username.to_owned(),
        description: "answers".to_owned(),
        ..CreateServiceAccountRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_is_a_bot_that_nobody_logs_in_to() {
    let world = World::open().await;
    let manager = world.manager("root-of-all", &[]).await;
    let account = world.service_account(&manager, "Helper").await;
    assert_eq!(
        (account.username.as_str(), account.description.as_str()),
        ("helper", "answers")
    );
    assert_eq!(account.creator_user_id, manager.user_id);
    let user = world.users.get(&account.user_id).expect("there");
    assert!(user.is_bot && user.status == UserStatus::Active && user.email.is_empty());
    assert_eq!(
        world
            .get_service_account(&manager, &account.user_id)
            .await
            .expect("got"),
        account
    );
    assert_eq!(refusal(world.login("helper").await), "CREDENTIALS_INVALID");
    // A person is no service account.
    assert_eq!(
        refusal(world.get_service_account(&manager, &manager.user_id).await),
        "NOT_FOUND"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_manage_service_accounts_reaches_none() {
    let world = World::open().await;
    let manager = world.manager("manager", &[]).await;
    let account = world.service_account(&manager, "helper").await;
    let other = world.holder("other", &[Permission::UsersManage]).await;
    assert_eq!(
        refusal(world.create_service_account(&other, wanted("mine")).await),
        "PERMISSION_MISSING"
    );
    assert_eq!(
        refusal(world.get_service_account(&other, &account.user_id).await),
        "PERMISSION_MISSING"
    );
    assert_eq!(
        refusal(world.delete_service_account(&other, &account.user_id, "").await),
        "PERMISSION_MISSING"
    );
    let anonymous = world.service_accounts().create_service_account(wanted("mine")).await;
    assert_eq!(refusal(anonymous), "TOKEN_MISSING");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_a_role_beyond_their_reach_and_nothing_is_left_of_the_attempt() {
    let world = World::open().await;
    let manager = world.manager("manager", &[]).await;
    let request = CreateServiceAccountRequest {
        role_names: vec!["admin".to_owned()],
        request_id: world.request_id(),
        ..wanted("helper")
    };
    for _ in 0..2 {
        assert_eq!(
            refusal(world.create_service_account(&manager, request.clone()).await),
            "PERMISSION_MISSING"
        );
    }
    assert!(world.users.named("helper").is_none());
    assert_eq!(world.count("service_accounts").await, 0);
    // The name is free, and so is the request_id for an attempt that comes to something.
    let mighty = world.manager("mighty", &[Permission::UsersManage]).await;
    world.create_service_account(&mighty, request).await.expect("created");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_creation_leaves_its_request_id_to_the_corrected_one() {
    let world = World::open().await;
    let manager = world.manager("manager", &[]).await;
    let with_roles = |username: &str, role: &str, request_id: &str| CreateServiceAccountRequest {
        role_names: vec![role.to_owned()],
        request_id: request_id.to_owned(),
        ..wanted(username)
    };
    for (number, (refused, reason)) in [
        (("helper", UNKNOWN_ROLE), "FIELD_INVALID"),
        (("helper", "admin"), "PERMISSION_MISSING"),
        (("root", "bot"), "USERNAME_TAKEN"),
        (("manager", "bot"), "USERNAME_TAKEN"),
    ]
    .into_iter()
    .enumerate()
    {
        let request_id = world.request_id();
        let wrong = with_roles(refused.0, refused.1, &request_id);
        // The same again meets the same refusal, and nothing else.
        for _ in 0..2 {
            assert_eq!(
                refusal(world.create_service_account(&manager, wrong.clone()).await),
                reason
            );
        }
        let corrected = with_roles(&format!("helper-{number}"), "bot", &request_id);
        let account = world.create_service_account(&manager, corrected.clone()).await;
        let account = account.expect("nothing has happened under this request_id");
        // What has had an effect keeps it.
        let again = world
            .create_service_account(&manager, corrected)
            .await
            .expect("repeated");
        assert_eq!(again, account);
        assert_eq!(
            refusal(world.create_service_account(&manager, wrong).await),
            "REQUEST_ID_REUSED"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_perhaps_came_to_something_keeps_its_request_id() {
    let world = World::open().await;
    let manager = world.manager("manager", &[]).await;
    let request = CreateServiceAccountRequest {
        request_id: world.request_id(),
        ..wanted("helper")
    };
    world.users.go_away(true);
    assert_eq!(
        refusal(world.create_service_account(&manager, request.clone()).await),
        "DEPENDENCY_UNAVAILABLE"
    );
    world.users.go_away(false);
    let other = CreateServiceAccountRequest {
        description: "something else".to_owned(),
        ..request.clone()
    };
    assert_eq!(
        refusal(world.create_service_account(&manager, other).await),
        "REQUEST_ID_REUSED"
    );
    world
        .create_service_account(&manager, request)
        .await
        .expect("gone on with");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_can_be_repeated_and_a_name_is_one_accounts_only() {
    let world = World::open().await;
    let manager = world.manager("manager", &[]).await;
    let request = CreateServiceAccountRequest {
        request_id: world.request_id(),
        ..wanted("helper")
    };
    let (one, two) = tokio::join!(
        world.create_service_account(&manager, request.clone()),
        world.create_service_account(&manager, request.clone()),
    );
    let (one, two) = (one.expect("created"), two.expect("repeated"));
    assert_eq!(one.user_id, two.user_id);
    assert_eq!(world.count("service_accounts").await, 1);
    let other = CreateServiceAccountRequest {
        description: "something else".to_owned(),
        ..request.clone()
    };
    assert_eq!(
        refusal(world.create_service_account(&manager, other).await),
        "REQUEST_ID_REUSED"
    );
    assert_eq!(
        refusal(world.create_service_account(&manager, wanted("helper")).await),
        "USERNAME_TAKEN"
    );
    assert_eq!(
        refusal(world.create_service_account(&manager, wanted("manager")).await),
        "USERNAME_TAKEN"
    );
    for bad in [
        wanted("no name"),
        CreateServiceAccountRequest {
            description: "x".repeat(1_001),
            ..wanted("other")
        },
        CreateServiceAccountRequest {
            role_names: vec!["member".to_owned(); 51],
            ..wanted("other")
        },
        CreateServiceAccountRequest {
            request_id: "one".to_owned(),
            ..wanted("other")
        },
    ] {
        assert_eq!(
            refusal(world.create_service_account(&manager, bad).await),
            "FIELD_INVALID"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_services_leaves_both_or_none() {
    for step in [Step::IntentStored, Step::UserCreated, Step::CredentialStored] {
        let crashes = CrashPoints::new(move |reached| async move { reached == step });
        let world = World::open().await;
        let manager = world.manager("manager", &[]).await;
        let doomed = world
            .second_node_with(|mut config| {
                config.crash_points = Some(crashes);
                config
            })
            .await;
        doomed
            .create_service_account(&manager, wanted("helper"))
            .await
            .expect_err("crashed");
        world.source.advance(std::time::Duration::from_secs(31));
        eventually("it is settled", async || {
            world.service.upkeep_once().await.expect("upkeep");
            match world.users.named("helper") {
                Some((_, user)) => user.status == UserStatus::Active && world.count("service_accounts").await == 1,
                None => world.count("service_accounts").await == 0,
            }
        })
        .await;
        assert_eq!(world.users.named("helper").is_some(), step == Step::CredentialStored);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_service_account_is_gone_with_its_user() {
    let world = World::open().await;
    let manager = world.manager("manager", &[]).await;
    let account = world.service_account(&manager, "helper").await;
    let pair = (manager.user_id.clone(), account.user_id.clone());
    world.users.above.lock().insert(pair.clone());
    assert_eq!(
        refusal(world.delete_service_account(&manager, &account.user_id, "").await),
        "RANK_TOO_LOW"
    );
    world.users.above.lock().remove(&pair);

    let request_id = world.request_id();
    for _ in 0..2 {
        world
            .delete_service_account(&manager, &account.user_id, &request_id)
            .await
            .expect("deleted");
    }
    assert_eq!(
        world.users.get(&account.user_id).expect("there").status,
        UserStatus::Deleted
    );
    assert_eq!(
        refusal(world.get_service_account(&manager, &account.user_id).await),
        "NOT_FOUND"
    );
    assert_eq!(
        refusal(world.delete_service_account(&manager, &account.user_id, "").await),
        "NOT_FOUND"
    );
    assert_eq!(
        refusal(world.delete_service_account(&manager, &manager.user_id, "").await),
        "NOT_FOUND"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn service_accounts_are_listed_in_pages() {
    let world = World::open().await;
    let manager = world.manager("manager", &[]).await;
    let mut created = Vec::new();
    for name in ["bot-a", "bot-b", "bot-c"] {
        created.push(world.service_account(&manager, name).await);
    }
    created.sort_by(|one, other| one.user_id.cmp(&other.user_id));
    let list = async |page_size: i32, page_token: String| {
        let request = ListServiceAccountsRequest { page_size, page_token };
        let request = bearing(request, &manager.access_token);
        world
            .service_accounts()
            .list_service_accounts(request)
            .await
            .map(tonic::Response::into_inner)
    };
    let first = list(2, String::new()).await.expect("a page");
    let second = list(2, first.next_page_token.clone()).await.expect("a page");
    assert_eq!(
        [first.service_accounts.clone(), second.service_accounts].concat(),
        created
    );
    assert!(second.next_page_token.is_empty());
    assert_eq!(refusal(list(-1, String::new()).await), "FIELD_INVALID");
    assert_eq!(
        refusal(list(2, format!("{}x", first.next_page_token)).await),
        "PAGE_TOKEN_INVALID"
    );
    // Nobody else's token.
    let other = world.manager("other", &[]).await;
    let request = ListServiceAccountsRequest {
        page_size: 2,
        page_token: first.next_page_token,
    };
    let stolen = world
        .service_accounts()
        .list_service_accounts(bearing(request, &other.access_token))
        .await;
    assert_eq!(refusal(stolen), "PAGE_TOKEN_INVALID");
}
