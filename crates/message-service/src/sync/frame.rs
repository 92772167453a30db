//! What a stream or a page tells: entries of logs with their content, and what stands for entries that are left out.

use std::sync::Arc;

use tidings_ids::{AudienceId, ChatId, LogId, MessageId, UserId};
use tidings_proto_common::v1::ErrorReason;
use time::OffsetDateTime;

use crate::message::{Message, Metadata};

/// Whose log a position is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    Chat(ChatId),
    /// The follower's own user log.
    User,
}

/// One thing that a follower is told. The numbers of heartbeats and closings are those of what was told before, and are put in when
/// the frame leaves.
#[derive(Debug, Clone)]
pub(crate) enum Frame {
    Opened {
        log_id: LogId,
        user_position: i64,
        reset: bool,
    },
    Snapshot(Box<Snapshot>),
    ChatEntry(Arc<ChatEntry>),
    UserEntry(Box<UserEntry>),
    Skipped(Skipped),
    Left {
        chat_id: ChatId,
        last_visible_position: i64,
    },
    CaughtUp,
    Heartbeat,
    Closing(ErrorReason),
}

/// An entry of a chat's log with its content as it was when read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChatEntry {
    pub(crate) chat_id: ChatId,
    pub(crate) position: i64,
    pub(crate) actor_id: UserId,
    pub(crate) create_time: OffsetDateTime,
    pub(crate) event: ChatEvent,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ChatEvent {
    Message {
        change: MessageChange,
        /// The message's place, which decides who may see the entry.
        sequence: i64,
        /// `None` when the message is no longer kept.
        message: Option<Arc<Message>>,
    },
    ChatCreated(Arc<ChatState>),
    ChatUpdated(Arc<ChatState>),
    ChatDeleted,
    MemberJoined(MemberState),
    MemberUpdated(MemberState),
    MemberRemoved {
        user_id: UserId,
        /// A number of `common.v1.RemovalReason`.
        reason: i16,
    },
    /// Of a kind that a newer version writes: told without its content, so that positions stay whole.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageChange {
    Created,
    Updated,
    Deleted,
}

/// What an entry is about. Content is shared by all entries with one subject, as it is always the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Message(i64),
    Chat,
    Member(UserId),
}

/// A chat as its log tells it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChatState {
    pub(crate) chat_id: ChatId,
    pub(crate) audience_id: AudienceId,
    /// A number of `common.v1.ChatKind`.
    pub(crate) kind: i16,
    pub(crate) title: String,
    pub(crate) archived: bool,
    pub(crate) metadata: Metadata,
    /// A number of `common.v1.ChatHistory`.
    pub(crate) history: i16,
    pub(crate) slow_mode_interval_secs: i32,
    pub(crate) create_time: OffsetDateTime,
    pub(crate) assistant_user_id: Option<UserId>,
    pub(crate) session_number: Option<i64>,
    pub(crate) revision: i64,
}

/// A member as a chat's log tells it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MemberState {
    pub(crate) user_id: UserId,
    /// A number of `common.v1.ChatRole`.
    pub(crate) role: i16,
    pub(crate) mute_end_time: Option<OffsetDateTime>,
    pub(crate) create_time: OffsetDateTime,
    pub(crate) revision: i64,
}

/// An entry of a user log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UserEntry {
    pub(crate) position: i64,
    pub(crate) actor_id: UserId,
    pub(crate) chat_id: ChatId,
    pub(crate) create_time: OffsetDateTime,
    pub(crate) event: UserEvent,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum UserEvent {
    /// With the chat and the membership as they are now, unless that has ended.
    Joined(Option<(Arc<ChatState>, MemberState)>),
    Left {
        last_visible_position: i64,
        /// A number of `common.v1.RemovalReason`.
        reason: i16,
    },
    Hidden {
        message_id: MessageId,
        sequence: i64,
    },
    /// Of a kind that a newer version writes.
    Unknown,
}

/// A range of positions that is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) log: Log,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) reason: SkipReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SkipReason {
    /// No longer kept.
    Retention,
    /// From before the follower's latest joining, or changed after the follower's removal.
    NotVisible,
    /// The follower deleted the message for oneself.
    Hidden,
}

/// One chat as one statement saw it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) chat: Arc<ChatState>,
    pub(crate) member: MemberState,
    pub(crate) position: i64,
    pub(crate) last_sequence: i64,
    /// What of the logs the follower may see.
    pub(crate) view: View,
    /// Exact up to 1,000.
    pub(crate) unread_count: i32,
    /// Whether there may be more.
    pub(crate) unread_capped: bool,
    pub(crate) member_count: i32,
    /// The last messages, oldest first.
    pub(crate) messages: Vec<Message>,
    /// Whether the client must drop what it has of the chat.
    pub(crate) reset: bool,
}

/// What of a chat a member may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    /// The floors of what is kept …
    pub(crate) kept_position: i64,
    pub(crate) kept_sequence: i64,
    /// … and of what is kept and visible.
    pub(crate) first_position: i64,
    pub(crate) first_sequence: i64,
    /// Where the latest joining stands.
    pub(crate) joined_position: i64,
    /// Whether the member has deleted any message of the chat for oneself.
    pub(crate) has_hidden: bool,
}

impl ChatEntry {
    /// What the entry's content is the newest state of. Entries that carry ids only have no subject.
    pub(crate) fn subject(&self) -> Option<Subject> {
        match &self.event {
            ChatEvent::Message { sequence, .. } => Some(Subject::Message(*sequence)),
            ChatEvent::ChatCreated(_) | ChatEvent::ChatUpdated(_) => Some(Subject::Chat),
            ChatEvent::MemberJoined(member) | ChatEvent::MemberUpdated(member) => Some(Subject::Member(member.user_id)),
            ChatEvent::ChatDeleted | ChatEvent::MemberRemoved { .. } | ChatEvent::Unknown => None,
        }
    }

    /// Whether the chat ends for this user here.
    pub(crate) fn ends_for(&self, user_id: UserId) -> bool {
        match &self.event {
            ChatEvent::ChatDeleted => true,
            ChatEvent::MemberRemoved { user_id: removed, .. } => *removed == user_id,
            _ => false,
        }
    }
}

impl UserEntry {
    fn weight(&self) -> usize {
        match &self.event {
            UserEvent::Joined(Some((chat, _))) => SMALL + chat.weight(),
            _ => SMALL,
        }
    }
}

/// About what an entry's ids, numbers and times take, on the wire and in memory.
const SMALL: usize = 256;

impl Frame {
    /// About how many bytes the frame takes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Snapshot(snapshot) => {
                SMALL + snapshot.chat.weight() + snapshot.messages.iter().map(message_weight).sum::<usize>()
            }
            Self::ChatEntry(entry) => entry.weight(),
            Self::UserEntry(entry) => entry.weight(),
            Self::Opened { .. }
            | Self::Skipped(_)
            | Self::Left { .. }
            | Self::CaughtUp
            | Self::Heartbeat
            | Self::Closing(_) => SMALL / 4,
        }
    }
}

impl ChatEntry {
    /// About how many bytes the entry takes.
    pub(crate) fn weight(&self) -> usize {
        match &self.event {
            ChatEvent::Message {
                message: Some(message), ..
            } => SMALL + message_weight(message),
            ChatEvent::ChatCreated(chat) | ChatEvent::ChatUpdated(chat) => SMALL + chat.weight(),
            _ => SMALL,
        }
    }
}

impl ChatState {
    fn weight(&self) -> usize {
        SMALL + self.title.len() + metadata_weight(&self.metadata)
    }
}

fn message_weight(message: &Message) -> usize {
    let attachments = message
        .attachments
        .iter()
        .map(|attachment| SMALL + attachment.file_name.len())
        .sum::<usize>();
    let metadata = message
        .row
        .metadata
        .as_ref()
        .map_or(0, |metadata| metadata_weight(&metadata.0));
    SMALL + message.row.body.len() + metadata + attachments
}

fn metadata_weight(metadata: &Metadata) -> usize {
    metadata.iter().map(|(key, value)| key.len() + value.len() + 8).sum()
}
