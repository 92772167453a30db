//! Accounts as auth provides them: registered, activated, discarded, logged in.

use sqlx::{Executor, PgConnection, Postgres};
use tidings_ids::{RoleId, UserId};
use time::OffsetDateTime;

use crate::{
    email::Email,
    error::Error,
    user::{NewUser, Status},
};

/// An account whose row is locked until the transaction ends.
#[derive(Debug, Clone)]
pub struct Account {
    /// How far it is.
    pub status: Status,
    /// The hash of the request that made it.
    pub create_hash: Option<Vec<u8>>,
}

/// Stores a pending user with this address. False where there is a row with this id.
pub async fn insert_pending(
    tx: &mut PgConnection,
    new: &NewUser,
    email: Option<&Email>,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let insert = sqlx::query!(
        "insert into users.users
             (user_id, status, username, email, email_canonical, display_name, bio, is_bot, create_hash, create_time, state_time,
              external_id)
         values ($1, 'pending', $2, $3, $4, $5, $6, $7, $8, $9, $9, $10)
         on conflict (user_id) do nothing",
        new.user_id.uuid(),
        new.username.as_str(),
        email.map(Email::as_str),
        email.map(Email::canonical),
        new.display_name,
        new.bio,
        new.is_bot,
        &new.hash,
        now,
        new.external_id,
    );
    Ok(insert.execute(tx).await?.rows_affected() == 1)
}

/// Locks an account's row.
pub async fn lock(tx: &mut PgConnection, user_id: UserId) -> Result<Option<Account>, Error> {
    let account = sqlx::query_as!(
        Account,
        "select status, create_hash
         from users.users
         where user_id = $1
         for no key update",
        user_id.uuid(),
    );
    Ok(account.fetch_optional(tx).await?)
}

/// The roles with these names, locked against changes of what they allow.
pub async fn share_roles(tx: &mut PgConnection, names: &[String]) -> Result<Vec<(RoleId, String)>, Error> {
    let roles = sqlx::query!(
        "select role_id, name
         from users.roles
         where name = any ($1)
           and not deleting
         order by role_id
         for share",
        names,
    );
    Ok(roles
        .fetch_all(tx)
        .await?
        .into_iter()
        .map(|role| (role.role_id, role.name))
        .collect())
}

/// Makes a pending account active.
pub async fn activate(tx: &mut PgConnection, user_id: UserId) -> Result<(), Error> {
    let update = sqlx::query!(
        "update users.users
         set status = 'active'
         where user_id = $1",
        user_id.uuid(),
    );
    update.execute(tx).await?;
    Ok(())
}

/// Notes that the account's address is the user's.
pub async fn set_email_verified(tx: &mut PgConnection, user_id: UserId) -> Result<bool, Error> {
    let update = sqlx::query!(
        "update users.users
         set email_verified = true
         where user_id = $1
           and not email_verified
           and email is not null",
        user_id.uuid(),
    );
    Ok(update.execute(tx).await?.rows_affected() > 0)
}

/// Stores the mark of a registration that never came. False where there is a row with this id.
pub async fn insert_discarded(tx: &mut PgConnection, user_id: UserId, now: OffsetDateTime) -> Result<bool, Error> {
    let insert = sqlx::query!(
        "insert into users.users (user_id, status, display_name, bio, is_bot, create_time, state_time)
         values ($1, 'discarded', '', '', false, $2, $2)
         on conflict (user_id) do nothing",
        user_id.uuid(),
        now,
    );
    Ok(insert.execute(tx).await?.rows_affected() == 1)
}

/// Turns a pending account into a mark, and frees its name and address.
pub async fn discard(tx: &mut PgConnection, user_id: UserId) -> Result<(), Error> {
    let delete = sqlx::query!(
        "delete from users.role_assignments
         where user_id = $1",
        user_id.uuid(),
    );
    delete.execute(&mut *tx).await?;
    let update = sqlx::query!(
        "update users.users
         set status = 'discarded', username = null, email = null, email_canonical = null, email_verified = false,
             display_name = '', bio = '', external_id = null
         where user_id = $1",
        user_id.uuid(),
    );
    update.execute(tx).await?;
    Ok(())
}

/// Stores until when a login session of an active user lives, unless a newer statement is stored.
pub async fn set_logged_in<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
    until: Option<OffsetDateTime>,
    revision: i64,
) -> Result<(), Error> {
    let update = sqlx::query!(
        "update users.users
         set logged_in_until = $2,
             login_revision = greatest(login_revision, $3::bigint)
         where user_id = $1
           and status = 'active'
           and ($3::bigint = 0 or login_revision < $3)",
        user_id.uuid(),
        until,
        revision,
    );
    update.execute(executor).await?;
    Ok(())
}

/// The user whom another system calls by this id, whatever state they are in.
pub async fn find_external<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    external_id: &str,
) -> Result<Option<UserId>, Error> {
    let user_id = sqlx::query_scalar!("select user_id from users.users where external_id = $1", external_id);
    Ok(user_id.fetch_optional(executor).await?)
}

/// Whether a program acts through the account; `None` where there is none.
pub async fn is_bot<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
) -> Result<Option<bool>, Error> {
    let is_bot = sqlx::query_scalar!(
        "select is_bot from users.users where user_id = $1 and status in ('active', 'suspended', 'deleted')",
        user_id.uuid(),
    );
    Ok(is_bot.fetch_optional(executor).await?)
}
