use std::time::Duration;

use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::{Error, Pool, Schema, counter};
use tidings_ids::LoginSessionId;
use time::OffsetDateTime;

/// The feed of ended login sessions.
const FEED: &str = "revocations";

/// An entry of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub number: i64,
    pub login_session_id: LoginSessionId,
    pub revoke_time: OffsetDateTime,
}

/// Adds an entry for each of these, which have just ended: login sessions, and API keys in the place of theirs. The feed's counter
/// stays locked until the transaction ends.
pub(crate) async fn append(tx: &mut PgConnection, ended: &[LoginSessionId]) -> Result<(), Error> {
    let Ok(count) = u32::try_from(ended.len()) else {
        return Err(Error::Bug(sqlx::Error::RowNotFound));
    };
    if count == 0 {
        return Ok(());
    }
    let last = counter::next_numbers(&mut *tx, Schema::Auth, FEED, count).await?;
    let ids: Vec<uuid::Uuid> = ended.iter().map(|id| id.uuid()).collect();
    sqlx::query!(
        "insert into auth.revocations (number, login_session_id, revoke_time)
         select $1 + ordinality, id, clock_timestamp()
         from unnest($2::uuid[]) with ordinality as ended (id, ordinality)",
        last - i64::from(count),
        &ids,
    )
    .execute(tx)
    .await?;
    Ok(())
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
