use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::{Error, Pool};
use time::OffsetDateTime;

/// The keyed hash of what is counted together.
pub(crate) type Bucket = [u8; 32];

/// What a bucket holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub failure_times: Vec<OffsetDateTime>,
    pub streak: i32,
    /// From when on nothing of it counts.
    pub expire_time: OffsetDateTime,
}

/// More buckets than this are not kept: about 40 MB.
const ROWS_MAX: i64 = 200_000;

/// The most rows that one purge deletes, so that it never holds locks for long.
const PURGE_MAX: i64 = 10_000;

/// The bucket, made if there was none, and locked for the rest of the transaction.
pub(crate) async fn lock(tx: &mut PgConnection, bucket: &Bucket, now: OffsetDateTime) -> Result<Row, Error> {
    let row = sqlx::query_as!(
        Row,
        "insert into auth.throttles (bucket, expire_time)
         values ($1, $2)
         on conflict (bucket) do update
         set bucket = excluded.bucket
         returning failure_times, streak, expire_time",
        bucket.as_slice(),
        now,
    );
    Ok(row.fetch_one(tx).await?)
}

pub(crate) async fn save(tx: &mut PgConnection, bucket: &Bucket, row: &Row) -> Result<(), Error> {
    sqlx::query!(
        "update auth.throttles
         set failure_times = $2, streak = $3, expire_time = $4
         where bucket = $1",
        bucket.as_slice(),
        &row.failure_times,
        row.streak,
        row.expire_time,
    )
    .execute(tx)
    .await?;
    Ok(())
}

pub(crate) async fn get<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    bucket: &Bucket,
) -> Result<Option<Row>, Error> {
    let row = sqlx::query_as!(
        Row,
        "select failure_times, streak, expire_time from auth.throttles where bucket = $1",
        bucket.as_slice(),
    );
    Ok(row.fetch_optional(executor).await?)
}

/// How many a bucket without a window has.
pub(crate) async fn streak<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    bucket: &Bucket,
) -> Result<i32, Error> {
    let streak = sqlx::query_scalar!("select streak from auth.throttles where bucket = $1", bucket.as_slice());
    Ok(streak.fetch_optional(executor).await?.unwrap_or(0))
}

/// Counts one more in a bucket that ends by itself.
pub(crate) async fn add<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    bucket: &Bucket,
    expire_time: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into auth.throttles as t (bucket, streak, expire_time)
         values ($1, 1, $2)
         on conflict (bucket) do update
         set streak = t.streak + 1",
        bucket.as_slice(),
        expire_time,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Forgets failures in a row.
pub(crate) async fn forgive<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    buckets: &[Bucket],
) -> Result<(), Error> {
    let buckets: Vec<Vec<u8>> = buckets.iter().map(|bucket| bucket.to_vec()).collect();
    sqlx::query!(
        "update auth.throttles
         set streak = 0
         where bucket = any ($1) and streak > 0",
        &buckets,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Forgets what counts no longer, and of what there is too much the buckets with the fewest failures. Those within their window stay
/// for last: they have no streak, end by themselves in minutes, and are few, while names that somebody made up stay for weeks.
pub(crate) async fn purge(pool: &Pool, now: OffsetDateTime) -> Result<u64, Error> {
    let expired = sqlx::query!(
        "delete from auth.throttles
         where bucket = any (array(
             select bucket
             from auth.throttles
             where expire_time <= $1
             order by expire_time
             limit $2
             for update skip locked
         ))",
        now,
        PURGE_MAX,
    );
    let expired = expired.execute(pool).await?.rows_affected();
    let excess = sqlx::query!(
        "delete from auth.throttles
         where bucket = any (array(
             select bucket
             from auth.throttles
             order by cardinality(failure_times), streak, expire_time
             limit least($2, greatest(0, (select count(*) from auth.throttles) - $1))
             for update skip locked
         ))",
        ROWS_MAX,
        PURGE_MAX,
    );
    Ok(expired + excess.execute(pool).await?.rows_affected())
}
