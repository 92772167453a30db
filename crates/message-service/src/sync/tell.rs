//! What of a chat's entries one follower is told: decided here and nowhere else, from the entries and the follower's [`View`].

use std::{collections::HashSet, sync::Arc};

use tidings_ids::{ChatId, UserId};

use super::frame::{ChatEntry, ChatEvent, Frame, Log, SkipReason, Skipped, Subject, View};

/// Where one follower is in one chat's log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Follower<'a> {
    pub(crate) user_id: UserId,
    pub(crate) chat_id: ChatId,
    /// What the follower may see.
    pub(crate) view: &'a View,
    /// Which of the entries' messages the follower has hidden.
    pub(crate) hidden: &'a [i64],
    /// The last position that the follower has.
    pub(crate) position: i64,
    /// Positions above are not told this time.
    pub(crate) last: i64,
}

/// What is told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) frames: Vec<Frame>,
    /// The last position that the follower has now.
    pub(crate) position: i64,
    /// Whether the follower's own removal is among it: the last thing that this one sees of the chat.
    pub(crate) ended: bool,
    /// Whether it stopped behind a change of the chat, which may have changed the view.
    pub(crate) view_is_old: bool,
}

/// Entries that follow each other are missing one in between: a defect, as positions have no holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log of chat {chat_id} has no entry at {position}")]
pub(crate) struct Hole {
    chat_id: ChatId,
    position: i64,
}

impl Follower<'_> {
    /// What to tell of entries that were read before the view was: the view holds for all of them.
    ///
    /// # Errors
    /// [`Hole`] when the entries do not continue what the follower has.
    pub(crate) fn tell(self, entries: &[Arc<ChatEntry>]) -> Result<Told, Hole> {
        self.tell_some(entries, false)
    }

    /// What to tell of entries from memory, where the view is older than they are. It holds up to the next change of the chat's
    /// settings, and the follower's own removal ends it.
    ///
    /// # Errors
    /// As [`tell`](Self::tell).
    pub(crate) fn tell_live(self, entries: &[Arc<ChatEntry>]) -> Result<Told, Hole> {
        self.tell_some(entries, true)
    }

    fn tell_some(self, entries: &[Arc<ChatEntry>], stop_behind_update: bool) -> Result<Told, Hole> {
        let touched = self.touched_after_end(entries);
        let mut telling = Telling::new(self.chat_id, self.position);
        telling.skip_below(self.view.kept_position, self.last, SkipReason::Retention);
        telling.skip_below(self.view.first_position, self.last, SkipReason::NotVisible);
        let (mut ended, mut view_is_old) = (false, false);
        for entry in entries
            .iter()
            .filter(|entry| entry.position > self.position && entry.position <= self.last)
        {
            if entry.position <= telling.position {
                continue;
            }
            if entry.position != telling.position + 1 {
                return Err(Hole {
                    chat_id: self.chat_id,
                    position: telling.position + 1,
                });
            }
            let is_newer_than_removal = entry.subject().is_some_and(|subject| touched.contains(&subject));
            match if is_newer_than_removal {
                Some(SkipReason::NotVisible)
            } else {
                self.refusal(entry)
            } {
                Some(reason) => telling.skip(entry.position, reason),
                None => telling.tell(entry),
            }
            if self.is_end(entry) {
                ended = true;
                break;
            }
            if stop_behind_update && matches!(entry.event, ChatEvent::ChatUpdated(_)) {
                view_is_old = true;
                break;
            }
        }
        Ok(Told {
            position: telling.position,
            frames: telling.frames,
            ended,
            view_is_old,
        })
    }

    /// Why the follower may not see the entry.
    fn refusal(&self, entry: &ChatEntry) -> Option<SkipReason> {
        let ChatEvent::Message { sequence, message, .. } = &entry.event else {
            return None;
        };
        if *sequence < self.view.kept_sequence {
            Some(SkipReason::Retention)
        } else if *sequence < self.view.first_sequence {
            // An edit of a message from before the joining: its position is visible, its words are not.
            Some(SkipReason::NotVisible)
        } else if self.hidden.contains(sequence) {
            Some(SkipReason::Hidden)
        } else if message.is_none() {
            Some(SkipReason::Retention)
        } else {
            None
        }
    }

    /// A removal from before the latest joining is history.
    fn is_end(&self, entry: &ChatEntry) -> bool {
        entry.ends_for(self.user_id) && entry.position > self.view.joined_position
    }

    /// What was changed after the follower's removal. Entries from before it carry the newest content, which in these cases the
    /// follower may not see.
    fn touched_after_end(&self, entries: &[Arc<ChatEntry>]) -> HashSet<Subject> {
        let end = entries
            .iter()
            .position(|entry| entry.position > self.position && self.is_end(entry));
        let after = end.map_or(&[][..], |end| &entries[end + 1..]);
        after.iter().filter_map(|entry| entry.subject()).collect()
    }
}

/// Collects frames of one log, which have no hole.
#[derive(Debug)]
pub(crate) struct Telling {
    chat_id: ChatId,
    frames: Vec<Frame>,
    position: i64,
}

impl Telling {
    pub(crate) fn new(chat_id: ChatId, position: i64) -> Self {
        Self {
            chat_id,
            frames: Vec::new(),
            position,
        }
    }

    fn tell(&mut self, entry: &Arc<ChatEntry>) {
        self.position = entry.position;
        self.frames.push(Frame::ChatEntry(Arc::clone(entry)));
    }

    /// Leaves out what is below `floor`, and not above `last`.
    fn skip_below(&mut self, floor: i64, last: i64, reason: SkipReason) {
        self.skip((floor - 1).min(last), reason);
    }

    /// Leaves out everything up to `last`.
    pub(crate) fn skip(&mut self, last: i64, reason: SkipReason) {
        let first = self.position + 1;
        if last < first {
            return;
        }
        self.position = last;
        if let Some(Frame::Skipped(before)) = self.frames.last_mut()
            && before.reason == reason
        {
            before.last = last;
            return;
        }
        self.frames.push(Frame::Skipped(Skipped {
            log: Log::Chat(self.chat_id),
            first,
            last,
            reason,
        }));
    }

    pub(crate) fn finish(self) -> Vec<Frame> {
        self.frames
    }
}
