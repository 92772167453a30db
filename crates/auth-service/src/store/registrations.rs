use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::Error;
use tidings_ids::UserId;
use time::OffsetDateTime;

/// How far a registration has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Begun; the credential is not stored.
    Open,
    /// The credential is stored.
    Done,
    /// Given up; what the user service has of it is to be discarded.
    Failed,
}

pub(crate) async fn insert(
    tx: &mut PgConnection,
    user_id: UserId,
    username: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into auth.registrations (user_id, username, state, create_time, update_time)
         values ($1, $2, 'open', $3, $3)",
        user_id.uuid(),
        username,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The state of a registration; `None` for one so old that it was forgotten.
pub(crate) async fn state<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
) -> Result<Option<State>, Error> {
    let state = sqlx::query_scalar!(
        "select state from auth.registrations where user_id = $1",
        user_id.uuid()
    );
    let state = state.fetch_optional(executor).await?;
    Ok(state.map(|state| match &*state {
        "open" => State::Open,
        "done" => State::Done,
        _ => State::Failed,
    }))
}

/// Whether a registration under this name has not come to its end, so that the user service may hold the name for it.
pub(crate) async fn is_under_way<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    username: &str,
) -> Result<bool, Error> {
    let found = sqlx::query_scalar!(
        r#"select exists (
             select
             from auth.registrations
             where username = $1 and (state = 'open' or (state = 'failed' and not discarded))
         ) as "found!""#,
        username,
    );
    Ok(found.fetch_one(executor).await?)
}

/// Moves an open registration on. False when it is no longer open.
pub(crate) async fn finish(tx: &mut PgConnection, user_id: UserId, now: OffsetDateTime) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update auth.registrations
         set state = 'done', update_time = $2
         where user_id = $1 and state = 'open'",
        user_id.uuid(),
        now,
    );
    Ok(done.execute(tx).await?.rows_affected() == 1)
}

/// Gives an open registration up. `discarded` says that the user service has nothing of it.
pub(crate) async fn fail<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
    discarded: bool,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "update auth.registrations
         set state = 'failed', discarded = $2, update_time = $3
         where user_id = $1 and state = 'open'",
        user_id.uuid(),
        discarded,
        now,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Gives up what has stood open since before `cutoff`.
pub(crate) async fn fail_stale<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    cutoff: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<u64, Error> {
    let done = sqlx::query!(
        "update auth.registrations
         set state = 'failed', update_time = $2
         where state = 'open' and create_time < $1",
        cutoff,
        now,
    );
    Ok(done.execute(executor).await?.rows_affected())
}

/// Gives up registrations whose address nobody has verified since `cutoff`: the account goes, and the name becomes
/// free.
pub(crate) async fn fail_unverified<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    cutoff: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<u64, Error> {
    let done = sqlx::query!(
        "with gone as (
             delete from auth.accounts
             where user_id = any (array(
                 select user_id
                 from auth.accounts
                 where state = 'unverified' and create_time < $1
                 order by create_time
                 limit 100
                 for update skip locked
             ))
             returning user_id, username, create_time
         )
         insert into auth.registrations (user_id, username, state, create_time, update_time)
         select user_id, username, 'failed', create_time, $2
         from gone
         on conflict (user_id) do update
         set state = 'failed', discarded = false, update_time = excluded.update_time",
        cutoff,
        now,
    );
    Ok(done.execute(executor).await?.rows_affected())
}

/// Failed registrations that the user service may still hold a name for.
pub(crate) async fn undiscarded<'e>(executor: impl Executor<'e, Database = Postgres>) -> Result<Vec<UserId>, Error> {
    let ids = sqlx::query_scalar!(
        "select user_id
         from auth.registrations
         where state = 'failed' and not discarded
         order by update_time
         limit 100",
    );
    Ok(ids.fetch_all(executor).await?)
}

pub(crate) async fn set_discarded<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
) -> Result<(), Error> {
    let done = sqlx::query!(
        "update auth.registrations set discarded = true where user_id = $1 and state = 'failed'",
        user_id.uuid(),
    );
    done.execute(executor).await?;
    Ok(())
}

/// Forgets registrations that are settled and older than any repetition of their request.
pub(crate) async fn purge<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    cutoff: OffsetDateTime,
) -> Result<u64, Error> {
    let done = sqlx::query!(
        "delete from auth.registrations
         where user_id = any (array(
             select user_id
             from auth.registrations
             where create_time < $1 and (state = 'done' or discarded)
             order by create_time
             limit 1000
         ))",
        cutoff,
    );
    Ok(done.execute(executor).await?.rows_affected())
}
