use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::Error;
use tidings_ids::UserId;
use time::OffsetDateTime;

use crate::totp::CodeHash;

/// Stores an account's codes in place of those it had. The account must be locked and have an app.
pub(crate) async fn replace(
    tx: &mut PgConnection,
    user_id: UserId,
    hashes: &[CodeHash],
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!("delete from auth.recovery_codes where user_id = $1", user_id.uuid())
        .execute(&mut *tx)
        .await?;
    let hashes: Vec<Vec<u8>> = hashes.iter().map(|hash| hash.to_vec()).collect();
    sqlx::query!(
        "insert into auth.recovery_codes (user_id, code_hash, create_time)
         select $1, code_hash, $3
         from unnest($2::bytea[]) as codes (code_hash)",
        user_id.uuid(),
        &hashes,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether the account has this code and has not used it.
pub(crate) async fn is_unused<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
    hash: &CodeHash,
) -> Result<bool, Error> {
    let unused = sqlx::query_scalar!(
        r#"select exists (
             select from auth.recovery_codes where user_id = $1 and code_hash = $2 and use_time is null
         ) as "unused!""#,
        user_id.uuid(),
        hash.as_slice(),
    );
    Ok(unused.fetch_one(executor).await?)
}

/// Uses a code up. False where that was done before.
pub(crate) async fn spend(
    tx: &mut PgConnection,
    user_id: UserId,
    hash: &CodeHash,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let spent = sqlx::query!(
        "update auth.recovery_codes
         set use_time = $3
         where user_id = $1 and code_hash = $2 and use_time is null",
        user_id.uuid(),
        hash.as_slice(),
        now,
    );
    Ok(spent.execute(tx).await?.rows_affected() == 1)
}

/// An account's codes, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub create_time: OffsetDateTime,
    /// How many were not used.
    pub left: i64,
}

/// The codes of an account; none where it never had any.
pub(crate) async fn summary<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
) -> Result<Option<Summary>, Error> {
    let summary = sqlx::query_as!(
        Summary,
        r#"select min(create_time) as "create_time!", count(*) filter (where use_time is null) as "left!"
         from auth.recovery_codes
         where user_id = $1
         having count(*) > 0"#,
        user_id.uuid(),
    );
    Ok(summary.fetch_optional(executor).await?)
}
