//! Blocks, and their entries in the feed.

use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::{Schema, counter};
use tidings_ids::UserId;
use time::OffsetDateTime;
use uuid::Uuid;

use super::states::FEED;
use crate::{
    block::{Block, BlockChange, UserBlock},
    error::Error,
};

/// Sets a block. False where there is one.
pub async fn insert(
    tx: &mut PgConnection,
    blocker: UserId,
    blocked: UserId,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let insert = sqlx::query!(
        "insert into users.blocks (blocker_user_id, blocked_user_id, create_time)
         values ($1, $2, $3)
         on conflict (blocker_user_id, blocked_user_id) do nothing",
        blocker.uuid(),
        blocked.uuid(),
        now,
    );
    Ok(insert.execute(tx).await?.rows_affected() == 1)
}

/// Removes a block. False where there is none.
pub async fn delete(tx: &mut PgConnection, blocker: UserId, blocked: UserId) -> Result<bool, Error> {
    let delete = sqlx::query!(
        "delete from users.blocks
         where blocker_user_id = $1
           and blocked_user_id = $2",
        blocker.uuid(),
        blocked.uuid(),
    );
    Ok(delete.execute(tx).await?.rows_affected() == 1)
}

/// How many a user blocks.
pub async fn count(tx: &mut PgConnection, blocker: UserId) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!"
           from users.blocks
           where blocker_user_id = $1"#,
        blocker.uuid(),
    );
    Ok(count.fetch_one(tx).await?)
}

/// The block of one user by another.
pub async fn find<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    blocker: UserId,
    blocked: UserId,
) -> Result<Option<Block>, Error> {
    let block = sqlx::query_as!(
        Block,
        "select blocked_user_id as user_id, create_time
         from users.blocks
         where blocker_user_id = $1
           and blocked_user_id = $2",
        blocker.uuid(),
        blocked.uuid(),
    );
    Ok(block.fetch_optional(executor).await?)
}

/// Whom a user blocks, after this one in order of id.
pub async fn page_of_blocker<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    blocker: UserId,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<Block>, Error> {
    let blocks = sqlx::query_as!(
        Block,
        "select blocked_user_id as user_id, create_time
         from users.blocks
         where blocker_user_id = $1
           and blocked_user_id > $2
         order by blocked_user_id
         limit $3",
        blocker.uuid(),
        after.map_or(Uuid::nil(), UserId::uuid),
        i64::from(limit),
    );
    Ok(blocks.fetch_all(executor).await?)
}

/// Where a page of all blocks begins: after this blocker and blocked one.
pub type Cursor = (Uuid, Uuid);

/// All blocks after the cursor, in order of the two ids.
pub async fn page<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    after: Cursor,
    limit: u32,
) -> Result<Vec<UserBlock>, Error> {
    let blocks = sqlx::query_as!(
        UserBlock,
        "select blocker_user_id, blocked_user_id
         from users.blocks
         where (blocker_user_id, blocked_user_id) > ($1, $2)
         order by blocker_user_id, blocked_user_id
         limit $3",
        after.0,
        after.1,
        i64::from(limit),
    );
    Ok(blocks.fetch_all(executor).await?)
}

/// Adds an entry to the feed: the last thing in a transaction, as with states.
pub async fn publish(
    tx: &mut PgConnection,
    blocker: UserId,
    blocked: UserId,
    stands: bool,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let number = counter::next_number(tx, Schema::Users, FEED).await?;
    let insert = sqlx::query!(
        "insert into users.block_changes (number, blocker_user_id, blocked_user_id, blocked, change_time)
         values ($1, $2, $3, $4, $5)",
        number,
        blocker.uuid(),
        blocked.uuid(),
        stands,
        now,
    );
    insert.execute(tx).await?;
    Ok(())
}

/// The entries about blocks after a number and up to a head, in order.
pub async fn changes<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    after: i64,
    head: i64,
    limit: i64,
) -> Result<Vec<BlockChange>, Error> {
    let changes = sqlx::query_as!(
        BlockChange,
        "select number, blocker_user_id, blocked_user_id, blocked, change_time
         from users.block_changes
         where number > $1
           and number <= $2
         order by number
         limit $3",
        after,
        head,
        limit,
    );
    Ok(changes.fetch_all(executor).await?)
}
