//! ID tokens of other issuers that have been used.

use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::Error;
use time::OffsetDateTime;

/// Notes that a token is used. False when it was before.
pub(crate) async fn spend(tx: &mut PgConnection, hash: &[u8; 32], expire_time: OffsetDateTime) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into auth.exchanged_tokens (token_hash, expire_time) values ($1, $2) on conflict do nothing",
        hash.as_slice(),
        expire_time,
    );
    Ok(done.execute(tx).await?.rows_affected() == 1)
}

/// Forgets tokens that have expired by themselves.
pub(crate) async fn purge<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    now: OffsetDateTime,
) -> Result<u64, Error> {
    let done = sqlx::query!(
        "delete from auth.exchanged_tokens
         where token_hash = any (array(
             select token_hash from auth.exchanged_tokens where expire_time < $1 order by expire_time limit 1000
         ))",
        now,
    );
    Ok(done.execute(executor).await?.rows_affected())
}
