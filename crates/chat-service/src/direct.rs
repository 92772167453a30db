use tidings_db::transaction;
use tidings_ids::{ChatId, UserId};

use crate::{
    Error,
    call::{Call, Done},
    chat::{Chat, Kind},
    keeper::{Keeper, own_audience},
    membership::Member,
    role::Role,
    store::{chats, members, pairs},
};

/// Two different users in the order of their ids: whoever opens it, a direct chat has one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) low: UserId,
    pub(crate) high: UserId,
}

impl Pair {
    /// The pair of two users; `None` for one user twice.
    pub(crate) fn of(one: UserId, other: UserId) -> Option<Self> {
        (one != other).then(|| Self {
            low: one.min(other),
            high: one.max(other),
        })
    }
}

impl Keeper {
    /// The direct chat of the caller and another, which is made where there is none.
    ///
    /// It takes no `request_id`: the pair is the key, and repeating the call finds what the first one made. Whoever finds it answers
    /// for its delivery as whoever made it does. A chat that is there is found also while one blocks the other; a new one is not made.
    pub(crate) async fn open_direct_chat(&self, caller: UserId, pair: Pair) -> Result<Chat, Error> {
        if let Some(chat_id) = chats::direct(&self.pool, pair).await? {
            return self.get_chat(caller, chat_id).await;
        }
        let other = if pair.low == caller { pair.high } else { pair.low };
        self.users.require(&[other]).await?;

        let call = Call::unrepeatable(caller);
        let now = self.source.now();
        let chat = Chat::new(self.source.new_id(), Kind::Direct(pair.low, pair.high), now);
        let list = [pair.low, pair.high].map(|user_id| Member::new(user_id, Role::Member, now));
        let made = transaction!(&self.pool, |tx| -> Result<Option<Done>, Error> {
            // Who comes second waits here until the first has committed, and then has the other's chat.
            let locked = pairs::lock(tx, pair).await?;
            if !chats::claim_pair(tx, pair, chat.chat_id).await? {
                return Ok(None);
            }
            if locked.blocked() {
                return Err(Error::Blocked);
            }
            let mut audience = self.found(tx, &call, own_audience(chat.chat_id)).await?;
            chats::insert(tx, &chat).await?;
            members::insert(tx, audience.id, false, &list, None).await?;
            audience.begin(&chat, &list);
            self.finish(tx, &call, audience, chat.chat_id.uuid()).await.map(Some)
        })?;
        let chat_id = match made {
            Some(done) => ChatId::from_uuid(self.delivered(Ok(done)).await?.id),
            None => chats::direct(&self.pool, pair).await?.ok_or(Error::NotFound)?,
        };
        self.get_chat(caller, chat_id).await.map_err(Error::after_effect)
    }
}

#[cfg(test)]
mod tests {
    use tidings_ids::{Source, UserId};

    use super::Pair;

    #[test]
    fn a_pair_is_the_same_from_both_sides() {
        let source = Source::seeded(1);
        let (alice, bob): (UserId, UserId) = (source.new_id(), source.new_id());
        assert_eq!(Pair::of(alice, bob), Pair::of(bob, alice));
        assert_eq!(Pair::of(alice, alice), None);
    }
}
