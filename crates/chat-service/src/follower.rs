//! Follows user's feed: blocks, and users who are deleted for good.
//!
//! How far it is applied stands in the schema, written in the transaction of the effects, so that nothing is applied twice or passed
//! over, whatever process dies. Every process follows; the row of the position puts them into an order, and whoever comes second
//! finds the entry applied. An entry acts at the message service within the second: it is delivered right after its commit, and what
//! cannot be delivered then is the sweeper's.
//!
//! Where the feed no longer has what follows the position (it keeps an hour; or a backup was restored), and at the very first, all
//! blocks are read and those that are not among them end, and then the feed goes on from where that reading began.

mod anew;

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tidings_db::{DatabaseCause, transaction};
use tidings_ids::UserId;
use tidings_proto_user::v1::{
    UserState, UserStatus, WatchUserStatesRequest, user_state_service_client::UserStateServiceClient,
    watch_user_states_response::Frame,
};
use tidings_rpc::{Drain, Peer};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::{
    Error,
    block::Block,
    call::Done,
    keeper::Keeper,
    store::{departures, user_feed},
};

/// The feed speaks every second. One that is silent for so long is opened again.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The first pause after a failure; each further one is twice as long, up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Well below the ten seconds within which a fact is to be known.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Entries that one transaction applies: each may lock two rows.
const BATCH_MAX: usize = 100;

/// Chats whose blocks are delivered at once.
const CONCURRENCY: usize = 4;

/// Follows the feed until the process stops.
#[derive(Clone)]
pub(crate) struct Follower {
    pub(crate) keeper: Keeper,
    pub(crate) states: UserStateServiceClient<Peer>,
    pub(crate) drain: Drain,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Follower")
    }
}

/// Why following ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the feed was not understood or fell silent: {0}")]
    Broken(&'static str),
    #[error("the feed does not have what follows")]
    Lost,
    #[error("another process has read all blocks meanwhile")]
    Overtaken,
    #[error("the user service did not answer")]
    Refused(#[from] Box<Status>),
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<tidings_db::Error> for Ended {
    fn from(error: tidings_db::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl DatabaseCause for Ended {
    fn database_cause(&self) -> Option<&tidings_db::Error> {
        match self {
            Self::Failed(error) => error.database_cause(),
            _ => None,
        }
    }
}

/// An entry of the feed that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Block(Block),
    Departure { user_id: UserId, number: i64 },
}

impl Entry {
    fn number(self) -> i64 {
        match self {
            Self::Block(block) => block.seen,
            Self::Departure { number, .. } => number,
        }
    }
}

/// Where this process is in the feed.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Everything up to here is applied, or was nothing to apply.
    position: i64,
    /// What stands in the schema.
    stored: i64,
}

impl Follower {
    pub(crate) async fn run(self) {
        let mut pause = PAUSE_MIN;
        loop {
            let ended = tokio::select! {
                () = self.drain.begun() => return,
                ended = self.follow(&mut pause) => ended,
            };
            // The user service of this process may hear first that it stops.
            if self.drain.has_begun() {
                return;
            }
            match ended {
                Err(Ended::Lost) => tracing::info!("the feed of users begins anew"),
                Err(error @ (Ended::Broken(_) | Ended::Overtaken)) => {
                    tracing::debug!(%error, "the feed of users is opened again");
                }
                Err(error) => tracing::warn!(%error, "the feed of users cannot be followed now"),
                Ok(never) => match never {},
            }
            tokio::select! {
                () = self.drain.begun() => return,
                () = tokio::time::sleep(self.keeper.source.jitter(pause)) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Follows the feed until something is in the way.
    async fn follow(&self, pause: &mut Duration) -> Result<std::convert::Infallible, Ended> {
        let stored = match user_feed::position(&self.keeper.pool).await? {
            Some(stored) => stored,
            None => self.begin_anew(None).await?,
        };
        match self.follow_from(stored, pause).await {
            Err(Ended::Lost) => {
                self.begin_anew(Some(stored)).await?;
                Err(Ended::Lost)
            }
            ended => ended,
        }
    }

    async fn follow_from(&self, stored: i64, pause: &mut Duration) -> Result<std::convert::Infallible, Ended> {
        let mut stream = self.open(stored).await?;
        let mut place = Place {
            position: stored,
            stored,
        };
        loop {
            let frame = timeout(SILENCE_MAX, stream.message())
                .await
                .map_err(|_| Ended::Broken("it fell silent"))?;
            let frame = frame.map_err(refused)?.ok_or(Ended::Broken("it ended"))?;
            match frame.frame.ok_or(Ended::Broken("a frame made no sense"))? {
                Frame::Heartbeat(beat) => {
                    // After 0 the feed begins where it likes; then this is the hole.
                    if beat.sent_number != place.position {
                        return Err(Ended::Lost);
                    }
                    if place.position > place.stored {
                        user_feed::advance(&self.keeper.pool, place.position).await?;
                        place.stored = place.position;
                    }
                    *pause = PAUSE_MIN;
                }
                Frame::States(batch) => {
                    let last = dense(place.position, batch.states.iter().map(|state| state.number))?;
                    let entries = batch
                        .states
                        .iter()
                        .filter_map(departure)
                        .collect::<Result<Vec<_>, _>>()?;
                    self.take(&mut place, &entries, last).await?;
                }
                Frame::Blocks(batch) => {
                    let last = dense(place.position, batch.changes.iter().map(|change| change.number))?;
                    let entries = batch.changes.iter().map(|change| {
                        block(
                            &change.blocker_user_id,
                            &change.blocked_user_id,
                            change.blocked,
                            change.number,
                        )
                        .map(Entry::Block)
                    });
                    let entries = entries.collect::<Result<Vec<_>, _>>()?;
                    self.take(&mut place, &entries, last).await?;
                }
            }
        }
    }

    async fn open(
        &self,
        after_number: i64,
    ) -> Result<Streaming<tidings_proto_user::v1::WatchUserStatesResponse>, Ended> {
        let mut client = self.states.clone();
        let opened = client.watch_user_states(WatchUserStatesRequest { after_number });
        let opened = timeout(SILENCE_MAX, opened)
            .await
            .map_err(|_| Ended::Broken("it was not answered"))?;
        Ok(opened.map_err(refused)?.into_inner())
    }

    /// Takes the entries up to `last`, of which these matter.
    async fn take(&self, place: &mut Place, entries: &[Entry], last: i64) -> Result<(), Ended> {
        for batch in entries.chunks(BATCH_MAX) {
            let number = batch.last().map_or(last, |entry| entry.number());
            let done = transaction!(&self.keeper.pool, |tx| -> Result<Vec<Done>, Error> {
                let stored = user_feed::lock(tx).await?.ok_or(Error::NotFound)?;
                if stored >= number {
                    return Ok(Vec::new());
                }
                let mut done = Vec::new();
                for entry in batch.iter().filter(|entry| entry.number() > stored) {
                    match entry {
                        Entry::Block(block) => done.extend(self.keeper.apply_block(tx, *block).await?),
                        Entry::Departure { user_id, .. } => {
                            departures::insert(&mut *tx, &[*user_id], self.keeper.source.now()).await?;
                        }
                    }
                }
                user_feed::set(tx, number).await?;
                Ok(done)
            })?;
            place.stored = place.stored.max(number);
            self.deliver(done);
        }
        place.position = last;
        Ok(())
    }

    /// Delivers what was stored, without waiting for it.
    fn deliver(&self, done: Vec<Done>) {
        if done.is_empty() {
            return;
        }
        let keeper = self.keeper.clone();
        self.drain.spawn(async move {
            stream::iter(done)
                .for_each_concurrent(CONCURRENCY, |done| {
                    let keeper = keeper.clone();
                    async move {
                        if let Err(error) = keeper.deliver(&done).await {
                            tracing::warn!(audience_id = %done.audience_id, %error, "a block is left to the sweeper");
                        }
                    }
                })
                .await;
        });
    }
}

/// A refusal of the feed; of its codes these two say that the place is not there.
fn refused(status: Status) -> Ended {
    match status.code() {
        Code::OutOfRange | Code::InvalidArgument => Ended::Lost,
        _ => status.into(),
    }
}

/// The last of numbers that follow `position` and each other.
fn dense(position: i64, numbers: impl Iterator<Item = i64>) -> Result<i64, Ended> {
    let mut last = position;
    for number in numbers {
        if number != last + 1 {
            return Err(Ended::Broken("it has a hole"));
        }
        last = number;
    }
    Ok(last)
}

fn parse(id: &str) -> Result<UserId, Ended> {
    UserId::parse(id).map_err(|_| Ended::Broken("an id is none"))
}

fn block(blocker: &str, blocked: &str, stands: bool, seen: i64) -> Result<Block, Ended> {
    Ok(Block {
        blocker: parse(blocker)?,
        blocked: parse(blocked)?,
        stands,
        seen,
    })
}

/// The entry of a user who is deleted for good; other states matter elsewhere.
fn departure(state: &UserState) -> Option<Result<Entry, Ended>> {
    let gone = state.status() == UserStatus::Deleted && state.deletion_final;
    gone.then(|| {
        Ok(Entry::Departure {
            user_id: parse(&state.user_id)?,
            number: state.number,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::dense;

    #[test]
    fn holes_and_repetitions_are_noticed() {
        assert_eq!(dense(7, [8, 9, 10].into_iter()).ok(), Some(10));
        assert_eq!(dense(7, std::iter::empty()).ok(), Some(7));
        for wrong in [[7, 8], [9, 10], [8, 10], [8, 8]] {
            assert!(dense(7, wrong.into_iter()).is_err(), "{wrong:?}");
        }
    }
}
