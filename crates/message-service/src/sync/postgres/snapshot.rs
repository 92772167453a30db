//! One chat as one statement sees it.

use std::sync::Arc;

use sqlx::types::Json;
use tidings_db::{Error, Pool};
use tidings_ids::{AttachmentId, AudienceId, ChatId, MessageId, UserId};
use time::OffsetDateTime;

use crate::{
    message::{MessageRow, Metadata},
    read,
    sync::frame::{ChatState, MemberState, Snapshot, View},
};

/// The chat as this user sees it, with one of the last messages; one row without a message where there is none. The chat's own columns
/// are on the first row only.
struct SnapshotRow {
    audience_id: AudienceId,
    kind: i16,
    history: i16,
    archived: bool,
    slow_mode_interval_secs: i32,
    assistant_user_id: Option<UserId>,
    title: Option<String>,
    metadata: Option<Json<Metadata>>,
    session_number: Option<i64>,
    chat_create_time: OffsetDateTime,
    chat_revision: i64,
    role: i16,
    mute_end_time: Option<OffsetDateTime>,
    join_time: OffsetDateTime,
    member_revision: i64,
    last_position: i64,
    last_sequence: i64,
    kept_position: i64,
    kept_sequence: i64,
    first_position: i64,
    first_sequence: i64,
    joined_position: i64,
    has_hidden: bool,
    unread_count: i32,
    unread_capped: bool,
    member_count: i32,

    sequence: Option<i64>,
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
}

/// Once the newest messages of a snapshot have so many bytes, no older one is added: a stalled follower may hold one snapshot in its
/// outbox and one besides, and all that may be 1 MiB with what the transport holds (`reliability.md`, G12).
const BYTES_MAX: i64 = 192 * 1024;

/// The chat as the user sees it, with the last 50 messages, or fewer where they are large; `None` when the user may not.
pub(super) async fn snapshot(pool: &Pool, user_id: UserId, chat_id: ChatId) -> Result<Option<Snapshot>, Error> {
    let rows = sqlx::query_as!(
        SnapshotRow,
        r#"
        with chat as materialized (
            select
                a.chat_id, a.user_id, a.audience_id, a.kind, a.history, a.archived, a.slow_mode_interval_secs,
                a.assistant_user_id, a.role, a.mute_end_time, a.last_position, a.last_sequence, a.kept_position,
                a.kept_sequence, a.first_position, a.first_sequence,
                f.title, f.metadata, f.session_number, f.create_time as chat_create_time, f.revision as chat_revision,
                p.create_time as join_time, p.revision as member_revision,
                coalesce(v.first_position, 1) as joined_position,
                u.unread_count, u.is_capped as unread_capped,
                exists (
                    select
                    from messages.hidden_messages h
                    where h.chat_id = a.chat_id and h.user_id = a.user_id
                ) as has_hidden,
                (
                    select count(*)
                    from messages.members o
                    join messages.chats c on c.chat_id = a.chat_id
                    where o.audience_id = a.audience_id and not o.removed and o.joined_number <= c.audience_number
                )::integer as member_count
            from messages.access a
            join messages.chat_facts f on f.chat_id = a.chat_id
            join messages.members p on p.audience_id = a.audience_id and p.user_id = a.user_id
            left join messages.chat_members v on v.chat_id = a.chat_id and v.user_id = a.user_id
            cross join lateral messages.unread(
                a.chat_id, a.user_id, greatest(a.read_sequence, a.first_sequence - 1), a.last_sequence) u
            where a.chat_id = $1 and a.user_id = $2
        ), newest as (
            select
                m.sequence, m.message_id, m.sender_id, m.type, m.body, m.metadata, m.reply_to_message_id, m.attachment_ids,
                m.response_to_message_id, m.response_state, m.response_finish_time, m.revision, m.create_time,
                m.update_time, m.delete_time, m.original_time, m.external_id
            from messages.messages m
            where m.chat_id = $1
              and m.sequence >= (select c.first_sequence from chat c)
              and not exists (
                  select
                  from messages.hidden_messages h
                  where h.chat_id = $1 and h.user_id = $2 and h.sequence = m.sequence
              )
            order by m.sequence desc
            limit 50
        ), last as (
            select
                m.*,
                coalesce(
                    sum(octet_length(m.body) + coalesce(pg_column_size(m.metadata), 0)
                            + 512 * coalesce(cardinality(m.attachment_ids), 0) + 256)
                        over (order by m.sequence desc rows between unbounded preceding and 1 preceding),
                    0) as bytes_after
            from newest m
        )
        select
            c.audience_id as "audience_id!: AudienceId", c.kind as "kind!", c.history as "history!",
            c.archived as "archived!", c.slow_mode_interval_secs as "slow_mode_interval_secs!",
            c.assistant_user_id as "assistant_user_id?: UserId", c.title as "title?",
            c.metadata as "metadata?: Json<Metadata>", c.session_number as "session_number?",
            c.chat_create_time as "chat_create_time!", c.chat_revision as "chat_revision!", c.role as "role!",
            c.mute_end_time as "mute_end_time?", c.join_time as "join_time!", c.member_revision as "member_revision!",
            c.last_position as "last_position!", c.last_sequence as "last_sequence!",
            c.kept_position as "kept_position!", c.kept_sequence as "kept_sequence!",
            c.first_position as "first_position!", c.first_sequence as "first_sequence!",
            c.joined_position as "joined_position!", c.has_hidden as "has_hidden!", c.unread_count as "unread_count!",
            c.unread_capped as "unread_capped!", c.member_count as "member_count!",
            m.sequence as "sequence?", m.message_id as "message_id?: MessageId", m.sender_id as "sender_id?: UserId",
            m.type as "message_type?", m.body as "body?", m.metadata as "message_metadata?: Json<Metadata>",
            m.reply_to_message_id as "reply_to_message_id?: MessageId",
            m.attachment_ids as "attachment_ids?: Vec<AttachmentId>",
            m.response_to_message_id as "response_to_message_id?: MessageId", m.response_state as "response_state?",
            m.response_finish_time as "response_finish_time?", m.revision as "message_revision?",
            m.create_time as "create_time?", m.update_time as "update_time?", m.delete_time as "delete_time?",
            m.original_time as "original_time?", m.external_id as "external_id?"
        from chat c
        left join last m on m.bytes_after < $3
        order by m.sequence
        "#,
        chat_id.uuid(),
        user_id.uuid(),
        BYTES_MAX as _,
    )
    .fetch_all(pool)
    .await?;
    let mut rows = rows.into_iter().peekable();
    let Some(mut snapshot) = rows.peek_mut().and_then(|row| row.take_chat(chat_id, user_id)) else {
        return Ok(None);
    };
    let messages = rows.filter_map(|row| row.message(chat_id)).collect();
    snapshot.messages = read::complete(pool, messages).await?;
    Ok(Some(snapshot))
}

impl SnapshotRow {
    fn take_chat(&mut self, chat_id: ChatId, user_id: UserId) -> Option<Snapshot> {
        Some(Snapshot {
            chat: Arc::new(ChatState {
                chat_id,
                audience_id: self.audience_id,
                kind: self.kind,
                title: self.title.take()?,
                archived: self.archived,
                metadata: self.metadata.take().map(|metadata| metadata.0).unwrap_or_default(),
                history: self.history,
                slow_mode_interval_secs: self.slow_mode_interval_secs,
                create_time: self.chat_create_time,
                assistant_user_id: self.assistant_user_id,
                session_number: self.session_number,
                revision: self.chat_revision,
            }),
            member: MemberState {
                user_id,
                role: self.role,
                mute_end_time: self.mute_end_time,
                create_time: self.join_time,
                revision: self.member_revision,
            },
            position: self.last_position,
            last_sequence: self.last_sequence,
            view: View {
                kept_position: self.kept_position,
                kept_sequence: self.kept_sequence,
                first_position: self.first_position,
                first_sequence: self.first_sequence,
                joined_position: self.joined_position,
                has_hidden: self.has_hidden,
            },
            unread_count: self.unread_count,
            unread_capped: self.unread_capped,
            member_count: self.member_count,
            messages: Vec::new(),
            reset: false,
        })
    }

    fn message(self, chat_id: ChatId) -> Option<MessageRow> {
        Some(MessageRow {
            chat_id,
            sequence: self.sequence?,
            message_id: self.message_id?,
            sender_id: self.sender_id?,
            kind: self.message_type?,
            body: self.body?,
            metadata: self.message_metadata,
            reply_to_message_id: self.reply_to_message_id,
            attachment_ids: self.attachment_ids,
            response_to_message_id: self.response_to_message_id,
            response_state: self.response_state,
            response_finish_time: self.response_finish_time,
            revision: self.message_revision?,
            create_time: self.create_time?,
            update_time: self.update_time,
            delete_time: self.delete_time,
            original_time: self.original_time,
            external_id: self.external_id,
            hidden: false,
        })
    }
}
