//! What is read of the little world: something may happen before each answer.

use std::sync::Arc;

use tidings_db::Error;
use tidings_ids::{ChatId, UserId};
use time::OffsetDateTime;

use super::{
    super::{
        frame::{ChatEntry, Snapshot, UserEntry, UserEvent},
        reader::{Entries, OpenChat, Opening, Range, Reader, Standing, UserEntries},
    },
    Memory, UserRecord, member,
};

impl Reader for Memory {
    /// No chat here is a session.
    async fn open(&self, user_id: UserId, _: &[ChatId]) -> Result<Opening, Error> {
        self.unrest();
        let user_position = self
            .world
            .lock()
            .user_logs
            .get(&user_id)
            .map_or(0, |log| log.len() as i64);
        self.unrest();
        let world = self.world.lock();
        let chats = world.chats.iter().filter_map(|chat| {
            Some(OpenChat {
                chat_id: chat.id,
                head: chat.head(),
                view: chat.view(user_id)?,
            })
        });
        Ok(Opening {
            log_id: world.log_id,
            user_position,
            chats: chats.collect(),
        })
    }

    async fn standings(&self, user_id: UserId, chats: &[ChatId]) -> Result<Vec<(ChatId, Standing)>, Error> {
        self.unrest();
        let world = self.world.lock();
        let known = chats
            .iter()
            .filter_map(|id| world.chats.iter().find(|chat| chat.id == *id));
        Ok(known.map(|chat| (chat.id, chat.standing(user_id))).collect())
    }

    async fn heads(&self, chats: &[ChatId]) -> Result<Vec<(ChatId, i64)>, Error> {
        self.unrest();
        let world = self.world.lock();
        Ok(chats.iter().map(|id| (*id, world.chat(*id).head())).collect())
    }

    async fn entries(&self, chat_id: ChatId, range: Range) -> Result<Entries, Error> {
        self.unrest();
        Ok(self.read_entries(chat_id, range))
    }

    async fn standing(
        &self,
        user_id: UserId,
        chat_id: ChatId,
        sequences: &[i64],
    ) -> Result<(Standing, Vec<i64>), Error> {
        self.unrest();
        let world = self.world.lock();
        let chat = world.chat(chat_id);
        let hidden = sequences
            .iter()
            .copied()
            .filter(|sequence| chat.hidden.contains(&(user_id, *sequence)));
        Ok((chat.standing(user_id), hidden.collect()))
    }

    async fn user_entries(&self, user_id: UserId, after: i64, count_max: i64) -> Result<UserEntries, Error> {
        self.unrest();
        let world = self.world.lock();
        let log = world.user_logs.get(&user_id).map_or(&[][..], Vec::as_slice);
        let first = (after + 1).max(world.user_floor) as usize;
        let all = log.get(first - 1..).unwrap_or_default();
        let count = all.len().min(count_max.min(3) as usize);
        let entries = all[..count].iter().zip(first as i64..).map(|(record, position)| {
            let (chat_id, event) = match *record {
                UserRecord::Joined(id) => {
                    let chat = world.chat(id);
                    (
                        id,
                        UserEvent::Joined(chat.is_member(user_id).then(|| (chat.state(), member(user_id)))),
                    )
                }
                UserRecord::Left(id, position) => (
                    id,
                    UserEvent::Left {
                        last_visible_position: position,
                        reason: 1,
                    },
                ),
                UserRecord::Hidden(id, sequence) => {
                    let message_id = tidings_ids::Id::from_uuid(uuid::Uuid::from_u128(sequence as u128));
                    (id, UserEvent::Hidden { message_id, sequence })
                }
            };
            UserEntry {
                position,
                actor_id: user_id,
                chat_id,
                create_time: OffsetDateTime::UNIX_EPOCH,
                event,
            }
        });
        Ok(UserEntries {
            entries: entries.collect(),
            first_position: world.user_floor,
            more: count < all.len(),
        })
    }

    async fn snapshot(&self, user_id: UserId, chat_id: ChatId) -> Result<Option<Snapshot>, Error> {
        self.unrest();
        let world = self.world.lock();
        let chat = world.chat(chat_id);
        let Some(view) = chat.view(user_id) else {
            return Ok(None);
        };
        let messages = (view.first_sequence..=chat.last_sequence())
            .filter(|sequence| !chat.hidden.contains(&(user_id, *sequence)))
            .filter_map(|sequence| chat.message(sequence));
        Ok(Some(Snapshot {
            chat: chat.state(),
            member: member(user_id),
            position: chat.head(),
            last_sequence: chat.last_sequence(),
            view,
            unread_count: 0,
            unread_capped: false,
            member_count: 1,
            messages: messages.collect(),
            reset: false,
        }))
    }

    async fn tail(&self, chat_id: ChatId, after: i64) -> Result<Option<Vec<Arc<ChatEntry>>>, Error> {
        let Some(tail) = self.hub.tail(chat_id) else {
            return Ok(None);
        };
        let load = async |range: Range| {
            self.unrest();
            Ok(self.read_entries(chat_id, range))
        };
        let entries = tail.after(after, load).await?;
        self.unrest();
        Ok(entries)
    }

    fn follow(&self, chat_id: ChatId, head: i64) {
        if let Some(registration) = &self.registration {
            registration.follow(chat_id, head);
        }
    }

    fn unfollow(&self, chat_id: ChatId) {
        if let Some(registration) = &self.registration {
            registration.unfollow(chat_id);
        }
    }
}
