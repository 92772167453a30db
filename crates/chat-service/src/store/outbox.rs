//! What the message service has not confirmed yet.

use sqlx::{PgConnection, PgExecutor};
use tidings_db::Error;
use tidings_ids::AudienceId;
use time::OffsetDateTime;

/// A change that waits.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) number: i64,
    pub(crate) change: Vec<u8>,
}

/// Puts changes into the outbox.
pub(crate) async fn insert(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    numbers: &[i64],
    changes: &[Vec<u8>],
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into chats.outbox (audience_id, number, change, create_time)
         select $1, entry.number, entry.change, $4
         from unnest($2::bigint[], $3::bytea[]) as entry (number, change)",
        audience_id.uuid(),
        numbers,
        changes,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The first changes of an audience that wait, in the order of their numbers.
pub(crate) async fn first(
    executor: impl PgExecutor<'_>,
    audience_id: AudienceId,
    limit: i64,
) -> Result<Vec<Entry>, Error> {
    let entries = sqlx::query_as!(
        Entry,
        "select number, change
         from chats.outbox
         where audience_id = $1
         order by number
         limit $2",
        audience_id.uuid(),
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(entries)
}

/// Deletes what is applied.
pub(crate) async fn delete(
    executor: impl PgExecutor<'_>,
    audience_id: AudienceId,
    applied_number: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "delete from chats.outbox
         where audience_id = $1 and number <= $2",
        audience_id.uuid(),
        applied_number,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Audiences with ids above `after` that have changes from before `before`, each with the number of the last.
pub(crate) async fn left_over(
    executor: impl PgExecutor<'_>,
    before: OffsetDateTime,
    after: Option<AudienceId>,
    limit: i64,
) -> Result<Vec<(AudienceId, i64)>, Error> {
    let rows = sqlx::query!(
        r#"select audience_id, max(number) as "number!"
         from chats.outbox
         where create_time < $1 and ($2::uuid is null or audience_id > $2)
         group by audience_id
         order by audience_id
         limit $3"#,
        before,
        after.map(AudienceId::uuid),
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| (row.audience_id, row.number)).collect())
}
