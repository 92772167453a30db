use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::Error;
use tidings_ids::UserId;
use time::{Duration, OffsetDateTime};

/// What somebody shows to be the owner of an account that is known already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The password, in a call with an access token.
    Password,
    /// A code of the app, or a recovery code.
    SecondFactor,
    /// The same, at a login of a device that the account has been logged in with before: others do not lock it out.
    KnownDevice,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::SecondFactor => "second_factor",
            Self::KnownDevice => "second_factor_of_known_device",
        }
    }
}

/// Wrong proofs that are looked at in a [`WINDOW`] (`reliability.md` G28).
const FAILURES_MAX: usize = 10;

/// See [`FAILURES_MAX`].
pub(crate) const WINDOW: Duration = Duration::minutes(15);

/// Counts a proof as wrong, before it is looked at, so that of many at once no more are looked at than of many in a row. The
/// wait until the next is looked at, where this one is not.
pub(crate) async fn count(
    tx: &mut PgConnection,
    user_id: UserId,
    kind: Kind,
    now: OffsetDateTime,
) -> Result<Option<Duration>, Error> {
    sqlx::query!(
        "insert into auth.proof_failures (user_id, kind, failure_times, update_time)
         values ($1, $2, '{}', $3)
         on conflict (user_id, kind) do nothing",
        user_id.uuid(),
        kind.name(),
        now,
    )
    .execute(&mut *tx)
    .await?;
    let mut times = lock(&mut *tx, user_id, kind).await?;
    times.retain(|time| *time > now - WINDOW);
    if times.len() >= FAILURES_MAX {
        let oldest = times.iter().min().copied().unwrap_or(now);
        return Ok(Some(oldest + WINDOW - now));
    }
    times.push(now);
    store(tx, user_id, kind, &times, now).await?;
    Ok(None)
}

/// Takes back what was [counted](count) at this time: the proof was right, or was not looked at.
pub(crate) async fn forgive(
    tx: &mut PgConnection,
    user_id: UserId,
    kind: Kind,
    counted: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let mut times = lock(&mut *tx, user_id, kind).await?;
    // Postgres keeps microseconds.
    let same = |time: &OffsetDateTime| (*time - counted).abs() < Duration::milliseconds(1);
    if let Some(position) = times.iter().position(same) {
        times.swap_remove(position);
        store(tx, user_id, kind, &times, now).await?;
    }
    Ok(())
}

async fn lock(tx: &mut PgConnection, user_id: UserId, kind: Kind) -> Result<Vec<OffsetDateTime>, Error> {
    let times = sqlx::query_scalar!(
        "select failure_times from auth.proof_failures where user_id = $1 and kind = $2 for update",
        user_id.uuid(),
        kind.name(),
    );
    Ok(times.fetch_optional(tx).await?.unwrap_or_default())
}

async fn store(
    tx: &mut PgConnection,
    user_id: UserId,
    kind: Kind,
    times: &[OffsetDateTime],
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "update auth.proof_failures set failure_times = $3, update_time = $4 where user_id = $1 and kind = $2",
        user_id.uuid(),
        kind.name(),
        times,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets counts that count no more.
pub(crate) async fn purge<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    now: OffsetDateTime,
) -> Result<u64, Error> {
    let done = sqlx::query!(
        "delete from auth.proof_failures
         where (user_id, kind) in (
             select user_id, kind
             from auth.proof_failures
             where update_time < $1
             order by update_time
             limit 1000
             for update skip locked
         )",
        now - WINDOW,
    );
    Ok(done.execute(executor).await?.rows_affected())
}
