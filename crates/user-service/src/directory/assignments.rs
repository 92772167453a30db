//! Who holds which role.

use tidings_db::{requests::Outcome, transaction};
use tidings_ids::{RoleId, UserId};

use super::{Change, Directory, authority, trail::record};
use crate::{
    authority::{Deed, judge},
    error::Error,
    role::{ADMIN, Assignment},
    store::{
        assignments::{self, Cursor},
        roles, states,
        states::Cause,
    },
};

impl Directory {
    /// Gives a role to a user. `None` where a repeated call finds that it has been taken since.
    pub(crate) async fn assign_role(
        &self,
        change: &Change,
        user_id: UserId,
        role_id: RoleId,
    ) -> Result<Option<Assignment>, Error> {
        let now = self.source.now();
        transaction!(&self.pool, |tx| -> Result<_, Error> {
            if change.request.claim(tx, Outcome::default(), now).await?.is_some() {
                return Ok(());
            }
            let role = roles::share(tx, role_id).await?;
            let deed = Deed::AssignRole {
                role: role.as_ref(),
                user: authority::lock_rank(tx, user_id).await?,
            };
            judge(&authority::actor(tx, change).await?, deed).outcome?;
            if !assignments::insert(tx, user_id, role_id, Some(change.caller), now).await? {
                return Ok(());
            }
            let limit = self.config.roles_per_user_max;
            if assignments::count(tx, user_id).await? > i64::from(limit) {
                return Err(Error::QuotaExceeded {
                    quota: "roles_per_user",
                    limit,
                });
            }
            record(tx, &self.event(change).subject(user_id).subject(role_id)).await?;
            states::publish(tx, &[user_id], Cause::Roles, now).await?;
            Ok(())
        })?;
        self.wake();
        assignments::find(&self.pool, user_id, role_id).await
    }

    /// Takes a role from a user. `admin` is locked while it is taken, so that of the last two holders only one can lose it; whatever
    /// else takes an admin's power (suspension, deletion) must do the same.
    pub(crate) async fn unassign_role(&self, change: &Change, user_id: UserId, role_id: RoleId) -> Result<(), Error> {
        let now = self.source.now();
        transaction!(&self.pool, |tx| -> Result<_, Error> {
            if change.request.claim(tx, Outcome::default(), now).await?.is_some() {
                return Ok(());
            }
            if role_id == ADMIN {
                authority::lock_admins(tx).await?;
            }
            let role = roles::share(tx, role_id).await?;
            let deed = Deed::UnassignRole {
                role: role.as_ref(),
                user: authority::lock_rank(tx, user_id).await?,
                last_admin: authority::takes_last_admin(tx, user_id, role_id).await?,
            };
            judge(&authority::actor(tx, change).await?, deed).outcome?;
            if !assignments::delete(tx, user_id, role_id).await? {
                return Ok(());
            }
            record(tx, &self.event(change).subject(user_id).subject(role_id)).await?;
            states::publish(tx, &[user_id], Cause::Roles, now).await?;
            Ok(())
        })?;
        self.wake();
        Ok(())
    }

    /// A page of assignments, of one user or one role where these are given.
    pub(crate) async fn assignments_after(
        &self,
        user_id: Option<UserId>,
        role_id: Option<RoleId>,
        after: Cursor,
        limit: u32,
    ) -> Result<Vec<Assignment>, Error> {
        match role_id {
            Some(role_id) => assignments::page_of_role(&self.pool, role_id, user_id, after, limit).await,
            None => assignments::page(&self.pool, user_id, after, limit).await,
        }
    }
}
