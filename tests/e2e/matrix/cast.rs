use std::{path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tidings_authn::{Service, ServiceIdentity};
use tidings_proto_auth::v1::LogoutRequest;
use tidings_proto_chat::v1::{CreateChatSessionRequest, ListGroupsRequest};
use tidings_proto_message::v1::GetSyncStateRequest;
use tidings_proto_user::v1::GetCurrentUserRequest;
use tidings_testkit::{Actor, Api, Forge, Suite, request_id, until};
use tonic::transport::Channel;

/// A revocation acts within a second; a machine that compiles beside it takes longer.
const SOON: Duration = Duration::from_secs(60);

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Nobody: no token.
    Anonymous,
    /// The owner with a token whose time is over.
    Expired,
    /// The owner with the token of a login session that has ended.
    Revoked,
    /// The owner with a token that somebody else has signed.
    Forged,
    /// A user who has nothing to do with the scene.
    Stranger,
    /// Somebody who was a member.
    Removed,
    /// Somebody whom the owner has told of the scene's things, in the direct chat between the two: who holds all their ids and is
    /// no member. There are no invites yet, so nothing says that this user was meant to come.
    Invited,
    /// A member of the scene's chat and group.
    Member,
    /// A member whom the owner has made an admin of the chat or group.
    Moderator,
    /// The owner of the scene's things.
    Owner,
    /// An administrator of the deployment who is no member.
    Admin,
    /// A bot that is a member of the scene's chat and group.
    BotInside,
    /// A bot that has nothing to do with the scene.
    BotOutside,
    /// A service of the suite that proves who it is, and acts for no user.
    Service,
    /// A program that brings in the users of its own product. It calls only what is made for it, beside [`Role::ALL`].
    Product,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Anonymous,
        Self::Expired,
        Self::Revoked,
        Self::Forged,
        Self::Stranger,
        Self::Removed,
        Self::Invited,
        Self::Member,
        Self::Moderator,
        Self::Owner,
        Self::Admin,
        Self::BotInside,
        Self::BotOutside,
        Self::Service,
    ];

    /// Whether a program calls and no person.
    pub const fn is_bot(self) -> bool {
        matches!(self, Self::BotInside | Self::BotOutside | Self::Product)
    }
}

/// Those who play in every scene.
#[derive(Clone)]
pub struct Cast {
    pub api: Api,
    pub channel: Channel,
    pub mails: PathBuf,
    pub owner: Actor,
    pub member: Actor,
    pub moderator: Actor,
    pub second: Actor,
    pub removed: Actor,
    pub stranger: Actor,
    pub invited: Actor,
    pub admin: Actor,
    pub assistant: Actor,
    pub bot_inside: Actor,
    pub bot_outside: Actor,
    pub product: Actor,
    pub expired: String,
    pub revoked: String,
    pub forged: String,
    /// What each service proves who it is with.
    identities: Arc<[(Service, ServiceIdentity)]>,
    /// Set where the membership check is made to say yes to everybody.
    plant: Option<tidings_db::Pool>,
}

impl Cast {
    /// Registers everybody.
    pub async fn gather(suite: &Suite) -> Self {
        let channel = suite.channel();
        let register = |name| Box::pin(Actor::register(&channel, name));
        let (owner, member, moderator, second) = tokio::join!(
            register("owner"),
            register("member"),
            register("moderator"),
            register("second")
        );
        let (removed, stranger, invited, admin) = tokio::join!(
            register("removed"),
            register("stranger"),
            register("invited"),
            Box::pin(suite.administrator())
        );
        let api = Api::new(channel.clone());
        let bots = tokio::join!(
            bot(&api, &admin, "bot-inside", &["bot"], &["PERMISSION_RESPONSES_CREATE"]),
            bot(&api, &admin, "bot-outside", &["bot"], &["PERMISSION_RESPONSES_CREATE"]),
            product(&api, &admin),
            bot(&api, &admin, "assistant", &["bot", "member"], &ASSISTANTS_PERMISSIONS)
        );
        let (bot_inside, bot_outside, product, assistant) = bots;
        invited.direct_chat(&owner).await;
        number_sessions_apart(&owner, &assistant).await;
        let forge = Forge::set_up(suite).await;
        Self {
            api,
            mails: suite.mail_folder(),
            expired: forge.expired(&owner),
            revoked: revoked(&owner).await,
            forged: forge.impostor().sign(&forge.claims(&owner)),
            identities: Arc::new(Service::ALL.map(|service| (service, suite.identity(service)))),
            owner,
            member,
            moderator,
            second,
            removed,
            stranger,
            invited,
            admin,
            assistant,
            bot_inside,
            bot_outside,
            product,
            channel,
            plant: None,
        }
    }

    /// The same where everybody counts as a member of everything, as if the check always said yes.
    pub async fn gather_where_all_are_members(suite: &Suite) -> Self {
        let plant = Some(suite.database().pool());
        Self {
            plant,
            ..Self::gather(suite).await
        }
    }

    /// The same people in other parts: what the owner had is the stranger's now, and the owner is a stranger to it.
    pub fn turned_round(&self) -> Self {
        Self {
            owner: self.stranger.clone(),
            stranger: self.owner.clone(),
            ..self.clone()
        }
    }

    /// The token that somebody calls with.
    pub fn token_of(&self, role: Role) -> Option<String> {
        match role {
            Role::Anonymous | Role::Service => None,
            Role::Expired => Some(self.expired.clone()),
            Role::Revoked => Some(self.revoked.clone()),
            Role::Forged => Some(self.forged.clone()),
            _ => Some(self.actor(role).access_token.clone()),
        }
    }

    /// A user like the one in this role who plays in no other cell, for calls about the caller's own login session or credentials.
    /// A program has neither and comes itself; so does who has no valid token.
    pub async fn own_actor_of(&self, role: Role) -> Option<Actor> {
        match role {
            Role::Anonymous | Role::Service | Role::Expired | Role::Revoked | Role::Forged => None,
            role if role.is_bot() => None,
            _ => Some(Actor::register(&self.channel, "leaving").await),
        }
    }

    /// What an RPC answers this caller, as JSON.
    ///
    /// # Panics
    ///
    /// When it refuses.
    pub async fn call(&self, actor: &Actor, rpc: &str, request: Value) -> Value {
        let answer = self
            .api
            .json(&format!("tidings.{rpc}"), request, Some(&actor.access_token))
            .await;
        answer.unwrap_or_else(|status| panic!("{rpc}: {status:?}"))
    }

    /// The proof with which a service that acts for no user calls another.
    pub fn identity_for(&self, callee: Service) -> String {
        // The gateway is the one that calls all of them.
        let caller = if callee == Service::Gateway {
            Service::Chat
        } else {
            Service::Gateway
        };
        self.identity_of(caller, callee)
    }

    /// The proof with which this service calls that one.
    pub fn identity_of(&self, caller: Service, callee: Service) -> String {
        let found = self.identities.iter().find(|(service, _)| *service == caller);
        found.expect("all services are there").1.token_for(callee)
    }

    /// Who plays this role; the owner where only the token is a bad one.
    pub fn actor(&self, role: Role) -> &Actor {
        match role {
            Role::Anonymous | Role::Service | Role::Expired | Role::Revoked | Role::Forged | Role::Owner => &self.owner,
            Role::Stranger => &self.stranger,
            Role::Removed => &self.removed,
            Role::Invited => &self.invited,
            Role::Member => &self.member,
            Role::Moderator => &self.moderator,
            Role::Admin => &self.admin,
            Role::BotInside => &self.bot_inside,
            Role::BotOutside => &self.bot_outside,
            Role::Product => &self.product,
        }
    }

    /// Puts everybody into the audience, behind the back of the services.
    pub async fn plant_memberships(&self, audience_id: &str) {
        let Some(pool) = &self.plant else { return };
        for user in [&self.stranger, &self.removed, &self.admin] {
            for statement in PLANTS {
                sqlx::query(statement)
                    .bind(audience_id)
                    .bind(&user.user_id)
                    .bind(&self.owner.user_id)
                    .execute(pool)
                    .await
                    .expect("plants");
            }
        }
    }
}

/// Copies the owner's row in the audience for another user, in both services that keep one.
const PLANTS: [&str; 2] = [
    "insert into messages.members select (jsonb_populate_record(m, jsonb_build_object('user_id', $2))).* \
     from messages.members m where m.audience_id = $1::uuid and m.user_id = $3::uuid on conflict do nothing",
    "insert into chats.members select (jsonb_populate_record(m, jsonb_build_object('user_id', $2))).* \
     from chats.members m where m.audience_id = $1::uuid and m.user_id = $3::uuid on conflict do nothing",
];

/// Sessions are numbered for each user by themselves. The owner's have numbers that nobody else gets to.
async fn number_sessions_apart(owner: &Actor, assistant: &Actor) {
    for _ in 0..12 {
        let create = CreateChatSessionRequest {
            assistant_user_id: assistant.user_id.clone(),
            request_id: request_id(),
            ..CreateChatSessionRequest::default()
        };
        let created = owner.sessions().create_chat_session(create).await;
        created.expect("begins a session");
    }
}

/// An assistant is a bot, and does what members do besides.
const ASSISTANTS_PERMISSIONS: [&str; 4] = [
    "PERMISSION_RESPONSES_CREATE",
    "PERMISSION_USERS_LIST",
    "PERMISSION_GROUPS_CREATE",
    "PERMISSION_CHATS_CREATE",
];

/// A program with an account of its own, whose token comes from an API key.
pub async fn bot(api: &Api, admin: &Actor, name: &str, roles: &[&str], permissions: &[&str]) -> Actor {
    let call = async |rpc: &str, request: Value| {
        let rpc = format!("tidings.auth.v1.ServiceAccountService.{rpc}");
        let answer = api.json(&rpc, request, Some(&admin.access_token)).await;
        answer.unwrap_or_else(|status| panic!("{rpc} of {name}: {status:?}"))
    };
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let create = json!({ "username": name, "displayName": name, "roleNames": roles });
    let account = call("CreateServiceAccount", create).await;
    let user_id = text(&account["serviceAccount"]["userId"]);
    let key = json!({ "userId": user_id, "label": "a key", "permissions": permissions });
    let key = call("CreateApiKey", key).await;
    let tokens = call("ExchangeApiKey", json!({ "key": key["key"] })).await;
    let mut bot = admin.clone();
    bot.username = name.to_owned();
    bot.user_id = user_id;
    bot.login_session_id = text(&key["apiKey"]["apiKeyId"]);
    bot.access_token = text(&tokens["accessToken"]);
    bot
}

/// A program that may bring in users, and reaches what those hold.
async fn product(api: &Api, admin: &Actor) -> Actor {
    let role = json!({ "name": "product", "permissions": ["PERMISSION_USER_TOKENS_CREATE"] });
    let created = api.json(
        "tidings.user.v1.RoleService.CreateRole",
        role,
        Some(&admin.access_token),
    );
    created.await.expect("creates a role");
    let permissions = [
        "PERMISSION_USERS_LIST",
        "PERMISSION_GROUPS_CREATE",
        "PERMISSION_CHATS_CREATE",
        "PERMISSION_USER_TOKENS_CREATE",
    ];
    bot(api, admin, "product", &["member", "product"], &permissions).await
}

/// A token of this user that no service takes any more, since its login session has ended.
async fn revoked(user: &Actor) -> String {
    let ended = user.login_again().await.expect("logs in");
    until("a login session is over everywhere", SOON, || {
        let ended = ended.clone();
        async move {
            // Logging out of what has ended is refused as everything else is, or changes nothing.
            let auth = ended.auth().logout(LogoutRequest {}).await;
            let user = ended.users().get_current_user(GetCurrentUserRequest {}).await;
            let chat = ended.groups().list_groups(ListGroupsRequest::default()).await;
            let message = ended.sync().get_sync_state(GetSyncStateRequest::default()).await;
            auth.is_err() && user.is_err() && chat.is_err() && message.is_err()
        }
    })
    .await;
    ended.access_token
}
