use std::collections::HashMap;

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};
use tidings_proto_chat::v1::CreateChatSessionRequest;
use tidings_proto_common::v1::{Authentication, Permission};
use tidings_proto_message::v1::{CreateResponseRequest, CreateUploadRequest, MessageType};
use tidings_testkit::{Actor, Method, request_id};

use super::{fields::find, kinds::Thing};
use crate::matrix::{
    cast::Cast,
    policies,
    rows::{Relation, row_of},
    scene::{Needs, Scene},
};

/// What there is that the callers here have nothing to do with.
pub struct World {
    foreign: HashMap<Thing, Vec<(String, String)>>,
}

impl World {
    /// Lets the stranger have one of everything.
    pub async fn make(cast: &Cast) -> Self {
        let stranger = &cast.stranger;
        let chat = stranger.group_chat(&[]).await;
        let message = stranger
            .send(&chat.chat_id, "theirs")
            .await
            .expect("the stranger sends");
        let session = session(stranger, &cast.assistant).await;
        let question = stranger.send(&session, "a question").await.expect("the stranger asks");
        let response = answer(&cast.assistant, &session, &question.message_id).await;
        let attachment = upload(stranger, &chat.chat_id).await;
        let own = cast.owner.group_chat(&[]).await;
        let own_message = cast.owner.send(&own.chat_id, "ours").await.expect("the owner sends");

        let of_a_stranger = |id: &str| ("a stranger's".to_owned(), id.to_owned());
        let other = |what: &str, id: &str| (format!("the id of {what}"), id.to_owned());
        let user = other("a user", &stranger.user_id);
        let account = Scene::set(cast, Needs::ServiceAccount).await;
        let api_key = account.get("api_key").expect("the scene has a key");
        let foreign = [
            (
                Thing::User,
                vec![other("a chat", &own.chat_id), other("a group", &own.group_id)],
            ),
            (
                Thing::LoginSession,
                vec![
                    of_a_stranger(&stranger.login_session_id),
                    ("of a member".to_owned(), cast.member.login_session_id.clone()),
                    other("a user", &stranger.user_id),
                    other("an API key", api_key),
                ],
            ),
            (
                Thing::ServiceAccount,
                vec![other("a person", &stranger.user_id), other("an API key", api_key)],
            ),
            (
                Thing::ApiKey,
                vec![
                    other("another account's key", api_key),
                    other("a login session", &stranger.login_session_id),
                    other("a user", &stranger.user_id),
                ],
            ),
            (Thing::Role, vec![user.clone(), other("a chat", &own.chat_id)]),
            (
                Thing::Group,
                vec![
                    of_a_stranger(&chat.group_id),
                    other("a chat", &own.chat_id),
                    user.clone(),
                ],
            ),
            (
                Thing::Chat,
                vec![
                    of_a_stranger(&chat.chat_id),
                    ("a stranger's session".to_owned(), session.clone()),
                    other("a group", &own.group_id),
                    other("a message", &own_message.message_id),
                    user.clone(),
                ],
            ),
            (
                Thing::Message,
                vec![
                    of_a_stranger(&message.message_id),
                    (
                        "of another chat of the caller".to_owned(),
                        own_message.message_id.clone(),
                    ),
                    other("a chat", &own.chat_id),
                    user.clone(),
                ],
            ),
            (
                Thing::Response,
                vec![
                    of_a_stranger(&response),
                    other("a message", &own_message.message_id),
                    user.clone(),
                ],
            ),
            (
                Thing::Attachment,
                vec![
                    of_a_stranger(&attachment),
                    other("a message", &own_message.message_id),
                    user,
                ],
            ),
        ];
        Self {
            foreign: foreign.into(),
        }
    }

    /// Well-formed ids that must not be found as a thing of this kind, each with what it is.
    pub fn foreign(&self, thing: Thing) -> &[(String, String)] {
        self.foreign.get(&thing).map_or(&[], Vec::as_slice)
    }
}

async fn session(user: &Actor, assistant: &Actor) -> String {
    let create = CreateChatSessionRequest {
        assistant_user_id: assistant.user_id.clone(),
        request_id: request_id(),
        ..CreateChatSessionRequest::default()
    };
    let session = user
        .sessions()
        .create_chat_session(create)
        .await
        .expect("begins a session");
    session.into_inner().session.expect("a session").chat_id
}

async fn answer(assistant: &Actor, chat_id: &str, message_id: &str) -> String {
    let create = CreateResponseRequest {
        chat_id: chat_id.to_owned(),
        message_id: message_id.to_owned(),
        r#type: MessageType::Text.into(),
        text: "an answer".to_owned(),
        request_id: request_id(),
        ..CreateResponseRequest::default()
    };
    let response = assistant.responses().create_response(create).await.expect("answers");
    response.into_inner().response.expect("a response").response_id
}

async fn upload(user: &Actor, chat_id: &str) -> String {
    let create = CreateUploadRequest {
        chat_id: chat_id.to_owned(),
        media_type: "text/plain".to_owned(),
        size_bytes: 5,
        sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".to_owned(),
        request_id: request_id(),
        ..CreateUploadRequest::default()
    };
    let upload = user
        .attachments()
        .create_upload(create)
        .await
        .expect("begins an upload");
    upload.into_inner().upload.expect("an upload").attachment_id
}

/// Requests other than those of the matrix, where a field needs another place to be tested in.
const BASES: &[(&str, Needs, &str)] = &[
    (
        "tidings.message.v1.SyncService.SyncChanges",
        Needs::Group,
        r#"{"after":{"chats":[{"chatId":"{chat}"}]}}"#,
    ),
    (
        "tidings.message.v1.SyncService.StreamChanges",
        Needs::Group,
        r#"{"after":{"chats":[{"chatId":"{chat}"}]}}"#,
    ),
    (
        "tidings.message.v1.ResponseService.CreateResponse",
        Needs::Session,
        r#"{"chatId":"{session}","messageId":"{question}","text":"an answer","requestId":"{request}"}"#,
    ),
    (
        "tidings.message.v1.ResponseService.ListResponses",
        Needs::Session,
        r#"{"chatId":"{session}","messageId":"{question}"}"#,
    ),
    (
        "tidings.chat.v1.ChatSessionService.ListChatSessions",
        Needs::Session,
        "{}",
    ),
    ("tidings.user.v1.RoleService.ListRoleAssignments", Needs::Nothing, "{}"),
];

/// Who makes the good call that one field of is spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Nobody,
    Owner,
    Member,
    Admin,
    Assistant,
    Product,
    /// A user who is there for this call only.
    Newcomer,
}

/// A good call of one RPC, set up.
#[derive(Clone)]
pub struct Stage {
    pub method: Method,
    pub scene: Scene,
    template: &'static str,
    /// What its caller must be.
    pub relation: Relation,
    who: Who,
    token: Option<String>,
}

impl Stage {
    /// Sets everything up for a good call.
    pub async fn set(cast: &Cast, method: &Method) -> Self {
        let name = method.full_name();
        let row = row_of(name);
        let base = BASES.iter().find(|(rpc, ..)| *rpc == name);
        let (needs, template) = base.map_or((row.needs, row.request), |(_, needs, template)| (*needs, *template));
        let who = who(method, row.relation, needs);
        let mut scene = Scene::set(cast, needs).await;
        if method.output().get_field_by_name("next_page_token").is_some() {
            fill_a_page(cast, &scene).await;
        }
        let token = match who {
            Who::Nobody => None,
            Who::Owner => Some(cast.owner.access_token.clone()),
            Who::Member => Some(cast.member.access_token.clone()),
            Who::Admin => Some(cast.admin.access_token.clone()),
            Who::Assistant => Some(cast.assistant.access_token.clone()),
            Who::Product => Some(cast.product.access_token.clone()),
            Who::Newcomer => {
                let newcomer = Actor::register(&cast.channel, "newcomer").await;
                scene.own(cast, needs, &newcomer).await;
                Some(newcomer.access_token)
            }
        };
        Self {
            method: method.clone(),
            scene,
            template,
            relation: row.relation,
            who,
            token,
        }
    }

    /// A good request that was not made yet.
    pub fn request(&mut self) -> DynamicMessage {
        self.scene.renew();
        self.same_request()
    }

    /// The good request that was made last.
    pub fn same_request(&self) -> DynamicMessage {
        let json = self.scene.fill(self.template);
        DynamicMessage::deserialize(self.method.input(), &json)
            .unwrap_or_else(|error| panic!("{}: {error}", self.method.full_name()))
    }

    /// The access token that the stage's caller has.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Makes a call as the stage's caller.
    pub async fn call(&self, cast: &Cast, request: DynamicMessage) -> Result<DynamicMessage, tonic::Status> {
        call(cast, &self.method, request, self.token.as_deref()).await
    }

    /// Page tokens for this RPC and near it. The caller has at least two pages here.
    pub async fn pages(&self, cast: &Cast) -> Pages {
        let name = self.method.full_name();
        let mut request = self.same_request();
        request.set_field_by_name("page_size", Value::I32(1));
        let genuine = token_of(cast, &self.method, request.clone(), self.token.as_deref()).await;
        let genuine = genuine.unwrap_or_else(|| panic!("{name} has only one page"));

        let other = if name.ends_with(".ListUsers") {
            "tidings.message.v1.SyncService.GetSyncState"
        } else {
            "tidings.user.v1.UserService.ListUsers"
        };
        let other = tidings_testkit::Api::method(other);
        let mut first_page = DynamicMessage::new(other.input());
        first_page.set_field_by_name("page_size", Value::I32(1));
        let of_another_rpc = token_of(cast, &other, first_page, Some(&cast.owner.access_token)).await;

        // Somebody else who has pages here. There is one administrator only.
        let theirs = match (self.who, self.scene.get("session").is_some()) {
            (Who::Admin, _) => None,
            (_, true) => Some(&cast.assistant.access_token),
            _ => Some(&cast.member.access_token),
        };
        let of_another_caller = match theirs {
            Some(theirs) => token_of(cast, &self.method, request.clone(), Some(theirs)).await,
            None => None,
        };
        Pages {
            with_other_arguments: self.with_other_arguments(cast, request).await,
            of_another_rpc: of_another_rpc.expect("there are at least two of them"),
            // Where nobody else can have a page, a token of another RPC of theirs stands in.
            of_another_caller: match of_another_caller {
                Some(token) => token,
                None => of_a_stranger(cast).await,
            },
            genuine,
        }
    }

    /// A token for the same list in another order, where the RPC has one.
    async fn with_other_arguments(&self, cast: &Cast, mut request: DynamicMessage) -> Option<String> {
        request.descriptor().get_field_by_name("order")?;
        request.set_field_by_name("order", Value::EnumNumber(2));
        token_of(cast, &self.method, request, self.token.as_deref()).await
    }
}

/// Tokens for pages.
pub struct Pages {
    /// What the caller got here.
    pub genuine: String,
    /// What the caller got for the same list otherwise.
    pub with_other_arguments: Option<String>,
    /// What the owner got elsewhere.
    pub of_another_rpc: String,
    /// What somebody else got.
    pub of_another_caller: String,
}

async fn of_a_stranger(cast: &Cast) -> String {
    let method = tidings_testkit::Api::method("tidings.user.v1.UserService.ListUsers");
    let mut request = DynamicMessage::new(method.input());
    request.set_field_by_name("page_size", Value::I32(1));
    let token = token_of(cast, &method, request, Some(&cast.stranger.access_token)).await;
    token.expect("there are at least two users")
}

async fn token_of(cast: &Cast, method: &Method, request: DynamicMessage, caller: Option<&str>) -> Option<String> {
    let page = call(cast, method, request, caller).await;
    let page = page.unwrap_or_else(|status| panic!("the first page of {}: {status:?}", method.full_name()));
    let token = find(&page, "next_page_token")?;
    let token = token.as_str().expect("a page token is text").to_owned();
    (!token.is_empty()).then_some(token)
}

/// What every member of the deployment holds, or needs not hold.
const MEMBERS_PERMISSIONS: [Permission; 4] = [
    Permission::Unspecified,
    Permission::UsersList,
    Permission::GroupsCreate,
    Permission::ChatsCreate,
];

fn who(method: &Method, relation: Relation, needs: Needs) -> Who {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let policy = policies().get(&path).expect("every RPC has a policy");
    if policy.authentication == Authentication::None {
        return Who::Nobody;
    }
    // By an address or a foreign id only those find users who may read them.
    let of_admins = !MEMBERS_PERMISSIONS.contains(&policy.permission) || method.name() == "LookupUser";
    match relation {
        _ if needs.is_own() => Who::Newcomer,
        Relation::Himself | Relation::Operator => Who::Admin,
        Relation::Product => Who::Product,
        Relation::Leaver => Who::Member,
        Relation::Responder => Who::Assistant,
        _ if of_admins => Who::Admin,
        _ => Who::Owner,
    }
}

/// Adds what makes a second page of each list in the scene.
async fn fill_a_page(cast: &Cast, scene: &Scene) {
    if let Some(chat) = scene.get("chat") {
        cast.owner
            .send(chat, "a second message")
            .await
            .expect("the owner sends");
    }
    if let (Some(chat), Some(question)) = (scene.get("session"), scene.get("question")) {
        answer(&cast.assistant, chat, question).await;
        session(&cast.owner, &cast.assistant).await;
        session(&cast.assistant, &cast.bot_outside).await;
        session(&cast.assistant, &cast.bot_outside).await;
    }
}

/// Calls an RPC at the gateway.
pub async fn call(
    cast: &Cast,
    method: &Method,
    request: DynamicMessage,
    token: Option<&str>,
) -> Result<DynamicMessage, tonic::Status> {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&'static str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    cast.api.call(method, request, &headers).await
}
