//! Entries of a user's own log.

use std::sync::Arc;

use sqlx::types::Json;
use tidings_db::{Error, Pool};
use tidings_ids::{AudienceId, ChatId, MessageId, UserId};
use time::OffsetDateTime;

use crate::{
    message::Metadata,
    sync::{
        frame::{ChatState, MemberState, UserEntry, UserEvent},
        reader::UserEntries,
    },
};

/// An entry, with the chat and the membership where it tells of a joining that still holds.
struct EntryRow {
    position: i64,
    kind: i16,
    actor_id: UserId,
    chat_id: ChatId,
    chat_position: Option<i64>,
    reason: Option<i16>,
    message_id: Option<MessageId>,
    sequence: Option<i64>,
    create_time: OffsetDateTime,

    audience_id: Option<AudienceId>,
    chat_kind: Option<i16>,
    history: Option<i16>,
    archived: Option<bool>,
    slow_mode_interval_secs: Option<i32>,
    assistant_user_id: Option<UserId>,
    title: Option<String>,
    metadata: Option<Json<Metadata>>,
    session_number: Option<i64>,
    chat_create_time: Option<OffsetDateTime>,
    chat_revision: Option<i64>,
    role: Option<i16>,
    mute_end_time: Option<OffsetDateTime>,
    join_time: Option<OffsetDateTime>,
    member_revision: Option<i64>,
}

/// The user's entries from after a position.
pub(super) async fn user_entries(
    pool: &Pool,
    user_id: UserId,
    after: i64,
    count_max: i64,
) -> Result<UserEntries, Error> {
    let rows = sqlx::query_as!(
        EntryRow,
        r#"
        select
            l.position, l.kind, l.actor_id, l.chat_id, l.chat_position, l.reason, l.message_id, l.sequence, l.create_time,
            c.audience_id as "audience_id?: AudienceId", c.kind as "chat_kind?", c.history as "history?",
            c.archived as "archived?", c.slow_mode_interval_secs as "slow_mode_interval_secs?",
            c.assistant_user_id as "assistant_user_id?: UserId", c.title as "title?",
            c.metadata as "metadata?: Json<Metadata>", c.session_number as "session_number?",
            c.chat_create_time as "chat_create_time?", c.chat_revision as "chat_revision?", c.role as "role?",
            c.mute_end_time as "mute_end_time?", c.join_time as "join_time?", c.member_revision as "member_revision?"
        from messages.user_changes l
        left join lateral (
            select
                a.audience_id, a.kind, a.history, a.archived, a.slow_mode_interval_secs, a.assistant_user_id, a.role,
                a.mute_end_time, f.title, f.metadata, f.session_number, f.create_time as chat_create_time,
                f.revision as chat_revision, m.create_time as join_time, m.revision as member_revision
            from messages.access a
            join messages.chat_facts f on f.chat_id = a.chat_id
            join messages.members m on m.audience_id = a.audience_id and m.user_id = a.user_id
            where l.kind = 30 and a.chat_id = l.chat_id and a.user_id = $1
            limit 1
        ) c on true
        where l.user_id = $1 and l.position > $2
        order by l.position
        limit $3
        "#,
        user_id.uuid(),
        after,
        count_max,
    )
    .fetch_all(pool)
    .await?;
    // Asked afterwards: the floor moves before anything below it is dropped, so it explains whatever is missing above.
    let first_position = sqlx::query_scalar!(
        "select first_position from messages.user_logs where user_id = $1",
        user_id.uuid()
    )
    .fetch_optional(pool)
    .await?;
    let more = i64::try_from(rows.len()).unwrap_or(i64::MAX) == count_max;
    let entries = rows.into_iter().map(|row| row.entry(user_id)).collect();
    Ok(UserEntries {
        entries,
        first_position: first_position.unwrap_or(1),
        more,
    })
}

impl EntryRow {
    fn entry(self, user_id: UserId) -> UserEntry {
        UserEntry {
            position: self.position,
            actor_id: self.actor_id,
            chat_id: self.chat_id,
            create_time: self.create_time,
            event: self.event(user_id),
        }
    }

    fn event(self, user_id: UserId) -> UserEvent {
        match self.kind {
            30 => UserEvent::Joined(self.joined(user_id)),
            31 => UserEvent::Left {
                last_visible_position: self.chat_position.unwrap_or(0),
                reason: self.reason.unwrap_or_default(),
            },
            32 => match (self.message_id, self.sequence) {
                (Some(message_id), Some(sequence)) => UserEvent::Hidden { message_id, sequence },
                _ => UserEvent::Unknown,
            },
            _ => UserEvent::Unknown,
        }
    }

    fn joined(self, user_id: UserId) -> Option<(Arc<ChatState>, MemberState)> {
        let chat = ChatState {
            chat_id: self.chat_id,
            audience_id: self.audience_id?,
            kind: self.chat_kind?,
            title: self.title?,
            archived: self.archived?,
            metadata: self.metadata.map(|metadata| metadata.0).unwrap_or_default(),
            history: self.history?,
            slow_mode_interval_secs: self.slow_mode_interval_secs?,
            create_time: self.chat_create_time?,
            assistant_user_id: self.assistant_user_id,
            session_number: self.session_number,
            revision: self.chat_revision?,
        };
        let member = MemberState {
            user_id,
            role: self.role?,
            mute_end_time: self.mute_end_time,
            create_time: self.join_time?,
            revision: self.member_revision?,
        };
        Some((Arc::new(chat), member))
    }
}
