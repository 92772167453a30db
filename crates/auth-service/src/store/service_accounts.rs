use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::Error;
use tidings_ids::UserId;
use time::OffsetDateTime;

/// An account that a program acts through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceAccount {
    pub user_id: UserId,
    pub username: String,
    pub description: String,
    pub creator_user_id: UserId,
    pub create_time: OffsetDateTime,
}

/// One that is being made. Its account must be stored.
pub(crate) struct NewServiceAccount<'a> {
    pub user_id: UserId,
    pub description: &'a str,
    pub creator_user_id: UserId,
}

pub(crate) async fn insert(
    tx: &mut PgConnection,
    new: &NewServiceAccount<'_>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into auth.service_accounts (user_id, description, creator_user_id, create_time)
         values ($1, $2, $3, $4)",
        new.user_id.uuid(),
        new.description,
        new.creator_user_id.uuid(),
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The service account, unless it is deleted.
pub(crate) async fn get<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
) -> Result<Option<ServiceAccount>, Error> {
    let account = sqlx::query_as!(
        ServiceAccount,
        "select s.user_id, a.username, s.description, s.creator_user_id, s.create_time
         from auth.service_accounts s
         join auth.accounts a on a.user_id = s.user_id
         where s.user_id = $1 and s.delete_time is null",
        user_id.uuid(),
    );
    Ok(account.fetch_optional(executor).await?)
}

/// Whether the service account is there and not deleted. Its row is locked, so that its keys are counted and ended one at a time.
pub(crate) async fn lock(tx: &mut PgConnection, user_id: UserId) -> Result<bool, Error> {
    let there = sqlx::query_scalar!(
        r#"select delete_time is null as "there!" from auth.service_accounts where user_id = $1 for update"#,
        user_id.uuid(),
    );
    Ok(there.fetch_optional(tx).await?.unwrap_or(false))
}

/// How many service accounts there are.
pub(crate) async fn count<'e>(executor: impl Executor<'e, Database = Postgres>) -> Result<i64, Error> {
    let count =
        sqlx::query_scalar!(r#"select count(*) as "count!" from auth.service_accounts where delete_time is null"#);
    Ok(count.fetch_one(executor).await?)
}

/// The service accounts after this one, in order of id.
pub(crate) async fn page<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    after: UserId,
    limit: i64,
) -> Result<Vec<ServiceAccount>, Error> {
    let accounts = sqlx::query_as!(
        ServiceAccount,
        "select s.user_id, a.username, s.description, s.creator_user_id, s.create_time
         from auth.service_accounts s
         join auth.accounts a on a.user_id = s.user_id
         where s.user_id > $1 and s.delete_time is null
         order by s.user_id
         limit $2",
        after.uuid(),
        limit,
    );
    Ok(accounts.fetch_all(executor).await?)
}

/// Deletes the service account. It must be locked.
pub(crate) async fn delete(tx: &mut PgConnection, user_id: UserId, now: OffsetDateTime) -> Result<(), Error> {
    sqlx::query!(
        "update auth.service_accounts set delete_time = $2 where user_id = $1 and delete_time is null",
        user_id.uuid(),
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}
