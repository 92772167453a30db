//! Accounts as auth provides them. `auth` has decided and answers for it: no permission is asked here.

use tidings_db::{requests::Outcome, transaction};
use tidings_ids::UserId;
use tidings_rpc::Violations;
use time::OffsetDateTime;

use super::Directory;
use crate::{
    error::Error,
    requests::Request,
    role,
    store::{accounts, assignments, states, states::Cause},
    user::{NewUser, Status, UserState},
};

impl Directory {
    /// Creates a pending user. Of two who ask for one name at once, the unique index lets one through.
    pub(crate) async fn create_user(&self, request: &Request, new: &NewUser) -> Result<UserState, Error> {
        let is_operators = new
            .role_names
            .iter()
            .any(|name| name == role::ADMIN_NAME || name == role::BOT_NAME);
        if new.username.is_reserved(is_operators) {
            return Err(Error::UsernameTaken);
        }
        let now = self.source.now();
        let state = transaction!(&self.pool, |tx| -> Result<_, Error> {
            let repeated = request.claim(tx, Outcome::id(new.user_id.uuid()), now).await?.is_some();
            if !repeated {
                store_pending(tx, new, now).await?;
            }
            let state = states::current(&mut *tx, new.user_id).await?.ok_or(Error::NotFound)?;
            if state.status == Status::Discarded {
                Err(Error::StateUnsuitable)
            } else {
                Ok(state)
            }
        })?;
        self.wake();
        Ok(state)
    }

    /// Makes a pending user active, and notes a verified address.
    pub(crate) async fn activate_user(&self, user_id: UserId, email_verified: bool) -> Result<UserState, Error> {
        let now = self.source.now();
        let state = transaction!(&self.pool, |tx| -> Result<_, Error> {
            match accounts::lock(tx, user_id).await?.ok_or(Error::NotFound)?.status {
                Status::Discarded | Status::Deleted => return Err(Error::StateUnsuitable),
                Status::Pending => {
                    accounts::activate(tx, user_id).await?;
                    states::publish(tx, &[user_id], Cause::Status, now).await?;
                }
                Status::Active | Status::Suspended => {}
            }
            if email_verified {
                accounts::set_email_verified(tx, user_id).await?;
            }
            states::current(&mut *tx, user_id).await?.ok_or(Error::NotFound)
        })?;
        self.wake();
        Ok(state)
    }

    /// Gives up a registration, also one that has not come yet.
    pub(crate) async fn discard_user(&self, user_id: UserId) -> Result<(), Error> {
        let now = self.source.now();
        transaction!(&self.pool, |tx| -> Result<_, Error> {
            if accounts::insert_discarded(tx, user_id, now).await? {
                return Ok(());
            }
            match accounts::lock(tx, user_id).await?.ok_or(Error::NotFound)?.status {
                Status::Discarded => Ok(()),
                Status::Active | Status::Suspended | Status::Deleted => Err(Error::StateUnsuitable),
                Status::Pending => {
                    accounts::discard(tx, user_id).await?;
                    states::publish(tx, &[user_id], Cause::Status, now).await?;
                    Ok(())
                }
            }
        })?;
        self.wake();
        Ok(())
    }

    /// Stores until when a login session of the user lives, and returns what auth issues tokens by. Two statements without a
    /// transaction, as each stands by itself and every login and refresh comes by here.
    pub(crate) async fn set_logged_in(
        &self,
        user_id: UserId,
        until: Option<OffsetDateTime>,
        revision: i64,
    ) -> Result<UserState, Error> {
        accounts::set_logged_in(&self.pool, user_id, until, revision).await?;
        let state = states::current(&self.pool, user_id).await?.ok_or(Error::NotFound)?;
        if state.status == Status::Discarded {
            Err(Error::NotFound)
        } else {
            Ok(state)
        }
    }
}

/// Stores the user, unless the same call has done so under another `request_id`.
async fn store_pending(tx: &mut sqlx::PgConnection, new: &NewUser, now: OffsetDateTime) -> Result<(), Error> {
    let roles = accounts::share_roles(tx, &new.role_names).await?;
    let mut violations = Violations::new();
    for (index, name) in new.role_names.iter().enumerate() {
        if !roles.iter().any(|(_, known)| known == name) {
            violations.add(format!("role_names[{index}]"), "must be the name of a role");
        }
    }
    Error::if_any(violations)?;
    if !accounts::insert_pending(tx, new, now).await? {
        let account = accounts::lock(tx, new.user_id).await?.ok_or(Error::NotFound)?;
        let same = account.create_hash.as_deref() == Some(&new.hash[..]);
        return if same || account.status == Status::Discarded {
            Ok(())
        } else {
            Err(Error::RequestIdReused)
        };
    }
    for (role_id, _) in roles {
        assignments::insert(tx, new.user_id, role_id, None, now).await?;
    }
    states::publish(tx, &[new.user_id], Cause::Status, now).await?;
    Ok(())
}
