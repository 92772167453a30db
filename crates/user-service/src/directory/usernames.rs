//! Names that users change.
//!
//! A name that was given up is held back for some time, so that nobody gets it in order to pass for the one who had it: to whom
//! others still write, and whom they know by it. Who gave it up gets it back; where an operator took it away, only an operator gives
//! it back. So that nobody hoards names in this way, one can hold three.

use tidings_db::{requests::Outcome, transaction};
use tidings_ids::UserId;
use tidings_proto_common::v1::Permission;
use time::{Duration, OffsetDateTime};

use super::{Change, Directory, authority::may_act_on, trail::record};
use crate::{
    error::Error,
    lifecycle::Account,
    role::{ADMIN_NAME, BOT_NAME},
    store::{lifecycle, search, states, states::Cause, usernames},
    user::{Status, User},
    username::Username,
};

/// Names that one user can hold back.
const HELD_MAX: u32 = 3;

impl Directory {
    /// Gives a user another name.
    pub(crate) async fn change_username(
        &self,
        change: &Change,
        user_id: UserId,
        username: &Username,
        etag: Option<&str>,
    ) -> Result<User, Error> {
        let now = self.source.now();
        transaction!(&self.pool, |tx| -> Result<_, Error> {
            let outcome = Outcome::id(user_id.uuid());
            if change.request.claim(tx, outcome, now).await?.is_some() {
                return Ok(());
            }
            let account = lock_for(tx, change, user_id).await?;
            if etag.is_some_and(|given| given != account.etag()) {
                return Err(Error::EtagMismatch);
            }
            if account.username.as_deref() == Some(username.as_str()) {
                return Ok(());
            }
            let own = change.caller == user_id;
            self.take(tx, &account, user_id, username, own, now).await?;
            search::refresh(tx, user_id).await?;
            record(tx, &self.event(change).subject(user_id)).await?;
            states::publish(tx, &[user_id], Cause::Name, now).await?;
            Ok(())
        })?;
        self.wake();
        self.user(user_id).await
    }

    /// Takes the new name for the user, and holds the old one back.
    async fn take(
        &self,
        tx: &mut sqlx::PgConnection,
        account: &Account,
        user_id: UserId,
        username: &Username,
        own: bool,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let is_operators = account.roles.iter().any(|role| role == ADMIN_NAME || role == BOT_NAME);
        if username.is_reserved(is_operators && !own) {
            return Err(Error::UsernameTaken);
        }
        if own && usernames::count_held(tx, user_id, username, now).await? >= i64::from(HELD_MAX) {
            return Err(Error::QuotaExceeded {
                quota: "held_usernames",
                limit: HELD_MAX,
            });
        }
        usernames::change(tx, user_id, username).await?;
        if usernames::is_held_from(&mut *tx, username, user_id, own, now).await? {
            return Err(Error::UsernameTaken);
        }
        usernames::release(tx, username).await?;
        if let Some(before) = &account.username {
            let held_for = Duration::try_from(self.config.username_held_for).unwrap_or(Duration::MAX);
            usernames::hold(tx, before, user_id, own, now + held_for).await?;
        }
        Ok(())
    }
}

/// Locks the account and checks that the caller may rename it.
async fn lock_for(tx: &mut sqlx::PgConnection, change: &Change, user_id: UserId) -> Result<Account, Error> {
    let account = lifecycle::lock(tx, user_id).await?;
    let account = account.filter(|account| matches!(account.status, Status::Active | Status::Suspended));
    if change.caller == user_id {
        let active = account.filter(|account| account.status == Status::Active);
        return active.ok_or(Error::CallerInactive);
    }
    let account = account.ok_or(Error::NotFound)?;
    may_act_on(tx, change, Permission::UsersManage, user_id).await?;
    Ok(account)
}
