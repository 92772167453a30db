//! Removes files that no message took in time, and the bytes of files that are removed.

use tidings_db::{Error, Pool};
use tidings_ids::{AttachmentId, ChatId};
use time::OffsetDateTime;

use crate::media::Objects;

/// Files in one round, so that it never holds rows for long.
const ROUND_MAX: i64 = 100;

/// One round; whether another may find more. `unused_before`: what was announced earlier and is in no message is removed.
///
/// # Errors
///
/// When Postgres cannot be asked. An object that cannot be deleted is left for the next round.
pub(crate) async fn sweep(pool: &Pool, objects: &Objects, unused_before: OffsetDateTime) -> Result<bool, Error> {
    let expired = sqlx::query!(
        "update messages.attachments t
         set state = 3
         from (
             select u.chat_id, u.attachment_id
             from messages.attachments u
             where u.message_id is null and u.state <> 3 and u.create_time < $1
             order by u.create_time
             limit $2
             for update skip locked
         ) u
         where t.chat_id = u.chat_id and t.attachment_id = u.attachment_id",
        unused_before,
        ROUND_MAX,
    )
    .execute(pool)
    .await?
    .rows_affected();

    let removed = sqlx::query!(
        "select chat_id, attachment_id
         from messages.attachments
         where state = 3 and not purged
         order by create_time
         limit $1",
        ROUND_MAX,
    )
    .fetch_all(pool)
    .await?;
    let mut purged = 0;
    for file in &removed {
        if let Err(error) = objects.delete(file.attachment_id).await {
            tracing::warn!(attachment_id = %file.attachment_id, %error, "a removed file cannot be deleted");
            continue;
        }
        set_purged(pool, file.chat_id, file.attachment_id).await?;
        purged += 1;
    }
    let full = usize::try_from(ROUND_MAX).unwrap_or(usize::MAX);
    Ok(expired >= ROUND_MAX.unsigned_abs() || (removed.len() >= full && purged > 0))
}

async fn set_purged(pool: &Pool, chat_id: ChatId, id: AttachmentId) -> Result<(), Error> {
    sqlx::query!(
        "update messages.attachments set purged = true where chat_id = $1 and attachment_id = $2",
        chat_id.uuid(),
        id.uuid(),
    )
    .execute(pool)
    .await?;
    Ok(())
}
