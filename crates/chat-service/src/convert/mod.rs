//! Between the protos and the words of this crate.

mod changes;
mod parse;
mod render;

pub(crate) use changes::audience_change;
pub(crate) use parse::{Mask, history, metadata, new_role};
pub(crate) use render::{chat, chat_member, group, membership, session, unseen_chat, unseen_group, unseen_session};

use tidings_proto_common::v1::{ChatHistory, ChatKind, ChatRole};
use time::OffsetDateTime;

use crate::{
    chat::{History, KindCode},
    role::Role,
};

fn timestamp(time: OffsetDateTime) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.nanosecond()).expect("a second has a billion nanoseconds");
    prost_types::Timestamp {
        seconds: time.unix_timestamp(),
        nanos,
    }
}

fn role_code(role: Role) -> i32 {
    ChatRole::from(role).into()
}

impl From<Role> for ChatRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Member => Self::Member,
            Role::Admin => Self::Admin,
            Role::Owner => Self::Owner,
        }
    }
}

impl From<History> for ChatHistory {
    fn from(history: History) -> Self {
        match history {
            History::Full => Self::Full,
            History::FromJoining => Self::FromJoining,
        }
    }
}

impl From<KindCode> for ChatKind {
    fn from(kind: KindCode) -> Self {
        match kind {
            KindCode::Direct => Self::Direct,
            KindCode::Group => Self::Group,
            KindCode::Conversation => Self::Conversation,
            KindCode::Session => Self::Session,
        }
    }
}
