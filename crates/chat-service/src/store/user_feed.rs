//! How far user's feed is applied.

use sqlx::{PgConnection, PgExecutor};
use tidings_db::Error;

/// The number of the last entry that is applied; `None` where the feed was never read.
pub(crate) async fn position(executor: impl PgExecutor<'_>) -> Result<Option<i64>, Error> {
    let row = sqlx::query!("select position from chats.user_feed")
        .fetch_one(executor)
        .await?;
    Ok(row.position)
}

/// The same, locked until the transaction ends: nobody else applies anything meanwhile.
pub(crate) async fn lock(tx: &mut PgConnection) -> Result<Option<i64>, Error> {
    let row = sqlx::query!("select position from chats.user_feed for update")
        .fetch_one(tx)
        .await?;
    Ok(row.position)
}

/// Begins to read everything anew, where the position is still the one that is given up and nobody else has been at it within the
/// last ten seconds. Whether it is begun.
pub(crate) async fn begin_reading(
    executor: impl PgExecutor<'_>,
    before: Option<i64>,
    mark: i64,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update chats.user_feed
         set reading = $2, reading_time = now()
         where position is not distinct from $1
           and (reading is null or reading_time < now() - interval '10 seconds')",
        before,
        mark,
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Locks the position until the transaction ends, and goes on reading. False where somebody else has taken it over or done it.
pub(crate) async fn go_on_reading(tx: &mut PgConnection, before: Option<i64>, mark: i64) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update chats.user_feed
         set reading_time = now()
         where position is not distinct from $1
           and reading = $2",
        before,
        mark,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends the reading with the position from which the feed goes on.
pub(crate) async fn end_reading(tx: &mut PgConnection, position: i64) -> Result<(), Error> {
    sqlx::query!(
        "update chats.user_feed
         set position = $1, reading = null, reading_time = null",
        position,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes how far it is applied.
pub(crate) async fn set(tx: &mut PgConnection, position: i64) -> Result<(), Error> {
    sqlx::query!("update chats.user_feed set position = $1", position)
        .execute(tx)
        .await?;
    Ok(())
}

/// The same where nothing had to be done up to there, and nobody has come further.
pub(crate) async fn advance(executor: impl PgExecutor<'_>, position: i64) -> Result<(), Error> {
    sqlx::query!("update chats.user_feed set position = $1 where position < $1", position)
        .execute(executor)
        .await?;
    Ok(())
}
