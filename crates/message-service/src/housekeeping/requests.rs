//! The end of what is remembered of requests.
//!
//! The table is walked as it lies on the disk, some blocks of each partition at a time. So no index has to be kept by every send, and no
//! statement depends on how much has expired, nor on where: space that was freed is filled again, and old rows lie behind young ones.

use std::time::Duration;

use tidings_db::{Error, Pool};
use time::OffsetDateTime;

/// How long a `request_id` is remembered: the week that the contract promises, and a day for clocks that differ.
const KEPT_FOR: Duration = Duration::from_secs(8 * 24 * 3_600);

/// How long after one walk the next begins.
const PAUSE: Duration = Duration::from_secs(3_600);

/// Blocks of each partition that one statement looks at: with 8 partitions 4 MiB.
const BLOCKS_MAX: i64 = 64;

/// Rows deleted in one statement, so that it never holds locks for long.
const ROWS_MAX: i64 = 1_000;

/// A walk over the table.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// The next block of each partition.
    block: i64,
    /// When the next walk begins; at once in the beginning.
    due: Option<OffsetDateTime>,
}

impl Requests {
    /// Forgets what is over in some blocks; whether the walk goes on. Rows that somebody holds are passed over, so that nodes that
    /// sweep at one time do not wait for each other.
    pub(super) async fn round(&mut self, pool: &Pool, now: OffsetDateTime) -> Result<bool, Error> {
        if self.due.is_some_and(|due| now < due) {
            return Ok(false);
        }
        let block = self.block;
        // Moved on before anything can fail: blocks that cannot be read should not keep the others.
        self.block += BLOCKS_MAX;
        let done = sqlx::query!(
            r#"
            with gone as (
                delete from messages.requests r
                using (
                    select o.chat_id, o.caller_id, o.method, o.request_id
                    from messages.requests o
                    where o.ctid >= format('(%s,0)', $1::bigint)::tid
                      and o.ctid < format('(%s,0)', $2::bigint)::tid
                      and o.create_time < $3
                    limit $4
                    for update skip locked
                ) o
                where r.chat_id = o.chat_id
                  and r.caller_id = o.caller_id
                  and r.method = o.method
                  and r.request_id = o.request_id
                returning 1
            )
            select
                (select count(*) from gone) as "rows!",
                (
                    select coalesce(max(pg_relation_size(i.inhrelid)) / current_setting('block_size')::bigint, 0)
                    from pg_inherits i
                    where i.inhparent = 'messages.requests'::regclass
                ) as "blocks!"
            "#,
            block,
            block + BLOCKS_MAX,
            now - KEPT_FOR,
            ROWS_MAX,
        )
        .fetch_one(pool)
        .await?;
        if done.rows >= ROWS_MAX {
            self.block = block;
        } else if self.block >= done.blocks {
            *self = Self {
                block: 0,
                due: Some(now + PAUSE),
            };
            return Ok(false);
        }
        Ok(true)
    }
}
