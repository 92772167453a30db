//! Users who block each other. Whom somebody blocks is user's to know; what it does to chats is decided here.

use sqlx::PgConnection;
use tidings_ids::UserId;

use crate::{
    Error,
    call::Done,
    change::Change,
    direct::Pair,
    keeper::{Keeper, own_audience},
    store::{audiences, pairs},
};

/// A block that was set or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) blocker: UserId,
    pub(crate) blocked: UserId,
    /// Whether it stands from here on.
    pub(crate) stands: bool,
    /// By what it is known: the number of the feed's entry, or the mark of a reading of all blocks.
    pub(crate) seen: i64,
}

impl Keeper {
    /// Fails with `BLOCKED` where one of the caller and these others blocks the other.
    pub(crate) async fn check_blocks(
        &self,
        tx: &mut PgConnection,
        caller: UserId,
        others: &[UserId],
    ) -> Result<(), Error> {
        if pairs::any_blocked(tx, caller, others).await? {
            Err(Error::Blocked)
        } else {
            Ok(())
        }
    }

    /// Applies a block, and tells the message service where that decides otherwise now. Returns what is to be delivered after the
    /// commit.
    ///
    /// Locks: the pair's row, which the opening of a direct chat takes too, then the chat's audience.
    pub(crate) async fn apply_block(&self, tx: &mut PgConnection, block: Block) -> Result<Option<Done>, Error> {
        let Some(pair) = Pair::of(block.blocker, block.blocked) else {
            return Ok(None);
        };
        pairs::lock(tx, pair).await?;
        pairs::set(tx, pair, block.blocker, block.stands, block.seen).await?;
        let blocked = pairs::lock(tx, pair).await?.blocked();
        let Some((chat_id, told)) = pairs::direct_chat(tx, pair).await? else {
            return Ok(None);
        };
        if told == blocked {
            return Ok(None);
        }
        let audience_id = own_audience(chat_id);
        let audience = audiences::lock(tx, audience_id).await?;
        let Some(mut audience) = audience.filter(|audience| !audience.has_ended()) else {
            return Ok(None);
        };
        pairs::set_chat_blocked(tx, pair, blocked).await?;
        audience.log(Change::ChatBlocked { chat_id, blocked });
        let number = audience.store(tx, block.blocker, self.source.now()).await?;
        Ok(Some(Done {
            id: chat_id.uuid(),
            audience_id,
            number,
        }))
    }
}
