//! Who holds which role.

use sqlx::{Executor, PgConnection, Postgres};
use tidings_ids::{RoleId, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    error::Error,
    role::{ADMIN, Assignment},
};

/// Gives a role. False where the user holds it already.
pub async fn insert(
    tx: &mut PgConnection,
    user_id: UserId,
    role_id: RoleId,
    assigner: Option<UserId>,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let insert = sqlx::query!(
        "insert into users.role_assignments (user_id, role_id, assigner_user_id, create_time)
         values ($1, $2, $3, $4)
         on conflict (user_id, role_id) do nothing",
        user_id.uuid(),
        role_id.uuid(),
        assigner.map(UserId::uuid),
        now,
    );
    Ok(insert.execute(tx).await?.rows_affected() == 1)
}

/// Takes a role. False where the user does not hold it.
pub async fn delete(tx: &mut PgConnection, user_id: UserId, role_id: RoleId) -> Result<bool, Error> {
    let delete = sqlx::query!(
        "delete from users.role_assignments
         where user_id = $1
           and role_id = $2",
        user_id.uuid(),
        role_id.uuid(),
    );
    Ok(delete.execute(tx).await?.rows_affected() == 1)
}

/// How many roles the user holds.
pub async fn count(tx: &mut PgConnection, user_id: UserId) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!"
           from users.role_assignments
           where user_id = $1"#,
        user_id.uuid(),
    );
    Ok(count.fetch_one(tx).await?)
}

/// Whether the user is a person who holds `admin`, and no other person does who may act. A bot that holds it does not count: it cannot
/// log in, and its keys are given and taken by people.
pub async fn is_last_admin<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
) -> Result<bool, Error> {
    let is_last = sqlx::query_scalar!(
        r#"select exists (
               select
               from users.role_assignments a
               join users.users u on u.user_id = a.user_id
               where a.role_id = $1
                 and a.user_id = $2
                 and not u.is_bot
           ) and not exists (
               select
               from users.role_assignments a
               join users.users u on u.user_id = a.user_id
               where a.role_id = $1
                 and a.user_id <> $2
                 and u.status = 'active'
                 and not u.is_bot
           ) as "is_last!""#,
        ADMIN.uuid(),
        user_id.uuid(),
    );
    Ok(is_last.fetch_one(executor).await?)
}

/// The assignment of a role to a user.
pub async fn find<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
    role_id: RoleId,
) -> Result<Option<Assignment>, Error> {
    let assignment = sqlx::query_as!(
        Assignment,
        "select a.user_id, a.role_id, r.name as role_name, a.assigner_user_id, a.create_time
         from users.role_assignments a
         join users.roles r on r.role_id = a.role_id
         where a.user_id = $1
           and a.role_id = $2
           and not r.deleting",
        user_id.uuid(),
        role_id.uuid(),
    );
    Ok(assignment.fetch_optional(executor).await?)
}

/// Where a page of assignments begins: after this user and role.
pub type Cursor = (Uuid, Uuid);

/// The assignments after the cursor in order of user and role, of users who are seen.
pub async fn page<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: Option<UserId>,
    after: Cursor,
    limit: u32,
) -> Result<Vec<Assignment>, Error> {
    let assignments = sqlx::query_as!(
        Assignment,
        "select a.user_id, a.role_id, r.name as role_name, a.assigner_user_id, a.create_time
         from users.role_assignments a
         join users.roles r on r.role_id = a.role_id
         join users.users u on u.user_id = a.user_id
         where (a.user_id, a.role_id) > ($2, $3)
           and ($1::uuid is null or a.user_id = $1)
           and u.status in ('active', 'suspended')
           and not r.deleting
         order by a.user_id, a.role_id
         limit $4",
        user_id.map(UserId::uuid),
        after.0,
        after.1,
        i64::from(limit),
    );
    Ok(assignments.fetch_all(executor).await?)
}

/// The same for the holders of one role, which has an index of its own.
pub async fn page_of_role<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    role_id: RoleId,
    user_id: Option<UserId>,
    after: Cursor,
    limit: u32,
) -> Result<Vec<Assignment>, Error> {
    let assignments = sqlx::query_as!(
        Assignment,
        "select a.user_id, a.role_id, r.name as role_name, a.assigner_user_id, a.create_time
         from users.role_assignments a
         join users.roles r on r.role_id = a.role_id
         join users.users u on u.user_id = a.user_id
         where a.role_id = $1
           and a.user_id > $3
           and ($2::uuid is null or a.user_id = $2)
           and u.status in ('active', 'suspended')
           and not r.deleting
         order by a.user_id
         limit $4",
        role_id.uuid(),
        user_id.map(UserId::uuid),
        after.0,
        i64::from(limit),
    );
    Ok(assignments.fetch_all(executor).await?)
}
