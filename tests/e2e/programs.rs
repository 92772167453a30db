//! Programs and users of other systems, through the gateway: a product's service account with its key, the users whom it brings in, and
//! how that ends. In one process and in five.

use std::time::Duration;

use tidings_proto_auth::v1::{
    CreateApiKeyRequest, CreateApiKeyResponse, CreateServiceAccountRequest, CreateUserTokenRequest,
    CreateUserTokenResponse, DeleteServiceAccountRequest, ExchangeApiKeyRequest, LogoutRequest, RevokeApiKeyRequest,
};
use tidings_proto_common::v1::{ErrorReason as R, Permission};
use tidings_proto_user::v1::{CreateRoleRequest, GetCurrentUserRequest, SuspendUserRequest};
use tidings_testkit::{Actor, Shape, Suite, assert_contract, reason_of, request_id, until};
use tonic::Status;

/// Nothing here takes longer on a machine that also compiles. How fast it is, is measured elsewhere.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_brings_its_users_in_one_process() {
    journey(&Suite::start(Shape::One).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_brings_its_users_in_five_processes() {
    journey(&Suite::start(Shape::Five).await).await;
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, Status>) -> R {
    let status = outcome.expect_err("refused");
    assert_contract(&status);
    reason_of(&status)
}

/// What a member may do, and what a product needs besides.
const REACH: [Permission; 4] = [
    Permission::UsersList,
    Permission::GroupsCreate,
    Permission::ChatsCreate,
    Permission::UserTokensCreate,
];

async fn journey(suite: &Suite) {
    let admin = suite.administrator().await;
    let product = service_account(&admin).await;
    let key = create_key(&admin, &product, &REACH).await.expect("creates a key");
    let narrow = create_key(&admin, &product, &[Permission::UserTokensCreate])
        .await
        .expect("creates a key");
    let beyond = create_key(&admin, &product, &[Permission::RolesManage]).await;
    assert_eq!(refused(beyond), R::PermissionMissing, "the account does not hold it");

    // The key's token is that of the bot, and of no login session.
    let bot = exchange(&admin, &key.key).await.expect("exchanges the key");
    let current = bot.users().get_current_user(GetCurrentUserRequest {}).await;
    let current = current.expect("is somebody").into_inner().user.expect("a user");
    assert_eq!(current.user_id, product);
    assert_eq!(refused(bot.auth().logout(LogoutRequest {}).await), R::KindUnsuitable);

    // Two of the product's users talk.
    let ada = bring_in(&bot, "ada", true).await.expect("brings ada in");
    let eve = bring_in(&bot, "eve", true).await.expect("brings eve in");
    assert!(ada.created && eve.created);
    let again = bring_in(&bot, "ada", true).await.expect("finds ada");
    assert!(!again.created && again.user_id == ada.user_id);
    assert_eq!(refused(bring_in(&bot, "nobody", false).await), R::NotFound);
    let (ada, eve) = (as_user(&admin, &ada), as_user(&admin, &eve));
    let chat = ada.direct_chat(&eve).await;
    ada.send(&chat.chat_id, "hello").await.expect("sends");
    assert_eq!(eve.list(&chat.chat_id).await.expect("reads").len(), 1);

    // With a key that reaches less than a member, nobody becomes one.
    let narrow = exchange(&admin, &narrow.key).await.expect("exchanges the key");
    assert_eq!(refused(bring_in(&narrow, "ada", false).await), R::PermissionMissing);
    assert_eq!(refused(bring_in(&narrow, "bob", true).await), R::PermissionMissing);

    suspend(&admin, &eve.user_id).await;
    assert_eq!(refused(bring_in(&bot, "eve", false).await), R::AccountSuspended);

    // Revoked, the key ends its tokens everywhere; the users whom it brought in stay.
    let revoke = RevokeApiKeyRequest {
        user_id: product.clone(),
        api_key_id: key.api_key.expect("a record").api_key_id,
        request_id: request_id(),
    };
    admin.service_accounts().revoke_api_key(revoke).await.expect("revokes");
    until("the bot's token is refused", SOON, || async {
        match bot.users().get_current_user(GetCurrentUserRequest {}).await {
            Ok(_) => false,
            Err(status) => {
                assert_eq!(reason_of(&status), R::LoginSessionRevoked, "{status:?}");
                true
            }
        }
    })
    .await;
    assert_eq!(refused(exchange(&admin, &key.key).await), R::CredentialsInvalid);
    ada.send(&chat.chat_id, "still here").await.expect("sends");

    let delete = DeleteServiceAccountRequest {
        user_id: product,
        request_id: request_id(),
    };
    admin
        .service_accounts()
        .delete_service_account(delete)
        .await
        .expect("deletes");
    until("the other key's token is refused", SOON, || async {
        narrow.users().get_current_user(GetCurrentUserRequest {}).await.is_err()
    })
    .await;
}

/// A service account that may bring users in, and is what a member is.
async fn service_account(admin: &Actor) -> String {
    let suffix = fresh();
    let role = CreateRoleRequest {
        name: format!("product-{suffix}"),
        display_name: "Product".to_owned(),
        permissions: vec![Permission::UserTokensCreate.into()],
        request_id: request_id(),
        ..CreateRoleRequest::default()
    };
    let role_name = role.name.clone();
    admin.roles().create_role(role).await.expect("creates a role");
    let request = CreateServiceAccountRequest {
        username: format!("shop-{suffix}"),
        description: "The shop.".to_owned(),
        role_names: vec!["bot".to_owned(), "member".to_owned(), role_name],
        request_id: request_id(),
        ..CreateServiceAccountRequest::default()
    };
    let created = admin.service_accounts().create_service_account(request).await;
    let created = created.expect("creates a service account").into_inner();
    created.service_account.expect("an account").user_id
}

async fn create_key(admin: &Actor, user_id: &str, reach: &[Permission]) -> Result<CreateApiKeyResponse, Status> {
    let request = CreateApiKeyRequest {
        user_id: user_id.to_owned(),
        label: "journey".to_owned(),
        permissions: reach.iter().copied().map(i32::from).collect(),
        request_id: request_id(),
        ..CreateApiKeyRequest::default()
    };
    Ok(admin.service_accounts().create_api_key(request).await?.into_inner())
}

/// Somebody with the token that the key gets. The actor lends the way to the suite.
async fn exchange(actor: &Actor, key: &str) -> Result<Actor, Status> {
    let request = ExchangeApiKeyRequest { key: key.to_owned() };
    let exchanged = actor.service_accounts().exchange_api_key(request).await?.into_inner();
    Ok(actor.clone().with_token(exchanged.access_token))
}

async fn bring_in(bot: &Actor, name: &str, create: bool) -> Result<CreateUserTokenResponse, Status> {
    let external_id = format!("shop:{name}");
    let username = if create {
        format!("{name}-{}", fresh())
    } else {
        String::new()
    };
    let request = CreateUserTokenRequest {
        external_id,
        username,
        ..CreateUserTokenRequest::default()
    };
    Ok(bot.auth().create_user_token(request).await?.into_inner())
}

fn as_user(actor: &Actor, issued: &CreateUserTokenResponse) -> Actor {
    let mut user = actor.clone().with_token(issued.access_token.clone());
    user.user_id.clone_from(&issued.user_id);
    user
}

/// Letters that no other name has.
fn fresh() -> String {
    request_id()[24..].to_owned()
}

async fn suspend(admin: &Actor, user_id: &str) {
    let request = SuspendUserRequest {
        user_id: user_id.to_owned(),
        request_id: request_id(),
        ..SuspendUserRequest::default()
    };
    admin.users().suspend_user(request).await.expect("suspends");
}
