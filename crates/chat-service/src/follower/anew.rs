//! Where the feed is not there to follow: all blocks, and all users who are deleted for good, read at once.

use tidings_db::transaction;
use tidings_proto_user::v1::{ListBlocksRequest, ListDeletedUsersRequest, UserBlock};

use super::{BATCH_MAX, Ended, Follower, block, parse};
use crate::{
    Error,
    block::Block,
    call::Done,
    direct::Pair,
    store::{departures, pairs, user_feed},
    users::in_time,
};

/// A reading of everything.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// The position that is given up.
    before: Option<i64>,
    /// What no entry of the feed and no other reading has: what is found gets it, and what does not have it ends.
    mark: i64,
}

impl Follower {
    /// Reads all blocks and all users who are deleted for good, and returns the number from which the feed goes on. `before` is the
    /// position that is given up; whoever finds another one there stops.
    pub(super) async fn begin_anew(&self, before: Option<i64>) -> Result<i64, Ended> {
        let micros = self.keeper.source.now().unix_timestamp_nanos() / 1_000;
        let mark = -i64::try_from(micros).unwrap_or(i64::MAX);
        let reading = Reading { before, mark };
        if !user_feed::begin_reading(&self.keeper.pool, before, mark).await? {
            return Err(Ended::Overtaken);
        }
        let mut head = None;
        let mut page_token = String::new();
        loop {
            let request = ListBlocksRequest {
                page_size: 100,
                page_token,
            };
            let mut client = self.states.clone();
            let page = in_time(client.list_blocks(request)).await.map_err(Error::from)?;
            let page = page?.into_inner();
            head.get_or_insert(page.head_number);
            let blocks = page.blocks.iter().map(|found| listed(found, mark));
            let blocks = blocks.collect::<Result<Vec<_>, _>>()?;
            self.apply_read(reading, &blocks).await?;
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        self.end_unread(reading).await?;
        self.note_deleted().await?;
        let head = head.unwrap_or_default();
        transaction!(&self.keeper.pool, |tx| -> Result<(), Ended> {
            go_on(tx, reading).await?;
            Ok(user_feed::end_reading(tx, head).await?)
        })?;
        Ok(head)
    }

    async fn apply_read(&self, reading: Reading, blocks: &[Block]) -> Result<(), Ended> {
        let done = transaction!(&self.keeper.pool, |tx| -> Result<Vec<Done>, Ended> {
            go_on(tx, reading).await?;
            let mut done = Vec::new();
            for block in blocks {
                done.extend(self.keeper.apply_block(tx, *block).await?);
            }
            Ok(done)
        })?;
        self.deliver(done);
        Ok(())
    }

    /// Ends the blocks that were not among those that were read.
    async fn end_unread(&self, reading: Reading) -> Result<(), Ended> {
        let limit = i64::try_from(BATCH_MAX).unwrap_or(i64::MAX);
        let mut after: Option<Pair> = None;
        loop {
            let mut connection = self.keeper.pool.acquire().await?;
            let unread = pairs::unseen(&mut connection, reading.mark, after, limit).await?;
            drop(connection);
            let Some((last, ..)) = unread.last() else { return Ok(()) };
            after = Some(*last);
            let ended: Vec<Block> = unread
                .iter()
                .flat_map(|(pair, low, high)| {
                    let end = |blocker, blocked| Block {
                        blocker,
                        blocked,
                        stands: false,
                        seen: reading.mark,
                    };
                    let low = low.then(|| end(pair.low, pair.high));
                    low.into_iter().chain(high.then(|| end(pair.high, pair.low)))
                })
                .collect();
            self.apply_read(reading, &ended).await?;
        }
    }

    /// Notes all users who are deleted for good; those are kept who are in anything.
    async fn note_deleted(&self) -> Result<(), Ended> {
        let mut page_token = String::new();
        loop {
            let request = ListDeletedUsersRequest {
                page_size: 200,
                page_token,
            };
            let mut client = self.states.clone();
            let page = in_time(client.list_deleted_users(request)).await.map_err(Error::from)?;
            let page = page?.into_inner();
            let user_ids = page
                .user_ids
                .iter()
                .map(|id| parse(id))
                .collect::<Result<Vec<_>, _>>()?;
            departures::insert(&self.keeper.pool, &user_ids, self.keeper.source.now()).await?;
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(());
            }
        }
    }
}

/// Locks the position, and stops where this is no longer the reading that counts.
async fn go_on(tx: &mut sqlx::PgConnection, reading: Reading) -> Result<(), Ended> {
    if user_feed::go_on_reading(tx, reading.before, reading.mark).await? {
        Ok(())
    } else {
        Err(Ended::Overtaken)
    }
}

fn listed(found: &UserBlock, mark: i64) -> Result<Block, Ended> {
    block(&found.blocker_user_id, &found.blocked_user_id, true, mark)
}
