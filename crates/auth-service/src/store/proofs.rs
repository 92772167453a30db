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
const WINDOW: Duration = Duration::minutes(15);

/// Wrong proofs that are looked at without a right one between them (G28, NIST SP 800-63B), until something makes a
/// [new start](clear).
const STREAK_MAX: i32 = 100;

/// A streak is forgotten this long after its last wrong proof.
const STREAK_KEPT_FOR: Duration = Duration::days(30);

/// What is known of wrong proofs of a kind.
#[derive(Debug, Clone, Default)]
struct Row {
    failure_times: Vec<OffsetDateTime>,
    streak: i32,
}

/// Counts a proof as wrong, before it is looked at, so that of many at once no more are looked at than of many in a row. The
/// wait until the next is looked at, where this one is not.
pub(crate) async fn count(
    tx: &mut PgConnection,
    user_id: UserId,
    kind: Kind,
    now: OffsetDateTime,
) -> Result<Option<Duration>, Error> {
    // One statement that makes the row or locks it: between two, a right proof could take it away, and this one would not count.
    let row = sqlx::query_as!(
        Row,
        "insert into auth.proof_failures (user_id, kind, failure_times, update_time)
         values ($1, $2, '{}', $3)
         on conflict (user_id, kind) do update set update_time = proof_failures.update_time
         returning failure_times, streak",
        user_id.uuid(),
        kind.name(),
        now,
    );
    let mut row = row.fetch_one(&mut *tx).await?;
    row.failure_times.retain(|time| *time > now - WINDOW);
    if row.streak >= STREAK_MAX {
        return Ok(Some(STREAK_KEPT_FOR));
    }
    if row.failure_times.len() >= FAILURES_MAX {
        let oldest = row.failure_times.iter().min().copied().unwrap_or(now);
        return Ok(Some(oldest + WINDOW - now));
    }
    row.failure_times.push(now);
    row.streak += 1;
    store(tx, user_id, kind, &row, now).await?;
    Ok(None)
}

/// Takes back what was [counted](count) at this time: the proof was right, which ends the streak, or it was not looked at.
pub(crate) async fn forgive(
    tx: &mut PgConnection,
    user_id: UserId,
    kind: Kind,
    counted: OffsetDateTime,
    right: bool,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let mut row = lock(&mut *tx, user_id, kind).await?;
    // Postgres keeps microseconds.
    let micros = |time: OffsetDateTime| time.unix_timestamp_nanos().div_euclid(1_000);
    let same = |time: &OffsetDateTime| micros(*time) == micros(counted);
    if let Some(position) = row.failure_times.iter().position(same) {
        row.failure_times.swap_remove(position);
    }
    row.streak = if right { 0 } else { (row.streak - 1).max(0) };
    if row.streak == 0 && row.failure_times.is_empty() {
        return forget(tx, user_id, kind).await;
    }
    store(tx, user_id, kind, &row, now).await
}

/// Forgets the wrong passwords of an account that has a new one.
pub(crate) async fn clear_passwords(tx: &mut PgConnection, user_id: UserId) -> Result<(), Error> {
    forget(tx, user_id, Kind::Password).await
}

/// Makes a new start for an account: without its app, or where its owner in a login session, or an operator, has set a new password.
pub(crate) async fn clear(tx: &mut PgConnection, user_id: UserId) -> Result<(), Error> {
    sqlx::query!("delete from auth.proof_failures where user_id = $1", user_id.uuid())
        .execute(tx)
        .await?;
    Ok(())
}

async fn forget(tx: &mut PgConnection, user_id: UserId, kind: Kind) -> Result<(), Error> {
    sqlx::query!(
        "delete from auth.proof_failures where user_id = $1 and kind = $2",
        user_id.uuid(),
        kind.name(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn lock(tx: &mut PgConnection, user_id: UserId, kind: Kind) -> Result<Row, Error> {
    let row = sqlx::query_as!(
        Row,
        "select failure_times, streak from auth.proof_failures where user_id = $1 and kind = $2 for update",
        user_id.uuid(),
        kind.name(),
    );
    Ok(row.fetch_optional(tx).await?.unwrap_or_default())
}

async fn store(
    tx: &mut PgConnection,
    user_id: UserId,
    kind: Kind,
    row: &Row,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "update auth.proof_failures
         set failure_times = $3, streak = $4, update_time = $5
         where user_id = $1 and kind = $2",
        user_id.uuid(),
        kind.name(),
        &row.failure_times,
        row.streak,
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
             where update_time < $2 or (update_time < $1 and streak = 0)
             order by update_time
             limit 1000
             for update skip locked
         )",
        now - WINDOW,
        now - STREAK_KEPT_FOR,
    );
    Ok(done.execute(executor).await?.rows_affected())
}
