//! How a change of a role reaches those who hold it, who may be a hundred thousand.
//!
//! One transaction over all of them would hold the feed's counter for seconds, and every login with a new role behind it. So the change
//! of the role is stored together with a row that says that it is on its way, and then carried to the holders in batches, each a
//! transaction of some milliseconds that works their states out anew, raises their token epochs and adds their entries to the
//! feed. The RPC answers OK only when the last batch is done: from then on no older token is good anywhere, which is what "acts
//! at once" promises. Each holder changes as a whole, since a state is read from the user's own row, never from the role. If
//! the process dies on the way, the row remains, and any node's background work goes on from there.
//!
//! The readers of the feed hold each entry for as long as an older token may live, and when they hold more than they can, they refuse all
//! tokens. So a role that a great many hold is carried to them in portions: no more is added than the readers have room for, and
//! the rest waits until they have forgotten. The RPC is not answered OK meanwhile, but told to come back.
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

/// How far a fan-out has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// There may be more holders.
    More,
    /// All have it.
    Complete,
    /// The feed's readers have no room for more just now.
    Waiting,
}

impl Directory {
    /// Carries a role's change to all who hold it. Nothing to do where there is none on its way.
    ///
    /// # Errors
    ///
    /// [`Error::OnItsWay`] where the rest has to wait.
    pub(crate) async fn fan_out(&self, role_id: RoleId) -> Result<(), Error> {
        match self.carry(role_id).await? {
            Progress::Waiting => Err(Error::OnItsWay),
            Progress::More | Progress::Complete => Ok(()),
        }
    }

    /// Goes on with whatever is on its way and need not wait.
    pub(crate) async fn fan_out_pending(&self) -> Result<(), Error> {
        for role_id in fan_outs::pending(&self.pool).await? {
            self.carry(role_id).await?;
        }
        Ok(())
    }

    async fn carry(&self, role_id: RoleId) -> Result<Progress, Error> {
        loop {
            let progress = self.fan_out_batch(role_id).await?;
            self.wake();
            if progress != Progress::More {
                return Ok(progress);
            }
        }
    }

    /// One batch.
    async fn fan_out_batch(&self, role_id: RoleId) -> Result<Progress, Error> {
        let now = self.source.now();
        let room = i64::from(self.config.held_states_max);
        transaction!(&self.pool, |tx| -> Result<_, Error> {
            let Some(fan_out) = fan_outs::lock(tx, role_id).await? else {
                return Ok(Progress::Complete);
            };
            let limit = i64::try_from(BATCH).expect("500 fits");
            let holders = fan_outs::lock_holders(tx, role_id, fan_out.after_user_id, limit).await?;
            let added = i64::try_from(holders.len()).expect("500 fits");
            if added > 0 && states::held(&mut *tx).await? + added > room {
                return Ok(Progress::Waiting);
            }
            if fan_out.deleting {
                fan_outs::take(tx, role_id, &holders).await?;
            }
            let last = holders.last().copied();
            match last.filter(|_| holders.len() == BATCH) {
                Some(last) => fan_outs::advance(tx, role_id, last).await?,
                None => fan_outs::finish(tx, role_id, fan_out.deleting).await?,
            }
            states::publish(tx, &holders, Cause::Roles, now).await?;
            Ok(if holders.len() == BATCH {
                Progress::More
            } else {
                Progress::Complete
            })
        })
    }
}
