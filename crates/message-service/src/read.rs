//! Reading messages. Every statement here joins `messages.access`, so that membership and content are of one snapshot: a caller
//! who is no member gets no rows, whatever the ids are.

use sqlx::{PgExecutor, types::Json};
use tidings_db::{Error, Pool};
use tidings_ids::{AttachmentId, ChatId, MessageId, UserId};

use crate::{
    attachment::AttachmentRow,
    message::{Message, MessageRow, Metadata, with_attachments},
};

/// The messages with these ids that the user may see, in no particular order. Those that the user has hidden are left out.
pub(crate) async fn messages_by_id(
    pool: &Pool,
    chat_id: ChatId,
    user_id: UserId,
    ids: &[MessageId],
) -> Result<Vec<Message>, Error> {
    let mut rows = rows_by_id(pool, chat_id, user_id, ids).await?;
    rows.retain(|row| !row.hidden);
    complete(pool, chat_id, rows).await
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
    Ok(sqlx::query_as!(
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
        from messages.access a
        join messages.messages m on m.chat_id = $1 and m.message_id = any ($3) and m.sequence >= a.first_sequence
        where a.chat_id = $1 and a.user_id = $2
        "#,
        chat_id.uuid(),
        user_id.uuid(),
        &ids,
    )
    .fetch_all(executor)
    .await?)
}

/// The rows with these sequences that the user may see, hidden ones among them, by sequence.
pub(crate) async fn rows_by_sequence(
    executor: impl PgExecutor<'_>,
    chat_id: ChatId,
    user_id: UserId,
    sequences: &[i64],
) -> Result<Vec<MessageRow>, Error> {
    Ok(sqlx::query_as!(
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
        from messages.access a
        join messages.messages m on m.chat_id = $1 and m.sequence = any ($3) and m.sequence >= a.first_sequence
        where a.chat_id = $1 and a.user_id = $2
        order by m.sequence
        "#,
        chat_id.uuid(),
        user_id.uuid(),
        sequences,
    )
    .fetch_all(executor)
    .await?)
}

/// Adds the attachments to rows that were read with the reader's rights.
pub(crate) async fn complete(
    executor: impl PgExecutor<'_>,
    chat_id: ChatId,
    rows: Vec<MessageRow>,
) -> Result<Vec<Message>, Error> {
    let ids: Vec<uuid::Uuid> = rows
        .iter()
        .flat_map(|row| row.attachment_ids.iter().flatten())
        .map(|id| id.uuid())
        .collect();
    if ids.is_empty() {
        return Ok(with_attachments(rows, Vec::new()));
    }
    let attachments = sqlx::query_as!(
        AttachmentRow,
        "select attachment_id, chat_id, uploader_id, file_name, media_type, size_bytes, sha256, state, create_time
         from messages.attachments
         where chat_id = $1 and attachment_id = any ($2)",
        chat_id.uuid(),
        &ids,
    )
    .fetch_all(executor)
    .await?;
    Ok(with_attachments(rows, attachments))
}
