//! Ids within a request: with one's own chat, and somebody else's message beside it (`reliability.md` A02, A03).
//!
//! The fields come from the descriptors: every field of a request whose name ends in `_id` or `_ids`. What each is to the request
//! stands in the table, written from the API's texts; a field without a line fails. An id that belongs elsewhere is answered to the
//! byte like the id of nothing.

use std::collections::BTreeSet;

use prost_reflect::{DynamicMessage, Value};
use tidings_proto_common::v1::ErrorReason;
use tidings_testkit::{Api, Method, reason_of, request_id};
use tonic::Status;

use super::{
    Door,
    cast::{Cast, Role},
    expected::{Expected, expected},
    is_internal, message, policies,
    rows::row_of,
    scene::{Needs, Scene},
};
use crate::bad_inputs::Field;

/// What an id in a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It names what the call is about: who may name what is the matrix's own matter.
    Subject,
    /// It names something that anybody may name: users, roles, clients' own ids.
    Open,
    /// It names something within the subject, which the scene has by this name. Of elsewhere it is `NOT_FOUND`.
    Within(&'static str),
    /// The same, but what is not found is left out of the answer.
    LeftOut(&'static str),
}

/// The table, by request and field.
const PARTS: &[(&str, Part)] = {
    use Part::{LeftOut, Open, Subject, Within};
    &[
        // auth
        ("CreateUserTokenRequest.external_id", Open),
        ("SetPasswordRequest.user_id", Subject),
        ("ListCredentialsRequest.user_id", Subject),
        ("RemoveTotpRequest.user_id", Subject),
        ("GetLoginSessionRequest.login_session_id", Subject),
        ("ListLoginSessionsRequest.user_id", Subject),
        ("UpdateLoginSessionRequest.login_session_id", Subject),
        ("RevokeLoginSessionRequest.login_session_id", Subject),
        ("RevokeUserLoginSessionsRequest.user_id", Subject),
        ("GetServiceAccountRequest.user_id", Subject),
        ("DeleteServiceAccountRequest.user_id", Subject),
        ("CreateApiKeyRequest.user_id", Subject),
        ("ListApiKeysRequest.user_id", Subject),
        ("RevokeApiKeyRequest.user_id", Subject),
        ("RevokeApiKeyRequest.api_key_id", Within("api_key")),
        ("ListAuditEventsRequest.filter.actor_user_id", Open),
        ("ListAuditEventsRequest.filter.subject_id", Open),
        // user
        ("CheckAccessRequest.query.user_id", Subject),
        ("CheckAccessRequest.query.target_user_id", Open),
        ("CheckAccessRequest.query.target_role_id", Open),
        ("BatchCheckAccessRequest.queries.user_id", Subject),
        ("BatchCheckAccessRequest.queries.target_user_id", Open),
        ("BatchCheckAccessRequest.queries.target_role_id", Open),
        ("ExplainAccessRequest.query.user_id", Subject),
        ("ExplainAccessRequest.query.target_user_id", Open),
        ("ExplainAccessRequest.query.target_role_id", Open),
        ("BlockUserRequest.user_id", Subject),
        ("UnblockUserRequest.user_id", Subject),
        ("GetUserRequest.user_id", Subject),
        ("BatchGetUsersRequest.user_ids", Subject),
        ("UpdateUserRequest.user_id", Subject),
        ("UpdateUserRequest.external_id", Open),
        ("LookupUserRequest.external_id", Subject),
        ("ChangeUsernameRequest.user_id", Subject),
        ("SuspendUserRequest.user_id", Subject),
        ("ReactivateUserRequest.user_id", Subject),
        ("DeleteUserRequest.user_id", Subject),
        ("UndeleteUserRequest.user_id", Subject),
        ("GetRoleRequest.role_id", Subject),
        ("UpdateRoleRequest.role_id", Subject),
        ("DeleteRoleRequest.role_id", Subject),
        ("AssignRoleRequest.role_id", Subject),
        ("AssignRoleRequest.user_id", Open),
        ("UnassignRoleRequest.role_id", Subject),
        ("UnassignRoleRequest.user_id", Open),
        ("ListRoleAssignmentsRequest.role_id", Subject),
        ("ListRoleAssignmentsRequest.user_id", Open),
        // chat
        ("GetGroupRequest.group_id", Subject),
        ("UpdateGroupRequest.group_id", Subject),
        ("DeleteGroupRequest.group_id", Subject),
        ("AddMemberRequest.group_id", Subject),
        ("AddMemberRequest.user_id", Open),
        ("RemoveMemberRequest.group_id", Subject),
        ("RemoveMemberRequest.user_id", Open),
        ("ListMembersRequest.group_id", Subject),
        ("LeaveGroupRequest.group_id", Subject),
        ("CreateChatRequest.group_id", Subject),
        ("GetChatRequest.chat_id", Subject),
        ("UpdateChatRequest.chat_id", Subject),
        ("DeleteChatRequest.chat_id", Subject),
        ("OpenDirectChatRequest.user_id", Open),
        ("CreateConversationRequest.user_ids", Open),
        ("AddChatMemberRequest.chat_id", Subject),
        ("AddChatMemberRequest.user_id", Open),
        ("RemoveChatMemberRequest.chat_id", Subject),
        ("RemoveChatMemberRequest.user_id", Open),
        ("ListChatMembersRequest.chat_id", Subject),
        ("LeaveChatRequest.chat_id", Subject),
        ("CreateChatSessionRequest.assistant_user_id", Open),
        ("GetChatSessionRequest.chat_id", Subject),
        ("UpdateChatSessionRequest.chat_id", Subject),
        ("CloseChatSessionRequest.chat_id", Subject),
        ("DeleteChatSessionRequest.chat_id", Subject),
        // message
        ("SendMessageRequest.chat_id", Subject),
        ("SendMessageRequest.reply_to_message_id", Within("message")),
        ("SendMessageRequest.attachment_ids", Within("attachment")),
        ("GetMessageRequest.chat_id", Subject),
        ("GetMessageRequest.message_id", Within("message")),
        ("BatchGetMessagesRequest.chat_id", Subject),
        ("BatchGetMessagesRequest.message_ids", LeftOut("message")),
        ("ListMessagesRequest.chat_id", Subject),
        ("ListTurnsRequest.chat_id", Subject),
        ("UpdateMessageRequest.chat_id", Subject),
        ("UpdateMessageRequest.message_id", Within("message")),
        ("DeleteMessageRequest.chat_id", Subject),
        ("DeleteMessageRequest.message_id", Within("message")),
        // Chats that the caller is not in are passed over, by the comment on `After`.
        ("SyncChangesRequest.after.chats.chat_id", LeftOut("chat")),
        ("SyncChangesRequest.after.log_id", Open),
        ("StreamChangesRequest.after.chats.chat_id", LeftOut("chat")),
        ("StreamChangesRequest.after.log_id", Open),
        ("CreateResponseRequest.chat_id", Subject),
        ("CreateResponseRequest.message_id", Within("message")),
        ("CreateResponseRequest.attachment_id", Within("attachment")),
        ("GetResponseRequest.chat_id", Subject),
        ("GetResponseRequest.response_id", Within("response")),
        ("ListResponsesRequest.chat_id", Subject),
        ("ListResponsesRequest.message_id", Within("message")),
        ("CreateUploadRequest.chat_id", Subject),
        ("CompleteUploadRequest.chat_id", Subject),
        ("CompleteUploadRequest.attachment_id", Within("attachment")),
        ("GetAttachmentRequest.chat_id", Subject),
        ("GetAttachmentRequest.attachment_id", Within("attachment")),
        ("CreateDownloadUrlRequest.chat_id", Subject),
        ("CreateDownloadUrlRequest.attachment_id", Within("attachment")),
    ]
};

#[test]
fn every_id_in_a_request_has_its_part() {
    let mut lines: BTreeSet<&str> = PARTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(lines.len(), PARTS.len(), "a line stands twice");
    let fields: Vec<String> = methods().iter().flat_map(ids_of).map(|(name, _)| name).collect();
    let missing: Vec<&String> = fields.iter().filter(|name| part_of(name).is_none()).collect();
    assert!(missing.is_empty(), "ids without a line: {missing:#?}");
    for name in &fields {
        lines.remove(name.as_str());
    }
    assert!(lines.is_empty(), "lines for no field: {lines:#?}");
}

/// Plays them all and returns what is wrong.
pub async fn play(cast: &Cast) -> Vec<String> {
    let elsewhere = elsewhere(cast).await;
    let mut wrong = Vec::new();
    for method in methods() {
        for (name, field) in ids_of(&method) {
            let (part, thing) = match part_of(&name).expect("every id has its part") {
                Part::Subject | Part::Open => continue,
                part @ (Part::Within(thing) | Part::LeftOut(thing)) => (part, thing),
            };
            let places: Vec<&Place> = elsewhere.iter().filter(|place| place.thing == thing).collect();
            assert!(places.len() >= 2, "there is no {thing} elsewhere");
            let nothing = call(cast, &method, &field, &request_id()).await;
            for place in places {
                let outcome = call(cast, &method, &field, &place.id).await;
                let finding = match part {
                    Part::Within(_) => alike(&outcome, &nothing),
                    _ => silent(&outcome, &place.id),
                };
                wrong.extend(finding.map(|finding| format!("{name} = {}: {finding}", place.what)));
            }
        }
    }
    wrong
}

/// Something that is not within the subject of any call here.
struct Place {
    what: &'static str,
    thing: &'static str,
    id: String,
}

/// One of everything in another chat of the caller, and in a chat that the caller is no member of.
async fn elsewhere(cast: &Cast) -> Vec<Place> {
    let theirs = cast.turned_round();
    let mut places = Vec::new();
    for needs in [Needs::Attachment, Needs::Session, Needs::ServiceAccount] {
        for (what, scene) in [
            ("the caller's own, of elsewhere", Scene::set(cast, needs).await),
            ("a stranger's", Scene::set(&theirs, needs).await),
        ] {
            for thing in ["chat", "message", "attachment", "response", "api_key"] {
                let id = scene.get(thing).map(str::to_owned);
                places.extend(id.map(|id| Place { what, thing, id }));
            }
        }
    }
    // A chat of the caller's own is there to be named.
    places.retain(|place| place.thing != "chat" || place.what == "a stranger's");
    let session = Scene::set(&theirs, Needs::Session).await;
    let id = session.get("session").expect("a scene of a session has one").to_owned();
    let what = "a stranger's session";
    places.push(Place {
        what,
        thing: "chat",
        id,
    });
    places
}

/// Calls the RPC as somebody who may, with another id in this place.
async fn call(cast: &Cast, method: &Method, field: &Field, id: &str) -> Result<DynamicMessage, Status> {
    let row = row_of(method.full_name());
    let may = |role: &Role| {
        let expected = expected(policies(), method, row.relation, *role, Door::Gateway);
        matches!(expected, Expected::Ok)
    };
    let caller = [Role::Owner, Role::Member, Role::BotInside, Role::Admin, Role::Product]
        .into_iter()
        .find(may);
    let caller = caller.unwrap_or_else(|| panic!("nobody may call {}", row.rpc));
    let scene = Scene::set(cast, row.needs).await;
    let mut request = message(method, &scene.fill(row.request));
    let id = Value::String(id.to_owned());
    let value = if field.descriptor().is_list() {
        Value::List(vec![id])
    } else {
        id
    };
    field.set(&mut request, value);
    let bearer = format!("Bearer {}", cast.actor(caller).access_token);
    cast.api.call(method, request, &[("authorization", &bearer)]).await
}

/// What is wrong where the id must be `NOT_FOUND`, exactly as an id of nothing is.
fn alike(outcome: &Result<DynamicMessage, Status>, nothing: &Result<DynamicMessage, Status>) -> Option<String> {
    let (Err(status), Err(nothing)) = (outcome, nothing) else {
        return Some(format!(
            "OK, or an id of nothing is: {}, {}",
            outcome.is_ok(),
            nothing.is_ok()
        ));
    };
    let right = reason_of(status) == ErrorReason::NotFound
        && (status.code(), status.message(), status.details())
            == (nothing.code(), nothing.message(), nothing.details());
    (!right).then(|| format!("{status:?}, and an id of nothing {nothing:?}"))
}

/// What is wrong where the id must be passed over.
fn silent(outcome: &Result<DynamicMessage, Status>, id: &str) -> Option<String> {
    match outcome {
        Ok(message) => super::shown(message)
            .contains(id)
            .then(|| format!("told: {}", super::shown(message))),
        Err(status) => Some(format!("{status:?}")),
    }
}

fn methods() -> Vec<Method> {
    let methods = Api::methods().into_iter();
    methods.filter(|method| !is_internal(method)).collect()
}

/// The ids in an RPC's request, but for its own.
fn ids_of(method: &Method) -> Vec<(String, Field)> {
    let request = method.input();
    let fields = Field::all(method).into_iter().filter(|field| {
        let name = field.descriptor().name();
        (name.ends_with("_id") || name.ends_with("_ids")) && name != "request_id"
    });
    fields
        .map(|field| (format!("{}.{}", request.name(), field.name()), field))
        .collect()
}

fn part_of(name: &str) -> Option<Part> {
    PARTS.iter().find(|(line, _)| *line == name).map(|(_, part)| *part)
}
