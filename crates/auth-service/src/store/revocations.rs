use std::time::Duration;

use sqlx::{Executor, Postgres};
use tidings_db::{Error, Pool, Schema, counter};
use tidings_ids::LoginSessionId;
use time::OffsetDateTime;

use super::sessions::FEED;

/// An entry of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub number: i64,
    pub login_session_id: LoginSessionId,
    pub revoke_time: OffsetDateTime,
}

/// The number of the newest entry.
pub(crate) async fn head(pool: &Pool) -> Result<i64, Error> {
    counter::last_number(pool, Schema::Auth, FEED).await
}

/// The number of the oldest entry that is kept; `None` where none is.
pub(crate) async fn first<'e>(executor: impl Executor<'e, Database = Postgres>) -> Result<Option<i64>, Error> {
    let first = sqlx::query_scalar!("select min(number) from auth.revocations");
    Ok(first.fetch_one(executor).await?)
}

/// The number of the oldest entry that is younger than `age`. By the database's clock, as all times of the feed: nodes' clocks may
/// differ.
pub(crate) async fn first_younger<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    age: Duration,
) -> Result<Option<i64>, Error> {
    let first = sqlx::query_scalar!(
        "select min(number)
         from auth.revocations
         where revoke_time >= clock_timestamp() - make_interval(secs => $1)",
        age.as_secs_f64(),
    );
    Ok(first.fetch_one(executor).await?)
}

/// The entries that follow `after`, in order: at most `limit`.
pub(crate) async fn list<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    after: i64,
    limit: i64,
) -> Result<Vec<Entry>, Error> {
    let entries = sqlx::query_as!(
        Entry,
        "select number, login_session_id, revoke_time
         from auth.revocations
         where number > $1
         order by number
         limit $2",
        after,
        limit,
    );
    Ok(entries.fetch_all(executor).await?)
}

/// Forgets entries older than `age`, from the oldest on, so that what is kept has no hole.
pub(crate) async fn purge<'e>(executor: impl Executor<'e, Database = Postgres>, age: Duration) -> Result<u64, Error> {
    let done = sqlx::query!(
        "delete from auth.revocations
         where number < (
             select coalesce(min(number), (select max(number) + 1 from auth.revocations))
             from auth.revocations
             where revoke_time >= clock_timestamp() - make_interval(secs => $1)
         )",
        age.as_secs_f64(),
    );
    Ok(done.execute(executor).await?.rows_affected())
}
