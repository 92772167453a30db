//! What the audit trail is told of a change: which call, and which ids it concerned. No titles and no texts.

use std::collections::BTreeSet;

use sqlx::PgConnection;
use tidings_audit::{self as audit, Event};
use tidings_db::{Error, Schema};
use tidings_ids::{ChatId, Source};
use tidings_proto_common::v1::AuditCategory;

use crate::{
    call::Call,
    change::{Change, Removal},
    role::Role,
    store::audiences::Audience,
};

/// The call as an event, to which its subjects are to be added. The name counts where the service does it by itself.
pub(crate) fn event(source: &Source, call: &Call) -> Event {
    Event::of_call(source, AuditCategory::Membership, "chat.upkeep").request(call.request_id())
}

/// Writes an event in the transaction of its effect.
pub(crate) async fn record(tx: &mut PgConnection, event: &Event) -> Result<(), Error> {
    audit::record(tx, Schema::Chats, event).await
}

/// Writes down what a call has done to an audience. A call that changed nothing leaves nothing.
pub(crate) async fn record_changes(
    tx: &mut PgConnection,
    source: &Source,
    call: &Call,
    audience: &Audience,
) -> Result<(), Error> {
    if audience.changes().is_empty() {
        return Ok(());
    }
    let mut event = event(source, call);
    // A chat without a group is its own audience, and is named once.
    let own_chat = |change: &Change| chat_of(change).is_some_and(|chat_id| chat_id.uuid() == audience.id.uuid());
    if !audience.changes().iter().any(own_chat) {
        event = event.subject(audience.id);
    }
    let mut kinds = BTreeSet::new();
    for change in audience.changes() {
        kinds.insert(kind(change));
        event = match change {
            Change::ChatAdded(chat) | Change::ChatUpdated(chat) => event.subject(chat.chat_id),
            Change::ChatRemoved(chat_id) => event.subject(*chat_id),
            Change::MemberPut(member) => event.subject(member.user_id),
            Change::MemberRemoved { user_id, .. } => event.subject(*user_id),
            Change::ChatBlocked { chat_id, .. } => event.subject(*chat_id),
            Change::AudienceRemoved => event,
        };
    }
    if let [Change::MemberPut(member)] = audience.changes() {
        event = event.detail("role", role(member.role));
    }
    let kinds: Vec<&str> = kinds.into_iter().collect();
    record(tx, &event.detail("changes", kinds.join(","))).await
}

fn chat_of(change: &Change) -> Option<ChatId> {
    match change {
        Change::ChatAdded(chat) | Change::ChatUpdated(chat) => Some(chat.chat_id),
        Change::ChatRemoved(chat_id) | Change::ChatBlocked { chat_id, .. } => Some(*chat_id),
        Change::MemberPut(_) | Change::MemberRemoved { .. } | Change::AudienceRemoved => None,
    }
}

fn kind(change: &Change) -> &'static str {
    match change {
        Change::ChatAdded(_) => "chat_added",
        Change::ChatUpdated(_) => "chat_updated",
        Change::ChatRemoved(_) => "chat_removed",
        Change::ChatBlocked { .. } => "chat_blocked",
        Change::MemberPut(_) => "member_put",
        Change::MemberRemoved {
            removal: Removal::Removed,
            ..
        } => "member_removed",
        Change::MemberRemoved { .. } => "member_left",
        Change::AudienceRemoved => "audience_removed",
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Member => "member",
        Role::Admin => "admin",
        Role::Owner => "owner",
    }
}
