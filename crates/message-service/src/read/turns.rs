//! Responses, and messages with them as pairs.

use sqlx::types::Json;
use tidings_db::{Error, Pool};
use tidings_ids::{AttachmentId, ChatId, MessageId, UserId};
use uuid::Uuid;

use super::complete;
use crate::message::{Message, MessageRow, Metadata};

/// A message that is no response, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prompt {
    pub(crate) sequence: i64,
    pub(crate) message_id: MessageId,
}

/// The first `limit` messages from `first` on that are no responses, tombstones among them, without those that the user has
/// hidden.
pub(crate) async fn prompts_from(
    pool: &Pool,
    chat_id: ChatId,
    user_id: UserId,
    first: i64,
    limit: i64,
) -> Result<Vec<Prompt>, Error> {
    Ok(sqlx::query_as!(
        Prompt,
        r#"
        select m.sequence, m.message_id
        from messages.access a
        join messages.messages m on m.chat_id = $1 and m.sequence >= $3 and m.sequence >= a.first_sequence
        where a.chat_id = $1
          and a.user_id = $2
          and m.response_to_message_id is null
          and not exists (
              select
              from messages.hidden_messages h
              where h.chat_id = m.chat_id and h.user_id = a.user_id and h.sequence = m.sequence
          )
        order by m.sequence
        limit $4
        "#,
        chat_id.uuid(),
        user_id.uuid(),
        first,
        limit,
    )
    .fetch_all(pool)
    .await?)
}

/// The same from `last` on downwards.
pub(crate) async fn prompts_until(
    pool: &Pool,
    chat_id: ChatId,
    user_id: UserId,
    last: i64,
    limit: i64,
) -> Result<Vec<Prompt>, Error> {
    Ok(sqlx::query_as!(
        Prompt,
        r#"
        select m.sequence, m.message_id
        from messages.access a
        join messages.messages m on m.chat_id = $1 and m.sequence <= $3 and m.sequence >= a.first_sequence
        where a.chat_id = $1
          and a.user_id = $2
          and m.response_to_message_id is null
          and not exists (
              select
              from messages.hidden_messages h
              where h.chat_id = m.chat_id and h.user_id = a.user_id and h.sequence = m.sequence
          )
        order by m.sequence desc
        limit $4
        "#,
        chat_id.uuid(),
        user_id.uuid(),
        last,
        limit,
    )
    .fetch_all(pool)
    .await?)
}

/// Up to `limit` responses to these messages with a sequence above `after`, by sequence, without those that the user has hidden.
pub(crate) async fn responses_to(
    pool: &Pool,
    chat_id: ChatId,
    user_id: UserId,
    to: &[MessageId],
    after: i64,
    limit: i64,
) -> Result<Vec<Message>, Error> {
    let to: Vec<Uuid> = to.iter().map(|id| id.uuid()).collect();
    let rows = message_rows!(
        "
        from messages.access a
        join messages.messages m
            on m.chat_id = $1
            and m.response_to_message_id = any ($3)
            and m.sequence > $4
            and m.sequence >= a.first_sequence
        where a.chat_id = $1
          and a.user_id = $2
          and not exists (
              select
              from messages.hidden_messages h
              where h.chat_id = m.chat_id and h.user_id = a.user_id and h.sequence = m.sequence
          )
        order by m.sequence
        limit $5
        ",
        chat_id.uuid(),
        user_id.uuid(),
        &to,
        after,
        limit,
    )
    .fetch_all(pool)
    .await?;
    complete(pool, rows).await
}
