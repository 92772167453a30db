use prost::Message as _;
use tidings_ids::UserId;
use tidings_proto_common::v1::{ChatHistory, ChatKind, RemovalReason};
use tidings_proto_message::v1::{
    AudienceChange, AudienceMemberRemoved, AudienceRemoved, ChatBlocked, ChatFacts, ChatRemoved, MemberPut,
    audience_change::Kind as Told,
};
use time::OffsetDateTime;

use super::{role_code, timestamp};
use crate::{
    change::{Change, Removal},
    chat::{Chat, Kind},
    membership::Member,
};

/// A change as it stands in the outbox and goes to the message service.
pub(crate) fn audience_change(number: i64, actor: UserId, now: OffsetDateTime, change: &Change) -> Vec<u8> {
    let kind = match change {
        Change::ChatAdded(chat) => Told::ChatAdded(facts(chat)),
        Change::ChatUpdated(chat) => Told::ChatUpdated(facts(chat)),
        Change::ChatRemoved(chat_id) => Told::ChatRemoved(ChatRemoved {
            chat_id: chat_id.to_string(),
        }),
        Change::MemberPut(member) => Told::MemberPut(member_put(member)),
        Change::MemberRemoved { user_id, removal } => {
            let reason = match removal {
                Removal::Removed => RemovalReason::Removed,
                Removal::Left => RemovalReason::Left,
            };
            Told::MemberRemoved(AudienceMemberRemoved {
                user_id: user_id.to_string(),
                reason: reason.into(),
            })
        }
        Change::ChatBlocked { chat_id, blocked } => Told::ChatBlocked(ChatBlocked {
            chat_id: chat_id.to_string(),
            blocked: *blocked,
        }),
        Change::AudienceRemoved => Told::AudienceRemoved(AudienceRemoved {}),
    };
    let change = AudienceChange {
        number,
        actor_id: actor.to_string(),
        change_time: Some(timestamp(now)),
        kind: Some(kind),
    };
    change.encode_to_vec()
}

fn member_put(member: &Member) -> MemberPut {
    MemberPut {
        user_id: member.user_id.to_string(),
        role: role_code(member.role),
        mute_end_time: member.mute_end_time.map(timestamp),
        create_time: Some(timestamp(member.create_time)),
    }
}

fn facts(chat: &Chat) -> ChatFacts {
    let mut facts = ChatFacts {
        chat_id: chat.chat_id.to_string(),
        kind: ChatKind::from(chat.kind.code()).into(),
        title: chat.title.clone(),
        archived: chat.archived,
        metadata: chat.metadata.clone(),
        history: ChatHistory::from(chat.history).into(),
        slow_mode_interval_secs: chat.slow_mode_interval_secs,
        create_time: Some(timestamp(chat.create_time)),
        ..ChatFacts::default()
    };
    match &chat.kind {
        Kind::Group(group_id) => facts.group_id = group_id.to_string(),
        Kind::Session(session) => {
            facts.assistant_user_id = session.assistant_user_id.to_string();
            facts.session_number = session.number;
        }
        Kind::Direct(..) | Kind::Conversation => {}
    }
    facts
}
