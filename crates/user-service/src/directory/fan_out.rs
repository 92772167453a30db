//! How a change of a role reaches those who hold it, who may be a hundred thousand.
//!
//! One transaction over all of them would hold the feed's counter for seconds, and every login with a new role behind it. So the change
//! of the role is stored together with a row that says that it is on its way, and then carried to the holders in batches, each a
//! transaction of some milliseconds that works their states out anew, raises their token epochs and adds their entries to the
//! feed. The RPC answers OK only when the last batch is done: from then on no older token is good anywhere, which is what "acts
//! at once" promises. Each holder changes as a whole, since a state is read from the user's own row, never from the role. If
//! the process dies on the way, the row remains, and any node's background work goes on from there.
//!
//! Who gets the role meanwhile has locked it, and so gets what it allows after the change.

use tidings_db::transaction;
use tidings_ids::RoleId;

use super::Directory;
use crate::{
    error::Error,
    store::{fan_outs, states, states::Cause},
};

/// Holders in a batch: as many as a frame of the feed has entries.
const BATCH: usize = 500;

impl Directory {
    /// Carries a role's change to all who hold it. Nothing to do where there is none on its way.
    pub(crate) async fn fan_out(&self, role_id: RoleId) -> Result<(), Error> {
        while self.fan_out_batch(role_id).await? {
            self.wake();
        }
        self.wake();
        Ok(())
    }

    /// Goes on with whatever is on its way.
    pub(crate) async fn fan_out_pending(&self) -> Result<(), Error> {
        for role_id in fan_outs::pending(&self.pool).await? {
            self.fan_out(role_id).await?;
        }
        Ok(())
    }

    /// One batch. Returns whether there may be more.
    async fn fan_out_batch(&self, role_id: RoleId) -> Result<bool, Error> {
        let now = self.source.now();
        transaction!(&self.pool, |tx| -> Result<_, Error> {
            let Some(fan_out) = fan_outs::lock(tx, role_id).await? else {
                return Ok(false);
            };
            let limit = i64::try_from(BATCH).expect("500 fits");
            let holders = fan_outs::lock_holders(tx, role_id, fan_out.after_user_id, limit).await?;
            if fan_out.deleting {
                fan_outs::take(tx, role_id, &holders).await?;
            }
            let last = holders.last().copied();
            match last.filter(|_| holders.len() == BATCH) {
                Some(last) => fan_outs::advance(tx, role_id, last).await?,
                None => fan_outs::finish(tx, role_id, fan_out.deleting).await?,
            }
            states::publish(tx, &holders, Cause::Roles, now).await?;
            Ok(holders.len() == BATCH)
        })
    }
}
