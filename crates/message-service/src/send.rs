//! The send path: sends join the batch that is forming while the last one commits.
//!
//! | file | one job |
//! | --- | --- |
//! | `item` | what is to be stored, and what became of it |
//! | `former` | which sends make the next batch, which are put off, which wait: pure |
//! | `shard` | the loop around it, over a narrow store |
//! | `postgres` | the store: the functions of `0005_send.sql` on a connection of its own |
//!
//! A chat belongs to one shard, so that its sends share batches instead of queueing for its row. There is no timer: an idle shard
//! takes a send at once, and a busy one finds what has come meanwhile.

mod former;
mod item;
mod postgres;
mod shard;
#[cfg(test)]
mod simulation;

use std::{sync::Arc, time::Duration};

use tidings_db::{Pool, Settings};
use tidings_ids::ChatId;
use tidings_rpc::Drain;
use tokio::sync::{
    Semaphore,
    mpsc::{self, error::TrySendError},
    oneshot,
};

pub(crate) use item::{Item, Outcome, ResponseTo, SendError, muted};
use postgres::PostgresStore;
use shard::{Job, Shard};

use crate::{Background, bus::Bus};

/// Sends that wait in one shard; more are refused with `OVERLOADED`. A shard does thousands a second, so this is well below the
/// ten seconds that a call has; and with texts of 32 KiB it is 64 MiB at the very worst.
const QUEUE_MAX: usize = 2_048;

/// Of how many connections of the pool one may wait for a chat's row. A wait lasts as long as a lock may be waited for, and reads
/// need the others meanwhile; sends that find none free go on trying without waiting.
const WAITS_SHARE: u32 = 4;

/// Once the process drains, a shard ends when nothing has come for this long: a handler takes less from its admission to here.
const QUIET: Duration = Duration::from_millis(300);

/// Hands sends to the shards.
#[derive(Clone)]
pub(crate) struct Sends {
    shards: Arc<[mpsc::Sender<Job>]>,
}

/// The shards, each with a connection of its own, and who hands sends to them. They end when the process drains and nothing is left
/// to do.
pub(crate) fn build(
    count: usize,
    settings: &Settings,
    pool: &Pool,
    bus: &Bus,
    drain: &Drain,
) -> (Sends, Vec<Background>) {
    let mut shards: Vec<Background> = Vec::new();
    let mut senders = Vec::new();
    let waits = usize::try_from(settings.max_connections / WAITS_SHARE)
        .unwrap_or(1)
        .max(1);
    let waits = Arc::new(Semaphore::new(waits));
    for _ in 0..count.max(1) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let store = PostgresStore::new(settings.clone(), pool.clone());
        shards.push(Box::pin(Shard::new(store, bus.clone(), Arc::clone(&waits)).run(
            receiver,
            drain.clone(),
            QUIET,
        )));
        senders.push(sender);
    }
    (Sends { shards: senders.into() }, shards)
}

impl Sends {
    /// Stores a message, or says why not. The answer comes after the commit.
    pub(crate) async fn send(&self, item: Arc<Item>) -> Result<Outcome, SendError> {
        let shard = &self.shards[shard_of(item.chat_id, self.shards.len())];
        let (reply, answer) = oneshot::channel();
        shard
            .try_send(Job {
                item,
                reply,
                deadline: tidings_rpc::deadline(),
            })
            .map_err(|error| match error {
                TrySendError::Full(_) => SendError::Overloaded,
                TrySendError::Closed(_) => SendError::Draining,
            })?;
        // A shard that is dropped at the hard end may have been in the middle of a commit.
        answer.await.unwrap_or(Err(SendError::CommitUnknown))
    }
}

/// The shard of a chat. The last bytes of an id are random.
fn shard_of(chat_id: ChatId, count: usize) -> usize {
    let bytes = chat_id.uuid().as_u128().to_le_bytes();
    usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % count
}

#[cfg(test)]
mod tests {
    use tidings_ids::{ChatId, Source};

    use super::shard_of;

    #[test]
    fn chats_are_spread_and_stay_where_they_are() {
        let source = Source::seeded(1);
        let mut counts = [0; 4];
        for _ in 0..4_000 {
            let chat: ChatId = source.new_id();
            assert_eq!(shard_of(chat, 4), shard_of(chat, 4));
            counts[shard_of(chat, 4)] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
