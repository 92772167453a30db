//! Users as others see them, and their profiles.

use std::collections::BTreeMap;

use sqlx::{Executor, PgConnection, Postgres, types::Json};
use tidings_ids::UserId;
use uuid::Uuid;

use crate::{
    error::{Error, PermissionNumber},
    profile::ProfileChange,
    role::Rank,
    user::{Status, User},
};

/// The users with these ids whom others may know of, in no order.
pub async fn find<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_ids: &[UserId],
) -> Result<Vec<User>, Error> {
    let user_ids: Vec<Uuid> = user_ids.iter().map(|id| id.uuid()).collect();
    let users = sqlx::query_as!(
        User,
        r#"select user_id, status, username, email, email_verified, display_name, bio, avatar_url,
                  metadata as "metadata: Json<BTreeMap<String, String>>", external_id, is_bot, revision, logged_in_until, roles, create_time
           from users.users
           where user_id = any ($1)
             and status in ('active', 'suspended', 'deleted')"#,
        &user_ids,
    );
    Ok(users.fetch_all(executor).await?)
}

/// The users after this one in order of id, without deleted ones.
pub async fn page<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<User>, Error> {
    let users = sqlx::query_as!(
        User,
        r#"select user_id, status, username, email, email_verified, display_name, bio, avatar_url,
                  metadata as "metadata: Json<BTreeMap<String, String>>", external_id, is_bot, revision, logged_in_until, roles, create_time
           from users.users
           where user_id > $1
             and status in ('active', 'suspended')
           order by user_id
           limit $2"#,
        after.map_or(Uuid::nil(), UserId::uuid),
        i64::from(limit),
    );
    Ok(users.fetch_all(executor).await?)
}

/// A user whose row is locked until the transaction ends.
#[derive(Debug, Clone, Copy)]
pub struct Locked {
    /// Whether the account may act.
    pub status: Status,
    /// Which version of the profile it has.
    pub revision: i64,
}

/// Locks a user's row against every other change.
pub async fn lock(tx: &mut PgConnection, user_id: UserId) -> Result<Option<Locked>, Error> {
    let locked = sqlx::query_as!(
        Locked,
        "select status, revision
         from users.users
         where user_id = $1
         for no key update",
        user_id.uuid(),
    );
    Ok(locked.fetch_optional(tx).await?)
}

/// What a user may do, and how high they stand.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Whether the account may act.
    pub status: Status,
    /// What the user's roles allow together; empty unless the user is active.
    pub permissions: Vec<PermissionNumber>,
    /// The highest rank of the user's roles.
    pub rank: Rank,
}

/// How a user stands.
pub async fn standing<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
) -> Result<Option<Standing>, Error> {
    let standing = sqlx::query_as!(
        Standing,
        r#"select u.status, u.permissions,
                  coalesce((
                      select max(r.rank)
                      from users.role_assignments a
                      join users.roles r on r.role_id = a.role_id
                      where a.user_id = u.user_id
                        and not r.deleting
                  ), 0) as "rank!"
           from users.users u
           where u.user_id = $1"#,
        user_id.uuid(),
    );
    Ok(standing.fetch_optional(executor).await?)
}

/// How high a user stands whom others may act on: active or suspended.
pub async fn rank<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
) -> Result<Option<Rank>, Error> {
    let standing = standing(executor, user_id).await?;
    let seen = standing.filter(|user| matches!(user.status, Status::Active | Status::Suspended));
    Ok(seen.map(|user| user.rank))
}

/// The users whose deletion is final, after this one in order of id.
pub async fn deleted_for_good<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<UserId>, Error> {
    let users = sqlx::query_scalar!(
        "select user_id
         from users.users
         where user_id > $1
           and deletion_final
         order by user_id
         limit $2",
        after.map_or(Uuid::nil(), UserId::uuid),
        i64::from(limit),
    );
    Ok(users.fetch_all(executor).await?)
}

/// Changes a profile, and its revision.
pub async fn update_profile(tx: &mut PgConnection, user_id: UserId, change: &ProfileChange) -> Result<(), Error> {
    let update = sqlx::query!(
        "update users.users
         set display_name = coalesce($2, display_name),
             bio = coalesce($3, bio),
             avatar_url = coalesce($4, avatar_url),
             metadata = coalesce($5, metadata),
             external_id = case when $6::text is null then external_id else nullif($6, '') end,
             revision = revision + 1
         where user_id = $1",
        user_id.uuid(),
        change.display_name,
        change.bio,
        change.avatar_url,
        change.metadata.as_ref().map(Json) as _,
        change.external_id,
    );
    update.execute(tx).await?;
    Ok(())
}
