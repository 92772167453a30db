//! Pairs of users, one of whom may block the other.

use sqlx::{PgConnection, PgExecutor};
use tidings_db::Error;
use tidings_ids::{ChatId, UserId};
use uuid::Uuid;

use crate::direct::Pair;

/// A pair whose row this transaction holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Locked {
    pub(crate) low_blocks: bool,
    pub(crate) high_blocks: bool,
}

impl Locked {
    /// Whether either blocks the other.
    pub(crate) fn blocked(self) -> bool {
        self.low_blocks || self.high_blocks
    }
}

/// Locks a pair's row until the transaction ends, which is made where there is none.
pub(crate) async fn lock(tx: &mut PgConnection, pair: Pair) -> Result<Locked, Error> {
    sqlx::query!(
        "insert into chats.user_pairs (user_low, user_high)
         values ($1, $2)
         on conflict on constraint user_pairs_pkey do nothing",
        pair.low.uuid(),
        pair.high.uuid(),
    )
    .execute(&mut *tx)
    .await?;
    let locked = sqlx::query_as!(
        Locked,
        "select low_blocks, high_blocks
         from chats.user_pairs
         where user_low = $1 and user_high = $2
         for update",
        pair.low.uuid(),
        pair.high.uuid(),
    )
    .fetch_one(tx)
    .await?;
    Ok(locked)
}

/// Writes what one of a locked pair has done, and by what that is known.
pub(crate) async fn set(
    tx: &mut PgConnection,
    pair: Pair,
    blocker: UserId,
    blocks: bool,
    seen: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "update chats.user_pairs
         set low_blocks = case when $3 then $4 else low_blocks end,
             low_seen = case when $3 then $5 else low_seen end,
             high_blocks = case when $3 then high_blocks else $4 end,
             high_seen = case when $3 then high_seen else $5 end
         where user_low = $1 and user_high = $2",
        pair.low.uuid(),
        pair.high.uuid(),
        blocker == pair.low,
        blocks,
        seen,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Blocks that are known by something else than `seen`, some of them: who blocks whom.
pub(crate) async fn unseen(
    tx: &mut PgConnection,
    seen: i64,
    after: Option<Pair>,
    limit: i64,
) -> Result<Vec<(Pair, bool, bool)>, Error> {
    let rows = sqlx::query!(
        r#"select user_low, user_high, low_blocks and low_seen <> $1 as "low_unseen!",
             high_blocks and high_seen <> $1 as "high_unseen!"
         from chats.user_pairs
         where (low_blocks or high_blocks)
           and (low_blocks and low_seen <> $1 or high_blocks and high_seen <> $1)
           and (user_low, user_high) > ($2, $3)
         order by user_low, user_high
         limit $4"#,
        seen,
        after.map_or(Uuid::nil(), |pair| pair.low.uuid()),
        after.map_or(Uuid::nil(), |pair| pair.high.uuid()),
        limit,
    )
    .fetch_all(tx)
    .await?;
    let pair = |low, high| Pair { low, high };
    Ok(rows
        .into_iter()
        .map(|row| (pair(row.user_low, row.user_high), row.low_unseen, row.high_unseen))
        .collect())
}

/// Whether one of a user and these others blocks the other.
pub(crate) async fn any_blocked(
    executor: impl PgExecutor<'_>,
    user_id: UserId,
    others: &[UserId],
) -> Result<bool, Error> {
    let pairs = others.iter().filter_map(|other| Pair::of(user_id, *other));
    let (low, high): (Vec<Uuid>, Vec<Uuid>) = pairs.map(|pair| (pair.low.uuid(), pair.high.uuid())).unzip();
    let row = sqlx::query!(
        r#"select exists (
             select
             from unnest($1::uuid[], $2::uuid[]) as asked (user_low, user_high)
             join chats.user_pairs p on p.user_low = asked.user_low and p.user_high = asked.user_high
             where p.low_blocks or p.high_blocks
         ) as "exists!""#,
        &low,
        &high,
    )
    .fetch_one(executor)
    .await?;
    Ok(row.exists)
}

/// The direct chat of a locked pair, and whether the message service was told that it is blocked.
pub(crate) async fn direct_chat(tx: &mut PgConnection, pair: Pair) -> Result<Option<(ChatId, bool)>, Error> {
    let row = sqlx::query!(
        "select chat_id, blocked
         from chats.direct_chats
         where user_low = $1 and user_high = $2",
        pair.low.uuid(),
        pair.high.uuid(),
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| (row.chat_id, row.blocked)))
}

/// Writes that the message service is told so.
pub(crate) async fn set_chat_blocked(tx: &mut PgConnection, pair: Pair, blocked: bool) -> Result<(), Error> {
    sqlx::query!(
        "update chats.direct_chats
         set blocked = $3
         where user_low = $1 and user_high = $2",
        pair.low.uuid(),
        pair.high.uuid(),
        blocked,
    )
    .execute(tx)
    .await?;
    Ok(())
}
