//! A follower of a user's logs: a state machine without clock, network or database. Each step is one bounded read, and gives what
//! is to be told next.

use std::collections::{HashMap, VecDeque, hash_map};

use tidings_db::Error;
use tidings_ids::{ChatId, UserId};

use super::{
    frame::{Frame, SkipReason, UserEntry, UserEvent},
    have::{Have, left, skipped_of_user_log, valid},
    read::{Place, Read, Then},
    reader::{Range, Reader, Standing},
    tell::Telling,
};

/// Entries of the user log that are read at once: each may carry a chat's title and metadata.
const USER_ENTRIES_MAX: i64 = 32;

/// What moved, as the hub tells it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rung {
    pub(crate) chats: Vec<ChatId>,
    pub(crate) user: bool,
}

/// A follower of one user's logs.
#[derive(Debug)]
pub(crate) struct Follower {
    user_id: UserId,
    /// The last position of the user log that was told, and what was read above it.
    user_position: i64,
    untold: VecDeque<UserEntry>,
    user_moved: bool,
    /// The user log's head when the follower began. What stands below is history: the chats are those of that moment, and go on
    /// from where the client said.
    opened_at: i64,
    chats: HashMap<ChatId, Followed>,
    /// Chats of which the client has nothing.
    beginning: VecDeque<Beginning>,
    /// Chats that have moved: first come, first read, so that a busy chat holds up no other.
    moved: VecDeque<ChatId>,
    /// Whether a chat that moved comes before one that begins: they take turns, so that many snapshots hold up no question.
    is_turn_of_moved: bool,
    catching_up: Option<Targets>,
}

#[derive(Debug)]
struct Followed {
    place: Place,
    is_queued: bool,
    /// The follower's removal was told; what is left to come is `chat_left` of the user log.
    has_ended: bool,
}

#[derive(Debug, Clone, Copy)]
struct Beginning {
    chat_id: ChatId,
    /// The client named a position beyond the head.
    reset: bool,
    /// The client named the chat, and so must be answered.
    is_named: bool,
}

/// The heads when the follower began.
#[derive(Debug)]
struct Targets {
    user_position: i64,
    chats: HashMap<ChatId, i64>,
}

impl Follower {
    /// Begins to follow, and says what is to be told first.
    pub(crate) async fn begin<R: Reader>(reader: &R, user_id: UserId, have: Have) -> Result<(Self, Vec<Frame>), Error> {
        let opening = reader.open(user_id, &have.named()).await?;
        let (have, reset) = valid(have, &opening);
        let mut follower = Self::new(user_id, have.user_position, opening.user_position);
        let mut frames = vec![Frame::Opened {
            log_id: opening.log_id,
            user_position: opening.user_position,
            reset,
        }];
        let mut foreign: HashMap<ChatId, i64> = have.chats;
        for chat in &opening.chats {
            reader.follow(chat.chat_id, chat.head);
            let named = foreign.remove(&chat.chat_id);
            match named {
                Some(position) if position <= chat.head => {
                    let place = Place {
                        position,
                        view: Some(chat.view),
                    };
                    follower.chats.insert(chat.chat_id, Followed::at(place));
                    if position < chat.head {
                        follower.set_target(chat.chat_id, chat.head);
                        follower.chat_moved(chat.chat_id);
                    }
                }
                beyond => follower.beginning.push_back(Beginning {
                    chat_id: chat.chat_id,
                    reset: beyond.is_some(),
                    is_named: beyond.is_some(),
                }),
            }
        }
        frames.extend(follower.answer_foreign(reader, foreign).await?);
        follower.look(reader).await?;
        Ok((follower, frames))
    }

    fn new(user_id: UserId, user_position: i64, target: i64) -> Self {
        Self {
            user_id,
            user_position,
            untold: VecDeque::new(),
            user_moved: user_position < target,
            opened_at: target,
            chats: HashMap::new(),
            beginning: VecDeque::new(),
            moved: VecDeque::new(),
            is_turn_of_moved: false,
            catching_up: Some(Targets {
                user_position: target,
                chats: HashMap::new(),
            }),
        }
    }

    /// The chats that were named and are not the user's.
    async fn answer_foreign<R: Reader>(
        &mut self,
        reader: &R,
        foreign: HashMap<ChatId, i64>,
    ) -> Result<Vec<Frame>, Error> {
        if foreign.is_empty() {
            return Ok(Vec::new());
        }
        let mut chats: Vec<ChatId> = foreign.keys().copied().collect();
        chats.sort();
        let standings: HashMap<ChatId, Standing> = reader.standings(self.user_id, &chats).await?.into_iter().collect();
        let mut frames = Vec::new();
        for chat_id in chats {
            match left(chat_id, standings.get(&chat_id)) {
                Some(frame) => frames.push(frame),
                None => self.follow_late(reader, chat_id, foreign[&chat_id]).await?,
            }
        }
        Ok(frames)
    }

    /// A chat that was named, and joined since the chats were listed.
    async fn follow_late<R: Reader>(&mut self, reader: &R, chat_id: ChatId, position: i64) -> Result<(), Error> {
        reader.follow(chat_id, 0);
        let head = reader.heads(&[chat_id]).await?.first().map_or(0, |(_, head)| *head);
        if position <= head {
            self.chats.insert(chat_id, Followed::at(Place { position, view: None }));
            self.set_target(chat_id, head);
            self.chat_moved(chat_id);
        } else {
            self.beginning.push_back(Beginning {
                chat_id,
                reset: true,
                is_named: true,
            });
        }
        Ok(())
    }

    /// What moved between the listing of the chats and the moment from which on the follower is woken.
    async fn look<R: Reader>(&mut self, reader: &R) -> Result<(), Error> {
        let followed: Vec<ChatId> = self.chats.keys().copied().collect();
        if followed.is_empty() {
            return Ok(());
        }
        for (chat_id, head) in reader.heads(&followed).await? {
            if self.chats.get(&chat_id).is_some_and(|chat| chat.place.position < head) {
                self.chat_moved(chat_id);
            }
        }
        Ok(())
    }

    /// Takes note of what moved.
    pub(crate) fn rung(&mut self, rung: Rung) {
        self.user_moved |= rung.user;
        for chat_id in rung.chats {
            self.chat_moved(chat_id);
        }
    }

    fn chat_moved(&mut self, chat_id: ChatId) {
        if let Some(chat) = self.chats.get_mut(&chat_id)
            && !chat.is_queued
            && !chat.has_ended
        {
            chat.is_queued = true;
            self.moved.push_back(chat_id);
        }
    }

    fn set_target(&mut self, chat_id: ChatId, head: i64) {
        if let Some(targets) = &mut self.catching_up {
            targets.chats.insert(chat_id, head);
        }
    }

    /// Reads once, and says what to tell; `None` when there is nothing to do until something moves.
    ///
    /// After an error the follower is as it was before, so the step can be tried again.
    pub(crate) async fn step<R: Reader>(&mut self, reader: &R) -> Result<Option<Vec<Frame>>, Error> {
        if self.has_reached_targets() {
            self.catching_up = None;
            return Ok(Some(vec![Frame::CaughtUp]));
        }
        // What happens goes by the user log first: it says which chats to follow. What has happened goes by the chats first, so that
        // a client is beyond a removal that was undone before it hears of it.
        if !self.is_behind()
            && let Some(frames) = self.step_user_log(reader).await?
        {
            return Ok(Some(frames));
        }
        match (self.beginning.front().copied(), self.moved.front().copied()) {
            (Some(beginning), moved) if moved.is_none() || !self.is_turn_of_moved => {
                let frames = self.begin_chat(reader, beginning).await?;
                self.is_turn_of_moved = true;
                Ok(Some(frames))
            }
            (_, Some(chat_id)) => {
                let frames = self.read_chat(reader, chat_id).await?;
                self.is_turn_of_moved = false;
                Ok(Some(frames))
            }
            _ => self.step_user_log(reader).await,
        }
    }

    /// Whether chats are not where they were when the follower began.
    fn is_behind(&self) -> bool {
        let Some(targets) = &self.catching_up else { return false };
        !targets.chats.is_empty() || !self.beginning.is_empty()
    }

    async fn step_user_log<R: Reader>(&mut self, reader: &R) -> Result<Option<Vec<Frame>>, Error> {
        if !self.untold.is_empty() {
            return self.tell_user_entry(reader).await.map(Some);
        }
        if self.user_moved {
            return self.read_user_log(reader).await.map(Some);
        }
        Ok(None)
    }

    async fn read_user_log<R: Reader>(&mut self, reader: &R) -> Result<Vec<Frame>, Error> {
        // Before the read, so that what moves meanwhile is not forgotten.
        self.user_moved = false;
        let read = reader
            .user_entries(self.user_id, self.user_position, USER_ENTRIES_MAX)
            .await;
        self.user_moved |= read.as_ref().map_or(true, |read| read.more);
        let read = read?;
        let skipped = skipped_of_user_log(self.user_position, &read)?;
        self.user_position = skipped.map_or(self.user_position, |skipped| skipped.last);
        self.untold.extend(read.entries);
        Ok(skipped.map(Frame::Skipped).into_iter().collect())
    }

    async fn tell_user_entry<R: Reader>(&mut self, reader: &R) -> Result<Vec<Frame>, Error> {
        let entry = self.untold.front().expect("the caller has looked");
        let (chat_id, position) = (entry.chat_id, entry.position);
        let is_news = position > self.opened_at;
        match entry.event {
            UserEvent::Left {
                last_visible_position, ..
            } if is_news => {
                if let Some(frames) = self.read_until_left(reader, chat_id, last_visible_position).await? {
                    return Ok(frames);
                }
                self.leave(reader, chat_id, last_visible_position);
            }
            UserEvent::Joined(_) if is_news => self.join(reader, chat_id),
            UserEvent::Hidden { .. } => {
                if let Some(view) = self.chats.get_mut(&chat_id).and_then(|chat| chat.place.view.as_mut()) {
                    view.has_hidden = true;
                }
            }
            UserEvent::Left { .. } | UserEvent::Joined(_) | UserEvent::Unknown => {}
        }
        self.user_position = position;
        Ok(self
            .untold
            .pop_front()
            .map(|entry| Frame::UserEntry(Box::new(entry)))
            .into_iter()
            .collect())
    }

    /// What a chat's log has up to the removal comes before `chat_left`. `None` when the client has that.
    async fn read_until_left<R: Reader>(
        &mut self,
        reader: &R,
        chat_id: ChatId,
        last_visible_position: i64,
    ) -> Result<Option<Vec<Frame>>, Error> {
        let Some(chat) = self.chats.get_mut(&chat_id) else {
            return Ok(None);
        };
        if chat.has_ended || chat.place.position >= last_visible_position {
            return Ok(None);
        }
        let (user_id, before) = (self.user_id, chat.place.position);
        let mut read = chat
            .place
            .read_tail(reader, user_id, chat_id, last_visible_position)
            .await?;
        if read
            .as_ref()
            .is_none_or(|read| read.then == Then::Done && chat.place.position == before)
        {
            let range = Range::page(before).up_to(last_visible_position);
            read = Some(chat.place.read(reader, user_id, chat_id, range).await?);
        }
        let Read { frames, then } = read.expect("it was read if it was not there");
        if then == Then::Ended {
            chat.has_ended = true;
        }
        let has_moved = chat.place.position > before;
        if !has_moved && then != Then::More {
            chat.place.position = last_visible_position;
        }
        if then == Then::Ended {
            // It may be queued too, and end at a later removal than this one.
            self.forget(reader, chat_id);
        }
        if has_moved || then == Then::More {
            return Ok(Some(frames));
        }
        // There is nothing more that this one may see, and nothing that says so.
        let mut telling = Telling::new(chat_id, before);
        telling.skip(last_visible_position, SkipReason::NotVisible);
        Ok(Some(telling.finish()))
    }

    /// A removal that the client is beyond was undone by a later joining.
    fn leave<R: Reader>(&mut self, reader: &R, chat_id: ChatId, last_visible_position: i64) {
        if let hash_map::Entry::Occupied(chat) = self.chats.entry(chat_id)
            && chat.get().place.position <= last_visible_position
        {
            chat.remove();
            self.forget(reader, chat_id);
        }
    }

    fn join<R: Reader>(&mut self, reader: &R, chat_id: ChatId) {
        let begins = self.beginning.iter().any(|beginning| beginning.chat_id == chat_id);
        if begins || self.chats.contains_key(&chat_id) {
            return;
        }
        reader.follow(chat_id, 0);
        self.beginning.push_back(Beginning {
            chat_id,
            reset: false,
            is_named: false,
        });
    }

    async fn begin_chat<R: Reader>(&mut self, reader: &R, beginning: Beginning) -> Result<Vec<Frame>, Error> {
        let chat_id = beginning.chat_id;
        if let Some(snapshot) = reader.snapshot(self.user_id, chat_id).await? {
            let place = Place {
                position: snapshot.position,
                view: Some(snapshot.view),
            };
            self.chats.insert(chat_id, Followed::at(place));
            self.beginning.pop_front();
            let snapshot = super::frame::Snapshot {
                reset: beginning.reset,
                ..snapshot
            };
            return Ok(vec![Frame::Snapshot(Box::new(snapshot))]);
        }
        if !beginning.is_named {
            self.beginning.pop_front();
            self.forget(reader, chat_id);
            return Ok(Vec::new());
        }
        let standings = reader.standings(self.user_id, &[chat_id]).await?;
        let Some(frame) = left(chat_id, standings.first().map(|(_, standing)| standing)) else {
            // Joined again meanwhile: once more.
            return Ok(Vec::new());
        };
        self.beginning.pop_front();
        self.forget(reader, chat_id);
        Ok(vec![frame])
    }

    async fn read_chat<R: Reader>(&mut self, reader: &R, chat_id: ChatId) -> Result<Vec<Frame>, Error> {
        let Some(chat) = self.chats.get_mut(&chat_id) else {
            self.moved.pop_front();
            return Ok(Vec::new());
        };
        let user_id = self.user_id;
        let read = match chat.place.read_tail(reader, user_id, chat_id, i64::MAX).await? {
            Some(read) => read,
            None => {
                let range = Range::page(chat.place.position);
                chat.place.read(reader, user_id, chat_id, range).await?
            }
        };
        let Read { frames, then } = read;
        self.moved.pop_front();
        chat.is_queued = false;
        let position = chat.place.position;
        match then {
            Then::More => self.chat_moved(chat_id),
            Then::Done | Then::Ending => {}
            Then::Ended => {
                chat.has_ended = true;
                self.forget(reader, chat_id);
            }
            Then::Never => {
                self.chats.remove(&chat_id);
                self.forget(reader, chat_id);
            }
        }
        self.reached(chat_id, position, then);
        Ok(frames)
    }

    fn reached(&mut self, chat_id: ChatId, position: i64, then: Then) {
        let Some(targets) = &mut self.catching_up else { return };
        if then != Then::More || targets.chats.get(&chat_id).is_some_and(|target| position >= *target) {
            targets.chats.remove(&chat_id);
        }
    }

    fn forget<R: Reader>(&mut self, reader: &R, chat_id: ChatId) {
        reader.unfollow(chat_id);
        self.moved.retain(|moved| *moved != chat_id);
        if let Some(targets) = &mut self.catching_up {
            targets.chats.remove(&chat_id);
        }
    }

    /// Whether everything is told that there was when the follower began.
    fn has_reached_targets(&self) -> bool {
        let user_target = self.catching_up.as_ref().map(|targets| targets.user_position);
        user_target.is_some_and(|target| self.user_position >= target) && !self.is_behind()
    }
}

impl Followed {
    fn at(place: Place) -> Self {
        Self {
            place,
            is_queued: false,
            has_ended: false,
        }
    }
}
