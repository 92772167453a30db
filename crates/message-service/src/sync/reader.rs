//! What following logs needs of whoever keeps them. Postgres is one implementation, memory the other, for simulation.

use std::{future::Future, sync::Arc};

use tidings_db::Error;
use tidings_ids::{ChatId, LogId, UserId};

use super::frame::{ChatEntry, Snapshot, UserEntry, View};

/// Reads logs. Each call sees one moment; between two calls anything may happen.
pub(crate) trait Reader: Send + Sync {
    /// The logs' id and the user's chats. The user log's head is read before the chats, so that a chat joined in between is told twice
    /// rather than never.
    ///
    /// Left out are the closed sessions in which the user is the assistant, but for those that are `named`: an assistant is in every
    /// session that anybody began with it, and nothing happens any more in the closed ones.
    fn open(&self, user_id: UserId, named: &[ChatId]) -> impl Future<Output = Result<Opening, Error>> + Send;

    /// How the user stands to these chats, in any order; chats that are not told are such that the user never was in.
    fn standings(
        &self,
        user_id: UserId,
        chats: &[ChatId],
    ) -> impl Future<Output = Result<Vec<(ChatId, Standing)>, Error>> + Send;

    /// The last positions of these chats, in any order.
    fn heads(&self, chats: &[ChatId]) -> impl Future<Output = Result<Vec<(ChatId, i64)>, Error>> + Send;

    /// The entries of a chat's log from after `range.after` up to `range.last`, for nobody in particular: what the follower may see of
    /// them is asked **afterwards**, with [`standing`](Self::standing), so that nothing is told that was written after a removal.
    fn entries(&self, chat_id: ChatId, range: Range) -> impl Future<Output = Result<Entries, Error>> + Send;

    /// How the user stands to the chat, and which messages with these sequences the user has hidden.
    fn standing(
        &self,
        user_id: UserId,
        chat_id: ChatId,
        sequences: &[i64],
    ) -> impl Future<Output = Result<(Standing, Vec<i64>), Error>> + Send;

    /// The user's own log from after a position.
    fn user_entries(
        &self,
        user_id: UserId,
        after: i64,
        count_max: i64,
    ) -> impl Future<Output = Result<UserEntries, Error>> + Send;

    /// The chat as the user sees it; `None` when the user may not.
    fn snapshot(
        &self,
        user_id: UserId,
        chat_id: ChatId,
    ) -> impl Future<Output = Result<Option<Snapshot>, Error>> + Send;

    /// The entries after a position up to the head, from memory that is known to be current and without holes; `None` where memory does
    /// not reach back so far, or there is none.
    fn tail(
        &self,
        chat_id: ChatId,
        after: i64,
    ) -> impl Future<Output = Result<Option<Vec<Arc<ChatEntry>>>, Error>> + Send;

    /// From now on the follower wants to be woken when the chat moves above `head`. Called before what is followed is read.
    fn follow(&self, chat_id: ChatId, head: i64);

    /// The follower no longer wants to be woken for the chat.
    fn unfollow(&self, chat_id: ChatId);
}

/// What a follower begins from.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) log_id: LogId,
    /// The last position of the user log.
    pub(crate) user_position: i64,
    /// The chats that the user is a member of, by id.
    pub(crate) chats: Vec<OpenChat>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenChat {
    pub(crate) chat_id: ChatId,
    /// The last position of its log.
    pub(crate) head: i64,
    pub(crate) view: View,
}

/// How a user stands to a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A member, who sees this.
    Member(View),
    /// No longer a member. The last position that the user may see is that of the removal.
    Ended { last_visible_position: i64 },
    /// No longer a member, but the removal has not reached the chat's log yet. Nothing may be told until it has.
    Ending { head: i64 },
    /// Never a member, or there is no such chat.
    Never,
}

/// Which entries to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    /// The last that is not wanted.
    pub(crate) after: i64,
    /// The last that is wanted.
    pub(crate) last: i64,
    pub(crate) count_max: i64,
    /// No further entry is added to so many bytes.
    pub(crate) bytes_max: i64,
}

/// Some entries of a chat's log, by position.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entries {
    pub(crate) entries: Vec<Arc<ChatEntry>>,
    /// Whether a bound cut them off.
    pub(crate) more: bool,
}

/// Some entries of a user log, by position.
#[derive(Debug, Clone, Default)]
pub(crate) struct UserEntries {
    pub(crate) entries: Vec<UserEntry>,
    /// The floor of what is kept.
    pub(crate) first_position: i64,
    /// Whether the bound cut them off.
    pub(crate) more: bool,
}

impl Range {
    /// The usual page: a stalled follower holds one besides its outbox.
    pub(crate) fn page(after: i64) -> Self {
        Self {
            after,
            last: i64::MAX,
            count_max: 128,
            bytes_max: 256 * 1024,
        }
    }

    /// No further than `last`.
    pub(crate) fn up_to(self, last: i64) -> Self {
        Self { last, ..self }
    }

    /// No more than this.
    pub(crate) fn at_most(self, count: i64) -> Self {
        Self {
            count_max: self.count_max.min(count),
            ..self
        }
    }
}
