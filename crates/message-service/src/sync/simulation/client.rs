use std::collections::HashSet;

use tidings_ids::{ChatId, UserId};

use super::super::{
    frame::{ChatEntry, ChatEvent, Frame, Log, SkipReason, Skipped, Snapshot, UserEvent},
    have::Have,
    memory::{Chat, Memory, Record, World},
};
use crate::message::Message;

/// A client that believes nothing.
pub(super) struct Client {
    pub user: UserId,
    pub have: Have,
    /// The user log's head when the present stream opened.
    opened_at: i64,
    /// Messages that were deleted before the present read began.
    deleted: HashSet<(ChatId, i64)>,
    pub has_caught_up: bool,
    pub entries: usize,
}

impl Client {
    pub fn new(user: UserId) -> Self {
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
    pub fn reads(&mut self, memory: &Memory) {
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

    pub fn told(&mut self, world: &World, frame: &Frame) {
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
                let joins_late = chat.from_joining || !chat.log.iter().all(|record| !matches!(record, Record::Updated));
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
    pub fn has_all(&self, world: &World) {
        let log = world.user_logs.get(&self.user).map_or(0, |log| log.len() as i64);
        assert_eq!(self.have.user_position, log);
        for chat in &world.chats {
            let position = self.have.chats.get(&chat.id);
            let expected = chat.is_member(self.user).then(|| chat.head());
            assert_eq!(position.copied(), expected, "chat {}", chat.id);
        }
    }
}
