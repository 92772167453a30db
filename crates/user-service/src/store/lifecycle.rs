//! Accounts that are suspended, deleted and restored.

use sqlx::{Executor, PgConnection, Postgres};
use tidings_ids::UserId;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{error::Error, lifecycle::Account, user::Status};

/// Locks an account's row against every other change.
pub async fn lock(tx: &mut PgConnection, user_id: UserId) -> Result<Option<Account>, Error> {
    let account = sqlx::query_as!(
        Account,
        r#"select status, revision, username, roles, delete_time, deleted_status as "deleted_status: Status", deletion_final
           from users.users
           where user_id = $1
           for no key update"#,
        user_id.uuid(),
    );
    Ok(account.fetch_optional(tx).await?)
}

/// Suspends an account, or takes the suspension back.
pub async fn set_status(tx: &mut PgConnection, user_id: UserId, status: Status) -> Result<(), Error> {
    let update = sqlx::query!(
        "update users.users
         set status = $2,
             logged_in_until = case when $2 = 'active' then logged_in_until end
         where user_id = $1",
        user_id.uuid(),
        status as Status,
    );
    update.execute(tx).await?;
    Ok(())
}

/// Deletes an account, as long as it can be restored.
pub async fn delete(tx: &mut PgConnection, user_id: UserId, now: OffsetDateTime) -> Result<(), Error> {
    let update = sqlx::query!(
        "update users.users
         set status = 'deleted', deleted_status = status, delete_time = $2, logged_in_until = null
         where user_id = $1",
        user_id.uuid(),
        now,
    );
    update.execute(tx).await?;
    Ok(())
}

/// Restores a deleted account.
pub async fn undelete(tx: &mut PgConnection, user_id: UserId) -> Result<(), Error> {
    let update = sqlx::query!(
        "update users.users
         set status = deleted_status, deleted_status = null, delete_time = null
         where user_id = $1",
        user_id.uuid(),
    );
    update.execute(tx).await?;
    Ok(())
}

/// When an account that can still be restored was deleted.
pub async fn delete_time<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
) -> Result<Option<OffsetDateTime>, Error> {
    let time = sqlx::query_scalar!(
        r#"select delete_time as "delete_time!"
           from users.users
           where user_id = $1
             and delete_time is not null
             and not deletion_final"#,
        user_id.uuid(),
    );
    Ok(time.fetch_optional(executor).await?)
}

/// Locks some accounts that were deleted at `before` or earlier and can still be restored.
pub async fn lock_due(tx: &mut PgConnection, before: OffsetDateTime, limit: i64) -> Result<Vec<UserId>, Error> {
    let user_ids = sqlx::query_scalar!(
        "select user_id
         from users.users
         where delete_time <= $1
           and not deletion_final
         order by delete_time
         limit $2
         for no key update skip locked",
        before,
        limit,
    );
    Ok(user_ids.fetch_all(tx).await?)
}

/// Makes deletions final: wipes what is known of the users but that they were there, which those who share a chat with them see.
pub async fn wipe(tx: &mut PgConnection, user_ids: &[UserId]) -> Result<(), Error> {
    let user_ids: Vec<Uuid> = user_ids.iter().map(|id| id.uuid()).collect();
    let update = sqlx::query!(
        "update users.users
         set deletion_final = true, username = null, email = null, email_canonical = null, email_verified = false,
             display_name = '', bio = '', avatar_url = '', metadata = '{}', external_id = null, create_hash = null,
             search_text = null
         where user_id = any ($1)",
        &user_ids,
    );
    update.execute(&mut *tx).await?;
    let delete = sqlx::query!("delete from users.role_assignments where user_id = any ($1)", &user_ids);
    delete.execute(&mut *tx).await?;
    let delete = sqlx::query!("delete from users.search_words where user_id = any ($1)", &user_ids);
    delete.execute(&mut *tx).await?;
    let delete = sqlx::query!("delete from users.held_usernames where user_id = any ($1)", &user_ids);
    delete.execute(tx).await?;
    Ok(())
}
