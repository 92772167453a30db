//! Users whom auth knows by what another system calls them, and bots that auth gives up: what `ProvisioningService` does for service
//! accounts.

use tidings_db::transaction;
use tidings_ids::UserId;
use tidings_proto_common::v1::Permission;

use super::{Directory, authority, trail::record};
use crate::{
    authority::{Deed, judge},
    error::Error,
    lifecycle::Step,
    store::{accounts, lifecycle, search, states, states::Cause, users},
    user::UserState,
};

impl Directory {
    /// How the user stands whom another system calls by this id.
    pub(crate) async fn external_user(&self, external_id: &str) -> Result<UserState, Error> {
        let user_id = accounts::find_external(&self.pool, external_id).await?;
        states::current(&self.pool, user_id.ok_or(Error::NotFound)?)
            .await?
            .ok_or(Error::NotFound)
    }

    /// Deletes the user of a service account. Whether the actor may ask for it at all is auth's to know; ranks are known here.
    pub(crate) async fn delete_bot(&self, user_id: UserId, actor: UserId) -> Result<UserState, Error> {
        let now = self.source.now();
        let state = transaction!(&self.pool, |tx| -> Result<_, Error> {
            match accounts::is_bot(&mut *tx, user_id).await? {
                None => return Err(Error::NotFound),
                Some(false) => return Err(Error::BuiltIn),
                Some(true) => {}
            }
            let account = lifecycle::lock(tx, user_id).await?.ok_or(Error::NotFound)?;
            let deed = Deed::ActOnUser {
                permission: Permission::Unspecified,
                user: users::standing(&mut *tx, user_id).await?.map(|standing| standing.rank),
                // Bots do not count among those who hold `admin`.
                last_admin: false,
            };
            let judged = authority::actor_of(&mut *tx, actor, None).await?;
            judge(&judged, deed).outcome?;
            if account.after(Step::Delete, now, time::Duration::ZERO)?.is_some() {
                lifecycle::delete(tx, user_id, now).await?;
                search::refresh(tx, user_id).await?;
                let event = self.event_of("user.delete_bot").subject(user_id);
                record(tx, &event.detail("actor_user_id", actor)).await?;
                states::publish(tx, &[user_id], Cause::Ended, now).await?;
            }
            states::current(&mut *tx, user_id).await?.ok_or(Error::NotFound)
        })?;
        self.wake();
        Ok(state)
    }
}
