use prost_reflect::{DynamicMessage, Value};
use tidings_testkit::{Api, Method};

use super::{
    fields::{Field, find},
    world::call,
};
use crate::matrix::cast::Cast;

/// By which RPC what was written is read, and the ids that this takes.
const READERS: &[(&str, &str, &[&str])] = &[
    (
        "SendMessage",
        "message.v1.MessageService.GetMessage",
        &["chat_id", "message_id"],
    ),
    (
        "UpdateMessage",
        "message.v1.MessageService.GetMessage",
        &["chat_id", "message_id"],
    ),
    (
        "CreateResponse",
        "message.v1.ResponseService.GetResponse",
        &["chat_id", "response_id"],
    ),
    (
        "CreateUpload",
        "message.v1.AttachmentService.GetAttachment",
        &["chat_id", "attachment_id"],
    ),
    ("CreateGroup", "chat.v1.GroupService.GetGroup", &["group_id"]),
    ("UpdateGroup", "chat.v1.GroupService.GetGroup", &["group_id"]),
    ("CreateChat", "chat.v1.ChatService.GetChat", &["chat_id"]),
    ("UpdateChat", "chat.v1.ChatService.GetChat", &["chat_id"]),
    ("CreateConversation", "chat.v1.ChatService.GetChat", &["chat_id"]),
    (
        "CreateChatSession",
        "chat.v1.ChatSessionService.GetChatSession",
        &["chat_id"],
    ),
    (
        "UpdateChatSession",
        "chat.v1.ChatSessionService.GetChatSession",
        &["chat_id"],
    ),
    ("Register", "user.v1.UserService.GetUser", &["user_id"]),
    (
        "Login",
        "auth.v1.LoginSessionService.GetLoginSession",
        &["login_session_id"],
    ),
    (
        "UpdateLoginSession",
        "auth.v1.LoginSessionService.GetLoginSession",
        &["login_session_id"],
    ),
    ("CreateUserToken", "user.v1.UserService.GetUser", &["user_id"]),
    (
        "CreateServiceAccount.display_name",
        "user.v1.UserService.GetUser",
        &["user_id"],
    ),
    (
        "CreateServiceAccount",
        "auth.v1.ServiceAccountService.GetServiceAccount",
        &["user_id"],
    ),
    ("UpdateUser", "user.v1.UserService.GetUser", &["user_id"]),
    ("CreateRole", "user.v1.RoleService.GetRole", &["role_id"]),
    ("UpdateRole", "user.v1.RoleService.GetRole", &["role_id"]),
];

/// What only lists show besides the answer itself, or only to somebody else.
const IN_LISTS: [&str; 2] = ["CreateApiKey.label", "CreateUserToken.device_label"];

/// What is wrong with how readers see a field that was written.
pub async fn check(
    cast: &Cast,
    method: &Method,
    field: &Field,
    request: &DynamicMessage,
    response: &DynamicMessage,
) -> Option<String> {
    let name = field.name();
    let written = field.get(request);
    let told = find(response, &name);
    if told.is_some_and(|told| told != written) {
        return Some("the answer shows something else".to_owned());
    }
    let of_field = format!("{}.{name}", method.name());
    if IN_LISTS.contains(&of_field.as_str()) {
        return None;
    }
    let reader = READERS.iter().find(|(writer, ..)| *writer == of_field);
    let Some((_, reader, ids)) = reader.or_else(|| READERS.iter().find(|(writer, ..)| *writer == method.name())) else {
        return Some("there is no RPC to read it back by".to_owned());
    };
    let reader = Api::method(&format!("tidings.{reader}"));
    let mut read = DynamicMessage::new(reader.input());
    for id in *ids {
        let value = find(response, id).or_else(|| find(request, id));
        read.set_field_by_name(
            id,
            value.unwrap_or_else(|| panic!("{} tells no {id}", method.full_name())),
        );
    }
    let of_admins = ["tidings.user.", "tidings.auth.v1.ServiceAccountService."];
    let token = if of_admins.iter().any(|service| reader.full_name().starts_with(service)) {
        &cast.admin.access_token
    } else {
        &cast.owner.access_token
    };
    match call(cast, &reader, read, Some(token)).await {
        Ok(answer) if find(&answer, &name).as_ref() == Some(&written) => None,
        Ok(answer) => Some(format!("readers see {}", short(find(&answer, &name)))),
        Err(status) => Some(format!("readers get {status:?}")),
    }
}

fn short(value: Option<Value>) -> String {
    format!("{value:?}").chars().take(200).collect()
}
