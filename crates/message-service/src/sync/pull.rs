//! What a client lacks, page by page, until every chat has reached the head that it had when its turn came.
//!
//! The chats come first and the user log last, so that a client is beyond a removal that was undone before it hears of it.
//!
//! Nothing is kept between two pages: where the next one begins stands in its [`Cursor`], with the head of the user log and of the chat in
//! hand. The chats are listed anew for each page and taken by id, so a chat joined in between is told or left to the next
//! call, and both are right.

use std::collections::BTreeMap;

use tidings_db::Error;
use tidings_ids::{ChatId, LogId, UserId};

use super::{
    frame::{Frame, Snapshot},
    have::{Have, left, skipped_of_user_log, valid},
    read::{Place, Then},
    reader::{OpenChat, Opening, Range, Reader, Standing},
};

/// No further read once a page has so many bytes. With one more read it stays below 3 MiB.
const BYTES_MAX: usize = 2 * 1024 * 1024;

/// What a snapshot counts as in the size of a page.
const SNAPSHOT_COUNT: u32 = 10;

/// A page of what the client lacks.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) log_id: LogId,
    /// Whether the client must drop what it has. Told on the first page.
    pub(crate) reset: bool,
    pub(crate) frames: Vec<Frame>,
    /// How far the client's user log is with this page.
    pub(crate) user_position: i64,
    /// Where the next page begins; `None` when the client has caught up.
    pub(crate) next: Option<Cursor>,
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// What the client presented does not count.
    reset: bool,
    user_position: i64,
    /// The user log's head at the first page.
    user_target: i64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The user log, which is the last.
    User,
    /// The chats with ids above.
    Chats { after: Option<ChatId> },
    /// One chat, from after a position up to its head when it was begun; then those above.
    Chat {
        chat_id: ChatId,
        position: i64,
        target: i64,
    },
}

impl Cursor {
    const BYTES: usize = 1 + 8 + 8 + 16 + 8 + 8;

    /// The bytes of a page token.
    pub(crate) fn encode(self) -> Vec<u8> {
        let (stage, chat_id, position, target) = match self.stage {
            Stage::User => (0, None, 0, 0),
            Stage::Chats { after } => (1, after, 0, 0),
            Stage::Chat {
                chat_id,
                position,
                target,
            } => (2, Some(chat_id), position, target),
        };
        let mut bytes = Vec::with_capacity(Self::BYTES);
        bytes.push(stage | if self.reset { 0x80 } else { 0 });
        bytes.extend_from_slice(&self.user_position.to_be_bytes());
        bytes.extend_from_slice(&self.user_target.to_be_bytes());
        bytes.extend_from_slice(chat_id.map_or(uuid::Uuid::nil(), ChatId::uuid).as_bytes());
        bytes.extend_from_slice(&position.to_be_bytes());
        bytes.extend_from_slice(&target.to_be_bytes());
        bytes
    }

    /// The cursor in a page token; `None` when another version of the program made it.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (flags, rest) = bytes.split_first()?;
        let (user_position, rest) = number(rest)?;
        let (user_target, rest) = number(rest)?;
        let (chat_id, rest) = rest.split_at_checked(16)?;
        let chat_id = uuid::Uuid::from_slice(chat_id).ok()?;
        let (position, rest) = number(rest)?;
        let (target, rest) = number(rest)?;
        if !rest.is_empty() {
            return None;
        }
        let chat_id = (!chat_id.is_nil()).then(|| ChatId::from_uuid(chat_id));
        let stage = match flags & 0x7f {
            0 => Stage::User,
            1 => Stage::Chats { after: chat_id },
            2 => Stage::Chat {
                chat_id: chat_id?,
                position,
                target,
            },
            _ => return None,
        };
        Some(Self {
            reset: flags & 0x80 != 0,
            user_position,
            user_target,
            stage,
        })
    }
}

fn number(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((i64::from_be_bytes(*number), rest))
}

/// The page that begins at `cursor`, the first one without.
pub(crate) async fn pull<R: Reader>(
    reader: &R,
    user_id: UserId,
    have: Have,
    cursor: Option<Cursor>,
    count_max: u32,
) -> Result<Page, Error> {
    let opening = reader.open(user_id, &have.named()).await?;
    let (have, reset) = match cursor {
        Some(Cursor { reset: true, .. }) => (Have::default(), false),
        _ => valid(have, &opening),
    };
    // A reset in the middle: a backup was restored between two pages.
    let cursor = cursor.filter(|_| !reset).unwrap_or(Cursor {
        reset,
        user_position: have.user_position,
        user_target: opening.user_position,
        stage: Stage::Chats { after: None },
    });
    let mut pull = Pull {
        reader,
        user_id,
        cursor,
        frames: Vec::new(),
        count: 0,
        count_max,
        bytes: 0,
    };
    let is_done = pull.run(&opening, have).await?;
    Ok(Page {
        log_id: opening.log_id,
        reset,
        frames: pull.frames,
        user_position: pull.cursor.user_position,
        next: (!is_done).then_some(pull.cursor),
    })
}

struct Pull<'r, R> {
    reader: &'r R,
    user_id: UserId,
    /// Where the next page begins if this one ends now.
    cursor: Cursor,
    frames: Vec<Frame>,
    count: u32,
    count_max: u32,
    bytes: usize,
}

/// What one chat of the list needs.
#[derive(Debug, Clone, Copy)]
enum Need {
    Snapshot {
        reset: bool,
    },
    /// From after `position` up to `head`.
    Entries(Place, i64),
    /// The client named it, and it is not the user's.
    Answer,
}

impl<R: Reader> Pull<'_, R> {
    /// Fills the page; whether the client has caught up with it.
    async fn run(&mut self, opening: &Opening, have: Have) -> Result<bool, Error> {
        if let Stage::Chat {
            chat_id,
            position,
            target,
        } = self.cursor.stage
            && !self
                .entries(
                    chat_id,
                    Place {
                        position,
                        view: view_of(opening, chat_id),
                    },
                    target,
                )
                .await?
        {
            return Ok(false);
        }
        if let Stage::Chats { after } = self.cursor.stage {
            if !self.chats(opening, &have, after).await? {
                return Ok(false);
            }
            self.cursor.stage = Stage::User;
        }
        self.user_log().await
    }

    /// The chats with ids above.
    async fn chats(&mut self, opening: &Opening, have: &Have, after: Option<ChatId>) -> Result<bool, Error> {
        for (chat_id, need) in needs(&opening.chats, have) {
            if after.is_some_and(|after| chat_id <= after) {
                continue;
            }
            let is_done = match need {
                Need::Snapshot { reset } => self.snapshot(chat_id, reset).await?,
                Need::Entries(place, head) => self.entries(chat_id, place, head).await?,
                Need::Answer => self.answer(chat_id).await?,
            };
            if !is_done {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn push(&mut self, frame: Frame, count: u32) {
        self.count += count;
        self.bytes += frame.weight();
        self.frames.push(frame);
    }

    fn is_full(&self) -> bool {
        self.count >= self.count_max || self.bytes >= BYTES_MAX
    }

    fn left(&self) -> i64 {
        i64::from(self.count_max.saturating_sub(self.count))
    }

    async fn user_log(&mut self) -> Result<bool, Error> {
        while self.cursor.user_position < self.cursor.user_target {
            if self.is_full() {
                return Ok(false);
            }
            let read = self
                .reader
                .user_entries(self.user_id, self.cursor.user_position, self.left())
                .await?;
            if let Some(skipped) = skipped_of_user_log(self.cursor.user_position, &read)? {
                self.cursor.user_position = skipped.last;
                self.push(Frame::Skipped(skipped), 1);
            }
            if read.entries.is_empty() {
                break;
            }
            for entry in read.entries {
                // A page that is too large ends here; the rest is read again.
                if entry.position > self.cursor.user_target || self.bytes >= BYTES_MAX {
                    break;
                }
                self.cursor.user_position = entry.position;
                self.push(Frame::UserEntry(Box::new(entry)), 1);
            }
        }
        Ok(true)
    }

    async fn snapshot(&mut self, chat_id: ChatId, reset: bool) -> Result<bool, Error> {
        let has_room = self.count + SNAPSHOT_COUNT <= self.count_max && self.bytes < BYTES_MAX;
        if !has_room && self.count > 0 {
            return Ok(false);
        }
        match self.reader.snapshot(self.user_id, chat_id).await? {
            Some(snapshot) => {
                let snapshot = Snapshot { reset, ..snapshot };
                self.push(Frame::Snapshot(Box::new(snapshot)), SNAPSHOT_COUNT);
            }
            // Lost since the chats were listed. A client that has something of it must know.
            None if reset => return self.answer(chat_id).await,
            None => {}
        }
        self.cursor.stage = Stage::Chats { after: Some(chat_id) };
        Ok(true)
    }

    async fn entries(&mut self, chat_id: ChatId, mut place: Place, target: i64) -> Result<bool, Error> {
        while place.position < target {
            if self.is_full() {
                self.cursor.stage = Stage::Chat {
                    chat_id,
                    position: place.position,
                    target,
                };
                return Ok(false);
            }
            let range = Range::page(place.position).up_to(target).at_most(self.left());
            let read = place.read(self.reader, self.user_id, chat_id, range).await?;
            for frame in read.frames {
                self.push(frame, 1);
            }
            match read.then {
                Then::More => {}
                Then::Done | Then::Ended => break,
                Then::Ending | Then::Never => {
                    self.cursor.stage = Stage::Chats { after: Some(chat_id) };
                    return self.answer(chat_id).await;
                }
            }
        }
        self.cursor.stage = Stage::Chats { after: Some(chat_id) };
        Ok(true)
    }

    async fn answer(&mut self, chat_id: ChatId) -> Result<bool, Error> {
        if self.is_full() {
            return Ok(false);
        }
        loop {
            let standings = self.reader.standings(self.user_id, &[chat_id]).await?;
            let standing: Option<Standing> = standings.first().map(|(_, standing)| *standing);
            if let Some(frame) = left(chat_id, standing.as_ref()) {
                self.push(frame, 1);
                break;
            }
            // Joined since the chats were listed.
            if let Some(snapshot) = self.reader.snapshot(self.user_id, chat_id).await? {
                let snapshot = Snapshot {
                    reset: true,
                    ..snapshot
                };
                self.push(Frame::Snapshot(Box::new(snapshot)), SNAPSHOT_COUNT);
                break;
            }
        }
        self.cursor.stage = Stage::Chats { after: Some(chat_id) };
        Ok(true)
    }
}

fn view_of(opening: &Opening, chat_id: ChatId) -> Option<super::frame::View> {
    opening
        .chats
        .iter()
        .find(|chat| chat.chat_id == chat_id)
        .map(|chat| chat.view)
}

/// What each chat needs that is the user's or was named, by id. Those that the client is up to date with are left out.
fn needs(chats: &[OpenChat], have: &Have) -> BTreeMap<ChatId, Need> {
    let mut needs: BTreeMap<ChatId, Need> = have.chats.keys().map(|chat_id| (*chat_id, Need::Answer)).collect();
    for chat in chats {
        let need = match have.chats.get(&chat.chat_id) {
            Some(position) if *position == chat.head => None,
            Some(position) if *position < chat.head => Some(Need::Entries(
                Place {
                    position: *position,
                    view: Some(chat.view),
                },
                chat.head,
            )),
            named => Some(Need::Snapshot { reset: named.is_some() }),
        };
        match need {
            Some(need) => needs.insert(chat.chat_id, need),
            None => needs.remove(&chat.chat_id),
        };
    }
    needs
}

#[cfg(test)]
mod tests {
    use tidings_ids::Source;

    use super::{Cursor, Stage};

    #[test]
    fn a_cursor_reads_back() {
        let chat_id = Source::seeded(1).new_id();
        let stages = [
            Stage::User,
            Stage::Chats { after: None },
            Stage::Chats { after: Some(chat_id) },
            Stage::Chat {
                chat_id,
                position: 7,
                target: i64::MAX,
            },
        ];
        for stage in stages {
            for reset in [false, true] {
                let cursor = Cursor {
                    reset,
                    user_position: 3,
                    user_target: 9,
                    stage,
                };
                let bytes = cursor.encode();
                assert_eq!(Cursor::decode(&bytes), Some(cursor));
                assert_eq!(Cursor::decode(&bytes[1..]), None);
            }
        }
    }
}
