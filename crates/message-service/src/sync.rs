//! Everything that happens in a user's chats, in order and without holes, from wherever the client is: one state machine behind
//! `StreamChanges` and, in pages, `SyncChanges`.
//!
//! | file | what |
//! | --- | --- |
//! | `frame` | what is told: entries of logs with content, snapshots, what is left out |
//! | `reader` | what following needs of a store: the trait, and what it answers |
//! | `tell` | what of a chat's entries one follower is told: the one place where visibility is decided |
//! | `read` | one read of one chat for one follower: entries first, rights afterwards |
//! | `have` | what a client says that it has, held against the logs |
//! | `follower` | the state machine: what the user log says, then the chats that moved; a bounded read a step |
//! | `pull` | the same in pages, continued by a token |
//! | `postgres` | the reader on Postgres |
//! | `tail` | the newest entries of a chat in memory, loaded once for all its followers |
//! | `hub` | who follows what in this process; wakes them on hints and polls |
//! | `outbox` | what a stream still has to send: bounded, and how far the client is |
//! | `stream` | one open stream, until something ends it |
//!
//! # What it rests on
//!
//! - Positions have no holes and become visible in order, since they are taken under the chat's row lock. So "everything above
//!   what I have" misses nothing.
//! - Hints may be lost. What moved is found by polling within the polling bound.
//! - Entries are read before the reader's rights are asked, so the rights hold for what was read. From memory, where rights are older
//!   than entries, the follower's own removal stands in the log, and ends the chat exactly there; what was changed after it is
//!   left out of what stands before it.
//! - Nothing is held while a client takes its time: no lock, no transaction, only the frames in its outbox.

mod follower;
mod frame;
mod have;
mod hub;
mod outbox;
mod postgres;
mod pull;
mod read;
mod reader;
mod stream;
mod tail;
mod tell;

#[cfg(test)]
mod memory;
#[cfg(test)]
mod simulation;

use std::{sync::Arc, time::Duration};

use tidings_authn::{Caller, Verifier};
use tidings_db::{Error, Pool};
use tidings_ids::{ChatId, Source, UserId};
use tidings_rpc::{Drain, Environment};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::bus::{Bus, Moved};

use self::{follower::Follower, hub::Hub, outbox::outbox, postgres::Store, stream::Stream};

pub(crate) use self::{
    frame::{
        ChatEntry, ChatEvent, ChatState, Frame, Log, MemberState, MessageChange, SkipReason, Skipped, Snapshot,
        UserEntry, UserEvent,
    },
    have::Have,
    outbox::{Frames, Progress, Sent},
    postgres::Heads,
    pull::{Cursor, Page},
};

/// What a deployment can set about streams.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The polling bound: how late a change can reach a stream when no hint comes.
    pub poll_interval: Duration,
    /// How often a stream says that it lives. At most 30 s.
    pub heartbeat_interval: Duration,
    /// A client that takes no frame for so long while its buffer is full is ended with `SLOW_CONSUMER`.
    pub slow_after: Duration,
    /// How long a stream waits for a Postgres that cannot be read, before it ends.
    pub outage_max: Duration,
}

impl Settings {
    /// The longest that a client waits for a sign of life (`reliability.md`, G10).
    pub const HEARTBEAT_INTERVAL_MAX: Duration = Duration::from_secs(30);
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(2),
            heartbeat_interval: Duration::from_secs(15),
            slow_after: Duration::from_secs(10),
            outage_max: Duration::from_secs(30),
        }
    }
}

/// Logs that are polled by one statement.
const POLLED_AT_ONCE: usize = 1_000;

/// Two polls are at least so far apart, however often the bus says to look.
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// Tails that nobody reads for so long are forgotten.
const TAIL_KEPT: Duration = Duration::from_secs(30);

/// The logs as clients follow them.
#[derive(Debug, Clone)]
pub(crate) struct Logs {
    store: Store,
    hub: Arc<Hub>,
    settings: Settings,
    verifier: Arc<Verifier>,
    drain: Drain,
    source: Source,
}

impl Logs {
    pub(crate) fn new(env: &Environment, pool: Pool, settings: Settings) -> Self {
        let heartbeat_interval = settings.heartbeat_interval.min(Settings::HEARTBEAT_INTERVAL_MAX);
        let settings = Settings {
            heartbeat_interval,
            ..settings
        };
        Self {
            store: Store::new(pool),
            hub: Arc::default(),
            settings,
            verifier: Arc::clone(&env.verifier),
            drain: env.drain.clone(),
            source: env.source.clone(),
        }
    }

    /// Opens a stream of what the client lacks and of what happens from then on.
    pub(crate) async fn stream(&self, caller: Arc<Caller>, have: Have) -> Result<Frames, Error> {
        let (outbox, frames) = outbox(have.user_position);
        // Registered before the first read: what moves in between is told.
        let reader = self.store.registered(self.hub.register(caller.user_id));
        let (follower, first) = Follower::begin(&reader, caller.user_id, have).await?;
        let stream = Stream {
            follower,
            reader,
            outbox,
            caller,
            verifier: Arc::clone(&self.verifier),
            drain: self.drain.clone(),
            source: self.source.clone(),
            settings: self.settings,
        };
        drop(self.drain.spawn(stream.run(first)));
        Ok(frames)
    }

    /// A page of what the client lacks. `cursor` is that of the page before.
    pub(crate) async fn pull(
        &self,
        user_id: UserId,
        have: Have,
        cursor: Option<Cursor>,
        count_max: u32,
    ) -> Result<Page, Error> {
        pull::pull(&self.store, user_id, have, cursor, count_max).await
    }

    /// A page of the user's chats with the heads of their logs, those after a chat.
    pub(crate) async fn heads(&self, user_id: UserId, after: Option<ChatId>, count_max: u32) -> Result<Heads, Error> {
        self.store.chat_heads(user_id, after, count_max).await
    }

    /// Wakes followers until the process drains: on hints, and by polling.
    pub(crate) async fn wake_followers(self, bus: Bus) {
        let mut hints = bus.subscribe();
        let drain = self.drain.clone();
        let waking = async {
            let mut look = false;
            loop {
                let next_poll = Instant::now() + self.settings.poll_interval;
                if look {
                    sleep_until(Instant::now() + POLL_PAUSE).await;
                }
                look = false;
                if let Err(error) = self.poll().await {
                    tracing::debug!(%error, "the logs cannot be polled");
                }
                if let Some(since) = Instant::now().checked_sub(TAIL_KEPT) {
                    self.hub.forget_tails(since);
                }
                while let Ok(moved) = timeout_at(next_poll, hints.recv()).await {
                    match moved {
                        Moved::Logs { chats, users } => self.hub.hinted(&chats, &users),
                        Moved::Look => {
                            look = true;
                            break;
                        }
                    }
                }
            }
        };
        tokio::select! {
            () = drain.begun() => {}
            () = waking => {}
        }
    }

    /// Looks how far the followed logs are. Users' logs are read before chats', and told after them: see [`Hub::hinted`].
    async fn poll(&self) -> Result<(), Error> {
        let (chats, users) = self.hub.followed();
        let mut user_heads = Vec::new();
        for some in users.chunks(POLLED_AT_ONCE) {
            user_heads.extend(self.store.user_heads(some).await?);
        }
        for some in chats.chunks(POLLED_AT_ONCE) {
            self.hub.polled_chats(&self.store.heads_of(some).await?);
        }
        self.hub.polled_users(&user_heads);
        Ok(())
    }
}
