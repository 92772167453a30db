//! Entries of one chat's log with their content as it is now.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use sqlx::types::Json;
use tidings_db::{Error, Pool};
use tidings_ids::{AttachmentId, AudienceId, ChatId, MessageId, UserId};
use time::OffsetDateTime;

use crate::{
    message::{Message, MessageRow, Metadata},
    read,
    sync::{
        frame::{ChatEntry, ChatEvent, ChatState, MemberState, MessageChange},
        reader::{Entries, Range},
    },
};

/// An entry with the row of what it is about: one of the three groups of columns, or none.
struct EntryRow {
    position: i64,
    kind: i16,
    actor_id: UserId,
    change_time: OffsetDateTime,
    sequence: Option<i64>,
    subject_id: Option<UserId>,
    reason: Option<i16>,
    /// Entries that the range has, before bytes bound them.
    total: i64,

    message_id: Option<MessageId>,
    sender_id: Option<UserId>,
    message_type: Option<i16>,
    body: Option<String>,
    message_metadata: Option<Json<Metadata>>,
    reply_to_message_id: Option<MessageId>,
    attachment_ids: Option<Vec<AttachmentId>>,
    response_to_message_id: Option<MessageId>,
    response_state: Option<i16>,
    response_finish_time: Option<OffsetDateTime>,
    message_revision: Option<i64>,
    create_time: Option<OffsetDateTime>,
    update_time: Option<OffsetDateTime>,
    delete_time: Option<OffsetDateTime>,
    original_time: Option<OffsetDateTime>,
    external_id: Option<String>,

    audience_id: Option<AudienceId>,
    chat_kind: Option<i16>,
    history: Option<i16>,
    archived: Option<bool>,
    slow_mode_interval_secs: Option<i32>,
    assistant_user_id: Option<UserId>,
    title: Option<String>,
    chat_metadata: Option<Json<Metadata>>,
    session_number: Option<i64>,
    chat_create_time: Option<OffsetDateTime>,
    chat_revision: Option<i64>,

    role: Option<i16>,
    mute_end_time: Option<OffsetDateTime>,
    join_time: Option<OffsetDateTime>,
    member_revision: Option<i64>,
}

/// The entries of the range, in one statement, so that what stands in one log entry is never older than what stands in another.
pub(super) async fn entries(pool: &Pool, chat_id: ChatId, range: Range) -> Result<Entries, Error> {
    let rows = sqlx::query_as!(
        EntryRow,
        r#"
        with log as materialized (
            select l.position, l.kind, l.actor_id, l.create_time, l.sequence, l.user_id, l.reason
            from messages.changes l
            where l.chat_id = $1 and l.position > $2 and l.position <= $3
            order by l.position
            limit $4
        ), joined as (
            select
                l.position, l.kind, l.actor_id, l.create_time as change_time, l.sequence as entry_sequence, l.user_id, l.reason,
                count(*) over () as total,
                coalesce(
                    sum(coalesce(octet_length(m.body), 0) + coalesce(pg_column_size(m.metadata), 0) + 256)
                        over (order by l.position rows between unbounded preceding and 1 preceding),
                    0) as bytes_before,
                m.*
            from log l
            left join lateral (
                select
                    m.message_id, m.sender_id, m.type, m.body, m.metadata, m.reply_to_message_id, m.attachment_ids,
                    m.response_to_message_id, m.response_state, m.response_finish_time, m.revision, m.create_time,
                    m.update_time, m.delete_time, m.original_time, m.external_id
                from messages.messages m
                where l.kind between 10 and 12 and m.chat_id = $1 and m.sequence = l.sequence
                limit 1
            ) m on true
        )
        select
            j.position as "position!", j.kind as "kind!", j.actor_id as "actor_id!: UserId",
            j.change_time as "change_time!", j.entry_sequence as "sequence?", j.user_id as "subject_id?: UserId",
            j.reason as "reason?", j.total as "total!",
            j.message_id as "message_id?: MessageId", j.sender_id as "sender_id?: UserId", j.type as "message_type?",
            j.body as "body?", j.metadata as "message_metadata?: Json<Metadata>",
            j.reply_to_message_id as "reply_to_message_id?: MessageId",
            j.attachment_ids as "attachment_ids?: Vec<AttachmentId>",
            j.response_to_message_id as "response_to_message_id?: MessageId", j.response_state as "response_state?",
            j.response_finish_time as "response_finish_time?", j.revision as "message_revision?",
            j.create_time as "create_time?", j.update_time as "update_time?", j.delete_time as "delete_time?",
            j.original_time as "original_time?", j.external_id as "external_id?",
            c.audience_id as "audience_id?: AudienceId", c.kind as "chat_kind?", c.history as "history?",
            c.archived as "archived?", c.slow_mode_interval_secs as "slow_mode_interval_secs?",
            c.assistant_user_id as "assistant_user_id?: UserId", c.title as "title?",
            c.metadata as "chat_metadata?: Json<Metadata>", c.session_number as "session_number?",
            c.create_time as "chat_create_time?", c.revision as "chat_revision?",
            p.role as "role?", p.mute_end_time as "mute_end_time?", p.create_time as "join_time?",
            p.revision as "member_revision?"
        from joined j
        left join lateral (
            select
                c.audience_id, c.kind, c.history, c.archived, c.slow_mode_interval_secs, c.assistant_user_id,
                f.title, f.metadata, f.session_number, f.create_time, f.revision
            from messages.chats c
            join messages.chat_facts f on f.chat_id = c.chat_id
            where j.kind in (13, 14) and c.chat_id = $1
            limit 1
        ) c on true
        left join lateral (
            select p.role, p.mute_end_time, p.create_time, p.revision
            from messages.chats c
            join messages.members p on p.audience_id = c.audience_id
            where j.kind in (16, 17) and c.chat_id = $1 and p.user_id = j.user_id
            limit 1
        ) p on true
        where j.bytes_before < $5
        order by j.position
        "#,
        chat_id.uuid(),
        range.after,
        range.last,
        range.count_max,
        range.bytes_max as _,
    )
    .fetch_all(pool)
    .await?;
    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let more = rows
        .first()
        .is_some_and(|row| count < row.total || row.total == range.count_max);
    Ok(Entries {
        entries: complete(pool, chat_id, rows).await?,
        more,
    })
}

/// Adds the attachments of the messages.
async fn complete(pool: &Pool, chat_id: ChatId, mut rows: Vec<EntryRow>) -> Result<Vec<Arc<ChatEntry>>, Error> {
    // By sequence: several entries about one message have one content.
    let messages: BTreeMap<i64, MessageRow> = rows
        .iter_mut()
        .filter_map(|row| row.take_message(chat_id))
        .map(|row| (row.sequence, row))
        .collect();
    let messages = read::complete(pool, messages.into_values().collect()).await?;
    let messages: HashMap<i64, Arc<Message>> = messages
        .into_iter()
        .map(|message| (message.row.sequence, Arc::new(message)))
        .collect();
    Ok(rows
        .into_iter()
        .map(|row| {
            let message = row.sequence.and_then(|sequence| messages.get(&sequence).cloned());
            let (position, actor_id, create_time) = (row.position, row.actor_id, row.change_time);
            let event = row.event(chat_id, message);
            Arc::new(ChatEntry {
                chat_id,
                position,
                actor_id,
                create_time,
                event,
            })
        })
        .collect())
}

impl EntryRow {
    fn take_message(&mut self, chat_id: ChatId) -> Option<MessageRow> {
        Some(MessageRow {
            chat_id,
            sequence: self.sequence?,
            message_id: self.message_id?,
            sender_id: self.sender_id?,
            kind: self.message_type?,
            body: self.body.take()?,
            metadata: self.message_metadata.take(),
            reply_to_message_id: self.reply_to_message_id,
            attachment_ids: self.attachment_ids.take(),
            response_to_message_id: self.response_to_message_id,
            response_state: self.response_state,
            response_finish_time: self.response_finish_time,
            revision: self.message_revision?,
            create_time: self.create_time?,
            update_time: self.update_time,
            delete_time: self.delete_time,
            original_time: self.original_time,
            external_id: self.external_id.take(),
            hidden: false,
        })
    }

    fn event(self, chat_id: ChatId, message: Option<Arc<Message>>) -> ChatEvent {
        let of_message = |change| match self.sequence {
            Some(sequence) => ChatEvent::Message {
                change,
                sequence,
                message,
            },
            None => ChatEvent::Unknown,
        };
        match self.kind {
            10 => of_message(MessageChange::Created),
            11 => of_message(MessageChange::Updated),
            12 => of_message(MessageChange::Deleted),
            13 => self
                .chat(chat_id)
                .map_or(ChatEvent::Unknown, |chat| ChatEvent::ChatCreated(Arc::new(chat))),
            14 => self
                .chat(chat_id)
                .map_or(ChatEvent::Unknown, |chat| ChatEvent::ChatUpdated(Arc::new(chat))),
            15 => ChatEvent::ChatDeleted,
            16 => self.member().map_or(ChatEvent::Unknown, ChatEvent::MemberJoined),
            17 => self.member().map_or(ChatEvent::Unknown, ChatEvent::MemberUpdated),
            18 => match self.subject_id {
                Some(user_id) => ChatEvent::MemberRemoved {
                    user_id,
                    reason: self.reason.unwrap_or_default(),
                },
                None => ChatEvent::Unknown,
            },
            _ => ChatEvent::Unknown,
        }
    }

    fn chat(self, chat_id: ChatId) -> Option<ChatState> {
        Some(ChatState {
            chat_id,
            audience_id: self.audience_id?,
            kind: self.chat_kind?,
            title: self.title?,
            archived: self.archived?,
            metadata: self.chat_metadata.map(|metadata| metadata.0).unwrap_or_default(),
            history: self.history?,
            slow_mode_interval_secs: self.slow_mode_interval_secs?,
            create_time: self.chat_create_time?,
            assistant_user_id: self.assistant_user_id,
            session_number: self.session_number,
            revision: self.chat_revision?,
        })
    }

    fn member(self) -> Option<MemberState> {
        Some(MemberState {
            user_id: self.subject_id?,
            role: self.role?,
            mute_end_time: self.mute_end_time,
            create_time: self.join_time?,
            revision: self.member_revision?,
        })
    }
}
