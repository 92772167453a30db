//! Reading messages. Every statement here joins `messages.access`, so that membership and content are of one snapshot: a caller
//! who is no member gets no rows, whatever the ids are.

use sqlx::{PgExecutor, types::Json};
use tidings_db::{Error, Pool};
use tidings_ids::{AttachmentId, ChatId, MessageId, UserId};

pub(crate) use turns::{Prompt, prompts_from, prompts_until, responses_to};

use crate::{
    attachment::AttachmentRow,
    message::{Message, MessageRow, Metadata, with_attachments},
};

/// A checked query for whole messages. `$from` is what follows the columns, in which `m` is `messages.messages` and `a` the reader's
/// `messages.access`.
macro_rules! message_rows {
    ($from:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            MessageRow,
            r#"
            select
                m.chat_id, m.sequence, m.message_id, m.sender_id, m.type as kind, m.body,
                m.metadata as "metadata: Json<Metadata>", m.reply_to_message_id,
                m.attachment_ids as "attachment_ids: Vec<AttachmentId>", m.response_to_message_id, m.response_state,
                m.response_finish_time, m.revision, m.create_time, m.update_time, m.delete_time, m.original_time, m.external_id,
                exists (
                    select
                    from messages.hidden_messages h
                    where h.chat_id = m.chat_id and h.user_id = a.user_id and h.sequence = m.sequence
                ) as "hidden!"
            "# + $from
            $(, $argument)*
        )
    };
}

mod turns;

/// The messages with these ids that the user may see, in no particular order. Those that the user has hidden are left out.
pub(crate) async fn messages_by_id(
    pool: &Pool,
    chat_id: ChatId,
    user_id: UserId,
    ids: &[MessageId],
) -> Result<Vec<Message>, Error> {
    let mut rows = rows_by_id(pool, chat_id, user_id, ids).await?;
    rows.retain(|row| !row.hidden);
    complete(pool, rows).await
}

/// The message with this id, if the user may see it.
pub(crate) async fn message(
    pool: &Pool,
    chat_id: ChatId,
    user_id: UserId,
    id: MessageId,
) -> Result<Option<Message>, Error> {
    Ok(messages_by_id(pool, chat_id, user_id, &[id]).await?.pop())
}

/// The rows with these ids that the user may see, hidden ones among them.
pub(crate) async fn rows_by_id(
    executor: impl PgExecutor<'_>,
    chat_id: ChatId,
    user_id: UserId,
    ids: &[MessageId],
) -> Result<Vec<MessageRow>, Error> {
    let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.uuid()).collect();
    Ok(message_rows!(
        "
        from messages.access a
        join messages.messages m on m.chat_id = $1 and m.message_id = any ($3) and m.sequence >= a.first_sequence
        where a.chat_id = $1 and a.user_id = $2
        ",
        chat_id.uuid(),
        user_id.uuid(),
        &ids,
    )
    .fetch_all(executor)
    .await?)
}

/// A place in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) chat_id: ChatId,
    pub(crate) sequence: i64,
}

/// The messages at these places, of any chats, that the user may see, in no particular order. Those that the user has hidden
/// are left out.
pub(crate) async fn messages_at(pool: &Pool, user_id: UserId, places: &[Place]) -> Result<Vec<Message>, Error> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let chat_ids: Vec<uuid::Uuid> = places.iter().map(|place| place.chat_id.uuid()).collect();
    let sequences: Vec<i64> = places.iter().map(|place| place.sequence).collect();
    let mut rows = message_rows!(
        "
        from unnest($2::uuid[], $3::bigint[]) u(chat_id, sequence)
        join messages.access a on a.chat_id = u.chat_id and a.user_id = $1
        join messages.messages m on m.chat_id = u.chat_id and m.sequence = u.sequence and m.sequence >= a.first_sequence
        ",
        user_id.uuid(),
        &chat_ids,
        &sequences,
    )
    .fetch_all(pool)
    .await?;
    rows.retain(|row| !row.hidden);
    complete(pool, rows).await
}

/// The rows of one chat with sequences from `first` to `last` that the user may see, hidden ones among them, by sequence.
pub(crate) async fn rows_in_range(
    executor: impl PgExecutor<'_>,
    chat_id: ChatId,
    user_id: UserId,
    first: i64,
    last: i64,
) -> Result<Vec<MessageRow>, Error> {
    Ok(message_rows!(
        "
        from messages.access a
        join messages.messages m on m.chat_id = $1 and m.sequence between $3 and $4 and m.sequence >= a.first_sequence
        where a.chat_id = $1 and a.user_id = $2
        order by m.sequence
        ",
        chat_id.uuid(),
        user_id.uuid(),
        first,
        last,
    )
    .fetch_all(executor)
    .await?)
}

/// Adds the attachments to rows that were read with the reader's rights.
pub(crate) async fn complete(executor: impl PgExecutor<'_>, rows: Vec<MessageRow>) -> Result<Vec<Message>, Error> {
    let ids = || {
        rows.iter()
            .flat_map(|row| row.attachment_ids.iter().flatten().map(|id| (row.chat_id, *id)))
    };
    let chat_ids: Vec<uuid::Uuid> = ids().map(|(chat_id, _)| chat_id.uuid()).collect();
    let attachment_ids: Vec<uuid::Uuid> = ids().map(|(_, id)| id.uuid()).collect();
    if attachment_ids.is_empty() {
        return Ok(with_attachments(rows, Vec::new()));
    }
    let attachments = sqlx::query_as!(
        AttachmentRow,
        "select a.attachment_id, a.chat_id, a.uploader_id, a.file_name, a.media_type, a.size_bytes, a.sha256, a.state, a.create_time
         from unnest($1::uuid[], $2::uuid[]) u(chat_id, attachment_id)
         join messages.attachments a on a.chat_id = u.chat_id and a.attachment_id = u.attachment_id",
        &chat_ids,
        &attachment_ids,
    )
    .fetch_all(executor)
    .await?;
    Ok(with_attachments(rows, attachments))
}
