//! Profiles: read by everybody who has met the user, changed by the user or who manages users.

use tidings_db::{requests::Outcome, transaction};
use tidings_ids::UserId;
use tidings_proto_common::v1::Permission;
use tidings_rpc::Violations;

use super::{
    Change, Directory,
    authority::{may_act_on, may_take_over, permitted},
    trail::record,
};
use crate::{
    error::Error,
    profile::ProfileChange,
    store::{search, users},
    user::{Status, User, etag},
};

impl Directory {
    /// The user with this id.
    pub(crate) async fn user(&self, user_id: UserId) -> Result<User, Error> {
        users::find(&self.pool, &[user_id]).await?.pop().ok_or(Error::NotFound)
    }

    /// The users with these ids that there are, in this order.
    pub(crate) async fn users(&self, user_ids: &[UserId]) -> Result<Vec<User>, Error> {
        let mut users = users::find(&self.pool, user_ids).await?;
        users.sort_by_key(|user| user_ids.iter().position(|id| *id == user.user_id));
        Ok(users)
    }

    /// A page of all users.
    pub(crate) async fn users_after(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, Error> {
        users::page(&self.pool, after, limit).await
    }

    /// Changes a profile.
    pub(crate) async fn update_user(
        &self,
        change: &Change,
        user_id: UserId,
        profile: &ProfileChange,
        etag: Option<&str>,
    ) -> Result<User, Error> {
        let now = self.source.now();
        transaction!(&self.pool, |tx| -> Result<_, Error> {
            if change
                .request
                .claim(tx, Outcome::id(user_id.uuid()), now)
                .await?
                .is_some()
            {
                return Ok(());
            }
            let revision = lock_for_update(tx, change, user_id, profile).await?;
            if etag.is_some_and(|given| given != self::etag(revision)) {
                return Err(Error::EtagMismatch);
            }
            if profile.is_empty() {
                return Ok(());
            }
            if profile.external_id.is_some() {
                refuse_forgery(tx, user_id, profile).await?;
            }
            users::update_profile(tx, user_id, profile).await?;
            let event = self.event(change).subject(user_id);
            record(tx, &event.detail("fields", profile.names())).await?;
            if profile.display_name.is_some() {
                search::refresh(tx, user_id).await?;
            }
            Ok(())
        })?;
        self.user(user_id).await
    }
}

/// Locks the profile and checks that the caller may change it so. Returns its revision.
async fn lock_for_update(
    tx: &mut sqlx::PgConnection,
    change: &Change,
    user_id: UserId,
    profile: &ProfileChange,
) -> Result<i64, Error> {
    let caller = change.caller;
    let locked = users::lock(tx, user_id).await?.filter(|user| user.status.is_known());
    let locked = match locked {
        Some(user) if caller == user_id && user.status != Status::Active => return Err(Error::CallerInactive),
        Some(user) if user.status == Status::Deleted => return Err(Error::NotFound),
        Some(user) => user,
        None if caller == user_id => return Err(Error::CallerInactive),
        None => return Err(Error::NotFound),
    };
    if caller != user_id {
        may_act_on(tx, change, Permission::UsersManage, user_id).await?;
        if profile.external_id.is_some() {
            // Whoever has it at the other system logs in with it.
            may_take_over(tx, change, user_id).await?;
        }
    } else if let Some(permission) = profile.permission() {
        permitted(tx, change, permission).await?;
    }
    Ok(locked.revision)
}

/// Refuses an external id that only auth gives. It may be told again to the user who has it, as a client does that sends back all it
/// has read.
async fn refuse_forgery(tx: &mut sqlx::PgConnection, user_id: UserId, profile: &ProfileChange) -> Result<(), Error> {
    let user = users::find(&mut *tx, &[user_id]).await?.pop().ok_or(Error::NotFound)?;
    let mut violations = Violations::new();
    if profile.forges_issuers_id(user.external_id.as_deref()) {
        violations.add(
            "external_id",
            "must not begin with oidc:, as the ids of issuers' users do",
        );
    }
    Error::if_any(violations)
}
