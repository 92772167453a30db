//! What is forgotten, in small steps.

use sqlx::{Executor, Postgres};
use time::OffsetDateTime;

use crate::error::Error;

/// Rows that one step deletes at most, so that it never holds locks for long.
pub const STEP_MAX: u64 = 1_000;

/// Forgets entries of the feed that are older than an hour, from the first on, so that what is kept has no hole.
pub async fn prune_states<'e>(executor: impl Executor<'e, Database = Postgres>) -> Result<u64, Error> {
    let delete = sqlx::query!(
        "delete from users.user_states
         where number in (
             select number
             from users.user_states
             where number < coalesce(
                 (select min(number) from users.user_states where store_time >= now() - interval '1 hour'),
                 9223372036854775807
             )
             order by number
             limit 1000
         )",
    );
    Ok(delete.execute(executor).await?.rows_affected())
}

/// The same for its entries about blocks.
pub async fn prune_block_changes<'e>(executor: impl Executor<'e, Database = Postgres>) -> Result<u64, Error> {
    let delete = sqlx::query!(
        "delete from users.block_changes
         where number in (
             select number
             from users.block_changes
             where number < coalesce(
                 (select min(number) from users.block_changes where store_time >= now() - interval '1 hour'),
                 9223372036854775807
             )
             order by number
             limit 1000
         )",
    );
    Ok(delete.execute(executor).await?.rows_affected())
}

/// Forgets registrations that were discarded before `before`.
pub async fn prune_discarded<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    before: OffsetDateTime,
) -> Result<u64, Error> {
    let delete = sqlx::query!(
        "delete from users.users
         where user_id in (
             select user_id
             from users.users
             where status = 'discarded'
               and state_time < $1
             order by state_time
             limit 1000
             for update skip locked
         )",
        before,
    );
    Ok(delete.execute(executor).await?.rows_affected())
}
