//! Accounts as auth provides them. `auth` has decided and answers for it: no permission is asked here.

use tidings_audit::Event;
use tidings_db::{requests::Outcome, transaction};
use tidings_ids::{RoleId, UserId};
use tidings_rpc::Violations;
use time::OffsetDateTime;

use super::{Directory, authority, trail::record};
use crate::{
    authority::{Deed, judge},
    error::Error,
    permissions::Permissions,
    requests::Request,
    role,
    store::{self, accounts, assignments, search, states, states::Cause, usernames},
    user::{NewUser, Status, UserState},
};

impl Directory {
    /// Creates a pending user. Of two who ask for one name at once, the unique index lets one through.
    pub(crate) async fn create_user(&self, request: &Request, new: &NewUser) -> Result<UserState, Error> {
        // A user who asks for an account is no operator, whatever roles it gets.
        let is_operators = new.actor.is_none()
            && new
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
                let event = self.event_of("user.create_user").subject(new.user_id);
                store_pending(tx, new, event.request(request.id), now).await?;
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
                    record(tx, &self.event_of("user.activate_user").subject(user_id)).await?;
                    search::refresh(tx, user_id).await?;
                    states::publish(tx, &[user_id], Cause::Status, now).await?;
                }
                Status::Active | Status::Suspended => {}
            }
            if email_verified && accounts::set_email_verified(tx, user_id).await? {
                let event = self.event_of("user.activate_user").subject(user_id);
                record(tx, &event.detail("fields", "email_verified")).await?;
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
                    record(tx, &self.event_of("user.discard_user").subject(user_id)).await?;
                    states::publish(tx, &[user_id], Cause::Status, now).await?;
                    Ok(())
                }
            }
        })?;
        self.wake();
        Ok(())
    }

    /// How these users stand who are there.
    pub(crate) async fn states(&self, user_ids: &[UserId]) -> Result<Vec<UserState>, Error> {
        states::of_users(&self.pool, user_ids).await
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
async fn store_pending(
    tx: &mut sqlx::PgConnection,
    new: &NewUser,
    event: Event,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let roles = accounts::share_roles(tx, &new.role_names).await?;
    let mut violations = Violations::new();
    for (index, name) in new.role_names.iter().enumerate() {
        if !roles.iter().any(|(_, known)| known == name) {
            violations.add(format!("role_names[{index}]"), "must be the name of a role");
        }
    }
    Error::if_any(violations)?;
    if let Some((actor, reach)) = &new.actor {
        may_give(tx, *actor, reach, &roles).await?;
    }
    // Told before a taken address is, since to some callers that one is not told.
    must_be_free(tx, new, now).await?;
    if !accounts::insert_pending(tx, new, now).await? {
        let account = accounts::lock(tx, new.user_id).await?.ok_or(Error::NotFound)?;
        let same = account.create_hash.as_deref() == Some(&new.hash[..]);
        return if same || account.status == Status::Discarded {
            Ok(())
        } else {
            Err(Error::RequestIdReused)
        };
    }
    must_be_free(tx, new, now).await?;
    let actor = new.actor.as_ref().map(|(actor, _)| *actor);
    for (role_id, _) in &roles {
        assignments::insert(tx, new.user_id, *role_id, actor, now).await?;
    }
    let event = event.subjects(roles.iter().map(|(role_id, _)| *role_id));
    // Auth is who calls; who gives the roles through it is told beside.
    let event = match actor {
        Some(actor) => event.detail("actor_user_id", actor),
        None => event,
    };
    record(tx, &event).await?;
    states::publish(tx, &[new.user_id], Cause::Status, now).await?;
    Ok(())
}

/// Refuses roles that the actor may not give. They are locked.
async fn may_give(
    tx: &mut sqlx::PgConnection,
    actor: UserId,
    reach: &Permissions,
    roles: &[(RoleId, String)],
) -> Result<(), Error> {
    let mut given = Vec::with_capacity(roles.len());
    for (role_id, _) in roles {
        given.extend(store::roles::find(&mut *tx, *role_id).await?);
    }
    let actor = authority::actor_of(&mut *tx, actor, Some(reach.clone())).await?;
    judge(&actor, Deed::CreateUser(&given)).outcome
}

/// Refuses a name that is held back from everybody but who had it.
async fn must_be_free(tx: &mut sqlx::PgConnection, new: &NewUser, now: OffsetDateTime) -> Result<(), Error> {
    if usernames::is_held_from(tx, &new.username, new.user_id, true, now).await? {
        Err(Error::UsernameTaken)
    } else {
        Ok(())
    }
}
