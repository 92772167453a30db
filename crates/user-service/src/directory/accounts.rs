//! Accounts as auth provides them. `auth` has decided and answers for it: no permission is asked here.

use tidings_audit::Event;
use tidings_db::{requests::Outcome, transaction};
use tidings_ids::{RoleId, UserId};
use tidings_rpc::Violations;
use time::OffsetDateTime;

use super::{Directory, authority, trail::record};
use crate::{
    authority::{Deed, judge},
    email::Email,
    error::Error,
    permissions::Permissions,
    requests::Request,
    role,
    store::{self, accounts, assignments, emails, search, states, states::Cause, usernames},
    user::{Created, NewUser, Status, UserState},
};

impl Directory {
    /// Creates a pending user. Of two who ask for one name at once, the unique index lets one through.
    pub(crate) async fn create_user(&self, request: &Request, new: &NewUser) -> Result<Created, Error> {
        // A user who asks for an account is no operator, whatever roles it gets.
        let is_operators = new.actor.is_none()
            && new
                .role_names
                .iter()
                .any(|name| name == role::ADMIN_NAME || name == role::BOT_NAME);
        if new.username.is_reserved(is_operators) {
            return Err(Error::UsernameTaken);
        }
        let created = match self.try_create_user(request, new, new.email.as_ref()).await {
            // Somebody got the address since it was looked at.
            Err(Error::EmailTaken) if new.may_lack_email => self.try_create_user(request, new, None).await,
            created => created,
        }?;
        self.wake();
        Ok(created)
    }

    /// The same, with this address: the user's, or none.
    async fn try_create_user(&self, request: &Request, new: &NewUser, email: Option<&Email>) -> Result<Created, Error> {
        let now = self.source.now();
        transaction!(&self.pool, |tx| -> Result<_, Error> {
            let repeated = request.claim(tx, Outcome::id(new.user_id.uuid()), now).await?.is_some();
            let event = || {
                self.event_of("user.create_user")
                    .subject(new.user_id)
                    .request(request.id)
            };
            if !repeated {
                store_pending(tx, new, email, event(), now).await?;
            }
            let email_taken =
                new.may_lack_email && new.email.is_some() && emails::is_lacking(&mut *tx, new.user_id).await?;
            if let Some(email) = new.email.as_ref().filter(|_| !new.may_lack_email)
                && emails::give(tx, new.user_id, email).await?
            {
                record(tx, &event().detail("fields", "email")).await?;
            }
            let state = states::current(&mut *tx, new.user_id).await?.ok_or(Error::NotFound)?;
            if state.status == Status::Discarded {
                Err(Error::StateUnsuitable)
            } else {
                Ok(Created { state, email_taken })
            }
        })
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

    /// Frees the address of a registration that goes on without it.
    pub(crate) async fn withdraw_email(&self, user_id: UserId) -> Result<(), Error> {
        transaction!(&self.pool, |tx| -> Result<_, Error> {
            match accounts::lock(tx, user_id).await?.map(|account| account.status) {
                None | Some(Status::Discarded) => Ok(()),
                Some(Status::Active | Status::Suspended | Status::Deleted) => Err(Error::StateUnsuitable),
                Some(Status::Pending) => {
                    if emails::withdraw(tx, user_id).await? {
                        let event = self.event_of("user.discard_user").subject(user_id);
                        record(tx, &event.detail("fields", "email")).await?;
                    }
                    Ok(())
                }
            }
        })
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
    email: Option<&Email>,
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
    let email = free_email(tx, new, email).await?;
    if !accounts::insert_pending(tx, new, email, now).await? {
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

/// The address, unless the user may lack it and another has it. Looked at before anything is stored, so that the same is
/// done in both cases. Whether it is free is decided by the unique index.
async fn free_email<'a>(
    tx: &mut sqlx::PgConnection,
    new: &NewUser,
    email: Option<&'a Email>,
) -> Result<Option<&'a Email>, Error> {
    let Some(wanted) = email.filter(|_| new.may_lack_email) else {
        return Ok(email);
    };
    let taken = emails::is_taken(tx, new.user_id, wanted).await?;
    Ok(email.filter(|_| !taken))
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
