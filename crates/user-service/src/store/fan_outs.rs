//! Changes of roles on their way to those who hold them.

use sqlx::{Executor, PgConnection, Postgres};
use tidings_ids::{RoleId, UserId};
use uuid::Uuid;

use crate::error::Error;

/// How far a change has come.
#[derive(Debug, Clone, Copy)]
pub struct FanOut {
    /// Holders up to this one have it.
    pub after_user_id: UserId,
    /// Whether the role is being deleted.
    pub deleting: bool,
}

/// Begins a fan-out, or begins it again from the first holder.
pub async fn begin(tx: &mut PgConnection, role_id: RoleId) -> Result<(), Error> {
    let insert = sqlx::query!(
        "insert into users.role_fan_outs (role_id)
         values ($1)
         on conflict (role_id) do update
         set after_user_id = excluded.after_user_id",
        role_id.uuid(),
    );
    insert.execute(tx).await?;
    Ok(())
}

/// The roles whose changes are on their way, some of them.
pub async fn pending<'e>(executor: impl Executor<'e, Database = Postgres>) -> Result<Vec<RoleId>, Error> {
    let roles = sqlx::query_scalar!(
        "select role_id
         from users.role_fan_outs
         order by role_id
         limit 100",
    );
    Ok(roles.fetch_all(executor).await?)
}

/// Locks a fan-out; `None` when it is complete.
pub async fn lock(tx: &mut PgConnection, role_id: RoleId) -> Result<Option<FanOut>, Error> {
    let fan_out = sqlx::query_as!(
        FanOut,
        "select f.after_user_id, r.deleting
         from users.role_fan_outs f
         join users.roles r on r.role_id = f.role_id
         where f.role_id = $1
         for update of f",
        role_id.uuid(),
    );
    Ok(fan_out.fetch_optional(tx).await?)
}

/// The next holders of the role, locked in order of id.
pub async fn lock_holders(
    tx: &mut PgConnection,
    role_id: RoleId,
    after: UserId,
    limit: i64,
) -> Result<Vec<UserId>, Error> {
    let holders = sqlx::query_scalar!(
        r#"select u.user_id as "user_id: UserId"
           from users.users u
           where u.user_id = any (array(
               select a.user_id
               from users.role_assignments a
               where a.role_id = $1
                 and a.user_id > $2
               order by a.user_id
               limit $3
           ))
           order by u.user_id
           for no key update"#,
        role_id.uuid(),
        after.uuid(),
        limit,
    );
    Ok(holders.fetch_all(tx).await?)
}

/// Takes a role from these holders.
pub async fn take(tx: &mut PgConnection, role_id: RoleId, user_ids: &[UserId]) -> Result<(), Error> {
    let user_ids: Vec<Uuid> = user_ids.iter().map(|id| id.uuid()).collect();
    let delete = sqlx::query!(
        "delete from users.role_assignments
         where role_id = $1
           and user_id = any ($2)",
        role_id.uuid(),
        &user_ids,
    );
    delete.execute(tx).await?;
    Ok(())
}

/// Notes how far the change has come.
pub async fn advance(tx: &mut PgConnection, role_id: RoleId, after: UserId) -> Result<(), Error> {
    let update = sqlx::query!(
        "update users.role_fan_outs
         set after_user_id = $2
         where role_id = $1",
        role_id.uuid(),
        after.uuid(),
    );
    update.execute(tx).await?;
    Ok(())
}

/// Ends a fan-out, and with it a role that was being deleted.
pub async fn finish(tx: &mut PgConnection, role_id: RoleId, deleting: bool) -> Result<(), Error> {
    let delete = sqlx::query!(
        "delete from users.role_fan_outs
         where role_id = $1",
        role_id.uuid(),
    );
    delete.execute(&mut *tx).await?;
    if deleting {
        let delete = sqlx::query!(
            "delete from users.roles
             where role_id = $1",
            role_id.uuid(),
        );
        delete.execute(tx).await?;
    }
    Ok(())
}
