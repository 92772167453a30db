//! Numbers without holes, in the order of commits: the positions of a feed.
//!
//! An SQL sequence gives numbers that become visible out of order, so a reader that asks for "all above 7" would skip 6 when it is
//! committed late. Here the number comes from a row that stays locked until the transaction ends: who has the next number has
//! also seen the one before it committed. The price is that transactions on one feed queue behind each other, so take the number
//! last.

use sqlx::{Executor, PgConnection, Postgres};

use crate::{Error, Schema};

/// The table, for the migration of a service that keeps feeds; `{schema}` stands for its schema.
pub const TABLE: &str = include_str!("../sql/feeds.sql");

/// Takes the next number of `feed`: 1, 2, 3 … The row stays locked until the transaction of `connection` ends, and a rollback gives the
/// number back.
///
/// # Errors
/// [`Error::Conflict`] when another transaction holds the feed for longer than the lock time-out.
pub async fn next_number(connection: &mut PgConnection, schema: Schema, feed: &'static str) -> Result<i64, Error> {
    next_numbers(connection, schema, feed, 1).await
}

/// Takes `count` numbers in one go and returns the last of them: the block is `last - count + 1 ..= last`.
///
/// # Errors
/// As [`next_number`].
pub async fn next_numbers(
    connection: &mut PgConnection,
    schema: Schema,
    feed: &'static str,
    count: u32,
) -> Result<i64, Error> {
    let sql = schema.sql(
        "insert into {schema}.feeds as f (feed, last_number)
         values ($1, $2)
         on conflict (feed) do update
         set last_number = f.last_number + excluded.last_number
         returning last_number",
    );
    Ok(sqlx::query_scalar(sql)
        .bind(feed)
        .bind(i64::from(count))
        .fetch_one(connection)
        .await?)
}

/// The last number of `feed` that is committed; 0 for one that has none.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn last_number<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    schema: Schema,
    feed: &'static str,
) -> Result<i64, Error> {
    let sql = schema.sql("select last_number from {schema}.feeds where feed = $1");
    Ok(sqlx::query_scalar(sql)
        .bind(feed)
        .fetch_optional(executor)
        .await?
        .unwrap_or(0))
}
