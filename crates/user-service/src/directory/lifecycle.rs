//! Suspension and deletion, and what undoes them.
//!
//! Each takes effect for tokens and login sessions by the feed's entry: the token epoch rises, which ends access tokens, and a
//! suspension or deletion sets the login epoch to it, below which login sessions are over for good. A deletion first only hides the
//! user. [`Directory::finish_deletions`] makes it final after the 30 days.

use tidings_db::{requests::Outcome, transaction};
use tidings_ids::UserId;
use tidings_proto_common::v1::Permission;
use time::{Duration, OffsetDateTime};

use super::{Change, Directory, authority, trail::record};
use crate::{
    authority::{Deed, judge},
    error::Error,
    lifecycle::{Account, Step},
    store::{lifecycle, search, states, states::Cause, users},
    user::{Status, User},
};

/// Deletions that one transaction makes final: some milliseconds, since the feed waits for it.
const FINAL_BATCH: i64 = 100;

impl Directory {
    /// Suspends, reactivates, deletes or restores an account.
    pub(crate) async fn step(
        &self,
        change: &Change,
        user_id: UserId,
        step: Step,
        etag: Option<&str>,
    ) -> Result<User, Error> {
        let (now, kept_for) = (self.source.now(), self.deleted_kept_for());
        transaction!(&self.pool, |tx| -> Result<_, Error> {
            let outcome = Outcome::id(user_id.uuid());
            if change.request.claim(tx, outcome, now).await?.is_some() {
                return Ok(());
            }
            if step.ends() {
                authority::lock_admins(tx).await?;
            }
            let account = lock_for(tx, change, user_id, step).await?;
            if etag.is_some_and(|given| given != account.etag()) {
                return Err(Error::EtagMismatch);
            }
            let Some(status) = account.after(step, now, kept_for)? else {
                return Ok(());
            };
            match step {
                Step::Suspend | Step::Reactivate => lifecycle::set_status(tx, user_id, status).await?,
                Step::Delete => lifecycle::delete(tx, user_id, now).await?,
                Step::Undelete => lifecycle::undelete(tx, user_id).await?,
            }
            search::refresh(tx, user_id).await?;
            record(tx, &self.event(change).subject(user_id)).await?;
            let cause = if step.ends() { Cause::Ended } else { Cause::Status };
            states::publish(tx, &[user_id], cause, now).await?;
            Ok(())
        })?;
        self.wake();
        self.user(user_id).await
    }

    /// When the deletion of a user becomes final who can still be restored.
    pub(crate) async fn final_time(&self, user_id: UserId) -> Result<Option<OffsetDateTime>, Error> {
        let delete_time = lifecycle::delete_time(&self.pool, user_id).await?;
        Ok(delete_time.map(|time| time + self.deleted_kept_for()))
    }

    /// Makes deletions final whose time is over, some of them. Returns whether there may be more.
    pub(crate) async fn finish_deletions(&self) -> Result<bool, Error> {
        let now = self.source.now();
        let before = now - self.deleted_kept_for();
        let count = transaction!(&self.pool, |tx| -> Result<_, Error> {
            let user_ids = lifecycle::lock_due(tx, before, FINAL_BATCH).await?;
            if !user_ids.is_empty() {
                lifecycle::wipe(tx, &user_ids).await?;
                let event = self.event_of("user.finish_deletions");
                record(tx, &event.subjects(user_ids.iter().copied())).await?;
                states::publish(tx, &user_ids, Cause::Status, now).await?;
            }
            Ok(user_ids.len())
        })?;
        self.wake();
        Ok(i64::try_from(count).is_ok_and(|count| count >= FINAL_BATCH))
    }

    fn deleted_kept_for(&self) -> Duration {
        Duration::try_from(self.config.deleted_kept_for).unwrap_or(Duration::MAX)
    }
}

/// Locks the account and checks that the caller may take the step with it.
async fn lock_for(tx: &mut sqlx::PgConnection, change: &Change, user_id: UserId, step: Step) -> Result<Account, Error> {
    let account = lifecycle::lock(tx, user_id).await?;
    let Some(account) = account.filter(|account| account.status.is_known()) else {
        return Err(Error::NotFound);
    };
    let own = step == Step::Delete && change.caller == user_id;
    let deed = Deed::ActOnUser {
        permission: if own {
            Permission::Unspecified
        } else {
            Permission::UsersManage
        },
        // Also of a deleted user, whose roles come back with a restoration.
        user: users::standing(&mut *tx, user_id).await?.map(|standing| standing.rank),
        last_admin: step.ends()
            && account.status == Status::Active
            && authority::is_last_admin(&mut *tx, user_id).await?,
    };
    judge(&authority::actor(tx, change).await?, deed).outcome?;
    Ok(account)
}
