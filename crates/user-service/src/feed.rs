//! The feed of user states, as one reader follows it.
//!
//! The reader pulls: nothing is read from Postgres before the frame before was taken, so a slow reader costs no memory and holds no
//! connection, and its view grows old, which it can tell by the heartbeats. A heartbeat is sent only right after the head was
//! read, so it never vouches for more than what is stored.

use std::{collections::VecDeque, time::Duration};

use futures_util::{Stream, stream};
use tidings_db::Pool;
use tidings_rpc::Drain;
use tokio::{sync::watch, time::Instant};

use crate::{
    Config,
    block::BlockChange,
    directory::Directory,
    error::Error,
    store::{blocks, states},
    user::UserState,
};

/// How often a reader is told how far the feed has come (`design.md` section 2 lets a reader trust what is 10 s old).
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Entries in a frame at most, as the contract says: about 100 KiB.
const BATCH_MAX: i64 = 500;

/// What a reader is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The next entries, at least one, about users.
    States(Vec<UserState>),
    /// The same about blocks.
    Blocks(Vec<BlockChange>),
    /// How far feed and reader have come.
    Heartbeat {
        /// The newest entry's number.
        head_number: i64,
        /// The number of the last entry that was sent.
        sent_number: i64,
    },
}

/// An entry of either kind.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    State(UserState),
    Block(BlockChange),
}

impl Entry {
    fn number(&self) -> i64 {
        match self {
            Self::State(state) => state.number,
            Self::Block(change) => change.number,
        }
    }
}

/// The next entries of both kinds in the order of their numbers, as many as one look may find.
fn merge(states: Vec<UserState>, changes: Vec<BlockChange>) -> Vec<Entry> {
    let states = states.into_iter().map(Entry::State);
    let mut entries: Vec<_> = states.chain(changes.into_iter().map(Entry::Block)).collect();
    entries.sort_by_key(Entry::number);
    // Beyond that one of the two may have been cut off.
    entries.truncate(usize::try_from(BATCH_MAX).unwrap_or(usize::MAX));
    entries
}

/// The entries as they are sent: a frame is a run of one kind.
fn frames(entries: Vec<Entry>) -> Vec<Frame> {
    let mut frames = Vec::new();
    for entry in entries {
        match (entry, frames.last_mut()) {
            (Entry::State(state), Some(Frame::States(states))) => states.push(state),
            (Entry::Block(change), Some(Frame::Blocks(changes))) => changes.push(change),
            (Entry::State(state), _) => frames.push(Frame::States(vec![state])),
            (Entry::Block(change), _) => frames.push(Frame::Blocks(vec![change])),
        }
    }
    frames
}

/// One reader's place in the feed.
struct Reader {
    pool: Pool,
    wake: watch::Receiver<()>,
    drain: Drain,
    poll_interval: Duration,
    /// Everything up to here was sent, or is not the reader's to get.
    sent: i64,
    /// When the next heartbeat is due; the first is due at once.
    heartbeat_at: Instant,
    ready: VecDeque<Frame>,
}

/// Follows the feed after `after_number`, or for 0 from 15 minutes ago. The stream ends with `DRAINING` when the process stops.
///
/// # Errors
///
/// `CURSOR_EXPIRED` or `CURSOR_INVALID` where the feed has no such place.
pub async fn follow(
    directory: &Directory,
    drain: Drain,
    after_number: i64,
) -> Result<impl Stream<Item = Result<Frame, Error>> + Send + use<>, Error> {
    let pool = directory.pool.clone();
    // Before the place is looked for, so that nothing is missed in between.
    let wake = directory.subscribe();
    let sent = place(&pool, after_number).await?;
    let poll_interval = directory.config.feed_poll_interval.min(Config::FEED_POLL_INTERVAL_MAX);
    let reader = Reader {
        pool,
        wake,
        drain,
        poll_interval,
        sent,
        heartbeat_at: Instant::now(),
        ready: VecDeque::new(),
    };
    // The reader is gone after an error, which so is the last item.
    Ok(stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(frame) => Some((Ok(frame), Some(reader))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

/// The number that a reader has everything up to, who says that it has everything up to `after_number`.
async fn place(pool: &Pool, after_number: i64) -> Result<i64, Error> {
    let head = states::head(pool).await?;
    if after_number == 0 {
        // Asked after the head: what is committed in between has a higher number and is sent.
        let first = states::first_recent(pool).await?;
        return Ok(first.map_or(head, |first| first - 1));
    }
    if after_number > head {
        return Err(Error::CursorInvalid);
    }
    let first = states::first(pool).await?.unwrap_or(head + 1);
    if after_number + 1 < first {
        Err(Error::CursorExpired { first })
    } else {
        Ok(after_number)
    }
}

impl Reader {
    async fn next(&mut self) -> Result<Frame, Error> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(frame);
            }
            if self.drain.has_begun() {
                return Err(Error::Draining);
            }
            self.look().await?;
            if self.ready.is_empty() {
                self.wait().await;
            }
        }
    }

    /// Looks what there is to send.
    async fn look(&mut self) -> Result<(), Error> {
        self.wake.borrow_and_update();
        let head = states::head(&self.pool).await?;
        if Instant::now() >= self.heartbeat_at {
            // Before the entries: a reader that lags is told so before it gets more.
            self.ready.push_back(Frame::Heartbeat {
                head_number: head.max(self.sent),
                sent_number: self.sent,
            });
            self.heartbeat_at = Instant::now() + HEARTBEAT_INTERVAL;
        }
        if head > self.sent {
            // No further than the head, up to which everything is there for both queries.
            let states = states::after(&self.pool, self.sent, head, BATCH_MAX).await?;
            let changes = blocks::changes(&self.pool, self.sent, head, BATCH_MAX).await?;
            let entries = merge(states, changes);
            self.check_dense(&entries, head)?;
            if let Some(last) = entries.last() {
                self.sent = last.number();
                self.ready.extend(frames(entries));
            }
        }
        Ok(())
    }

    /// A reader that was slower than an hour meets the end of what is kept.
    fn check_dense(&self, entries: &[Entry], head: i64) -> Result<(), Error> {
        let dense = entries
            .iter()
            .zip(self.sent + 1..)
            .all(|(entry, number)| entry.number() == number);
        if dense && !entries.is_empty() {
            return Ok(());
        }
        let first = entries.first().map_or(head + 1, Entry::number);
        Err(Error::CursorExpired { first })
    }

    /// Waits until there may be something: this node has stored an entry, another node may have, a heartbeat is due, or the process
    /// stops.
    async fn wait(&mut self) {
        let poll_at = (Instant::now() + self.poll_interval).min(self.heartbeat_at);
        tokio::select! {
            () = self.drain.begun() => {}
            () = tokio::time::sleep_until(poll_at) => {}
            // The sender lives as long as the service; without it there is still the poll.
            Ok(()) = self.wake.changed() => {}
        }
    }
}
