//! Wakes whoever follows logs: those of this process directly, those of other nodes by a notice of Postgres.
//!
//! What travels here are hints. They say which logs moved, never how; a follower reads the log itself, and polls it even when no
//! hint comes. So a hint may be lost, doubled or late without harm, and [`Moved::Look`] (anything may have moved) may take the
//! place of any other. Memory is bounded: a follower that lags is told to look.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use tidings_ids::{ChatId, UserId};
use tokio::sync::{Notify, broadcast};

mod notices;

pub(crate) use notices::run as run_notices;

/// Hints that a follower can lag behind before it is told to look. A hint of a full batch holds a few KiB.
const BACKLOG: usize = 256;

/// More logs than this are not named: whoever follows looks at all that it follows.
const NAMED_MAX: usize = 200;

/// Which logs have entries that they had not before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// These chats' logs and these users' logs.
    Logs {
        /// Chats, sorted.
        chats: Arc<[ChatId]>,
        /// Users, sorted.
        users: Arc<[UserId]>,
    },
    /// Any: look at all that you follow.
    Look,
}

/// The hints of one process. Cloned to whoever commits and whoever follows.
#[derive(Debug, Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sender: broadcast::Sender<Moved>,
    /// What other nodes have not been told yet; `None` when nobody tells them.
    pending: Option<Mutex<Pending>>,
    pending_added: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    chats: BTreeSet<ChatId>,
    users: BTreeSet<UserId>,
    look: bool,
}

impl Bus {
    /// A bus. `tells_others` collects what [`run_notices`] sends to other nodes.
    pub(crate) fn new(tells_others: bool) -> Self {
        let (sender, _) = broadcast::channel(BACKLOG);
        let pending = tells_others.then(Mutex::default);
        Self {
            shared: Arc::new(Shared {
                sender,
                pending,
                pending_added: Notify::new(),
            }),
        }
    }

    /// Says that these logs have moved. Call it after the commit, never before.
    pub fn moved(&self, chats: impl IntoIterator<Item = ChatId>, users: impl IntoIterator<Item = UserId>) {
        let chats: BTreeSet<ChatId> = chats.into_iter().collect();
        let users: BTreeSet<UserId> = users.into_iter().collect();
        if chats.is_empty() && users.is_empty() {
            return;
        }
        self.wake(Moved::logs(&chats, &users));
        if let Some(pending) = &self.shared.pending {
            pending.lock().add(chats, users);
            self.shared.pending_added.notify_one();
        }
    }

    /// Hints from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription {
            receiver: self.shared.sender.subscribe(),
        }
    }

    /// Wakes the followers of this process only.
    fn wake(&self, moved: Moved) {
        // Nobody follows: that is no error.
        let _ = self.shared.sender.send(moved);
    }

    /// What other nodes are to be told next; waits until there is something.
    async fn next_notice(&self) -> Moved {
        loop {
            if let Some(pending) = &self.shared.pending
                && let Some(moved) = pending.lock().take()
            {
                return moved;
            }
            self.shared.pending_added.notified().await;
        }
    }
}

impl Moved {
    fn logs(chats: &BTreeSet<ChatId>, users: &BTreeSet<UserId>) -> Self {
        if chats.len() + users.len() > NAMED_MAX {
            return Self::Look;
        }
        Self::Logs {
            chats: chats.iter().copied().collect(),
            users: users.iter().copied().collect(),
        }
    }
}

impl Pending {
    fn add(&mut self, chats: BTreeSet<ChatId>, users: BTreeSet<UserId>) {
        if self.look {
            return;
        }
        self.chats.extend(chats);
        self.users.extend(users);
        if self.chats.len() + self.users.len() > NAMED_MAX {
            *self = Self {
                look: true,
                ..Self::default()
            };
        }
    }

    fn take(&mut self) -> Option<Moved> {
        let taken = std::mem::take(self);
        if taken.look {
            return Some(Moved::Look);
        }
        let any = !taken.chats.is_empty() || !taken.users.is_empty();
        any.then(|| Moved::logs(&taken.chats, &taken.users))
    }
}

/// A follower's end of the [`Bus`].
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Moved>,
}

impl Subscription {
    /// The next hint. One that was missed because the follower lagged is told as [`Moved::Look`]. Cancel-safe.
    pub async fn recv(&mut self) -> Moved {
        match self.receiver.recv().await {
            Ok(moved) => moved,
            Err(broadcast::error::RecvError::Lagged(_)) => Moved::Look,
            // The bus is gone, and with it all that could move: let the follower's own time-outs end it.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_ids::{ChatId, Source, UserId};

    use super::{BACKLOG, Bus, Moved, NAMED_MAX};

    fn chats(source: &Source, count: usize) -> Vec<ChatId> {
        (0..count).map(|_| source.new_id()).collect()
    }

    #[tokio::test]
    async fn a_follower_hears_what_moved_after_it_subscribed() {
        let source = Source::seeded(1);
        let bus = Bus::new(false);
        bus.moved(chats(&source, 1), []);
        let mut follower = bus.subscribe();
        let (chat, user): (ChatId, UserId) = (source.new_id(), source.new_id());
        bus.moved([chat], [user]);
        let heard = follower.recv().await;
        assert_eq!(
            heard,
            Moved::Logs {
                chats: [chat].into(),
                users: [user].into()
            }
        );
    }

    #[tokio::test]
    async fn a_follower_that_lags_is_told_to_look() {
        let source = Source::seeded(1);
        let bus = Bus::new(false);
        let mut follower = bus.subscribe();
        for _ in 0..=BACKLOG {
            bus.moved(chats(&source, 1), []);
        }
        assert_eq!(follower.recv().await, Moved::Look);
    }

    #[tokio::test]
    async fn many_chats_become_one_look() {
        let source = Source::seeded(1);
        let bus = Bus::new(true);
        let mut follower = bus.subscribe();
        bus.moved(chats(&source, NAMED_MAX + 1), []);
        assert_eq!(follower.recv().await, Moved::Look);
        assert_eq!(bus.next_notice().await, Moved::Look);
    }

    #[tokio::test]
    async fn batches_between_two_notices_become_one() {
        let source = Source::seeded(1);
        let bus = Bus::new(true);
        let mut all = chats(&source, 3);
        for chat in &all {
            bus.moved([*chat], []);
        }
        all.sort();
        assert_eq!(
            bus.next_notice().await,
            Moved::Logs {
                chats: all.into(),
                users: [].into()
            }
        );
    }
}
