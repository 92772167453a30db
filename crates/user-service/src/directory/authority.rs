//! What [`crate::authority`] decides by, read from what is stored now: an access token may be a second behind.

use std::iter;

use tidings_ids::{RoleId, UserId};
use tidings_proto_common::v1::Permission;

use super::{Change, Directory};
use crate::{
    authority::{Actor, Deed, judge, judge_all},
    error::Error,
    permissions::Permissions,
    role::{ADMIN, Rank},
    store::{assignments, roles, users},
};

impl Directory {
    /// Whether the actor may act on the target as far as ranks go, and where `reach` is given, what the actor's token reaches, also get
    /// into the target's account.
    pub(crate) async fn check_authority(
        &self,
        actor: UserId,
        target: UserId,
        reach: Option<Permissions>,
    ) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let takes_over = reach.is_some() && actor != target;
        let judged = actor_of(&mut connection, actor, reach).await?;
        let act = Deed::ActOnUser {
            permission: Permission::Unspecified,
            user: users::rank(&mut *connection, target).await?,
            last_admin: false,
        };
        let held = if takes_over {
            Some(held_by(&mut connection, target).await?)
        } else {
            None
        };
        judge_all(&judged, iter::once(act).chain(held.as_ref().map(Deed::TakeOver))).outcome
    }
}

/// Who asks for a change, as stored now.
pub(super) async fn actor(tx: &mut sqlx::PgConnection, change: &Change) -> Result<Actor, Error> {
    actor_of(tx, change.caller, Some(change.reach.clone())).await
}

/// A user as stored now. Somebody who is no more is an account that may not act.
pub(super) async fn actor_of(
    connection: &mut sqlx::PgConnection,
    user_id: UserId,
    reach: Option<Permissions>,
) -> Result<Actor, Error> {
    let standing = users::standing(connection, user_id)
        .await?
        .ok_or(Error::CallerInactive)?;
    Ok(Actor {
        status: standing.status,
        permissions: standing.permissions.into(),
        rank: standing.rank,
        reach,
    })
}

/// What a user's roles allow together, also while the user is suspended: it is the user's again afterwards.
pub(super) async fn held_by(connection: &mut sqlx::PgConnection, user_id: UserId) -> Result<Permissions, Error> {
    let roles = roles::of_user(connection, user_id).await?;
    Ok(Permissions::of_all(roles.iter().map(|role| &role.permissions)))
}

/// Refuses the change unless the caller may get into the user's account too.
pub(super) async fn may_take_over(tx: &mut sqlx::PgConnection, change: &Change, user_id: UserId) -> Result<(), Error> {
    let held = held_by(&mut *tx, user_id).await?;
    judge(&actor(tx, change).await?, Deed::TakeOver(&held)).outcome
}

/// Refuses the change unless the caller holds the permission.
pub(super) async fn permitted(
    tx: &mut sqlx::PgConnection,
    change: &Change,
    permission: Permission,
) -> Result<(), Error> {
    judge(&actor(tx, change).await?, Deed::Use(permission)).outcome
}

/// Refuses the change unless the caller may act so on the user, whose row is locked: holds the permission and is not of a lower
/// rank.
pub(super) async fn may_act_on(
    tx: &mut sqlx::PgConnection,
    change: &Change,
    permission: Permission,
    user_id: UserId,
) -> Result<(), Error> {
    let actor = actor(tx, change).await?;
    let deed = Deed::ActOnUser {
        permission,
        user: users::rank(&mut *tx, user_id).await?,
        last_admin: false,
    };
    judge(&actor, deed).outcome
}

/// Locks who is an admin, and with it that somebody is: first of all locks in a transaction that takes an admin's power.
pub(super) async fn lock_admins(tx: &mut sqlx::PgConnection) -> Result<(), Error> {
    roles::lock(tx, ADMIN).await?.map(drop).ok_or(Error::NotFound)
}

/// Whether no person who may act would hold `admin` if this user did not.
pub(super) async fn is_last_admin(connection: &mut sqlx::PgConnection, user_id: UserId) -> Result<bool, Error> {
    assignments::is_last_admin(connection, user_id).await
}

/// The same if it is `admin` that would be taken.
pub(super) async fn takes_last_admin(
    connection: &mut sqlx::PgConnection,
    user_id: UserId,
    role_id: RoleId,
) -> Result<bool, Error> {
    if role_id == ADMIN {
        is_last_admin(connection, user_id).await
    } else {
        Ok(false)
    }
}

/// The rank of a user whose roles can change, whose row is locked; `None` where there is no such user.
pub(super) async fn lock_rank(tx: &mut sqlx::PgConnection, user_id: UserId) -> Result<Option<Rank>, Error> {
    users::lock(tx, user_id).await?;
    users::rank(tx, user_id).await
}
