//! Frames and entries of logs on the wire.

use std::collections::BTreeMap;

use tidings_ids::ChatId;
use tidings_proto_common::v1::ChatKind;
use tidings_proto_message::v1::{
    self as proto, After, Change, ChatPosition, StreamChangesResponse, SyncChangesResponse, change, skipped,
    stream_changes_response::Frame as Wire,
};

use crate::{
    convert,
    sync::{
        ChatEntry, ChatEvent, ChatState, Frame, Log, MemberState, MessageChange, Page, Progress, Sent, SkipReason,
        Skipped, Snapshot, UserEntry, UserEvent,
    },
};

/// A frame of a stream.
pub(super) fn sent(sent: Sent) -> StreamChangesResponse {
    let frame = match sent {
        Sent::Frame(Frame::Opened {
            log_id,
            user_position,
            reset,
        }) => Some(Wire::Opened(proto::Opened {
            log_id: log_id.to_string(),
            user_position,
            reset,
        })),
        Sent::Frame(Frame::Snapshot(snapshot)) => Some(Wire::Snapshot(self::snapshot(&snapshot))),
        Sent::Frame(Frame::ChatEntry(entry)) => Some(Wire::Change(chat_entry(&entry))),
        Sent::Frame(Frame::UserEntry(entry)) => Some(Wire::Change(user_entry(&entry))),
        Sent::Frame(Frame::Skipped(skipped)) => Some(Wire::Skipped(self::skipped(skipped))),
        Sent::Frame(Frame::Left {
            chat_id,
            last_visible_position,
        }) => Some(Wire::Left(proto::Left {
            chat_id: chat_id.to_string(),
            last_visible_position,
        })),
        // These leave the outbox with their numbers.
        Sent::Frame(Frame::CaughtUp | Frame::Heartbeat | Frame::Closing(_)) => None,
        Sent::CaughtUp { user_position } => Some(Wire::CaughtUp(proto::CaughtUp { user_position })),
        Sent::Heartbeat(progress) => Some(Wire::Heartbeat(proto::Heartbeat {
            user_position: progress.user_position,
            chats: positions(progress.chats.iter()),
        })),
        Sent::Closing(reason, progress) => Some(Wire::Closing(proto::Closing {
            reason: reason.into(),
            positions: Some(after(&progress)),
        })),
    };
    StreamChangesResponse { frame }
}

/// A page of a pull.
pub(super) fn page(page: Page, next_page_token: Option<String>) -> SyncChangesResponse {
    let mut chats: BTreeMap<ChatId, i64> = BTreeMap::new();
    let mut response = SyncChangesResponse {
        reset: page.reset,
        caught_up: next_page_token.is_none(),
        next_page_token: next_page_token.unwrap_or_default(),
        ..SyncChangesResponse::default()
    };
    for frame in &page.frames {
        match frame {
            Frame::Snapshot(snapshot) => {
                chats.insert(snapshot.chat.chat_id, snapshot.position);
                response.snapshots.push(self::snapshot(snapshot));
            }
            Frame::ChatEntry(entry) => {
                chats.insert(entry.chat_id, entry.position);
                response.changes.push(chat_entry(entry));
            }
            Frame::UserEntry(entry) => response.changes.push(user_entry(entry)),
            Frame::Skipped(skipped) => {
                if let Log::Chat(chat_id) = skipped.log {
                    chats.insert(chat_id, skipped.last);
                }
                response.skipped.push(self::skipped(*skipped));
            }
            Frame::Left {
                chat_id,
                last_visible_position,
            } => response.left.push(proto::Left {
                chat_id: chat_id.to_string(),
                last_visible_position: *last_visible_position,
            }),
            Frame::Opened { .. } | Frame::CaughtUp | Frame::Heartbeat | Frame::Closing(_) => {}
        }
    }
    response.positions = Some(After {
        log_id: page.log_id.to_string(),
        user_position: page.user_position,
        chats: positions(chats.iter()),
    });
    response
}

fn after(progress: &Progress) -> After {
    After {
        log_id: progress.log_id.map(|log_id| log_id.to_string()).unwrap_or_default(),
        user_position: progress.user_position,
        chats: positions(progress.chats.iter()),
    }
}

fn positions<'a>(chats: impl Iterator<Item = (&'a ChatId, &'a i64)>) -> Vec<ChatPosition> {
    let position = |(chat_id, position): (&ChatId, &i64)| ChatPosition {
        chat_id: chat_id.to_string(),
        position: *position,
    };
    chats.map(position).collect()
}

fn chat_entry(entry: &ChatEntry) -> Change {
    let kind = match &entry.event {
        ChatEvent::Message { change, message, .. } => {
            let message = message.as_ref().map(|message| convert::message(message));
            Some(match change {
                MessageChange::Created => change::Kind::MessageCreated(proto::MessageCreated { message }),
                MessageChange::Updated => change::Kind::MessageUpdated(proto::MessageUpdated { message }),
                MessageChange::Deleted => change::Kind::MessageDeleted(proto::MessageDeleted { message }),
            })
        }
        ChatEvent::ChatCreated(chat) => Some(change::Kind::ChatCreated(proto::ChatCreated {
            chat: Some(chat_state(chat)),
        })),
        ChatEvent::ChatUpdated(chat) => Some(change::Kind::ChatUpdated(proto::ChatUpdated {
            chat: Some(chat_state(chat)),
        })),
        ChatEvent::ChatDeleted => Some(change::Kind::ChatDeleted(proto::ChatDeleted {})),
        ChatEvent::MemberJoined(member) => Some(change::Kind::MemberJoined(proto::MemberJoined {
            member: Some(member_state(member)),
        })),
        ChatEvent::MemberUpdated(member) => Some(change::Kind::MemberUpdated(proto::MemberUpdated {
            member: Some(member_state(member)),
        })),
        ChatEvent::MemberRemoved { user_id, reason } => Some(change::Kind::MemberRemoved(proto::MemberRemoved {
            user_id: user_id.to_string(),
            reason: i32::from(*reason),
        })),
        ChatEvent::Unknown => None,
    };
    Change {
        scope: Some(change::Scope::ChatId(entry.chat_id.to_string())),
        position: entry.position,
        actor_id: entry.actor_id.to_string(),
        change_time: Some(convert::timestamp(entry.create_time)),
        kind,
    }
}

fn user_entry(entry: &UserEntry) -> Change {
    let chat_id = entry.chat_id.to_string();
    let kind = match &entry.event {
        UserEvent::Joined(Some((chat, member))) => Some(change::Kind::ChatJoined(proto::ChatJoined {
            chat: Some(chat_state(chat)),
            member: Some(member_state(member)),
        })),
        UserEvent::Joined(None) => Some(change::Kind::ChatJoined(proto::ChatJoined {
            chat: Some(proto::ChatState {
                chat_id,
                ..proto::ChatState::default()
            }),
            member: None,
        })),
        UserEvent::Left {
            last_visible_position,
            reason,
        } => Some(change::Kind::ChatLeft(proto::ChatLeft {
            chat_id,
            last_visible_position: *last_visible_position,
            reason: i32::from(*reason),
        })),
        UserEvent::Hidden { message_id, sequence } => Some(change::Kind::MessageHidden(proto::MessageHidden {
            chat_id,
            message_id: message_id.to_string(),
            sequence: *sequence,
        })),
        UserEvent::Unknown => None,
    };
    Change {
        scope: Some(change::Scope::UserLog(true)),
        position: entry.position,
        actor_id: entry.actor_id.to_string(),
        change_time: Some(convert::timestamp(entry.create_time)),
        kind,
    }
}

fn skipped(skipped: Skipped) -> proto::Skipped {
    let reason = match skipped.reason {
        SkipReason::Retention => proto::SkipReason::Retention,
        SkipReason::NotVisible => proto::SkipReason::NotVisible,
        SkipReason::Hidden => proto::SkipReason::Hidden,
    };
    let scope = match skipped.log {
        Log::Chat(chat_id) => skipped::Scope::ChatId(chat_id.to_string()),
        Log::User => skipped::Scope::UserLog(true),
    };
    proto::Skipped {
        scope: Some(scope),
        first_position: skipped.first,
        last_position: skipped.last,
        reason: reason.into(),
    }
}

fn snapshot(snapshot: &Snapshot) -> proto::Snapshot {
    proto::Snapshot {
        chat: Some(chat_state(&snapshot.chat)),
        member: Some(member_state(&snapshot.member)),
        position: snapshot.position,
        first_position: snapshot.view.first_position,
        last_sequence: snapshot.last_sequence,
        first_sequence: snapshot.view.first_sequence,
        unread_count: snapshot.unread_count,
        unread_count_capped: snapshot.unread_capped,
        member_count: snapshot.member_count,
        messages: snapshot.messages.iter().map(convert::message).collect(),
        reset: snapshot.reset,
    }
}

fn chat_state(chat: &ChatState) -> proto::ChatState {
    let is_group = i32::from(chat.kind) == i32::from(ChatKind::Group);
    proto::ChatState {
        chat_id: chat.chat_id.to_string(),
        kind: i32::from(chat.kind),
        group_id: if is_group {
            chat.audience_id.to_string()
        } else {
            String::new()
        },
        title: chat.title.clone(),
        archived: chat.archived,
        metadata: chat.metadata.clone(),
        history: i32::from(chat.history),
        slow_mode_interval_secs: u32::try_from(chat.slow_mode_interval_secs).unwrap_or(0),
        create_time: Some(convert::timestamp(chat.create_time)),
        assistant_user_id: chat
            .assistant_user_id
            .map(|user_id| user_id.to_string())
            .unwrap_or_default(),
        session_number: chat.session_number.unwrap_or(0),
        revision: chat.revision,
    }
}

fn member_state(member: &MemberState) -> proto::MemberState {
    proto::MemberState {
        user_id: member.user_id.to_string(),
        role: i32::from(member.role),
        mute_end_time: member.mute_end_time.map(convert::timestamp),
        create_time: Some(convert::timestamp(member.create_time)),
        revision: member.revision,
    }
}
