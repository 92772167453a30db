//! The row of an audience, whose lock every transaction of a membership change holds.

use sqlx::PgConnection;
use tidings_ids::AudienceId;

use crate::Error;

/// Locks the audience's row, making it if this is the first that is heard of it, and returns its `applied_number`.
pub(super) async fn lock_audience(tx: &mut PgConnection, audience_id: AudienceId) -> Result<i64, Error> {
    if let Some(applied_number) = lock_known_audience(tx, audience_id).await? {
        return Ok(applied_number);
    }
    sqlx::query!(
        "insert into messages.audiences (audience_id) values ($1) on conflict (audience_id) do nothing",
        audience_id.uuid(),
    )
    .execute(&mut *tx)
    .await?;
    Ok(lock_known_audience(tx, audience_id).await?.unwrap_or(0))
}

async fn lock_known_audience(tx: &mut PgConnection, audience_id: AudienceId) -> Result<Option<i64>, Error> {
    Ok(sqlx::query_scalar!(
        "select applied_number from messages.audiences where audience_id = $1 for update",
        audience_id.uuid(),
    )
    .fetch_optional(tx)
    .await?)
}

/// Says how far the audience is.
pub(super) async fn set_applied(tx: &mut PgConnection, audience_id: AudienceId, number: i64) -> Result<(), Error> {
    sqlx::query!(
        "update messages.audiences
         set applied_number = $2
         where audience_id = $1 and applied_number < $2",
        audience_id.uuid(),
        number,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends the audience; whether it had not been ended before.
pub(super) async fn close_audience(tx: &mut PgConnection, audience_id: AudienceId) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update messages.audiences
         set removed = true
         where audience_id = $1 and not removed",
        audience_id.uuid(),
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
