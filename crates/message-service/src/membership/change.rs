use aws_lc_rs::digest::{Context, SHA256};
use tidings_ids::{ChatId, UserId};
use time::OffsetDateTime;

use crate::message::Metadata;

/// A change of an audience that the chat service has decided and stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AudienceChange {
    /// Numbers the changes of the audience 1, 2, 3 …
    pub(crate) number: i64,
    pub(crate) actor_id: UserId,
    /// Tells the change from any other that was ever given its number, see [`mark`].
    pub(crate) mark: i64,
    pub(crate) change: Change,
}

/// The mark of a change: of who made it and when it was stored, to the nanosecond. Not of what it says, which a newer version may say
/// in more words.
pub(crate) fn mark(actor_id: UserId, seconds: i64, nanos: i32) -> i64 {
    let mut context = Context::new(&SHA256);
    context.update(actor_id.uuid().as_bytes());
    context.update(&seconds.to_be_bytes());
    context.update(&nanos.to_be_bytes());
    let digest = context.finish();
    i64::from_be_bytes(digest.as_ref()[..8].try_into().expect("8 of 32 bytes"))
}

/// What changed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    ChatAdded(ChatFacts),
    ChatUpdated(ChatFacts),
    ChatRemoved(ChatId),
    MemberPut(MemberPut),
    /// The reason is a number of `common.v1.RemovalReason`.
    MemberRemoved {
        user_id: UserId,
        reason: i16,
    },
    AudienceRemoved,
    /// Whether one of a direct chat's users blocks the other.
    ChatBlocked {
        chat_id: ChatId,
        blocked: bool,
    },
}

/// All facts of a chat. Enums are their numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChatFacts {
    pub(crate) chat_id: ChatId,
    pub(crate) kind: i16,
    pub(crate) title: String,
    pub(crate) archived: bool,
    pub(crate) metadata: Metadata,
    pub(crate) history: i16,
    pub(crate) slow_mode_interval_secs: i32,
    pub(crate) create_time: OffsetDateTime,
    pub(crate) assistant_user_id: Option<UserId>,
    pub(crate) session_number: Option<i64>,
}

/// All facts of a member.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MemberPut {
    pub(crate) user_id: UserId,
    pub(crate) role: i16,
    pub(crate) mute_end_time: Option<OffsetDateTime>,
    pub(crate) create_time: OffsetDateTime,
}

/// What is to be done with a change, given how far its audience is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It was applied before: pass it over.
    Applied,
    /// It is the next one.
    Due,
    /// Its predecessor is missing: stop.
    Early,
}

/// The rule of the numbers: n + 1 only after n, and each once.
pub(crate) fn turn(applied_number: i64, number: i64) -> Turn {
    match number.cmp(&applied_number.saturating_add(1)) {
        std::cmp::Ordering::Less => Turn::Applied,
        std::cmp::Ordering::Equal => Turn::Due,
        std::cmp::Ordering::Greater => Turn::Early,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Turn, turn};

    proptest! {
        /// However deliveries are cut, repeated and shuffled: changes are applied in their order, each once, none passed over.
        #[test]
        fn each_change_is_applied_once_and_in_order(deliveries in prop::collection::vec((1_i64..30, 0_i64..10), 0..60)) {
            let mut log: Vec<i64> = Vec::new();
            for (first, count) in deliveries {
                for number in first..first + count {
                    let applied = log.last().copied().unwrap_or(0);
                    match turn(applied, number) {
                        Turn::Applied => prop_assert!(log.contains(&number)),
                        Turn::Due => log.push(number),
                        Turn::Early => break,
                    }
                }
            }
            let expected: Vec<i64> = (1..=i64::try_from(log.len()).expect("small")).collect();
            prop_assert_eq!(log, expected);
        }
    }
}
