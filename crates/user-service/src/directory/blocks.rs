//! Whom users want to hear nothing from. What a block does is chat's to carry out, which follows the feed.

use tidings_db::{requests::Outcome, transaction};
use tidings_ids::UserId;

use super::{Change, Directory};
use crate::{
    block::{Block, UserBlock},
    error::Error,
    store::{blocks, states, users},
    user::Status,
};

impl Directory {
    /// Blocks a user. `None` where a repeated call finds that the block has been removed since.
    pub(crate) async fn block_user(&self, change: &Change, user_id: UserId) -> Result<Option<Block>, Error> {
        let now = self.source.now();
        let limit = self.config.blocks_per_user_max;
        transaction!(&self.pool, |tx| -> Result<_, Error> {
            if change.request.claim(tx, Outcome::default(), now).await?.is_some() {
                return Ok(());
            }
            lock_blocker(tx, change.caller).await?;
            if users::rank(&mut *tx, user_id).await?.is_none() {
                return Err(Error::NotFound);
            }
            if !blocks::insert(tx, change.caller, user_id, now).await? {
                return Ok(());
            }
            if blocks::count(tx, change.caller).await? > i64::from(limit) {
                return Err(Error::QuotaExceeded {
                    quota: "blocked_users",
                    limit,
                });
            }
            blocks::publish(tx, change.caller, user_id, true, now).await
        })?;
        self.wake();
        blocks::find(&self.pool, change.caller, user_id).await
    }

    /// Removes a block.
    pub(crate) async fn unblock_user(&self, change: &Change, user_id: UserId) -> Result<(), Error> {
        let now = self.source.now();
        transaction!(&self.pool, |tx| -> Result<_, Error> {
            if change.request.claim(tx, Outcome::default(), now).await?.is_some() {
                return Ok(());
            }
            lock_blocker(tx, change.caller).await?;
            let standing = users::standing(&mut *tx, user_id).await?;
            standing.filter(|user| user.status.is_known()).ok_or(Error::NotFound)?;
            if !blocks::delete(tx, change.caller, user_id).await? {
                return Ok(());
            }
            blocks::publish(tx, change.caller, user_id, false, now).await
        })?;
        self.wake();
        Ok(())
    }

    /// A page of those whom a user blocks.
    pub(crate) async fn blocks_of(
        &self,
        blocker: UserId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<Block>, Error> {
        blocks::page_of_blocker(&self.pool, blocker, after, limit).await
    }

    /// A page of all users whose deletion is final.
    pub(crate) async fn deleted_after(&self, after: Option<UserId>, limit: u32) -> Result<Vec<UserId>, Error> {
        users::deleted_for_good(&self.pool, after, limit).await
    }

    /// A page of all blocks, and the number of the newest entry of the feed that is in it for certain.
    pub(crate) async fn blocks_after(&self, after: blocks::Cursor, limit: u32) -> Result<(i64, Vec<UserBlock>), Error> {
        // Before the page, so that the page has all up to there.
        let head = states::head(&self.pool).await?;
        Ok((head, blocks::page(&self.pool, after, limit).await?))
    }
}

/// Locks the row of who blocks, so that the quota holds and the entries of the feed follow the effects.
async fn lock_blocker(tx: &mut sqlx::PgConnection, user_id: UserId) -> Result<(), Error> {
    let blocker = users::lock(tx, user_id).await?;
    match blocker.map(|user| user.status) {
        Some(Status::Active) => Ok(()),
        _ => Err(Error::CallerInactive),
    }
}
