//! One read of one chat's log for one follower.

use std::sync::Arc;

use tidings_db::Error;
use tidings_ids::{ChatId, UserId};

use super::{
    frame::{ChatEvent, Frame, SkipReason, View},
    reader::{Range, Reader, Standing},
    tell::{Follower, Hole, Telling},
};

/// How far a follower is in a chat's log, and what of it the follower may see, if that is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) position: i64,
    pub(crate) view: Option<View>,
}

/// What one read gave.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) frames: Vec<Frame>,
    pub(crate) then: Then,
}

/// What comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// There may be more to read.
    More,
    /// The follower had the head when it was read.
    Done,
    /// The chat has ended for the follower, at the place's position.
    Ended,
    /// It ends, but its log does not say where yet: it moves once more.
    Ending,
    /// The follower never was in it.
    Never,
}

impl Place {
    /// Reads from memory, if it can serve this follower: it knows nothing of what each one has hidden.
    pub(crate) async fn read_tail<R: Reader>(
        &mut self,
        reader: &R,
        user_id: UserId,
        chat_id: ChatId,
        last: i64,
    ) -> Result<Option<Read>, Error> {
        let Some(view) = self.view.filter(|view| !view.has_hidden) else {
            return Ok(None);
        };
        let Some(entries) = reader.tail(chat_id, self.position).await? else {
            return Ok(None);
        };
        let follower = Follower {
            user_id,
            chat_id,
            view: &view,
            hidden: &[],
            position: self.position,
            last,
        };
        let told = follower.tell_live(&entries).map_err(defect)?;
        self.position = told.position;
        let then = if told.ended {
            Then::Ended
        } else if told.view_is_old {
            self.view = None;
            Then::More
        } else {
            Then::Done
        };
        Ok(Some(Read {
            frames: told.frames,
            then,
        }))
    }

    /// Reads from the store: first the entries, then the follower's rights, which thus hold for all that was read.
    pub(crate) async fn read<R: Reader>(
        &mut self,
        reader: &R,
        user_id: UserId,
        chat_id: ChatId,
        range: Range,
    ) -> Result<Read, Error> {
        // What is known to be invisible is not read.
        let floor = self.view.map_or(0, |view| view.first_position - 1).max(self.position);
        let read = reader.entries(chat_id, Range { after: floor, ..range }).await?;
        let sequences: Vec<i64> = read
            .entries
            .iter()
            .filter_map(|entry| match entry.event {
                ChatEvent::Message { sequence, .. } => Some(sequence),
                _ => None,
            })
            .collect();
        let (standing, hidden) = reader.standing(user_id, chat_id, &sequences).await?;
        match standing {
            Standing::Member(view) => {
                self.view = Some(view);
                if floor > self.position && view.first_position <= floor {
                    // The floor was lowered meanwhile: what was left out must be read after all.
                    return Ok(Read {
                        frames: Vec::new(),
                        then: Then::More,
                    });
                }
                let follower = Follower {
                    user_id,
                    chat_id,
                    view: &view,
                    hidden: &hidden,
                    position: self.position,
                    last: range.last,
                };
                let told = follower.tell(&read.entries).map_err(defect)?;
                self.position = told.position;
                let then = match (told.ended, read.more) {
                    (true, _) => Then::Ended,
                    (false, true) => Then::More,
                    (false, false) => Then::Done,
                };
                Ok(Read {
                    frames: told.frames,
                    then,
                })
            }
            Standing::Ended { last_visible_position } => {
                self.end(reader, user_id, chat_id, last_visible_position).await
            }
            Standing::Ending { .. } => Ok(Read {
                frames: Vec::new(),
                then: Then::Ending,
            }),
            Standing::Never => Ok(Read {
                frames: Vec::new(),
                then: Then::Never,
            }),
        }
    }

    /// The follower was removed before the rest was read. Content is joined as it is now, which may be from after the removal, so
    /// the rest is left out, but for the removal itself, which carries none.
    async fn end<R: Reader>(
        &mut self,
        reader: &R,
        user_id: UserId,
        chat_id: ChatId,
        last_visible_position: i64,
    ) -> Result<Read, Error> {
        if self.position >= last_visible_position {
            return Ok(Read {
                frames: Vec::new(),
                then: Then::Ended,
            });
        }
        let range = Range::page(last_visible_position - 1).up_to(last_visible_position);
        let removal = reader
            .entries(chat_id, range)
            .await?
            .entries
            .pop()
            .filter(|entry| entry.ends_for(user_id));
        let mut telling = Telling::new(chat_id, self.position);
        self.position = last_visible_position;
        let skipped = if removal.is_some() {
            last_visible_position - 1
        } else {
            last_visible_position
        };
        telling.skip(skipped, SkipReason::NotVisible);
        let mut frames = telling.finish();
        frames.extend(removal.map(|entry| Frame::ChatEntry(Arc::clone(&entry))));
        Ok(Read {
            frames,
            then: Then::Ended,
        })
    }
}

/// A hole in a log is a defect of ours, and nobody may be told on across it.
pub(crate) fn defect(hole: Hole) -> Error {
    Error::Bug(sqlx::Error::Decode(Box::new(hole)))
}
