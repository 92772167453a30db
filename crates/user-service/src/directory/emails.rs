//! Changes of address. Auth has had the address proven; whether it is free is decided here, by the unique index.

use tidings_db::transaction;
use tidings_ids::UserId;

use super::{Directory, trail::record};
use crate::{
    email::Email,
    error::Error,
    store::{accounts, emails, states},
    user::{Status, UserState},
};

impl Directory {
    /// Gives the user another address.
    pub(crate) async fn change_user_email(
        &self,
        user_id: UserId,
        email: &Email,
        revision: i64,
    ) -> Result<UserState, Error> {
        transaction!(&self.pool, |tx| -> Result<_, Error> {
            match accounts::lock(tx, user_id).await?.ok_or(Error::NotFound)?.status {
                Status::Active | Status::Suspended => {}
                Status::Pending | Status::Discarded | Status::Deleted => return Err(Error::StateUnsuitable),
            }
            if emails::set(tx, user_id, email, revision).await? {
                record(tx, &self.event_of("user.change_user_email").subject(user_id)).await?;
            }
            states::current(&mut *tx, user_id).await?.ok_or(Error::NotFound)
        })
    }
}
