use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::Error;
use tidings_ids::UserId;
use time::{Duration, OffsetDateTime};

/// An app that was not confirmed within so long is none: as long as a mailed token works.
pub(crate) const UNCONFIRMED_FOR: Duration = Duration::minutes(10);

/// An authenticator app of an account.
#[derive(Clone)]
pub(crate) struct Totp {
    pub sealed_secret: Vec<u8>,
    /// None while it waits for its first code.
    pub confirm_time: Option<OffsetDateTime>,
    /// The last time step whose code was taken.
    pub last_step: i64,
    pub create_time: OffsetDateTime,
}

impl std::fmt::Debug for Totp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Totp {{ confirm_time: {:?} }}", self.confirm_time)
    }
}

/// The app of an account: confirmed, or still in time for that.
pub(crate) async fn get<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
    now: OffsetDateTime,
) -> Result<Option<Totp>, Error> {
    let totp = sqlx::query_as!(
        Totp,
        "select sealed_secret, confirm_time, last_step, create_time
         from auth.totps
         where user_id = $1 and (confirm_time is not null or create_time > $2)",
        user_id.uuid(),
        now - UNCONFIRMED_FOR,
    );
    Ok(totp.fetch_optional(executor).await?)
}

/// Stores an app that waits to be confirmed, in place of another such. False where the account has a confirmed one.
pub(crate) async fn put(
    tx: &mut PgConnection,
    user_id: UserId,
    sealed_secret: &[u8],
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let put = sqlx::query!(
        "insert into auth.totps (user_id, sealed_secret, create_time)
         values ($1, $2, $3)
         on conflict (user_id) do update
         set sealed_secret = excluded.sealed_secret, last_step = 0, create_time = excluded.create_time
         where totps.confirm_time is null",
        user_id.uuid(),
        sealed_secret,
        now,
    );
    Ok(put.execute(tx).await?.rows_affected() == 1)
}

/// The app is set up: this step's code was its first. False where it is another one by now, or confirmed already.
pub(crate) async fn confirm(
    tx: &mut PgConnection,
    user_id: UserId,
    sealed_secret: &[u8],
    step: i64,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let confirmed = sqlx::query!(
        "update auth.totps
         set confirm_time = $4, last_step = $3
         where user_id = $1 and sealed_secret = $2 and confirm_time is null",
        user_id.uuid(),
        sealed_secret,
        step,
        now,
    );
    Ok(confirmed.execute(tx).await?.rows_affected() == 1)
}

/// Takes the code of this step. False where it was taken before, or a later one.
pub(crate) async fn spend(tx: &mut PgConnection, user_id: UserId, step: i64) -> Result<bool, Error> {
    let spent = sqlx::query!(
        "update auth.totps
         set last_step = $2
         where user_id = $1 and confirm_time is not null and last_step < $2",
        user_id.uuid(),
        step,
    );
    Ok(spent.execute(tx).await?.rows_affected() == 1)
}

/// Removes the app and the recovery codes with it, and makes a new start in counting wrong proofs. Whether it was confirmed;
/// `None` where there was none.
pub(crate) async fn remove(tx: &mut PgConnection, user_id: UserId) -> Result<Option<bool>, Error> {
    let removed = sqlx::query_scalar!(
        r#"delete from auth.totps where user_id = $1 returning confirm_time is not null as "confirmed!""#,
        user_id.uuid(),
    );
    let removed = removed.fetch_optional(&mut *tx).await?;
    super::proofs::clear(tx, user_id).await?;
    Ok(removed)
}

/// Forgets apps that nobody confirmed.
pub(crate) async fn purge<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    now: OffsetDateTime,
) -> Result<u64, Error> {
    let done = sqlx::query!(
        "delete from auth.totps
         where user_id = any (array(
             select user_id
             from auth.totps
             where confirm_time is null and create_time < $1
             order by create_time
             limit 1000
             for update skip locked
         ))",
        now - UNCONFIRMED_FOR,
    );
    Ok(done.execute(executor).await?.rows_affected())
}
