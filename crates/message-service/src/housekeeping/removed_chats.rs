//! The end of what is in chats that were removed: messages with their earlier texts, files, titles.
//!
//! Nobody has seen any of it since the removal. What stays are the ids of the chat and of who was in it, by which its end is told to
//! whoever asks later.

use tidings_db::{Error, Pool};
use tidings_ids::ChatId;
use time::OffsetDateTime;

/// Rows that one statement deletes, so that none takes long: of messages with the longest texts 18 MB.
const ROWS_MAX: i64 = 500;

/// A walk over the removed chats, the oldest first; begins again when it comes to the end.
#[derive(Debug, Default)]
pub(super) struct RemovedChats {
    /// The last that was looked at.
    after: Option<Removed>,
}

#[derive(Debug, Clone, Copy)]
struct Removed {
    remove_time: OffsetDateTime,
    chat_id: ChatId,
}

impl RemovedChats {
    /// Erases a portion of one chat that was removed before then; whether there may be more to erase.
    pub(super) async fn round(&mut self, pool: &Pool, before: OffsetDateTime) -> Result<bool, Error> {
        let begin = self.after;
        // Moved on before anything can fail: one chat that always does should not keep the others.
        self.after = next(pool, begin, before).await?;
        let Some(removed) = self.after else { return Ok(false) };
        if erase(pool, removed.chat_id).await? {
            self.after = begin;
        } else {
            close(pool, removed.chat_id).await?;
        }
        Ok(true)
    }
}

/// The next chat whose content is to be erased. Where not all members' logs tell of the removal yet, it is too early.
async fn next(pool: &Pool, after: Option<Removed>, before: OffsetDateTime) -> Result<Option<Removed>, Error> {
    let after = after.unwrap_or(Removed {
        remove_time: OffsetDateTime::UNIX_EPOCH,
        chat_id: ChatId::from_uuid(uuid::Uuid::nil()),
    });
    Ok(sqlx::query_as!(
        Removed,
        r#"
        select f.remove_time as "remove_time!", f.chat_id as "chat_id: ChatId"
        from messages.chat_facts f
        join messages.chats c on c.chat_id = f.chat_id and c.removed and not c.ending
        where f.remove_time < $3 and (f.remove_time, f.chat_id) > ($1, $2)
        order by f.remove_time, f.chat_id
        limit 1
        "#,
        after.remove_time,
        after.chat_id.uuid(),
        before,
    )
    .fetch_optional(pool)
    .await?)
}

/// Erases a portion of everything; whether there may be more. Rows that somebody holds are passed over, so that nodes that sweep at one
/// time do not wait for each other.
async fn erase(pool: &Pool, chat_id: ChatId) -> Result<bool, Error> {
    let id = chat_id.uuid();
    // The floor first, as wherever something is dropped.
    sqlx::query!(
        "update messages.chats set first_sequence = last_sequence + 1 where chat_id = $1 and first_sequence <= last_sequence",
        id,
    )
    .execute(pool)
    .await?;
    // The sweep of files deletes the bytes of what is removed; then the rows go too.
    let files = sqlx::query!(
        "update messages.attachments t
         set state = 3, file_name = ''
         from (
             select o.attachment_id
             from messages.attachments o
             where o.chat_id = $1 and o.state <> 3
             limit $2
             for update skip locked
         ) o
         where t.chat_id = $1 and t.attachment_id = o.attachment_id",
        id,
        ROWS_MAX,
    )
    .execute(pool)
    .await?;
    let purged = sqlx::query!(
        "delete from messages.attachments t
         using (
             select o.attachment_id
             from messages.attachments o
             where o.chat_id = $1 and o.purged
             limit $2
             for update skip locked
         ) o
         where t.chat_id = $1 and t.attachment_id = o.attachment_id",
        id,
        ROWS_MAX,
    )
    .execute(pool)
    .await?;
    let revisions = sqlx::query!(
        "delete from messages.message_revisions t
         using (
             select o.message_id, o.revision
             from messages.message_revisions o
             where o.chat_id = $1
             limit $2
             for update skip locked
         ) o
         where t.chat_id = $1 and t.message_id = o.message_id and t.revision = o.revision",
        id,
        ROWS_MAX,
    )
    .execute(pool)
    .await?;
    let messages = sqlx::query!(
        "delete from messages.messages t
         using (
             select o.sequence
             from messages.messages o
             where o.chat_id = $1
             limit $2
             for update skip locked
         ) o
         where t.chat_id = $1 and t.sequence = o.sequence",
        id,
        ROWS_MAX,
    )
    .execute(pool)
    .await?;
    let hidden = sqlx::query!(
        "delete from messages.hidden_messages t
         using (
             select o.user_id, o.sequence
             from messages.hidden_messages o
             where o.chat_id = $1
             limit $2
             for update skip locked
         ) o
         where t.chat_id = $1 and t.user_id = o.user_id and t.sequence = o.sequence",
        id,
        ROWS_MAX,
    )
    .execute(pool)
    .await?;
    let all = [files, purged, revisions, messages, hidden];
    Ok(all.iter().any(|done| done.rows_affected() >= ROWS_MAX.unsigned_abs()))
}

/// Takes the chat off the list when nothing of its content is left. What somebody holds, and files that the store still has, are for the
/// next walk.
async fn close(pool: &Pool, chat_id: ChatId) -> Result<(), Error> {
    sqlx::query!(
        "update messages.chat_facts f
         set title = '', metadata = null, remove_time = null
         where f.chat_id = $1
           and not exists (select from messages.message_revisions t where t.chat_id = $1)
           and not exists (select from messages.messages t where t.chat_id = $1)
           and not exists (select from messages.hidden_messages t where t.chat_id = $1)
           and not exists (select from messages.attachments t where t.chat_id = $1)",
        chat_id.uuid(),
    )
    .execute(pool)
    .await?;
    Ok(())
}
