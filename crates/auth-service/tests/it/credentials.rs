//! What is shown of a user's credentials, and to whom.

use tidings_proto_auth::v1::{
    ChangePasswordRequest, Credential, ListCredentialsRequest, ListCredentialsResponse, credential::Kind,
};
use tidings_proto_common::v1::Permission;
use tidings_proto_user::v1::UserStatus;
use tonic::Status;

use crate::world::{PASSWORD, World, bearing, bytes, refusal};

impl World {
    async fn list_credentials(
        &self,
        access_token: &str,
        request: ListCredentialsRequest,
    ) -> Result<ListCredentialsResponse, Status> {
        let answer = self
            .credentials()
            .list_credentials(bearing(request, access_token))
            .await;
        Ok(answer?.into_inner())
    }
}

fn of(user_id: &str) -> ListCredentialsRequest {
    ListCredentialsRequest {
        user_id: user_id.to_owned(),
        ..Default::default()
    }
}

fn kinds(credentials: &[Credential]) -> Vec<&'static str> {
    let name = |credential: &Credential| match credential.kind.as_ref().expect("a kind") {
        Kind::Password(_) => "password",
        Kind::Email(_) => "email",
        Kind::Totp(_) => "totp",
        Kind::RecoveryCodes(_) => "recovery codes",
    };
    credentials.iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_sees_their_own_credentials_and_no_secret() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in");
    let token = &session.access_token;
    let registered = world.source.now();
    let listed = world.list_credentials(token, of("")).await.expect("listed").credentials;
    assert_eq!(kinds(&listed), ["password", "email"]);
    let Some(Kind::Email(email)) = &listed[1].kind else {
        panic!("an address")
    };
    assert_eq!((email.email.as_str(), email.verified), ("ada@example.org", false));

    world.source.advance(std::time::Duration::from_secs(60));
    let request = ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: "another horse battery".to_owned(),
        ..Default::default()
    };
    let changed = world.credentials().change_password(bearing(request, token)).await;
    changed.expect("changed");
    let listed = world.list_credentials(token, of("")).await.expect("listed").credentials;
    let Some(Kind::Password(password)) = &listed[0].kind else {
        panic!("a password")
    };
    let set = password.set_time.as_ref().expect("a time").seconds;
    assert_eq!(set, registered.unix_timestamp() + 60);
    assert_eq!(refusal(world.list_credentials("", of("")).await), "TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_and_the_codes_left_are_listed_page_by_page() {
    let world = World::open().await;
    let user_id = world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in");
    let token = &session.access_token;
    world.give_second_factor(token).await;
    let whole = world.list_credentials(token, of("")).await.expect("listed");
    assert_eq!(
        kinds(&whole.credentials),
        ["password", "email", "totp", "recovery codes"]
    );
    assert!(whole.next_page_token.is_empty());
    let Some(Kind::Totp(totp)) = &whole.credentials[2].kind else {
        panic!("an app")
    };
    assert!(totp.create_time.is_some() && totp.confirm_time.is_some());
    let Some(Kind::RecoveryCodes(codes)) = &whole.credentials[3].kind else {
        panic!("codes")
    };
    assert_eq!(codes.left_count, 9, "one was used");

    let (mut paged, mut page_token) = (Vec::new(), String::new());
    for _ in 0..4 {
        let request = ListCredentialsRequest {
            page_size: 1,
            page_token,
            ..of("")
        };
        let page = world.list_credentials(token, request).await.expect("a page");
        assert_eq!(page.credentials.len(), 1);
        paged.extend(page.credentials);
        page_token = page.next_page_token;
    }
    assert_eq!(paged, whole.credentials);
    assert!(page_token.is_empty());

    let first = ListCredentialsRequest { page_size: 1, ..of("") };
    let foreign = world
        .list_credentials(token, first)
        .await
        .expect("a page")
        .next_page_token;
    world.register("eve").await.expect("registered");
    let eve = world.login("eve").await.expect("logged in");
    let stolen = ListCredentialsRequest {
        page_token: foreign,
        ..of("")
    };
    assert_eq!(
        refusal(world.list_credentials(&eve.access_token, stolen).await),
        "PAGE_TOKEN_INVALID"
    );
    let negative = ListCredentialsRequest {
        page_size: -1,
        ..of(&user_id)
    };
    assert_eq!(refusal(world.list_credentials(token, negative).await), "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn others_credentials_are_for_who_manages_them() {
    let world = World::open().await;
    let ada = world.register("ada").await.expect("registered");
    world.register("eve").await.expect("registered");
    let eve = world.login("eve").await.expect("logged in").access_token;
    let (operator, _) = world.operator().await;
    let absent = world.source.new_id::<tidings_ids::kind::User>().to_string();
    for target in [&ada, &absent] {
        assert_eq!(
            refusal(world.list_credentials(&eve, of(target)).await),
            "PERMISSION_MISSING"
        );
    }
    let listed = world.list_credentials(&operator, of(&ada)).await.expect("listed");
    assert_eq!(kinds(&listed.credentials), ["password", "email"]);
    assert_eq!(
        refusal(world.list_credentials(&operator, of(&absent)).await),
        "NOT_FOUND"
    );
    assert_eq!(
        refusal(world.list_credentials(&operator, of("no id")).await),
        "FIELD_INVALID"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_address_is_for_who_may_see_addresses() {
    let world = World::open().await;
    let ada = world.register("ada").await.expect("registered");
    let (manage, read) = (Permission::CredentialsManage, Permission::UsersReadPrivate);
    let manager = world.holder("manager", &[manage]).await;
    let reader = world.holder("reader", &[manage, read]).await;
    let address = async |token: &str, whose: &str| {
        let listed = world.list_credentials(token, of(whose)).await.expect("listed");
        let emails = listed
            .credentials
            .into_iter()
            .find_map(|credential| match credential.kind {
                Some(Kind::Email(email)) => Some(email.email),
                _ => None,
            });
        emails.expect("there is an address")
    };
    assert_eq!(address(&manager.access_token, &ada).await, "");
    assert_eq!(address(&reader.access_token, &ada).await, "ada@example.org");
    for own in ["", &manager.user_id] {
        assert_eq!(address(&manager.access_token, own).await, "manager@example.org");
    }
    let only_reads = world.holder("only-reads", &[read]).await;
    assert_eq!(
        refusal(world.list_credentials(&only_reads.access_token, of(&ada)).await),
        "PERMISSION_MISSING"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_has_no_credentials_to_be_seen() {
    let world = World::open().await;
    let ada = world.register("ada").await.expect("registered");
    let permissions = [Permission::CredentialsManage, Permission::UsersReadPrivate];
    let operator = world.holder("operator", &permissions).await.access_token;
    let absent = world.source.new_id::<tidings_ids::kind::User>().to_string();
    let absent = world.list_credentials(&operator, of(&absent)).await;
    let absent = bytes(&absent.expect_err("nobody"));
    for status in [UserStatus::Deleted, UserStatus::Pending] {
        world.users.change(&ada, |user| user.status = status);
        let refused = world.list_credentials(&operator, of(&ada)).await;
        assert_eq!(bytes(&refused.expect_err("not shown")), absent, "{status:?}");
    }
    for status in [UserStatus::Suspended, UserStatus::Active] {
        world.users.change(&ada, |user| user.status = status);
        let listed = world.list_credentials(&operator, of(&ada)).await.expect("listed");
        assert_eq!(kinds(&listed.credentials), ["password", "email"], "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_credentials_are_in_the_audit_trail_once_and_no_secret_is() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in");
    let token = &session.access_token;
    let change = |current: &str, request_id: &str| ChangePasswordRequest {
        current_password: current.to_owned(),
        new_password: "another horse battery".to_owned(),
        request_id: request_id.to_owned(),
        ..Default::default()
    };
    world.give_second_factor(token).await;
    let wrong = world
        .credentials()
        .change_password(bearing(change("a wrong password", ""), token))
        .await;
    assert_eq!(refusal(wrong), "CREDENTIALS_INVALID");
    let request_id = world.request_id();
    for _ in 0..2 {
        let changed = world
            .credentials()
            .change_password(bearing(change(PASSWORD, &request_id), token))
            .await;
        changed.expect("changed or repeated");
    }
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "select action, reason, row_to_json(e)::text from auth.audit_events as e where action like '%CredentialService/%'",
    )
    .fetch_all(&world.pool)
    .await
    .expect("read");
    let mut names: Vec<String> = rows
        .iter()
        .map(|(action, reason, _)| {
            format!("{} {reason}", action.rsplit('/').next().unwrap_or_default())
                .trim()
                .to_owned()
        })
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "ChangePassword",
            "ChangePassword CREDENTIALS_INVALID",
            "ConfirmTotp",
            "EnrollTotp",
            "GenerateRecoveryCodes"
        ]
    );
    for (_, _, whole) in rows {
        for secret in [
            PASSWORD,
            "another horse battery",
            "a wrong password",
            "example.org",
            token.as_str(),
        ] {
            assert!(!whole.contains(secret), "{whole}");
        }
    }
}
