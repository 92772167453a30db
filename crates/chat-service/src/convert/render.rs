use tidings_ids::{ChatId, GroupId};
use tidings_proto_chat::v1 as proto;
use tidings_proto_common::v1::{ChatHistory, ChatKind};

use super::{role_code, timestamp};
use crate::{
    chat::{Chat, Kind},
    group::Group,
    keeper::etag,
    membership::Member,
    session::{Session, SessionChat},
};

pub(crate) fn group(group: Group) -> proto::Group {
    proto::Group {
        group_id: group.group_id.to_string(),
        display_name: group.display_name,
        description: group.description,
        metadata: group.metadata,
        member_count: group.member_count,
        create_time: Some(timestamp(group.create_time)),
        etag: etag(group.revision),
    }
}

/// A group that a repeated call is about and that its caller may no longer see: which one it was, and nothing else.
pub(crate) fn unseen_group(group_id: GroupId) -> proto::Group {
    proto::Group {
        group_id: group_id.to_string(),
        ..proto::Group::default()
    }
}

pub(crate) fn membership(group_id: GroupId, member: Member) -> proto::Membership {
    proto::Membership {
        group_id: group_id.to_string(),
        user_id: member.user_id.to_string(),
        role: role_code(member.role),
        mute_end_time: member.mute_end_time.map(timestamp),
        create_time: Some(timestamp(member.create_time)),
    }
}

pub(crate) fn chat_member(chat_id: ChatId, member: Member) -> proto::ChatMember {
    proto::ChatMember {
        chat_id: chat_id.to_string(),
        user_id: member.user_id.to_string(),
        role: role_code(member.role),
        mute_end_time: member.mute_end_time.map(timestamp),
        create_time: Some(timestamp(member.create_time)),
    }
}

pub(crate) fn chat(chat: Chat) -> proto::Chat {
    let mut out = proto::Chat {
        chat_id: chat.chat_id.to_string(),
        kind: ChatKind::from(chat.kind.code()).into(),
        title: chat.title,
        metadata: chat.metadata,
        create_time: Some(timestamp(chat.create_time)),
        etag: etag(chat.revision),
        archived: chat.archived,
        history: ChatHistory::from(chat.history).into(),
        ..proto::Chat::default()
    };
    match chat.kind {
        Kind::Direct(low, high) => out.direct_user_ids = vec![low.to_string(), high.to_string()],
        Kind::Group(group_id) => out.group_id = group_id.to_string(),
        Kind::Conversation => {}
        Kind::Session(session) => {
            out.assistant_user_id = session.assistant_user_id.to_string();
            out.session_number = session.number;
        }
    }
    out
}

/// A chat that a repeated call is about and that its caller may no longer see.
pub(crate) fn unseen_chat(chat_id: ChatId) -> proto::Chat {
    proto::Chat {
        chat_id: chat_id.to_string(),
        ..proto::Chat::default()
    }
}

pub(crate) fn session((chat, session): SessionChat) -> proto::ChatSession {
    let Session {
        user_id,
        number,
        assistant_user_id,
        close_time,
    } = session;
    proto::ChatSession {
        chat_id: chat.chat_id.to_string(),
        session_number: number,
        title: chat.title,
        create_time: Some(timestamp(chat.create_time)),
        user_id: user_id.to_string(),
        assistant_user_id: assistant_user_id.to_string(),
        metadata: chat.metadata,
        close_time: close_time.map(timestamp),
        etag: etag(chat.revision),
    }
}

/// A session that a repeated call is about and that is gone.
pub(crate) fn unseen_session(chat_id: ChatId) -> proto::ChatSession {
    proto::ChatSession {
        chat_id: chat_id.to_string(),
        ..proto::ChatSession::default()
    }
}
