//! Addresses: those that auth has had proven, and those that wait for it.

use sqlx::{Executor, PgConnection, Postgres};
use tidings_ids::UserId;

use crate::{email::Email, error::Error};

/// Gives the user an address that is proven to be theirs, unless this or a newer statement is stored: then false.
pub async fn set(tx: &mut PgConnection, user_id: UserId, email: &Email, revision: i64) -> Result<bool, Error> {
    let update = sqlx::query!(
        "update users.users
         set email = $2, email_canonical = $3, email_verified = true, email_revision = $4
         where user_id = $1
           and email_revision < $4",
        user_id.uuid(),
        email.as_str(),
        email.canonical(),
        revision,
    );
    Ok(update.execute(tx).await?.rows_affected() > 0)
}

/// Whether another user has the address.
pub async fn is_taken<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
    email: &Email,
) -> Result<bool, Error> {
    let taken = sqlx::query_scalar!(
        r#"select exists (select from users.users where email_canonical = $2 and user_id <> $1) as "taken!""#,
        user_id.uuid(),
        email.canonical(),
    );
    Ok(taken.fetch_one(executor).await?)
}

/// Whether the user is pending without an address.
pub async fn is_lacking<'e>(executor: impl Executor<'e, Database = Postgres>, user_id: UserId) -> Result<bool, Error> {
    let lacking = sqlx::query_scalar!(
        r#"select exists (
             select from users.users where user_id = $1 and status = 'pending' and email is null
         ) as "lacking!""#,
        user_id.uuid(),
    );
    Ok(lacking.fetch_one(executor).await?)
}

/// Gives a pending user who lacks it the address, which nobody has proven here. False where the user lacks none.
pub async fn give(tx: &mut PgConnection, user_id: UserId, email: &Email) -> Result<bool, Error> {
    let update = sqlx::query!(
        "update users.users
         set email = $2, email_canonical = $3
         where user_id = $1
           and status = 'pending'
           and email is null",
        user_id.uuid(),
        email.as_str(),
        email.canonical(),
    );
    Ok(update.execute(tx).await?.rows_affected() > 0)
}

/// Takes the address from a pending user. False where the user has none.
pub async fn withdraw(tx: &mut PgConnection, user_id: UserId) -> Result<bool, Error> {
    let update = sqlx::query!(
        "update users.users
         set email = null, email_canonical = null
         where user_id = $1
           and status = 'pending'
           and email is not null",
        user_id.uuid(),
    );
    Ok(update.execute(tx).await?.rows_affected() > 0)
}
