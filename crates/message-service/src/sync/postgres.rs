//! The reader on Postgres. No statement here holds anything beyond itself.

mod entries;
mod heads;
mod rights;
mod snapshot;
mod user_log;

use std::sync::Arc;

use tidings_db::{Error, Pool};
use tidings_ids::{ChatId, UserId};

use super::{
    frame::{ChatEntry, Snapshot},
    hub::Registration,
    reader::{Entries, Opening, Range, Reader, Standing, UserEntries},
};

pub(crate) use heads::Heads;

/// Reads logs from Postgres, for whoever wants no live changes.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: Pool,
}

/// The same for a follower that is woken, and shares tails with those who follow the same chats.
#[derive(Debug)]
pub(crate) struct Registered {
    store: Store,
    registration: Registration,
}

impl Store {
    pub(crate) fn new(pool: Pool) -> Self {
        Self { pool }
    }

    pub(crate) fn registered(&self, registration: Registration) -> Registered {
        Registered {
            store: self.clone(),
            registration,
        }
    }
}

impl Registered {
    pub(crate) fn registration(&self) -> &Registration {
        &self.registration
    }
}

impl Reader for Store {
    async fn open(&self, user_id: UserId, named: &[ChatId]) -> Result<Opening, Error> {
        rights::open(&self.pool, user_id, named).await
    }

    async fn standings(&self, user_id: UserId, chats: &[ChatId]) -> Result<Vec<(ChatId, Standing)>, Error> {
        rights::standings(&self.pool, user_id, chats).await
    }

    async fn heads(&self, chats: &[ChatId]) -> Result<Vec<(ChatId, i64)>, Error> {
        self.heads_of(chats).await
    }

    async fn entries(&self, chat_id: ChatId, range: Range) -> Result<Entries, Error> {
        entries::entries(&self.pool, chat_id, range).await
    }

    async fn standing(
        &self,
        user_id: UserId,
        chat_id: ChatId,
        sequences: &[i64],
    ) -> Result<(Standing, Vec<i64>), Error> {
        rights::standing(&self.pool, user_id, chat_id, sequences).await
    }

    async fn user_entries(&self, user_id: UserId, after: i64, count_max: i64) -> Result<UserEntries, Error> {
        user_log::user_entries(&self.pool, user_id, after, count_max).await
    }

    async fn snapshot(&self, user_id: UserId, chat_id: ChatId) -> Result<Option<Snapshot>, Error> {
        snapshot::snapshot(&self.pool, user_id, chat_id).await
    }

    async fn tail(&self, _: ChatId, _: i64) -> Result<Option<Vec<Arc<ChatEntry>>>, Error> {
        Ok(None)
    }

    fn follow(&self, _: ChatId, _: i64) {}

    fn unfollow(&self, _: ChatId) {}
}

impl Reader for Registered {
    async fn open(&self, user_id: UserId, named: &[ChatId]) -> Result<Opening, Error> {
        self.store.open(user_id, named).await
    }

    async fn standings(&self, user_id: UserId, chats: &[ChatId]) -> Result<Vec<(ChatId, Standing)>, Error> {
        self.store.standings(user_id, chats).await
    }

    async fn heads(&self, chats: &[ChatId]) -> Result<Vec<(ChatId, i64)>, Error> {
        self.store.heads(chats).await
    }

    async fn entries(&self, chat_id: ChatId, range: Range) -> Result<Entries, Error> {
        self.store.entries(chat_id, range).await
    }

    async fn standing(
        &self,
        user_id: UserId,
        chat_id: ChatId,
        sequences: &[i64],
    ) -> Result<(Standing, Vec<i64>), Error> {
        self.store.standing(user_id, chat_id, sequences).await
    }

    async fn user_entries(&self, user_id: UserId, after: i64, count_max: i64) -> Result<UserEntries, Error> {
        self.store.user_entries(user_id, after, count_max).await
    }

    async fn snapshot(&self, user_id: UserId, chat_id: ChatId) -> Result<Option<Snapshot>, Error> {
        self.store.snapshot(user_id, chat_id).await
    }

    async fn tail(&self, chat_id: ChatId, after: i64) -> Result<Option<Vec<Arc<ChatEntry>>>, Error> {
        let Some(tail) = self.registration.hub().tail(chat_id) else {
            return Ok(None);
        };
        tail.after(after, |range| self.store.entries(chat_id, range)).await
    }

    fn follow(&self, chat_id: ChatId, head: i64) {
        self.registration.follow(chat_id, head);
    }

    fn unfollow(&self, chat_id: ChatId) {
        self.registration.unfollow(chat_id);
    }
}

/// Ids as Postgres takes them.
fn uuids(ids: &[ChatId]) -> Vec<uuid::Uuid> {
    ids.iter().map(|id| id.uuid()).collect()
}
