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

    /// Moves floors past what has expired; whether one could be moved further.
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

struct Chats;

impl Logs for Chats {
    async fn portion(pool: &Pool, after: Uuid) -> Result<Vec<Uuid>, Error> {
        let logs = sqlx::query_scalar!(
            r#"select chat_id as "chat_id: Uuid" from messages.chats where chat_id > $1 order by chat_id limit $2"#,
            after,
            LOGS_MAX,
        )
        .fetch_all(pool)
        .await?;
        Ok(logs)
    }

    /// Positions of a log are in the order of time as far as it matters here: one that is older than its successors goes with
    /// the last old one. Rows that somebody holds are left for the next walk: waiting for many of them would close a circle with whoever
    /// waits for many too.
    async fn raise(pool: &Pool, logs: &[Uuid], before: OffsetDateTime) -> Result<bool, Error> {
        let steps = sqlx::query_scalar!(
            r#"with free as materialized (
                 select c.chat_id, c.first_position
                 from messages.chats c
                 where c.chat_id = any ($1::uuid[])
                   and (
                       select x.create_time
                       from messages.changes x
                       where x.chat_id = c.chat_id and x.position >= c.first_position
                       order by x.position
                       limit 1
                   ) < $2
                 for update of c skip locked
             ), old as (
                 select f.chat_id, f.first_position, max(x.position) as last_old
                 from free f
                 cross join lateral (
                     select e.position, e.create_time
                     from messages.changes e
                     where e.chat_id = f.chat_id and e.position >= f.first_position
                     order by e.position
                     limit $3
                 ) x
                 where x.create_time < $2
                 group by f.chat_id, f.first_position
             )
             update messages.chats c
             set first_position = o.last_old + 1
             from old o
             where c.chat_id = o.chat_id
             returning o.last_old + 1 - o.first_position as "step!""#,
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
            "delete from messages.changes c
             using (
                 select k.chat_id, x.position
                 from messages.chats k
                 cross join lateral (
                     select e.position
                     from messages.changes e
                     where e.chat_id = k.chat_id and e.position < k.first_position
                     order by e.position
                     limit $2
                 ) x
                 where k.chat_id = any ($1::uuid[])
                 limit $2
             ) o
             where c.chat_id = o.chat_id and c.position = o.position",
            logs,
            ENTRIES_MAX,
        )
        .execute(pool)
        .await?;
        Ok(done.rows_affected() >= ENTRIES_MAX.unsigned_abs())
    }
}

struct Users;

impl Logs for Users {
    async fn portion(pool: &Pool, after: Uuid) -> Result<Vec<Uuid>, Error> {
        let logs = sqlx::query_scalar!(
            r#"select user_id as "user_id: Uuid" from messages.user_logs where user_id > $1 order by user_id limit $2"#,
            after,
            LOGS_MAX,
        )
        .fetch_all(pool)
        .await?;
        Ok(logs)
    }

    async fn raise(pool: &Pool, logs: &[Uuid], before: OffsetDateTime) -> Result<bool, Error> {
        let steps = sqlx::query_scalar!(
            r#"with free as materialized (
                 select l.user_id, l.first_position
                 from messages.user_logs l
                 where l.user_id = any ($1::uuid[])
                   and (
                       select x.create_time
                       from messages.user_changes x
                       where x.user_id = l.user_id and x.position >= l.first_position
                       order by x.position
                       limit 1
                   ) < $2
                 for update of l skip locked
             ), old as (
                 select f.user_id, f.first_position, max(x.position) as last_old
                 from free f
                 cross join lateral (
                     select e.position, e.create_time
                     from messages.user_changes e
                     where e.user_id = f.user_id and e.position >= f.first_position
                     order by e.position
                     limit $3
                 ) x
                 where x.create_time < $2
                 group by f.user_id, f.first_position
             )
             update messages.user_logs l
             set first_position = o.last_old + 1
             from old o
             where l.user_id = o.user_id
             returning o.last_old + 1 - o.first_position as "step!""#,
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
            "delete from messages.user_changes c
             using (
                 select k.user_id, x.position
                 from messages.user_logs k
                 cross join lateral (
                     select e.position
                     from messages.user_changes e
                     where e.user_id = k.user_id and e.position < k.first_position
                     order by e.position
                     limit $2
                 ) x
                 where k.user_id = any ($1::uuid[])
                 limit $2
             ) o
             where c.user_id = o.user_id and c.position = o.position",
            logs,
            ENTRIES_MAX,
        )
        .execute(pool)
        .await?;
        Ok(done.rows_affected() >= ENTRIES_MAX.unsigned_abs())
    }
}
