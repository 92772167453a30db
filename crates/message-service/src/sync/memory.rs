//! The reader on a little world in memory, whose logs move between any two reads.

mod reads;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tidings_ids::{ChatId, LogId, Source, UserId};
use time::OffsetDateTime;

use super::{
    frame::{ChatEntry, ChatEvent, ChatState, MemberState, MessageChange, View},
    hub::{Hub, Registration},
    reader::{Entries, Range, Standing},
};
use crate::message::{Message, MessageRow};

/// Chats, their members, messages and logs.
#[derive(Debug)]
pub(super) struct World {
    pub(super) log_id: LogId,
    pub(super) users: Vec<UserId>,
    pub(super) chats: Vec<Chat>,
    pub(super) user_logs: HashMap<UserId, Vec<UserRecord>>,
    /// The floor of every user log.
    pub(super) user_floor: i64,
    source: Source,
}

#[derive(Debug)]
pub(super) struct Chat {
    pub(super) id: ChatId,
    pub(super) from_joining: bool,
    pub(super) always_from_joining: bool,
    pub(super) removed: bool,
    pub(super) log: Vec<Record>,
    pub(super) messages: Vec<Written>,
    pub(super) members: HashMap<UserId, Vec<Membership>>,
    pub(super) hidden: HashSet<(UserId, i64)>,
    pub(super) kept_position: i64,
    pub(super) kept_sequence: i64,
}

/// One membership, from its joining to its removal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Membership {
    pub(super) first_position: i64,
    pub(super) first_sequence: i64,
    pub(super) left_position: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Record {
    Created,
    Message { change: MessageChange, sequence: i64 },
    Updated,
    Deleted,
    Joined(UserId),
    Removed(UserId),
}

/// A message, with the position of each of its revisions.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) sender: UserId,
    pub(super) revisions: Vec<i64>,
    pub(super) is_deleted: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum UserRecord {
    Joined(ChatId),
    Left(ChatId, i64),
    Hidden(ChatId, i64),
}

/// A world, who follows what in it, and the chance that works on both.
#[derive(Clone)]
pub(super) struct Memory {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) hub: Arc<Hub>,
    pub(super) registration: Option<Arc<Registration>>,
    rng: Arc<Mutex<StdRng>>,
    /// How often something happens between two reads.
    pub(super) unrest: f64,
    /// How often a hint is lost.
    pub(super) loss: f64,
}

impl World {
    pub(super) fn chat(&self, id: ChatId) -> &Chat {
        self.chats
            .iter()
            .find(|chat| chat.id == id)
            .expect("a chat of the world")
    }

    fn tell_user(&mut self, user: UserId, record: UserRecord) {
        self.user_logs.entry(user).or_default().push(record);
    }

    fn add_chat(&mut self, from_joining: bool) -> ChatId {
        let id = self.source.new_id();
        self.chats.push(Chat {
            id,
            from_joining,
            always_from_joining: from_joining,
            removed: false,
            log: vec![Record::Created],
            messages: Vec::new(),
            members: HashMap::new(),
            hidden: HashSet::new(),
            kept_position: 1,
            kept_sequence: 1,
        });
        id
    }
}

impl Chat {
    pub(super) fn head(&self) -> i64 {
        self.log.len() as i64
    }

    fn last_sequence(&self) -> i64 {
        self.messages.len() as i64
    }

    pub(super) fn is_member(&self, user: UserId) -> bool {
        !self.removed
            && self
                .latest(user)
                .is_some_and(|membership| membership.left_position.is_none())
    }

    fn latest(&self, user: UserId) -> Option<Membership> {
        self.members.get(&user)?.last().copied()
    }

    fn view(&self, user: UserId) -> Option<View> {
        let latest = self.latest(user).filter(|_| self.is_member(user))?;
        let visible = |kept: i64, joined: i64| if self.from_joining { kept.max(joined) } else { kept };
        Some(View {
            kept_position: self.kept_position,
            kept_sequence: self.kept_sequence,
            first_position: visible(self.kept_position, latest.first_position),
            first_sequence: visible(self.kept_sequence, latest.first_sequence),
            joined_position: latest.first_position,
            has_hidden: self.hidden.iter().any(|(hider, _)| *hider == user),
        })
    }

    fn standing(&self, user: UserId) -> Standing {
        match (self.view(user), self.latest(user)) {
            (Some(view), _) => Standing::Member(view),
            (None, Some(Membership { left_position, .. })) => Standing::Ended {
                last_visible_position: left_position.unwrap_or(self.head()),
            },
            (None, None) => Standing::Never,
        }
    }

    fn message(&self, sequence: i64) -> Option<Message> {
        if sequence < self.kept_sequence {
            return None;
        }
        let written = &self.messages[sequence as usize - 1];
        let revision = written.revisions.len() as i64;
        let row = MessageRow {
            chat_id: self.id,
            sequence,
            message_id: tidings_ids::Id::from_uuid(uuid::Uuid::from_u128(sequence as u128)),
            sender_id: written.sender,
            kind: 1,
            body: if written.is_deleted {
                String::new()
            } else {
                format!("revision {revision}")
            },
            metadata: None,
            reply_to_message_id: None,
            attachment_ids: None,
            response_to_message_id: None,
            response_state: None,
            response_finish_time: None,
            revision,
            create_time: OffsetDateTime::UNIX_EPOCH,
            update_time: None,
            delete_time: written.is_deleted.then_some(OffsetDateTime::UNIX_EPOCH),
            original_time: None,
            external_id: None,
            hidden: false,
        };
        Some(Message {
            row,
            attachments: Vec::new(),
        })
    }

    fn state(&self) -> Arc<ChatState> {
        Arc::new(ChatState {
            chat_id: self.id,
            audience_id: tidings_ids::Id::from_uuid(self.id.uuid()),
            kind: 3,
            title: "a chat".to_owned(),
            archived: false,
            metadata: crate::message::Metadata::new(),
            history: if self.from_joining { 2 } else { 1 },
            slow_mode_interval_secs: 0,
            create_time: OffsetDateTime::UNIX_EPOCH,
            assistant_user_id: None,
            session_number: None,
            revision: 1,
        })
    }

    fn entry(&self, position: i64) -> ChatEntry {
        let event = match self.log[position as usize - 1] {
            Record::Created => ChatEvent::ChatCreated(self.state()),
            Record::Updated => ChatEvent::ChatUpdated(self.state()),
            Record::Deleted => ChatEvent::ChatDeleted,
            Record::Joined(user) => ChatEvent::MemberJoined(member(user)),
            Record::Removed(user_id) => ChatEvent::MemberRemoved { user_id, reason: 1 },
            Record::Message { change, sequence } => ChatEvent::Message {
                change,
                sequence,
                message: self.message(sequence).map(Arc::new),
            },
        };
        let actor_id = tidings_ids::Id::from_uuid(self.id.uuid());
        ChatEntry {
            chat_id: self.id,
            position,
            actor_id,
            create_time: OffsetDateTime::UNIX_EPOCH,
            event,
        }
    }

    fn write(&mut self, change: MessageChange, sequence: i64) {
        self.log.push(Record::Message { change, sequence });
        let position = self.head();
        let written = &mut self.messages[sequence as usize - 1];
        written.revisions.push(position);
        written.is_deleted = change == MessageChange::Deleted;
    }
}

fn member(user_id: UserId) -> MemberState {
    MemberState {
        user_id,
        role: 1,
        mute_end_time: None,
        create_time: OffsetDateTime::UNIX_EPOCH,
        revision: 1,
    }
}

impl Memory {
    pub(super) fn new(seed: u64) -> Self {
        let source = Source::seeded(seed);
        let world = World {
            log_id: source.new_id(),
            users: (0..3).map(|_| source.new_id()).collect(),
            chats: Vec::new(),
            user_logs: HashMap::new(),
            user_floor: 1,
            source,
        };
        let mut rng = StdRng::seed_from_u64(seed);
        let (unrest, loss) = (rng.random_range(0.0..0.7), if rng.random_bool(0.5) { 0.0 } else { 0.4 });
        Self {
            world: Arc::new(Mutex::new(world)),
            hub: Arc::default(),
            registration: None,
            rng: Arc::new(Mutex::new(rng)),
            unrest,
            loss,
        }
    }

    /// The same world, read by a follower of this user.
    pub(super) fn registered(&self, user: UserId) -> Self {
        Self {
            registration: Some(Arc::new(self.hub.register(user))),
            ..self.clone()
        }
    }

    pub(super) fn chance(&self, probability: f64) -> bool {
        self.rng.lock().random_bool(probability)
    }

    pub(super) fn number(&self, below: usize) -> usize {
        self.rng.lock().random_range(0..below.max(1))
    }

    fn unrest(&self) {
        while self.chance(self.unrest) {
            self.happen();
        }
    }

    /// Something happens, and perhaps its hint arrives.
    pub(super) fn happen(&self) {
        let mut world = self.world.lock();
        if world.chats.is_empty() || (world.chats.len() < 4 && self.chance(0.05)) {
            let from_joining = self.chance(0.5);
            world.add_chat(from_joining);
        }
        let (user, other) = (world.users[self.number(3)], world.users[self.number(3)]);
        let index = self.number(world.chats.len());
        let mut told = Vec::new();
        let chat = &mut world.chats[index];
        let id = chat.id;
        if chat.removed {
            return;
        }
        let sequence = self.number(chat.messages.len()) as i64 + 1;
        let exists = sequence <= chat.last_sequence() && sequence >= chat.kept_sequence;
        match self.number(24) {
            0..=9 => {
                chat.messages.push(Written {
                    sender: other,
                    revisions: Vec::new(),
                    is_deleted: false,
                });
                chat.write(MessageChange::Created, chat.last_sequence());
            }
            10..=12 if exists && !chat.messages[sequence as usize - 1].is_deleted => {
                chat.write(MessageChange::Updated, sequence);
            }
            13..=14 if exists && !chat.messages[sequence as usize - 1].is_deleted => {
                chat.write(MessageChange::Deleted, sequence);
            }
            15 if exists && chat.is_member(user) => {
                chat.hidden.insert((user, sequence));
                told.push((user, UserRecord::Hidden(id, sequence)));
            }
            16..=19 if !chat.is_member(user) => {
                chat.log.push(Record::Joined(user));
                let membership = Membership {
                    first_position: chat.head(),
                    first_sequence: chat.last_sequence() + 1,
                    left_position: None,
                };
                chat.members.entry(user).or_default().push(membership);
                told.push((user, UserRecord::Joined(id)));
            }
            20 if chat.is_member(user) => {
                chat.log.push(Record::Removed(user));
                let position = chat.head();
                chat.members
                    .get_mut(&user)
                    .and_then(|all| all.last_mut())
                    .expect("a member")
                    .left_position = Some(position);
                told.push((user, UserRecord::Left(id, position)));
            }
            21 => {
                if self.chance(0.5) {
                    chat.from_joining = !chat.from_joining;
                    chat.always_from_joining = false;
                }
                chat.log.push(Record::Updated);
            }
            22 if self.chance(0.2) => {
                chat.kept_position = chat.kept_position.max(self.number(chat.log.len()) as i64 + 1);
                chat.kept_sequence = chat.kept_sequence.max(self.number(chat.messages.len() + 1) as i64);
                return;
            }
            23 if self.chance(0.1) => {
                chat.log.push(Record::Deleted);
                let position = chat.head();
                for (member, memberships) in &mut chat.members {
                    let latest = memberships.last_mut().expect("no one is put in without a membership");
                    if latest.left_position.is_none() {
                        latest.left_position = Some(position);
                        told.push((*member, UserRecord::Left(id, position)));
                    }
                }
                chat.removed = true;
            }
            _ => return,
        }
        let users: Vec<UserId> = told.iter().map(|(user, _)| *user).collect();
        for (user, record) in told {
            world.tell_user(user, record);
        }
        drop(world);
        if !self.chance(self.loss) {
            self.hub.hinted(&[id], &users);
        }
    }

    pub(super) fn poll(&self) {
        let (chats, users) = self.hub.followed();
        let world = self.world.lock();
        let user_head = |user: &UserId| world.user_logs.get(user).map_or(0, |log| log.len() as i64);
        let users: Vec<(UserId, i64)> = users.iter().map(|user| (*user, user_head(user))).collect();
        let chats: Vec<(ChatId, i64)> = chats.iter().map(|chat| (*chat, world.chat(*chat).head())).collect();
        self.hub.polled_chats(&chats);
        self.hub.polled_users(&users);
    }

    fn read_entries(&self, chat_id: ChatId, range: Range) -> Entries {
        let world = self.world.lock();
        let chat = world.chat(chat_id);
        let last = chat.head().min(range.last);
        let first = (range.after + 1).max(chat.kept_position);
        let all: Vec<i64> = (first..=last).collect();
        // Small pages, so that most reads need several.
        let count = all.len().min(range.count_max.min(4) as usize);
        let entries = all[..count]
            .iter()
            .map(|position| Arc::new(chat.entry(*position)))
            .collect();
        Entries {
            entries,
            more: count < all.len(),
        }
    }
}
