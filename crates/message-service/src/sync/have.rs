//! What a client says that it has, held against the logs.

use std::collections::HashMap;

use tidings_db::Error;
use tidings_ids::{ChatId, LogId};

use super::{
    frame::{Frame, Log, SkipReason, Skipped},
    reader::{Opening, Standing, UserEntries},
};

/// What a client says that it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Have {
    /// `None` where the client does not know it.
    pub(crate) log_id: Option<LogId>,
    pub(crate) user_position: i64,
    pub(crate) chats: HashMap<ChatId, i64>,
}

impl Have {
    /// The chats that the client names.
    pub(crate) fn named(&self) -> Vec<ChatId> {
        self.chats.keys().copied().collect()
    }
}

/// What the client has, as far as it belongs to these logs, and whether it must drop it.
pub(crate) fn valid(have: Have, opening: &Opening) -> (Have, bool) {
    let is_foreign = have.log_id.is_some_and(|log_id| log_id != opening.log_id);
    if is_foreign || have.user_position > opening.user_position {
        return (Have::default(), true);
    }
    (have, false)
}

/// The answer about a chat that was named; `None` for a chat of the user.
pub(crate) fn left(chat_id: ChatId, standing: Option<&Standing>) -> Option<Frame> {
    let last_visible_position = match standing {
        Some(Standing::Member(_)) => return None,
        Some(Standing::Ended { last_visible_position }) => *last_visible_position,
        Some(Standing::Ending { head }) => *head,
        Some(Standing::Never) | None => 0,
    };
    Some(Frame::Left {
        chat_id,
        last_visible_position,
    })
}

/// The range between what the client has of the user log and what is read of it; only retention makes one.
pub(crate) fn skipped_of_user_log(position: i64, read: &UserEntries) -> Result<Option<Skipped>, Error> {
    let first = read.entries.first().map_or(read.first_position, |entry| entry.position);
    let is_whole = read
        .entries
        .iter()
        .zip(first..)
        .all(|(entry, expected)| entry.position == expected);
    if !is_whole || first > read.first_position.max(position + 1) {
        return Err(Error::Bug(sqlx::Error::Protocol(format!(
            "a user log has a hole after {position}"
        ))));
    }
    let skipped = Skipped {
        log: Log::User,
        first: position + 1,
        last: first - 1,
        reason: SkipReason::Retention,
    };
    Ok((skipped.first <= skipped.last).then_some(skipped))
}
