//! The end of old log entries. Only entries end here: what they tell of (messages, memberships) stays.
//!
//! A floor is moved and committed before anything below it is dropped, so that a reader who finds a hole finds the floor above it
//! first, and tells the range as no longer kept.
//!
//! The logs are walked by their keys, a few at a time, and each is looked at from its floor on. So no statement depends on how much
//! has expired: after a long pause there are more of them, none is longer.

use tidings_db::{Error, Pool};
use time::OffsetDateTime;
use uuid::Uuid;

/// Logs that one statement looks at.
const LOGS_MAX: i64 = 200;

/// Portions of logs in one round where nothing has expired, so that a walk over very many of them is spread over several rounds.
const PORTIONS_MAX: usize = 50;

/// Entries by which one statement moves a floor.
const STEP_MAX: i64 = 500;

/// Entries that one statement drops, so that it never holds locks for long.
const ENTRIES_MAX: i64 = 2_000;

/// How far the walks are.
#[derive(Debug, Default)]
pub(super) struct Retention {
    chats: Walk,
    users: Walk,
}

/// A walk over the logs of one kind; begins again when it comes to the end.
#[derive(Debug, Default)]
struct Walk {
    after: Uuid,
}

/// What the logs of one kind are, as far as their ends are concerned.
trait Logs {
    /// The next logs in the order of their ids.
    async fn portion(pool: &Pool, after: Uuid) -> Result<Vec<Uuid>, Error>;

    /// Moves floors past what has expired; whether one could be moved further. Positions of a log are in the order of time as far as
    /// it matters here: one that is older than its successors goes with the last old one. Rows that somebody holds are left for the
    /// next walk: waiting for many of them would close a circle with whoever waits for many too.
    async fn raise(pool: &Pool, logs: &[Uuid], before: OffsetDateTime) -> Result<bool, Error>;

    /// Drops entries below the floors; whether there may be more.
    async fn drop_below(pool: &Pool, logs: &[Uuid]) -> Result<bool, Error>;
}

impl Retention {
    /// One round over chats' logs; whether more is known to have expired.
    pub(super) async fn chats(&mut self, pool: &Pool, before: OffsetDateTime) -> Result<bool, Error> {
        self.chats.round::<Chats>(pool, before).await
    }

    /// One round over users' logs; whether more is known to have expired.
    pub(super) async fn users(&mut self, pool: &Pool, before: OffsetDateTime) -> Result<bool, Error> {
        self.users.round::<Users>(pool, before).await
    }
}

impl Walk {
    async fn round<L: Logs>(&mut self, pool: &Pool, before: OffsetDateTime) -> Result<bool, Error> {
        for _ in 0..PORTIONS_MAX {
            let begin = self.after;
            let logs = L::portion(pool, begin).await?;
            // Moved on before anything can fail: one portion that always does should not keep the others.
            let is_last = logs.len() < usize::try_from(LOGS_MAX).unwrap_or(usize::MAX);
            self.after = logs.last().copied().filter(|_| !is_last).unwrap_or_default();
            let raised = L::raise(pool, &logs, before).await?;
            let dropped = L::drop_below(pool, &logs).await?;
            if raised || dropped {
                self.after = begin;
                return Ok(true);
            }
            if is_last {
                break;
            }
        }
        Ok(false)
    }
}

/// The logs of one kind: `$heads` has a row for each with its floor, `$entries` what they hold, and `$id` says in both which log it is.
/// A macro, since the queries are checked when they are compiled, and so cannot be put together later.
macro_rules! logs {
    ($logs:ident: $heads:literal, $entries:literal, $id:literal) => {
        struct $logs;

        impl Logs for $logs {
            async fn portion(pool: &Pool, after: Uuid) -> Result<Vec<Uuid>, Error> {
                let logs = sqlx::query_scalar!(
                    "select h."
                        + $id
                        + " as \"id: Uuid\" from "
                        + $heads
                        + " h where h."
                        + $id
                        + " > $1 order by h."
                        + $id
                        + " limit $2",
                    after,
                    LOGS_MAX,
                )
                .fetch_all(pool)
                .await?;
                Ok(logs)
            }

            async fn raise(pool: &Pool, logs: &[Uuid], before: OffsetDateTime) -> Result<bool, Error> {
                let steps = sqlx::query_scalar!(
                    "with free as materialized (
                         select h."
                        + $id
                        + " as id, h.first_position
                         from "
                        + $heads
                        + " h
                         where h."
                        + $id
                        + " = any ($1::uuid[])
                           and (
                               select x.create_time
                               from "
                        + $entries
                        + " x
                               where x."
                        + $id
                        + " = h."
                        + $id
                        + " and x.position >= h.first_position
                               order by x.position
                               limit 1
                           ) < $2
                         for update of h skip locked
                     ), old as (
                         select f.id, f.first_position, max(x.position) as last_old
                         from free f
                         cross join lateral (
                             select e.position, e.create_time
                             from "
                        + $entries
                        + " e
                             where e."
                        + $id
                        + " = f.id and e.position >= f.first_position
                             order by e.position
                             limit $3
                         ) x
                         where x.create_time < $2
                         group by f.id, f.first_position
                     )
                     update "
                        + $heads
                        + " h
                     set first_position = o.last_old + 1
                     from old o
                     where h."
                        + $id
                        + " = o.id
                     returning o.last_old + 1 - o.first_position as \"step!\"",
                    logs,
                    before,
                    STEP_MAX,
                )
                .fetch_all(pool)
                .await?;
                Ok(steps.into_iter().any(|step| step >= STEP_MAX))
            }

            async fn drop_below(pool: &Pool, logs: &[Uuid]) -> Result<bool, Error> {
                let done = sqlx::query!(
                    "delete from "
                        + $entries
                        + " c
                     using (
                         select h."
                        + $id
                        + " as id, x.position
                         from "
                        + $heads
                        + " h
                         cross join lateral (
                             select e.position
                             from "
                        + $entries
                        + " e
                             where e."
                        + $id
                        + " = h."
                        + $id
                        + " and e.position < h.first_position
                             order by e.position
                             limit $2
                         ) x
                         where h."
                        + $id
                        + " = any ($1::uuid[])
                         limit $2
                     ) o
                     where c."
                        + $id
                        + " = o.id and c.position = o.position",
                    logs,
                    ENTRIES_MAX,
                )
                .execute(pool)
                .await?;
                Ok(done.rows_affected() >= ENTRIES_MAX.unsigned_abs())
            }
        }
    };
}

logs!(Chats: "messages.chats", "messages.changes", "chat_id");
logs!(Users: "messages.user_logs", "messages.user_changes", "user_id");
