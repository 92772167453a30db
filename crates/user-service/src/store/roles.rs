//! Roles.

use sqlx::{Executor, PgConnection, Postgres};
use tidings_ids::{RoleId, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    error::{Error, PermissionNumber},
    role::{ADMIN, NewRole, Role},
};

struct Row {
    role_id: RoleId,
    name: String,
    display_name: String,
    description: String,
    permissions: Vec<PermissionNumber>,
    rank: i32,
    built_in: bool,
    revision: i64,
    create_time: OffsetDateTime,
}

impl From<Row> for Role {
    fn from(row: Row) -> Self {
        Self {
            role_id: row.role_id,
            name: row.name,
            display_name: row.display_name,
            description: row.description,
            permissions: row.permissions.into(),
            rank: row.rank,
            built_in: row.built_in,
            revision: row.revision,
            create_time: row.create_time,
        }
    }
}

/// The role with this id.
pub async fn find<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    role_id: RoleId,
) -> Result<Option<Role>, Error> {
    let role = sqlx::query_as!(
        Row,
        "select role_id, name, display_name, description, permissions, rank, built_in, revision, create_time
         from users.roles
         where role_id = $1
           and not deleting",
        role_id.uuid(),
    );
    Ok(role.fetch_optional(executor).await?.map(Role::from))
}

/// The roles that a user holds, in order of id.
pub async fn of_user<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
) -> Result<Vec<Role>, Error> {
    let roles = sqlx::query_as!(
        Row,
        "select r.role_id, r.name, r.display_name, r.description, r.permissions, r.rank, r.built_in, r.revision, r.create_time
         from users.role_assignments a
         join users.roles r on r.role_id = a.role_id
         where a.user_id = $1
           and not r.deleting
         order by r.role_id",
        user_id.uuid(),
    );
    Ok(roles.fetch_all(executor).await?.into_iter().map(Role::from).collect())
}

/// The roles after this one in order of id.
pub async fn page<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    after: Option<RoleId>,
    limit: u32,
) -> Result<Vec<Role>, Error> {
    let roles = sqlx::query_as!(
        Row,
        "select role_id, name, display_name, description, permissions, rank, built_in, revision, create_time
         from users.roles
         where role_id > $1
           and not deleting
         order by role_id
         limit $2",
        after.map_or(Uuid::nil(), RoleId::uuid),
        i64::from(limit),
    );
    Ok(roles.fetch_all(executor).await?.into_iter().map(Role::from).collect())
}

/// The role, locked against changes of what it allows until the transaction ends, so that whoever gets it now gets what it allows then.
pub async fn share(tx: &mut PgConnection, role_id: RoleId) -> Result<Option<Role>, Error> {
    let role = sqlx::query_as!(
        Row,
        "select role_id, name, display_name, description, permissions, rank, built_in, revision, create_time
         from users.roles
         where role_id = $1
           and not deleting
         for share",
        role_id.uuid(),
    );
    Ok(role.fetch_optional(tx).await?.map(Role::from))
}

/// The role, locked until the transaction ends: nobody else changes it, gives or takes it.
pub async fn lock(tx: &mut PgConnection, role_id: RoleId) -> Result<Option<Role>, Error> {
    let role = sqlx::query_as!(
        Row,
        "select role_id, name, display_name, description, permissions, rank, built_in, revision, create_time
         from users.roles
         where role_id = $1
           and not deleting
         for no key update",
        role_id.uuid(),
    );
    Ok(role.fetch_optional(tx).await?.map(Role::from))
}

/// The number of roles. Only one transaction at a time passes here: the row of `admin` is the lock.
pub async fn count(tx: &mut PgConnection) -> Result<i64, Error> {
    lock(tx, ADMIN).await?;
    let count = sqlx::query_scalar!(r#"select count(*) as "count!" from users.roles"#);
    Ok(count.fetch_one(tx).await?)
}

/// Stores a role.
pub async fn insert(tx: &mut PgConnection, role_id: RoleId, new: &NewRole, now: OffsetDateTime) -> Result<(), Error> {
    let insert = sqlx::query!(
        "insert into users.roles (role_id, name, display_name, description, permissions, rank, create_time)
         values ($1, $2, $3, $4, $5, $6, $7)",
        role_id.uuid(),
        new.name,
        new.display_name,
        new.description,
        &new.permissions.numbers(),
        new.rank,
        now,
    );
    insert.execute(tx).await?;
    Ok(())
}

/// Stores what a role has become.
pub async fn update(tx: &mut PgConnection, role: &Role) -> Result<(), Error> {
    let update = sqlx::query!(
        "update users.roles
         set display_name = $2, description = $3, permissions = $4, rank = $5, revision = revision + 1
         where role_id = $1",
        role.role_id.uuid(),
        role.display_name,
        role.description,
        &role.permissions.numbers(),
        role.rank,
    );
    update.execute(tx).await?;
    Ok(())
}

/// Hides a role from everybody, before it is taken from its holders.
pub async fn begin_deletion(tx: &mut PgConnection, role_id: RoleId) -> Result<(), Error> {
    let update = sqlx::query!(
        "update users.roles
         set deleting = true
         where role_id = $1",
        role_id.uuid(),
    );
    update.execute(tx).await?;
    Ok(())
}
