//! Removes files that no message took in time, and the bytes of files that are removed.

use tidings_db::{Error, Pool};
use tidings_ids::{AttachmentId, ChatId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::media::Objects;

/// Files in one round, so that it never holds rows for long.
const ROUND_MAX: i64 = 100;

/// The sweep of files, which goes on behind those that it tried last: what the store does not delete is in nobody's way.
#[derive(Debug, Default)]
pub(crate) struct Sweeper {
    /// The last removed file that was tried, by its place in the order of times; `None` at the beginning.
    tried: Option<(OffsetDateTime, Uuid)>,
}

/// A removed file whose bytes are in the store.
struct Removed {
    chat_id: ChatId,
    attachment_id: AttachmentId,
    create_time: OffsetDateTime,
}

impl Sweeper {
    /// One round; whether another may find more. `unused_before`: what was announced earlier and is in no message is removed.
    ///
    /// # Errors
    ///
    /// When Postgres cannot be asked. An object that cannot be deleted is tried again when all behind it were tried.
    pub(crate) async fn round(
        &mut self,
        pool: &Pool,
        objects: &Objects,
        unused_before: OffsetDateTime,
    ) -> Result<bool, Error> {
        let expired = expire(pool, unused_before).await?;
        let removed = removed(pool, self.tried).await?;
        let is_full = usize::try_from(ROUND_MAX).is_ok_and(|max| removed.len() >= max);
        let last = removed.last().map(|file| (file.create_time, file.attachment_id.uuid()));
        let mut purged = 0;
        for file in removed {
            if let Err(error) = objects.delete(file.attachment_id).await {
                tracing::warn!(attachment_id = %file.attachment_id, %error, "a removed file cannot be deleted");
                continue;
            }
            set_purged(pool, file.chat_id, file.attachment_id).await?;
            purged += 1;
        }
        self.tried = last.filter(|_| is_full);
        // A store that deletes nothing at all has rest until the next sweep, which goes on from here.
        Ok(expired >= ROUND_MAX.unsigned_abs() || (is_full && purged > 0))
    }
}

/// Removes what no message took; how many there were.
async fn expire(pool: &Pool, unused_before: OffsetDateTime) -> Result<u64, Error> {
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
    .await?;
    Ok(expired.rows_affected())
}

/// The next removed files, the oldest first.
async fn removed(pool: &Pool, after: Option<(OffsetDateTime, Uuid)>) -> Result<Vec<Removed>, Error> {
    let (time, id) = after.unwrap_or((OffsetDateTime::UNIX_EPOCH, Uuid::nil()));
    Ok(sqlx::query_as!(
        Removed,
        "select chat_id, attachment_id, create_time
         from messages.attachments
         where state = 3 and not purged and (create_time, attachment_id) > ($1, $2)
         order by create_time, attachment_id
         limit $3",
        time,
        id,
        ROUND_MAX,
    )
    .fetch_all(pool)
    .await?)
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
