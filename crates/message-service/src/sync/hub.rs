//! Who follows what in this process: wakes followers when logs move, on hints of the bus and by polling.
//!
//! Correctness rests on polling alone. For each followed log the hub remembers up to where it has woken its followers; whatever the
//! polls find above that is told to all of them. A hint only makes it sooner.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use tidings_ids::{ChatId, UserId};
use tokio::{sync::Notify, time::Instant};

use super::{follower::Rung, tail::Tail};

/// Who follows what.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_number: u64,
    chats: HashMap<ChatId, FollowedChat>,
    users: HashMap<UserId, FollowedUser>,
}

#[derive(Debug)]
struct FollowedChat {
    tail: Arc<Tail>,
    /// All followers were woken for everything up to here.
    woken: i64,
    bells: Vec<(u64, Arc<Bell>)>,
}

#[derive(Debug, Default)]
struct FollowedUser {
    woken: i64,
    bells: Vec<(u64, Arc<Bell>)>,
}

/// Where a follower is told what moved. Told twice is told once.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    moved: Mutex<Moved>,
    rung: Notify,
}

#[derive(Debug, Default)]
struct Moved {
    chats: HashSet<ChatId>,
    user: bool,
}

/// A follower's registration, which ends with it.
#[derive(Debug)]
pub(crate) struct Registration {
    hub: Arc<Hub>,
    number: u64,
    user_id: UserId,
    bell: Arc<Bell>,
    chats: Mutex<HashSet<ChatId>>,
}

impl Hub {
    /// Registers a follower of this user's log.
    pub(crate) fn register(self: &Arc<Self>, user_id: UserId) -> Registration {
        let bell = Arc::new(Bell::default());
        let mut state = self.state.lock();
        state.last_number += 1;
        let number = state.last_number;
        state
            .users
            .entry(user_id)
            .or_default()
            .bells
            .push((number, Arc::clone(&bell)));
        drop(state);
        Registration {
            hub: Arc::clone(self),
            number,
            user_id,
            bell,
            chats: Mutex::default(),
        }
    }

    /// A hint: these logs have moved.
    pub(crate) fn hinted(&self, chats: &[ChatId], users: &[UserId]) {
        let state = self.state.lock();
        // Chats before users: who hears of a removal by the user log finds the chat's tail outdated.
        for chat_id in chats {
            if let Some(chat) = state.chats.get(chat_id) {
                chat.tail.hint();
                ring_chat(*chat_id, &chat.bells);
            }
        }
        for user_id in users {
            if let Some(user) = state.users.get(user_id) {
                ring_user(&user.bells);
            }
        }
    }

    /// What to poll.
    pub(crate) fn followed(&self) -> (Vec<ChatId>, Vec<UserId>) {
        let state = self.state.lock();
        (
            state.chats.keys().copied().collect(),
            state.users.keys().copied().collect(),
        )
    }

    /// A poll found these heads. Hints do not say how far a log is, so what they have told is told again; where the tail has it, that
    /// costs no query.
    pub(crate) fn polled_chats(&self, heads: &[(ChatId, i64)]) {
        let mut state = self.state.lock();
        for (chat_id, head) in heads {
            if let Some(chat) = state.chats.get_mut(chat_id)
                && *head > chat.woken
            {
                chat.woken = *head;
                if !chat.tail.has(*head) {
                    chat.tail.hint();
                }
                ring_chat(*chat_id, &chat.bells);
            }
        }
    }

    /// A poll found these heads of user logs.
    pub(crate) fn polled_users(&self, heads: &[(UserId, i64)]) {
        let mut state = self.state.lock();
        for (user_id, head) in heads {
            if let Some(user) = state.users.get_mut(user_id)
                && *head > user.woken
            {
                user.woken = *head;
                ring_user(&user.bells);
            }
        }
    }

    /// The tail of a chat that somebody follows.
    pub(crate) fn tail(&self, chat_id: ChatId) -> Option<Arc<Tail>> {
        self.state.lock().chats.get(&chat_id).map(|chat| Arc::clone(&chat.tail))
    }

    /// Gives back the memory of tails that nobody has read since then.
    pub(crate) fn forget_tails(&self, since: Instant) {
        for chat in self.state.lock().chats.values() {
            chat.tail.forget_unused(since);
        }
    }
}

fn ring_chat(chat_id: ChatId, bells: &[(u64, Arc<Bell>)]) {
    for (_, bell) in bells {
        bell.moved.lock().chats.insert(chat_id);
        bell.rung.notify_one();
    }
}

fn ring_user(bells: &[(u64, Arc<Bell>)]) {
    for (_, bell) in bells {
        bell.moved.lock().user = true;
        bell.rung.notify_one();
    }
}

impl Registration {
    /// Wants to be woken for what the chat's log has above `head`. A tail that others have loaded and that does not reach so far is
    /// outdated: a hint was lost or is under way, and a follower that begins must not be told less than there was.
    pub(crate) fn follow(&self, chat_id: ChatId, head: i64) {
        if !self.chats.lock().insert(chat_id) {
            return;
        }
        let mut state = self.hub.state.lock();
        let chat = state.chats.entry(chat_id).or_insert_with(|| FollowedChat {
            tail: Arc::new(Tail::new()),
            woken: head,
            bells: Vec::new(),
        });
        if !chat.tail.has(head) {
            chat.tail.hint();
        }
        chat.bells.push((self.number, Arc::clone(&self.bell)));
    }

    /// Wants to be woken for it no longer.
    pub(crate) fn unfollow(&self, chat_id: ChatId) {
        if self.chats.lock().remove(&chat_id) {
            self.hub.state.lock().remove_chat(chat_id, self.number);
        }
    }

    /// What moved since the last time.
    pub(crate) fn take(&self) -> Rung {
        let moved = std::mem::take(&mut *self.bell.moved.lock());
        Rung {
            chats: moved.chats.into_iter().collect(),
            user: moved.user,
        }
    }

    /// Returns when something has moved since [`take`](Self::take).
    pub(crate) async fn rung(&self) {
        self.bell.rung.notified().await;
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let chats = std::mem::take(&mut *self.chats.lock());
        let mut state = self.hub.state.lock();
        for chat_id in chats {
            state.remove_chat(chat_id, self.number);
        }
        if let Some(user) = state.users.get_mut(&self.user_id) {
            user.bells.retain(|(number, _)| *number != self.number);
            if user.bells.is_empty() {
                state.users.remove(&self.user_id);
            }
        }
    }
}

impl State {
    fn remove_chat(&mut self, chat_id: ChatId, number: u64) {
        let Some(chat) = self.chats.get_mut(&chat_id) else {
            return;
        };
        if let Some(index) = chat.bells.iter().position(|(other, _)| *other == number) {
            chat.bells.swap_remove(index);
        }
        if chat.bells.is_empty() {
            self.chats.remove(&chat_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tidings_ids::{ChatId, Source, UserId};
    use tokio::time::timeout;

    use super::Hub;

    #[tokio::test]
    async fn a_follower_is_woken_for_what_it_follows_only() {
        let source = Source::seeded(1);
        let (user, other): (UserId, UserId) = (source.new_id(), source.new_id());
        let (followed, foreign): (ChatId, ChatId) = (source.new_id(), source.new_id());
        let hub = Arc::new(Hub::default());
        let registration = hub.register(user);
        registration.follow(followed, 0);
        hub.hinted(&[foreign], &[other]);
        assert!(timeout(Duration::from_millis(10), registration.rung()).await.is_err());
        hub.hinted(&[followed, foreign], &[user]);
        registration.rung().await;
        let rung = registration.take();
        assert_eq!((rung.chats, rung.user), (vec![followed], true));
    }

    #[tokio::test]
    async fn a_poll_wakes_for_what_no_hint_has_told_and_only_once() {
        let source = Source::seeded(1);
        let (user, chat): (UserId, ChatId) = (source.new_id(), source.new_id());
        let hub = Arc::new(Hub::default());
        let registration = hub.register(user);
        registration.follow(chat, 0);
        hub.polled_chats(&[(chat, 7)]);
        registration.rung().await;
        assert_eq!(registration.take().chats, [chat]);
        hub.polled_chats(&[(chat, 7)]);
        assert!(timeout(Duration::from_millis(10), registration.rung()).await.is_err());
        hub.polled_users(&[(user, 1)]);
        registration.rung().await;
        assert!(registration.take().user);
    }

    #[test]
    fn what_nobody_follows_is_forgotten() {
        let source = Source::seeded(1);
        let hub = Arc::new(Hub::default());
        let registration = hub.register(source.new_id());
        registration.follow(source.new_id(), 0);
        registration.follow(source.new_id(), 0);
        drop(registration);
        assert_eq!(hub.followed(), (Vec::new(), Vec::new()));
    }
}
