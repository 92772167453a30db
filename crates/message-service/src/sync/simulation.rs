//! Followers in a world that does not stand still: whatever happens, whenever hints are lost and streams break, a client is told
//! everything that it may see, nothing that it may not, in order, once.

use std::collections::{HashMap, HashSet};

use futures_util::FutureExt as _;
use proptest::prelude::*;
use tidings_ids::{ChatId, UserId};

use super::{
    follower::Follower,
    frame::{ChatEntry, ChatEvent, Frame, Log, SkipReason, Skipped, Snapshot, UserEvent},
    have::Have,
    memory::{Chat, Memory, World},
    pull,
};
use crate::message::Message;

/// A client that believes nothing.
struct Client {
    user: UserId,
    have: Have,
    /// The user log's head when the present stream opened.
    opened_at: i64,
    /// Messages that were deleted before the present read began.
    deleted: HashSet<(ChatId, i64)>,
    has_caught_up: bool,
    entries: usize,
}

impl Client {
    fn new(user: UserId) -> Self {
        Self {
            user,
            have: Have::default(),
            opened_at: 0,
            deleted: HashSet::new(),
            has_caught_up: false,
            entries: 0,
        }
    }

    /// Before a read: what is deleted now must not be told with its text.
    fn reads(&mut self, memory: &Memory) {
        self.deleted.clear();
        // A tail may be as old as the last hint, so with lost hints nothing can be said.
        if memory.loss > 0.0 {
            return;
        }
        for chat in &memory.world.lock().chats {
            let deleted = chat.messages.iter().zip(1..).filter(|(message, _)| message.is_deleted);
            self.deleted.extend(deleted.map(|(_, sequence)| (chat.id, sequence)));
        }
    }

    fn told(&mut self, world: &World, frame: &Frame) {
        match frame {
            Frame::Opened {
                user_position, reset, ..
            } => {
                assert!(!reset, "nothing was presented that is not of these logs");
                self.opened_at = *user_position;
                self.has_caught_up = false;
            }
            Frame::Snapshot(snapshot) => self.told_snapshot(world, snapshot),
            Frame::ChatEntry(entry) => self.told_entry(world, entry),
            Frame::Skipped(skipped) => self.told_skipped(world, *skipped),
            Frame::UserEntry(entry) => {
                assert_eq!(entry.position, self.have.user_position + 1, "the user log has no hole");
                self.have.user_position = entry.position;
                if let UserEvent::Left {
                    last_visible_position, ..
                } = entry.event
                    && self
                        .have
                        .chats
                        .get(&entry.chat_id)
                        .is_some_and(|position| *position <= last_visible_position)
                {
                    let position = self.have.chats.remove(&entry.chat_id);
                    assert_eq!(
                        position,
                        Some(last_visible_position),
                        "a chat is told up to its end before it is left"
                    );
                }
            }
            Frame::Left {
                chat_id,
                last_visible_position,
            } => {
                let memberships = world.chat(*chat_id).members.get(&self.user);
                let ended = memberships.is_some_and(|all| {
                    all.iter()
                        .any(|membership| membership.left_position == Some(*last_visible_position))
                });
                assert!(ended, "a chat that was never left is not left");
                self.have.chats.remove(chat_id);
            }
            Frame::CaughtUp => {
                assert!(!self.has_caught_up, "once");
                self.has_caught_up = true;
                assert!(self.have.user_position >= self.opened_at);
            }
            Frame::Heartbeat | Frame::Closing(_) => panic!("the follower has no clock"),
        }
    }

    fn told_snapshot(&mut self, world: &World, snapshot: &Snapshot) {
        let chat = world.chat(snapshot.chat.chat_id);
        let before = self.have.chats.insert(chat.id, snapshot.position);
        assert!(before.is_none() || snapshot.reset, "a chat begins once");
        for message in &snapshot.messages {
            self.told_message(chat, message, snapshot.position, None);
        }
    }

    fn told_entry(&mut self, world: &World, entry: &ChatEntry) {
        self.entries += 1;
        let chat = world.chat(entry.chat_id);
        self.advance(chat.id, entry.position, entry.position);
        if let ChatEvent::Message {
            message: Some(message), ..
        } = &entry.event
        {
            self.told_message(chat, message, entry.position, Some(entry.position));
        }
        if chat.always_from_joining {
            let within = self
                .memberships(chat)
                .any(|(first, left)| (first..=left).contains(&entry.position));
            assert!(within, "position {} is outside of every membership", entry.position);
        }
        assert!(entry.position <= self.end(chat), "nothing above the removal");
    }

    fn told_message(&self, chat: &Chat, message: &Message, seen_at: i64, position: Option<i64>) {
        let row = &message.row;
        let written = &chat.messages[row.sequence as usize - 1];
        let written_at = written.revisions[row.revision as usize - 1];
        assert!(
            written_at <= self.end(chat),
            "content of {written_at} at {position:?}, seen at {seen_at}, memberships {:?}, log {:?}",
            chat.members.get(&self.user),
            chat.log.iter().zip(1..).collect::<Vec<_>>(),
        );
        assert!(position.is_none_or(|position| written_at >= position || row.revision > 0));
        if position.is_none() {
            assert!(written_at <= seen_at, "a snapshot is one moment");
        }
        assert!(
            row.body.is_empty() || !self.deleted.contains(&(chat.id, row.sequence)),
            "deleted text is gone"
        );
        if chat.always_from_joining {
            let memberships = chat.members.get(&self.user).expect("it was told of");
            let may = memberships.iter().any(|membership| {
                row.sequence >= membership.first_sequence
                    && (membership.first_position..=membership.left_position.unwrap_or(i64::MAX)).contains(&seen_at)
            });
            assert!(may, "message {} is from before the joining", row.sequence);
        }
    }

    fn told_skipped(&mut self, world: &World, skipped: Skipped) {
        let Log::Chat(chat_id) = skipped.log else {
            assert_eq!(skipped.first, self.have.user_position + 1);
            self.have.user_position = skipped.last;
            return;
        };
        let chat = world.chat(chat_id);
        self.advance(chat_id, skipped.first, skipped.last);
        match skipped.reason {
            SkipReason::Retention => {
                assert!(chat.kept_position > 1 || chat.kept_sequence > 1, "everything is kept");
            }
            SkipReason::Hidden => assert!(chat.hidden.iter().any(|(user, _)| *user == self.user)),
            SkipReason::NotVisible => {
                let has_left = self.memberships(chat).any(|(_, left)| left < i64::MAX);
                let joins_late = chat.from_joining
                    || !chat
                        .log
                        .iter()
                        .all(|record| !matches!(record, super::memory::Record::Updated));
                assert!(has_left || joins_late, "a member from the beginning sees everything");
            }
        }
    }

    fn advance(&mut self, chat_id: ChatId, first: i64, last: i64) {
        let position = self
            .have
            .chats
            .get_mut(&chat_id)
            .expect("a chat begins with a snapshot");
        assert_eq!(first, *position + 1, "no hole, and none twice");
        assert!(last >= first);
        *position = last;
    }

    /// The user's memberships of the chat, as positions.
    fn memberships(&self, chat: &Chat) -> impl Iterator<Item = (i64, i64)> {
        let all = chat.members.get(&self.user).cloned().unwrap_or_default();
        all.into_iter()
            .map(|one| (one.first_position, one.left_position.unwrap_or(i64::MAX)))
    }

    /// The last position that the user may ever have seen.
    fn end(&self, chat: &Chat) -> i64 {
        self.memberships(chat).map(|(_, left)| left).max().unwrap_or(0)
    }

    /// When nothing moves any more, the client has everything.
    fn has_all(&self, world: &World) {
        let log = world.user_logs.get(&self.user).map_or(0, |log| log.len() as i64);
        assert_eq!(self.have.user_position, log);
        for chat in &world.chats {
            let position = self.have.chats.get(&chat.id);
            let expected = chat.is_member(self.user).then(|| chat.head());
            assert_eq!(position.copied(), expected, "chat {}", chat.id);
        }
    }
}

/// Steps until there is nothing to do, or for so many steps.
async fn follow(memory: &Memory, client: &mut Client, follower: &mut Follower, steps: usize) {
    for _ in 0..steps {
        let registration = memory.registration.as_ref().expect("followers are registered");
        follower.rung(registration.take());
        client.reads(memory);
        let frames = follower.step(memory).await.expect("memory does not fail");
        let Some(frames) = frames else { return };
        for frame in &frames {
            client.told(&memory.world.lock(), frame);
        }
        if memory.chance(0.3) {
            memory.happen();
        }
        if memory.chance(0.05) {
            memory.poll();
        }
    }
}

async fn stream(memory: &Memory, client: &mut Client, steps: usize) {
    let mut memory = memory.registered(client.user);
    client.reads(&memory);
    let (mut follower, first) = Follower::begin(&memory, client.user, client.have.clone())
        .await
        .expect("memory does not fail");
    for frame in &first {
        client.told(&memory.world.lock(), frame);
    }
    for _ in 0..steps {
        memory.happen();
        if memory.chance(0.5) {
            follow(&memory, client, &mut follower, 20).await;
        }
        if memory.chance(0.1) {
            memory.poll();
        }
    }
    if steps > 0 {
        return;
    }
    // The last stream: the world comes to rest.
    memory.unrest = 0.0;
    memory.poll();
    for _ in 0..100 {
        let registration = memory.registration.as_ref().expect("followers are registered");
        follower.rung(registration.take());
        while let Some(frames) = follower.step(&memory).await.expect("memory does not fail") {
            for frame in &frames {
                client.told(&memory.world.lock(), frame);
            }
        }
        memory.poll();
    }
    assert!(client.has_caught_up);
    client.has_all(&memory.world.lock());
}

/// One pull, from its first to its last page, or until the client loses interest.
async fn pages(memory: &Memory, client: &mut Client, at_rest: bool) {
    let have = client.have.clone();
    let mut cursor = None;
    loop {
        client.reads(memory);
        let count_max = 1 + memory.number(20) as u32;
        let page = pull::pull(memory, client.user, have.clone(), cursor, count_max)
            .await
            .expect("memory does not fail");
        assert!(!page.reset);
        for frame in &page.frames {
            client.told(&memory.world.lock(), frame);
        }
        assert_eq!(page.user_position, client.have.user_position);
        // A client that stops here goes on with what it has.
        cursor = Some(match page.next {
            Some(next) if at_rest || memory.chance(0.9) => next,
            _ => return,
        });
    }
}

fn run<F: Future<Output = ()>>(future: F) {
    // Nothing in memory waits.
    future.now_or_never().expect("memory answers at once");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Streams that break and resume.
    #[test]
    fn streams_tell_everything_once_and_nothing_too_much(seed: u64) {
        run(async {
            let memory = Memory::new(seed);
            for _ in 0..memory.number(60) {
                memory.happen();
            }
            let user = memory.world.lock().users[0];
            let mut client = Client::new(user);
            for _ in 0..4 {
                stream(&memory, &mut client, 1 + memory.number(20)).await;
                for _ in 0..memory.number(20) {
                    memory.happen();
                }
            }
            stream(&memory, &mut client, 0).await;
        });
    }

    /// Several followers share hub and tails.
    #[test]
    fn followers_do_not_disturb_each_other(seed: u64) {
        run(async {
            let memory = Memory::new(seed);
            let users = memory.world.lock().users.clone();
            for _ in 0..30 {
                memory.happen();
            }
            let mut all = Vec::new();
            for user in users {
                let mut client = Client::new(user);
                let memory = memory.registered(user);
                client.reads(&memory);
                let (follower, first) =
                    Follower::begin(&memory, user, Have::default()).await.expect("memory does not fail");
                for frame in &first {
                    client.told(&memory.world.lock(), frame);
                }
                all.push((memory, client, follower));
            }
            for _ in 0..40 {
                memory.happen();
                let (memory, client, follower) = &mut all[memory.number(3)];
                follow(memory, client, follower, 5).await;
            }
            for (memory, client, follower) in &mut all {
                memory.unrest = 0.0;
                memory.poll();
                for _ in 0..20 {
                    let registration = memory.registration.as_ref().expect("followers are registered");
                    follower.rung(registration.take());
                    while let Some(frames) = follower.step(memory).await.expect("memory does not fail") {
                        for frame in &frames {
                            client.told(&memory.world.lock(), frame);
                        }
                    }
                    memory.poll();
                }
                client.has_all(&memory.world.lock());
            }
        });
    }

    /// Pages, and calls that go on from what the client has.
    #[test]
    fn pages_tell_everything_once_and_nothing_too_much(seed: u64) {
        run(async {
            let mut memory = Memory::new(seed);
            let user = memory.world.lock().users[0];
            let mut client = Client::new(user);
            for _ in 0..6 {
                for _ in 0..memory.number(40) {
                    memory.happen();
                }
                pages(&memory, &mut client, false).await;
            }
            memory.unrest = 0.0;
            pages(&memory, &mut client, true).await;
            client.has_all(&memory.world.lock());
        });
    }
}

/// Another follower has loaded tails, and nobody has heard of what happened since.
#[test]
fn who_comes_to_outdated_tails_is_told_all_that_there_was() {
    for seed in 0..50 {
        run(async {
            let mut memory = Memory::new(seed);
            (memory.unrest, memory.loss) = (0.0, 0.0);
            for _ in 0..40 {
                memory.happen();
            }
            let user = memory.world.lock().users[0];
            let mut staying = Client::new(user);
            let here = memory.registered(user);
            let (mut follower, first) = Follower::begin(&here, user, Have::default())
                .await
                .expect("memory does not fail");
            for frame in &first {
                staying.told(&here.world.lock(), frame);
            }
            for _ in 0..20 {
                here.happen();
                follow(&here, &mut staying, &mut follower, 20).await;
            }

            memory.loss = 1.0;
            for _ in 0..20 {
                memory.happen();
            }
            memory.loss = 0.0;
            let mut coming = Client::new(user);
            coming.have = staying.have.clone();
            let there = memory.registered(user);
            coming.reads(&there);
            let (mut follower, first) = Follower::begin(&there, user, coming.have.clone())
                .await
                .expect("memory does not fail");
            for frame in &first {
                coming.told(&there.world.lock(), frame);
            }
            while !coming.has_caught_up {
                let frames = follower.step(&there).await.expect("memory does not fail");
                for frame in &frames.expect("it has not caught up") {
                    coming.told(&there.world.lock(), frame);
                }
            }
            coming.has_all(&there.world.lock());
        });
    }
}

/// What is new in a chat that the client has waits for one snapshot of another, not for all.
#[test]
fn snapshots_do_not_hold_up_what_moved() {
    let mut found = 0;
    for seed in 0..300 {
        let mut memory = Memory::new(seed);
        (memory.unrest, memory.loss) = (0.0, 0.0);
        for _ in 0..60 {
            memory.happen();
        }
        let (user, chats) = {
            let world = memory.world.lock();
            let user = world.users[0];
            let chats = world.chats.iter().filter(|chat| chat.is_member(user));
            (user, chats.map(|chat| chat.id).collect::<Vec<_>>())
        };
        let &[named, _, _, ..] = &chats[..] else { continue };
        let have = Have {
            chats: HashMap::from([(named, 0)]),
            ..Have::default()
        };
        found += 1;
        run(async {
            let memory = memory.registered(user);
            let (mut follower, _) = Follower::begin(&memory, user, have)
                .await
                .expect("memory does not fail");
            let mut turns = Vec::new();
            for _ in 0..2 {
                let frames = follower.step(&memory).await.expect("memory does not fail");
                let is_snapshot = |frame: &Frame| matches!(frame, Frame::Snapshot(_));
                turns.push(frames.expect("there is more").iter().any(is_snapshot));
            }
            assert_eq!(turns, [true, false]);
        });
    }
    assert!(found > 5, "{found}");
}

#[test]
fn a_world_is_not_empty() {
    let told: HashMap<UserId, usize> = (0..20)
        .map(|seed| {
            let memory = Memory::new(seed);
            let user = memory.world.lock().users[0];
            let mut client = Client::new(user);
            run(async {
                for _ in 0..5 {
                    stream(&memory, &mut client, 20).await;
                }
            });
            (user, client.entries)
        })
        .collect();
    assert!(told.values().filter(|entries| **entries > 20).count() > 10, "{told:?}");
}
