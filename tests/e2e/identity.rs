//! What becomes of a user's tokens, streams and logins when the user is suspended, deleted, renamed, loses a role or resets the
//! password: across the services, in one process and in five.

use std::time::Duration;

use tidings_proto_auth::v1::{
    RefreshTokenRequest, RefreshTokenResponse, RegisterRequest, RequestPasswordResetRequest, ResetPasswordRequest,
    VerifyEmailRequest, auth_service_client::AuthServiceClient, credential_service_client::CredentialServiceClient,
};
use tidings_proto_common::v1::{ErrorReason as R, Permission};
use tidings_proto_message::v1::StreamChangesResponse;
use tidings_proto_user::v1::{
    AssignRoleRequest, ChangeUsernameRequest, CreateRoleRequest, DeleteUserRequest, GetUserRequest, LookupUserRequest,
    ReactivateUserRequest, SearchUsersRequest, SuspendUserRequest, UnassignRoleRequest, UndeleteUserRequest, User,
    lookup_user_request::Key,
};
use tidings_testkit::{Actor, Shape, Suite, assert_contract, mail, reason_of, request_id, until, until_some};
use tokio::time::timeout;
use tonic::{Status, Streaming, transport::Channel};

/// Nothing here takes longer on a machine that also compiles. How fast it is, is measured elsewhere.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_end_everywhere_in_one_process() {
    every_end(&Suite::start(Shape::One).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_end_everywhere_in_five_processes() {
    every_end(&Suite::start(Shape::Five).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_follow_their_users_in_one_process() {
    every_name(&Suite::start(Shape::One).await).await;
}

/// With verified registration nobody learns whether an address is in use, neither by its registration nor by the name that it holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_held_alike_by_registrations_with_free_and_with_used_addresses() {
    let suite = Suite::start_with(Shape::One, &[("TIDINGS_REGISTRATION", "verified")]).await;
    let ben = Applicant::new("ben", "ben@example.org");
    ben.register(&suite).await;
    ben.prove(&suite).await;
    let ben = ben.login(&suite).await.expect("proven");
    let address = format!("ada{}@example.org", &request_id()[30..]);
    let registered = [
        Applicant::new("free", "nobody@example.org"),
        Applicant::new("used", "ben@example.org"),
        // Two for one address, of which nobody has proven it yet.
        Applicant::new("first", &address),
        Applicant::new("second", &address),
    ];
    for applicant in &registered {
        applicant.register(&suite).await;
    }
    let [_, _, first, second] = &registered;
    let all_are_held = async || {
        for applicant in &registered {
            let take = ChangeUsernameRequest {
                username: applicant.username.clone(),
                request_id: request_id(),
                ..ChangeUsernameRequest::default()
            };
            let status = ben.users().change_username(take).await.expect_err("another's");
            assert_eq!(reason_of(&status), R::UsernameTaken, "{}", applicant.username);
            let again = Applicant::new("again", "again@example.org").named(&applicant.username);
            assert_eq!(refused(again.try_register(&suite).await), R::UsernameTaken);
        }
    };
    all_are_held().await;
    for applicant in &registered {
        assert_eq!(refused(applicant.login(&suite).await), R::EmailUnverified);
    }

    // Nobody's wish for its name has ended the registration that waits for its address, and who has lost the address shows nothing.
    second.prove(&suite).await;
    let proven = second.login(&suite).await.expect("proven");
    assert_eq!(
        look_up(&ben, &second.username).await.expect("found").user_id,
        proven.user_id
    );
    all_are_held().await;
    assert_eq!(refused(first.login(&suite).await), R::EmailUnverified);
}

/// Somebody who registers where addresses are to be proven.
struct Applicant {
    username: String,
    email: String,
}

impl Applicant {
    fn new(name: &str, email: &str) -> Self {
        Self {
            username: format!("{name}{}", &request_id()[30..]),
            email: email.to_owned(),
        }
    }

    fn named(self, username: &str) -> Self {
        Self {
            username: username.to_owned(),
            ..self
        }
    }

    fn password(&self) -> String {
        format!("correct horse {}", self.username)
    }

    async fn try_register(&self, suite: &Suite) -> Result<(), Status> {
        let request = RegisterRequest {
            username: self.username.clone(),
            email: self.email.clone(),
            password: self.password(),
            request_id: request_id(),
            ..RegisterRequest::default()
        };
        auth(suite).register(request).await.map(drop)
    }

    async fn register(&self, suite: &Suite) {
        self.try_register(suite).await.expect("answered alike");
    }

    /// Proves the address by the mail that names this account.
    async fn prove(&self, suite: &Suite) {
        let folder = suite.mail_folder();
        let named = format!("named {} ", self.username);
        let token = until_some("the mail comes", SOON, || async {
            let mut mails = mail::all(&folder).into_iter();
            mails
                .find(|mail| mail.text.contains(&named))?
                .token()
                .map(str::to_owned)
        })
        .await;
        let request = VerifyEmailRequest {
            token,
            request_id: request_id(),
        };
        let mut credentials = CredentialServiceClient::new(suite.channel());
        credentials.verify_email(request).await.expect("proves the address");
    }

    async fn login(&self, suite: &Suite) -> Result<Actor, Status> {
        Actor::login(&suite.channel(), &self.username, &self.email, &self.password()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_follow_their_users_in_five_processes() {
    every_name(&Suite::start(Shape::Five).await).await;
}

async fn every_end(suite: &Suite) {
    let admin = suite.administrator().await;
    a_suspension_lasts_until_it_is_taken_back(suite, &admin).await;
    a_deletion_is_undone(suite, &admin).await;
    a_reset_ends_what_the_old_password_began(suite).await;
    a_role_is_lost_at_once(suite, &admin).await;
}

/// Somebody in a chat, with a stream that is open.
struct Guest {
    actor: Actor,
    chat_id: String,
    stream: Streaming<StreamChangesResponse>,
}

impl Guest {
    async fn welcome(suite: &Suite, name: &str) -> Self {
        let (actor, friend) = (
            Actor::register(&suite.channel(), name).await,
            Actor::register(&suite.channel(), "friend").await,
        );
        let chat_id = actor.direct_chat(&friend).await.chat_id;
        let stream = actor.listen().await.expect("opens a stream");
        Self { actor, chat_id, stream }
    }

    async fn call(&self) -> Result<(), Status> {
        self.actor.list(&self.chat_id).await.map(drop)
    }

    /// Unary calls are refused and the stream has ended, each in time and for this reason.
    async fn is_shut_out(&mut self, reason: R) {
        until("calls are refused", SOON, || async {
            let Err(status) = self.call().await else { return false };
            assert_contract(&status);
            assert_eq!(reason_of(&status), reason, "{status:?}");
            true
        })
        .await;
        let closed = async {
            loop {
                match self.stream.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("a stream ends with a reason"),
                    Err(status) => return status,
                }
            }
        };
        let status = timeout(SOON, closed).await.expect("the stream is closed");
        assert_contract(&status);
        assert_eq!(reason_of(&status), reason, "{status:?}");
    }
}

async fn refresh(suite: &Suite, actor: &Actor) -> Result<RefreshTokenResponse, Status> {
    let request = RefreshTokenRequest {
        refresh_token: actor.refresh_token.clone(),
        request_id: request_id(),
    };
    Ok(auth(suite).refresh_token(request).await?.into_inner())
}

fn auth(suite: &Suite) -> AuthServiceClient<Channel> {
    AuthServiceClient::new(suite.channel())
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, Status>) -> R {
    let status = outcome.expect_err("refused");
    assert_contract(&status);
    reason_of(&status)
}

async fn a_suspension_lasts_until_it_is_taken_back(suite: &Suite, admin: &Actor) {
    let mut guest = Guest::welcome(suite, "suspended").await;
    let request = SuspendUserRequest {
        user_id: guest.actor.user_id.clone(),
        request_id: request_id(),
        ..SuspendUserRequest::default()
    };
    admin.users().suspend_user(request).await.expect("suspends");
    assert!(
        [R::AccountSuspended, R::LoginSessionRevoked].contains(&refused(refresh(suite, &guest.actor).await)),
        "at once"
    );
    assert_eq!(refused(guest.actor.login_again().await), R::AccountSuspended, "at once");
    guest.is_shut_out(R::LoginSessionRevoked).await;

    let request = ReactivateUserRequest {
        user_id: guest.actor.user_id.clone(),
        ..ReactivateUserRequest::default()
    };
    admin.users().reactivate_user(request).await.expect("reactivates");
    let again = guest.actor.login_again().await.expect("logs in at once");
    assert_eq!(
        refused(refresh(suite, &guest.actor).await),
        R::LoginSessionRevoked,
        "what was ended does not come back"
    );
    guest.call().await.expect_err("nor does the token");
    until("the new login session is good", SOON, || async {
        again.list(&guest.chat_id).await.is_ok()
    })
    .await;
    refresh(suite, &again).await.expect("and stays so");
}

async fn a_deletion_is_undone(suite: &Suite, admin: &Actor) {
    let mut guest = Guest::welcome(suite, "deleted").await;
    let delete = DeleteUserRequest {
        request_id: request_id(),
        ..DeleteUserRequest::default()
    };
    let deleted = guest.actor.users().delete_user(delete).await.expect("deletes oneself");
    assert!(deleted.into_inner().final_time.is_some());
    assert_eq!(
        refused(refresh(suite, &guest.actor).await),
        R::LoginSessionRevoked,
        "at once"
    );
    assert_eq!(
        refused(guest.actor.login_again().await),
        R::CredentialsInvalid,
        "at once"
    );
    guest.is_shut_out(R::LoginSessionRevoked).await;
    let user_id = guest.actor.user_id.clone();
    let get = GetUserRequest {
        user_id: user_id.clone(),
    };
    let seen = admin.users().get_user(get).await.expect("a user").into_inner().user;
    let expected = User {
        user_id: user_id.clone(),
        deleted: true,
        ..User::default()
    };
    assert_eq!(seen, Some(expected));
    assert_eq!(refused(look_up(admin, &guest.actor.username).await), R::NotFound);

    let undelete = UndeleteUserRequest {
        user_id,
        request_id: request_id(),
    };
    admin.users().undelete_user(undelete).await.expect("restores");
    let again = guest.actor.login_again().await.expect("logs in at once");
    assert_eq!(refused(refresh(suite, &guest.actor).await), R::LoginSessionRevoked);
    until("the new login session is good", SOON, || async {
        again.list(&guest.chat_id).await.is_ok()
    })
    .await;
}

async fn a_reset_ends_what_the_old_password_began(suite: &Suite) {
    let mut guest = Guest::welcome(suite, "reset").await;
    let request = RequestPasswordResetRequest {
        email: guest.actor.email.clone(),
        request_id: request_id(),
    };
    guest
        .actor
        .credentials()
        .request_password_reset(request)
        .await
        .expect("asks for a mail");
    let folder = suite.mail_folder();
    let token = until_some("the mail comes", SOON, || async {
        mail::newest_token(&folder, &guest.actor.email, "reset-password")
    })
    .await;
    let request = ResetPasswordRequest {
        token,
        new_password: "another horse for the guest".to_owned(),
        request_id: request_id(),
    };
    guest.actor.credentials().reset_password(request).await.expect("resets");
    assert_eq!(
        refused(refresh(suite, &guest.actor).await),
        R::LoginSessionRevoked,
        "at once"
    );
    assert_eq!(refused(guest.actor.login_again().await), R::CredentialsInvalid);
    guest.is_shut_out(R::LoginSessionRevoked).await;
}

async fn a_role_is_lost_at_once(suite: &Suite, admin: &Actor) {
    let role = CreateRoleRequest {
        name: format!("auditor-{}", &request_id()[30..]),
        permissions: vec![Permission::RolesRead.into()],
        request_id: request_id(),
        ..CreateRoleRequest::default()
    };
    let role = admin
        .roles()
        .create_role(role)
        .await
        .expect("creates a role")
        .into_inner()
        .role;
    let role_id = role.expect("a role").role_id;
    let guest = Guest::welcome(suite, "auditor").await;
    let assign = AssignRoleRequest {
        user_id: guest.actor.user_id.clone(),
        role_id: role_id.clone(),
        request_id: request_id(),
    };
    admin.roles().assign_role(assign).await.expect("gives it");
    let pair = refresh(suite, &guest.actor).await.expect("a token with the role");
    let mut holder = guest.actor.clone().with_token(pair.access_token);
    holder.refresh_token = pair.refresh_token;
    let list = || tidings_proto_user::v1::ListRolesRequest::default();
    until("the role counts", SOON, || async {
        holder.roles().list_roles(list()).await.is_ok()
    })
    .await;
    let stream = holder.listen().await.expect("opens a stream");
    let mut guest = Guest {
        actor: holder.clone(),
        stream,
        ..guest
    };

    let unassign = UnassignRoleRequest {
        user_id: holder.user_id.clone(),
        role_id,
        request_id: request_id(),
    };
    admin.roles().unassign_role(unassign).await.expect("takes it");
    guest.is_shut_out(R::TokenInvalid).await;
    let pair = refresh(suite, &holder).await.expect("the login session goes on");
    let former = holder.with_token(pair.access_token);
    until("the new token is good", SOON, || async {
        former.list(&guest.chat_id).await.is_ok()
    })
    .await;
    assert_eq!(
        refused(former.roles().list_roles(list()).await),
        R::PermissionMissing,
        "without what was lost"
    );
}

async fn look_up(by: &Actor, username: &str) -> Result<User, Status> {
    let request = LookupUserRequest {
        key: Some(Key::Username(username.to_owned())),
    };
    let response = by.users().lookup_user(request).await?;
    Ok(response.into_inner().user.expect("a user"))
}

async fn every_name(suite: &Suite) {
    let (ada, bob) = (
        Actor::register(&suite.channel(), "ada").await,
        Actor::register(&suite.channel(), "bob").await,
    );
    let (old, new) = (ada.username.clone(), format!("countess{}", &request_id()[30..]));
    let request = ChangeUsernameRequest {
        username: new.clone(),
        request_id: request_id(),
        ..ChangeUsernameRequest::default()
    };
    ada.users().change_username(request).await.expect("renames");
    ada.users()
        .get_current_user(tidings_proto_user::v1::GetCurrentUserRequest {})
        .await
        .expect("the token goes on: no name stands in it");
    let login = async |name: &str| Actor::login(&suite.channel(), name, &ada.email, &ada.password).await;
    until("the new name is known", SOON, || async {
        match login(&new).await {
            Ok(actor) => {
                assert_eq!(actor.user_id, ada.user_id);
                true
            }
            Err(status) => {
                assert_eq!(reason_of(&status), R::CredentialsInvalid, "{status:?}");
                false
            }
        }
    })
    .await;
    assert_eq!(refused(login(&old).await), R::CredentialsInvalid);
    login(&ada.email).await.expect("the address stays");
    assert_eq!(look_up(&bob, &new).await.expect("found").user_id, ada.user_id);
    assert_eq!(refused(look_up(&bob, &old).await), R::NotFound);
    let search = SearchUsersRequest {
        query: new.to_uppercase(),
        ..SearchUsersRequest::default()
    };
    let found = bob
        .users()
        .search_users(search)
        .await
        .expect("a page")
        .into_inner()
        .users;
    assert_eq!(
        found.iter().map(|user| &user.user_id).collect::<Vec<_>>(),
        [&ada.user_id]
    );

    let take = ChangeUsernameRequest {
        username: old.clone(),
        request_id: request_id(),
        ..ChangeUsernameRequest::default()
    };
    assert_eq!(
        refused(bob.users().change_username(take.clone()).await),
        R::UsernameTaken
    );
    let register = RegisterRequest {
        username: old.clone(),
        email: format!("{old}@elsewhere.example.org"),
        password: "correct horse for an impostor".to_owned(),
        request_id: request_id(),
        ..RegisterRequest::default()
    };
    let refusal = bob.auth().register(register).await;
    assert_eq!(refused(refusal), R::UsernameTaken, "held back for its owner");
    ada.users().change_username(take).await.expect("who gets it back");
    until("the old name is known again", SOON, || async {
        login(&old).await.is_ok()
    })
    .await;
}
