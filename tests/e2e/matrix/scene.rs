use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidings_ids::Source;
use tidings_proto_auth::v1::{RequestEmailVerificationRequest, RequestPasswordResetRequest};
use tidings_proto_chat::v1::{
    AddChatMemberRequest, AddMemberRequest, CreateChatSessionRequest, RemoveChatMemberRequest,
};
use tidings_proto_common::v1::ChatRole;
use tidings_proto_message::v1::{
    CompleteUploadRequest, CreateResponseRequest, CreateUploadRequest, MessageType, SendMessageRequest,
};
use tidings_proto_user::v1::{AssignRoleRequest, CreateRoleRequest};
use tidings_testkit::{Actor, mail, request_id, totp, until_some};

use super::cast::{Cast, Role};

/// What must be there before a call makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Only the cast.
    Nothing,
    /// The caller's own login session, which nobody else uses, and the password.
    OwnSession,
    /// The same, with an authenticator app that waits for its first code.
    OwnApp,
    /// The same, with an authenticator app that logins ask for.
    OwnConfirmedApp,
    /// A login session of the owner beside the one of the call.
    LoginSession,
    /// A service account with an API key.
    ServiceAccount,
    /// A group with a chat and a message in it.
    Group,
    /// A conversation.
    Conversation,
    /// A session of the owner with an answered message.
    Session,
    /// A role.
    Role,
    /// A role that somebody holds.
    RoleHeld,
    /// A user who has just registered, and plays no role.
    Newcomer,
    /// A user like that who is suspended.
    SuspendedUser,
    /// A user like that with an authenticator app.
    NewcomerWithApp,
    /// Two users like that, whom the owner blocks.
    Blocked,
    /// A user like that whose account was deleted.
    DeletedUser,
    /// A refresh token that is not used yet.
    RefreshToken,
    /// A mailed token for a new password.
    ResetToken,
    /// A mailed token that proves an address.
    VerificationToken,
    /// A group with a chat, and bytes uploaded for it.
    Upload,
    /// A group with a chat, and a finished attachment in it.
    Attachment,
}

impl Needs {
    /// Whether the call is about the caller alone, who so must be one who plays in no other cell.
    pub const fn is_own(self) -> bool {
        matches!(self, Self::OwnSession | Self::OwnApp | Self::OwnConfirmedApp)
    }
}

/// What is there in one cell, by the names that the table uses.
#[derive(Clone)]
pub struct Scene {
    things: BTreeMap<&'static str, String>,
    /// The secret of an app whose code stands in requests for `{code}`. It counts for a minute, so that it is made when it is used.
    app: Option<String>,
}

impl Scene {
    /// Sets a new scene.
    pub async fn set(cast: &Cast, needs: Needs) -> Self {
        let mut scene = Self {
            things: BTreeMap::new(),
            app: None,
        };
        scene.renew();
        scene.put("owner", cast.owner.user_id.clone());
        scene.put("owner_name", cast.owner.username.clone());
        scene.put("owner_password", cast.owner.password.clone());
        scene.put("owner_token", cast.owner.access_token.clone());
        scene.put("admin", cast.admin.user_id.clone());
        scene.put("member", cast.member.user_id.clone());
        scene.put("second", cast.second.user_id.clone());
        scene.put("assistant", cast.assistant.user_id.clone());
        scene.put("extra", cast.assistant.user_id.clone());
        match needs {
            Needs::Nothing => {}
            Needs::OwnSession | Needs::OwnApp | Needs::OwnConfirmedApp => {
                // Of those who have none of it.
                scene.put("own_password", "correct horse battery".to_owned());
                scene.put("code", "000000".to_owned());
            }
            Needs::LoginSession => {
                let again = cast.owner.login_again().await.expect("logs in");
                scene.put("login_session", again.login_session_id);
            }
            Needs::ServiceAccount => scene.service_account(cast).await,
            Needs::Group => scene.group(cast).await,
            Needs::Conversation => scene.conversation(cast).await,
            Needs::Session => scene.session(cast).await,
            Needs::Role => scene.role(cast).await,
            Needs::RoleHeld => scene.role_held(cast).await,
            Needs::Newcomer => {
                scene.newcomer(cast).await;
            }
            Needs::SuspendedUser => scene.suspended_user(cast).await,
            Needs::NewcomerWithApp => {
                let newcomer = scene.newcomer(cast).await;
                scene.own(cast, Needs::OwnConfirmedApp, &newcomer).await;
            }
            Needs::Blocked => scene.blocked(cast).await,
            Needs::DeletedUser => scene.deleted_user(cast).await,
            Needs::RefreshToken => {
                let again = cast.owner.login_again().await.expect("logs in");
                scene.put("refresh_token", again.refresh_token);
            }
            Needs::ResetToken => scene.reset_token(cast).await,
            Needs::VerificationToken => scene.verification_token(cast).await,
            Needs::Upload => scene.upload(cast).await,
            Needs::Attachment => scene.attachment(cast).await,
        }
        scene
    }

    /// Sets a new scene for this caller, and says with which token the call is made in it.
    pub async fn set_for(cast: &Cast, needs: Needs, role: Role) -> (Self, Option<String>) {
        let mut scene = Self::set(cast, needs).await;
        let own = if needs.is_own() {
            cast.own_actor_of(role).await
        } else {
            None
        };
        match own {
            Some(own) => {
                scene.own(cast, needs, &own).await;
                (scene, Some(own.access_token))
            }
            None => (scene, cast.token_of(role)),
        }
    }

    /// Makes the scene this caller's own, where it is about the caller.
    pub async fn own(&mut self, cast: &Cast, needs: Needs, caller: &Actor) {
        self.put("own_password", caller.password.clone());
        if needs == Needs::OwnSession {
            // One that can be ended beside the call's.
            caller.login_again().await.expect("logs in");
        }
        if !matches!(needs, Needs::OwnApp | Needs::OwnConfirmedApp) {
            return;
        }
        let enroll = json!({ "currentPassword": caller.password });
        let app = cast.call(caller, "auth.v1.CredentialService.EnrollTotp", enroll).await;
        let secret = app["secret"].as_str().expect("a secret").to_owned();
        if needs == Needs::OwnConfirmedApp {
            let confirm = json!({ "totpCode": code_of(&secret) });
            cast.call(caller, "auth.v1.CredentialService.ConfirmTotp", confirm)
                .await;
        }
        self.app = Some(secret);
    }

    /// The request of a row, with what the scene has in its places.
    pub fn fill(&self, template: &str) -> Value {
        let template = match &self.app {
            Some(secret) => template.replace("{code}", &code_of(secret)),
            None => template.to_owned(),
        };
        let filled = self.things.iter().fold(template, |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        });
        serde_json::from_str(&filled).unwrap_or_else(|error| panic!("{filled}: {error}"))
    }

    /// What the scene has by this name, if it has it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.things.get(name).map(String::as_str)
    }

    /// Makes the next request another one: a new id for it, and a new name for what it makes.
    pub fn renew(&mut self) {
        self.put("request", request_id());
        self.put("fresh", format!("f{}", &request_id().replace('-', "")[16..]));
    }

    fn put(&mut self, name: &'static str, value: String) {
        self.things.insert(name, value);
    }

    async fn group(&mut self, cast: &Cast) {
        let members = [&cast.member, &cast.second, &cast.removed, &cast.bot_inside];
        let chat = cast.owner.group_chat(&members).await;
        let appoint = AddMemberRequest {
            group_id: chat.group_id.clone(),
            user_id: cast.moderator.user_id.clone(),
            role: ChatRole::Admin.into(),
            request_id: request_id(),
        };
        let appointed = cast.owner.memberships().add_member(appoint).await;
        appointed.expect("the owner appoints an admin");
        let message = cast
            .owner
            .send(&chat.chat_id, "the owner's")
            .await
            .expect("the owner sends");
        cast.owner
            .remove(&chat.group_id, &cast.removed)
            .await
            .expect("the owner removes");
        cast.plant_memberships(&chat.group_id).await;
        self.put("group", chat.group_id);
        self.put("chat", chat.chat_id);
        self.put("message", message.message_id);
    }

    async fn conversation(&mut self, cast: &Cast) {
        let members = [&cast.member, &cast.second, &cast.removed, &cast.bot_inside];
        let chat = cast.owner.conversation(&members).await;
        let appoint = AddChatMemberRequest {
            chat_id: chat.chat_id.clone(),
            user_id: cast.moderator.user_id.clone(),
            role: ChatRole::Admin.into(),
            request_id: request_id(),
        };
        let appointed = cast.owner.chats().add_chat_member(appoint).await;
        appointed.expect("the owner appoints an admin");
        let remove = RemoveChatMemberRequest {
            chat_id: chat.chat_id.clone(),
            user_id: cast.removed.user_id.clone(),
            request_id: request_id(),
        };
        cast.owner
            .chats()
            .remove_chat_member(remove)
            .await
            .expect("the owner removes");
        cast.plant_memberships(&chat.chat_id).await;
        self.put("chat", chat.chat_id);
    }

    async fn session(&mut self, cast: &Cast) {
        let create = CreateChatSessionRequest {
            title: "a session".to_owned(),
            assistant_user_id: cast.assistant.user_id.clone(),
            request_id: request_id(),
            ..CreateChatSessionRequest::default()
        };
        let session = cast
            .owner
            .sessions()
            .create_chat_session(create)
            .await
            .expect("begins a session");
        let session = session.into_inner().session.expect("a session");
        let question = cast.owner.send(&session.chat_id, "a question").await.expect("asks");
        self.put("question", question.message_id.clone());
        let answer = CreateResponseRequest {
            chat_id: session.chat_id.clone(),
            message_id: question.message_id,
            r#type: MessageType::Text.into(),
            text: "an answer".to_owned(),
            request_id: request_id(),
            ..CreateResponseRequest::default()
        };
        let response = cast
            .assistant
            .responses()
            .create_response(answer)
            .await
            .expect("answers");
        self.put(
            "response",
            response.into_inner().response.expect("a response").response_id,
        );
        self.put("session", session.chat_id);
        self.put("session_number", session.session_number.to_string());
    }

    async fn role(&mut self, cast: &Cast) {
        let create = CreateRoleRequest {
            name: self.things["fresh"].clone(),
            display_name: "a role".to_owned(),
            request_id: request_id(),
            ..CreateRoleRequest::default()
        };
        let role = cast.admin.roles().create_role(create).await.expect("creates a role");
        self.put("role", role.into_inner().role.expect("a role").role_id);
    }

    async fn role_held(&mut self, cast: &Cast) {
        self.role(cast).await;
        let assign = AssignRoleRequest {
            user_id: cast.assistant.user_id.clone(),
            role_id: self.things["role"].clone(),
            request_id: request_id(),
        };
        cast.admin.roles().assign_role(assign).await.expect("assigns a role");
    }

    async fn newcomer(&mut self, cast: &Cast) -> Actor {
        let newcomer = Actor::register(&cast.channel, "newcomer").await;
        self.put("newcomer", newcomer.user_id.clone());
        newcomer
    }

    async fn suspended_user(&mut self, cast: &Cast) {
        let newcomer = self.newcomer(cast).await;
        let suspend = json!({ "userId": newcomer.user_id });
        cast.call(&cast.admin, "user.v1.UserService.SuspendUser", suspend).await;
    }

    async fn blocked(&mut self, cast: &Cast) {
        for _ in 0..2 {
            let newcomer = self.newcomer(cast).await;
            let block = json!({ "userId": newcomer.user_id });
            cast.call(&cast.owner, "user.v1.BlockService.BlockUser", block).await;
        }
    }

    async fn deleted_user(&mut self, cast: &Cast) {
        let newcomer = self.newcomer(cast).await;
        let delete = json!({ "userId": newcomer.user_id });
        cast.call(&cast.admin, "user.v1.UserService.DeleteUser", delete).await;
    }

    async fn service_account(&mut self, cast: &Cast) {
        let create = json!({ "username": self.things["fresh"], "displayName": "a program" });
        let account = cast
            .call(
                &cast.admin,
                "auth.v1.ServiceAccountService.CreateServiceAccount",
                create,
            )
            .await;
        let bot = text(&account["serviceAccount"]["userId"]);
        for (number, key) in ["other_key", "key"].into_iter().enumerate() {
            let create = json!({
                "userId": bot, "label": format!("key {number}"), "permissions": ["PERMISSION_RESPONSES_CREATE"],
            });
            let created = cast
                .call(&cast.admin, "auth.v1.ServiceAccountService.CreateApiKey", create)
                .await;
            self.put(key, text(&created["key"]));
            self.put("api_key", text(&created["apiKey"]["apiKeyId"]));
        }
        self.put("bot", bot);
        self.renew();
    }

    async fn reset_token(&mut self, cast: &Cast) {
        let forgetful = Actor::register(&cast.channel, "forgetful").await;
        let ask = RequestPasswordResetRequest {
            email: forgetful.email.clone(),
            request_id: request_id(),
        };
        forgetful
            .credentials()
            .request_password_reset(ask)
            .await
            .expect("asks for a reset");
        self.mailed_token(cast, &forgetful.email, "reset-password").await;
    }

    async fn verification_token(&mut self, cast: &Cast) {
        let newcomer = Actor::register(&cast.channel, "newcomer").await;
        let ask = RequestEmailVerificationRequest {
            email: newcomer.email.clone(),
            request_id: request_id(),
        };
        newcomer
            .credentials()
            .request_email_verification(ask)
            .await
            .expect("asks for a verification");
        self.mailed_token(cast, &newcomer.email, "verify-email").await;
    }

    async fn mailed_token(&mut self, cast: &Cast, address: &str, page: &str) {
        let token = until_some("a mail", std::time::Duration::from_secs(60), || async {
            mail::newest_token(&cast.mails, address, page)
        });
        let token = token.await;
        self.put("token", token);
    }

    async fn upload(&mut self, cast: &Cast) {
        self.group(cast).await;
        let create = CreateUploadRequest {
            chat_id: self.things["chat"].clone(),
            media_type: "text/plain".to_owned(),
            size_bytes: 5,
            sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".to_owned(),
            file_name: "hello.txt".to_owned(),
            request_id: request_id(),
        };
        let upload = cast
            .owner
            .attachments()
            .create_upload(create)
            .await
            .expect("begins an upload");
        let upload = upload.into_inner().upload.expect("an upload");
        let mut put = reqwest::Client::new().put(&upload.upload_url).body("hello");
        for (name, value) in &upload.headers {
            put = put.header(name, value);
        }
        let answer = put.send().await.expect("uploads");
        assert!(answer.status().is_success(), "the upload: {}", answer.status());
        self.put("attachment", upload.attachment_id);
    }

    async fn attachment(&mut self, cast: &Cast) {
        self.upload(cast).await;
        let complete = CompleteUploadRequest {
            chat_id: self.things["chat"].clone(),
            attachment_id: self.things["attachment"].clone(),
            request_id: request_id(),
        };
        cast.owner
            .attachments()
            .complete_upload(complete)
            .await
            .expect("completes");
        let send = SendMessageRequest {
            chat_id: self.things["chat"].clone(),
            attachment_ids: vec![self.things["attachment"].clone()],
            request_id: request_id(),
            ..SendMessageRequest::default()
        };
        cast.owner.messages().send_message(send).await.expect("sends it");
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// What an app with this secret shows now.
fn code_of(secret: &str) -> String {
    totp::code(secret, Source::system().now().unix_timestamp().unsigned_abs())
}
