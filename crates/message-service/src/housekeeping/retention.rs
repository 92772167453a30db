//! The end of old log entries. Only entries end here: what they tell of (messages, memberships) stays.
//!
//! A floor is moved and committed before anything below it is dropped, so that a reader who finds a hole finds the floor above it
//! first, and tells the range as no longer kept.

use tidings_db::{Error, Pool};
use time::OffsetDateTime;

/// Logs whose floors are moved in one round.
const LOGS_MAX: i64 = 100;

/// Entries that one statement drops, so that it never holds locks for long.
const ENTRIES_MAX: i64 = 2_000;

/// One round over chats' and users' logs; whether another may find more.
pub(super) async fn round(pool: &Pool, before: OffsetDateTime) -> Result<bool, Error> {
    let chats = raise_chat_floors(pool, before).await?;
    let dropped = drop_changes(pool, before).await?;
    let users = raise_user_floors(pool, before).await?;
    let user_dropped = drop_user_changes(pool, before).await?;
    Ok(chats || dropped || users || user_dropped)
}

/// Positions of a log are in the order of time as far as it matters here: one that is older than its successors goes with the
/// last old one. Rows that somebody holds are left for the next round: waiting for many of them would close a circle with
/// whoever waits for many too.
async fn raise_chat_floors(pool: &Pool, before: OffsetDateTime) -> Result<bool, Error> {
    let done = sqlx::query!(
        "with old as (
             select x.chat_id, max(x.position) as last_old
             from messages.changes x
             join messages.chats k on k.chat_id = x.chat_id and k.first_position <= x.position
             where x.create_time < $1
             group by x.chat_id
             order by x.chat_id
             limit $2
         ), free as materialized (
             select c.chat_id, o.last_old
             from old o
             join messages.chats c on c.chat_id = o.chat_id and c.first_position <= o.last_old
             for update of c skip locked
         )
         update messages.chats c
         set first_position = f.last_old + 1
         from free f
         where c.chat_id = f.chat_id",
        before,
        LOGS_MAX,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() >= LOGS_MAX.unsigned_abs())
}

async fn drop_changes(pool: &Pool, before: OffsetDateTime) -> Result<bool, Error> {
    let done = sqlx::query!(
        "delete from messages.changes c
         using (
             select x.chat_id, x.position
             from messages.changes x
             join messages.chats k on k.chat_id = x.chat_id and k.first_position > x.position
             where x.create_time < $1
             limit $2
         ) o
         where c.chat_id = o.chat_id and c.position = o.position",
        before,
        ENTRIES_MAX,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() >= ENTRIES_MAX.unsigned_abs())
}

async fn raise_user_floors(pool: &Pool, before: OffsetDateTime) -> Result<bool, Error> {
    let done = sqlx::query!(
        "with old as (
             select x.user_id, max(x.position) as last_old
             from messages.user_changes x
             join messages.user_logs k on k.user_id = x.user_id and k.first_position <= x.position
             where x.create_time < $1
             group by x.user_id
             order by x.user_id
             limit $2
         ), free as materialized (
             select l.user_id, o.last_old
             from old o
             join messages.user_logs l on l.user_id = o.user_id and l.first_position <= o.last_old
             for update of l skip locked
         )
         update messages.user_logs l
         set first_position = f.last_old + 1
         from free f
         where l.user_id = f.user_id",
        before,
        LOGS_MAX,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() >= LOGS_MAX.unsigned_abs())
}

async fn drop_user_changes(pool: &Pool, before: OffsetDateTime) -> Result<bool, Error> {
    let done = sqlx::query!(
        "delete from messages.user_changes c
         using (
             select x.user_id, x.position
             from messages.user_changes x
             join messages.user_logs k on k.user_id = x.user_id and k.first_position > x.position
             where x.create_time < $1
             limit $2
         ) o
         where c.user_id = o.user_id and c.position = o.position",
        before,
        ENTRIES_MAX,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() >= ENTRIES_MAX.unsigned_abs())
}
