//! Roles. Creating, changing and deleting a role gives and takes its permissions, which `authority.rs` judges.

use tidings_db::{requests::Outcome, transaction};
use tidings_ids::RoleId;

use super::{
    Change, Directory, authority,
    trail::{numbers, record},
};
use crate::{
    authority::{Deed, judge},
    error::Error,
    role::{NewRole, Role, RoleChange},
    store::{fan_outs, roles},
};

impl Directory {
    /// The role with this id.
    pub(crate) async fn role(&self, role_id: RoleId) -> Result<Role, Error> {
        roles::find(&self.pool, role_id).await?.ok_or(Error::NotFound)
    }

    /// A page of all roles.
    pub(crate) async fn roles_after(&self, after: Option<RoleId>, limit: u32) -> Result<Vec<Role>, Error> {
        roles::page(&self.pool, after, limit).await
    }

    /// Adds a role.
    pub(crate) async fn create_role(&self, change: &Change, new: &NewRole) -> Result<Role, Error> {
        let now = self.source.now();
        let role_id: RoleId = self.source.new_id();
        let role_id = transaction!(&self.pool, |tx| -> Result<_, Error> {
            if let Some(first) = change.request.claim(tx, Outcome::id(role_id.uuid()), now).await? {
                return first.id.map(RoleId::from_uuid).ok_or(Error::NotFound);
            }
            let count = roles::count(tx).await?;
            let deed = Deed::CreateRole {
                permissions: &new.permissions,
                rank: new.rank,
            };
            judge(&authority::actor(tx, change).await?, deed).outcome?;
            if count >= i64::from(self.config.roles_max) {
                return Err(Error::QuotaExceeded {
                    quota: "roles",
                    limit: self.config.roles_max,
                });
            }
            roles::insert(tx, role_id, new, now).await?;
            let event = self.event(change).subject(role_id).detail("rank", new.rank);
            record(tx, &event.detail("permissions", numbers(&new.permissions))).await?;
            Ok(role_id)
        })?;
        self.role(role_id).await
    }

    /// Changes a role. What it allows changes for those who hold it before this returns, see `fan_out.rs`.
    pub(crate) async fn update_role(
        &self,
        change: &Change,
        role_id: RoleId,
        role_change: &RoleChange,
        etag: Option<&str>,
    ) -> Result<Role, Error> {
        let now = self.source.now();
        transaction!(&self.pool, |tx| -> Result<_, Error> {
            if change
                .request
                .claim(tx, Outcome::id(role_id.uuid()), now)
                .await?
                .is_some()
            {
                return Ok(());
            }
            let before = roles::lock(tx, role_id).await?;
            let changed = before.as_ref().map(|before| role_change.clone().apply(before));
            let deed = Deed::UpdateRole {
                before: before.as_ref(),
                after: changed.as_ref().map(|(after, _)| after),
            };
            judge(&authority::actor(tx, change).await?, deed).outcome?;
            let (before, (after, changed)) = before.zip(changed).ok_or(Error::NotFound)?;
            check_etag(&before, etag)?;
            if !changed {
                return Ok(());
            }
            roles::update(tx, &after).await?;
            let event = self.event(change).subject(role_id).detail("rank", after.rank);
            record(tx, &event.detail("permissions", numbers(&after.permissions))).await?;
            if after.permissions != before.permissions {
                fan_outs::begin(tx, role_id).await?;
            }
            Ok(())
        })?;
        // Also when the call is repeated: the first may have got no further.
        self.fan_out(role_id).await?;
        self.role(role_id).await
    }

    /// Takes a role from everybody, and removes it.
    pub(crate) async fn delete_role(&self, change: &Change, role_id: RoleId, etag: Option<&str>) -> Result<(), Error> {
        let now = self.source.now();
        transaction!(&self.pool, |tx| -> Result<_, Error> {
            if change
                .request
                .claim(tx, Outcome::id(role_id.uuid()), now)
                .await?
                .is_some()
            {
                return Ok(());
            }
            let role = roles::lock(tx, role_id).await?;
            judge(&authority::actor(tx, change).await?, Deed::DeleteRole(role.as_ref())).outcome?;
            check_etag(&role.ok_or(Error::NotFound)?, etag)?;
            roles::begin_deletion(tx, role_id).await?;
            record(tx, &self.event(change).subject(role_id)).await?;
            fan_outs::begin(tx, role_id).await
        })?;
        self.fan_out(role_id).await
    }
}

/// The role is at the version that the caller has read.
fn check_etag(role: &Role, etag: Option<&str>) -> Result<(), Error> {
    if etag.is_some_and(|given| given != role.etag()) {
        return Err(Error::EtagMismatch);
    }
    Ok(())
}
