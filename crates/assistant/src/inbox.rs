//! What waits for an answer, in the order of each chat. One thing of a chat is at work at a time; chats take turns.

use std::collections::{HashMap, VecDeque};

use tidings_ids::{ChatId, UserId};

use crate::question::{Answered, Question};

/// What waits.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    chats: HashMap<ChatId, Waiting>,
    /// Chats that have something to do and nothing at work, the one that waits longest first.
    ready: VecDeque<ChatId>,
    len: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    look_back: Option<LookBack>,
    questions: VecDeque<Question>,
    is_queued: bool,
    is_at_work: bool,
}

/// A chat's past is to be looked through for what was never answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LookBack {
    /// Who looks.
    pub(crate) me: UserId,
    pub(crate) chat_id: ChatId,
    /// What stands from here on has been seen.
    pub(crate) before_sequence: i64,
    /// What is answered by what has been seen.
    pub(crate) answered: Answered,
}

/// What can be done now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Job {
    LookBack(LookBack),
    Answer(Question),
}

impl Job {
    pub(crate) fn chat_id(&self) -> ChatId {
        match self {
            Self::LookBack(look_back) => look_back.chat_id,
            Self::Answer(question) => question.chat_id,
        }
    }
}

impl Inbox {
    /// How many questions wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Questions that came after all that the chat has here.
    pub(crate) fn add(&mut self, chat_id: ChatId, questions: Vec<Question>) {
        if questions.is_empty() {
            return;
        }
        self.len += questions.len();
        self.chats.entry(chat_id).or_default().questions.extend(questions);
        self.make_ready(chat_id);
    }

    /// Looks back before anything else of the chat is answered.
    pub(crate) fn look_back(&mut self, look_back: LookBack) {
        let chat_id = look_back.chat_id;
        self.chats.entry(chat_id).or_default().look_back = Some(look_back);
        self.make_ready(chat_id);
    }

    /// Questions that came before all that the chat has here, found by looking back.
    pub(crate) fn add_before(&mut self, chat_id: ChatId, questions: Vec<Question>) {
        // A chat that was forgotten meanwhile stays so.
        if let Some(waiting) = self.chats.get_mut(&chat_id) {
            self.len += questions.len();
            for question in questions.into_iter().rev() {
                waiting.questions.push_front(question);
            }
        }
    }

    /// The next thing to do. Its chat has nothing else at work until [`done`](Self::done).
    pub(crate) fn take(&mut self) -> Option<Job> {
        while let Some(chat_id) = self.ready.pop_front() {
            let Some(waiting) = self.chats.get_mut(&chat_id) else {
                continue;
            };
            waiting.is_queued = false;
            if waiting.is_at_work {
                continue;
            }
            if let Some(look_back) = waiting.look_back.take() {
                waiting.is_at_work = true;
                return Some(Job::LookBack(look_back));
            }
            if let Some(question) = waiting.questions.pop_front() {
                waiting.is_at_work = true;
                self.len -= 1;
                return Some(Job::Answer(question));
            }
        }
        None
    }

    /// What was at work in the chat is done.
    pub(crate) fn done(&mut self, chat_id: ChatId) {
        let Some(waiting) = self.chats.get_mut(&chat_id) else {
            return;
        };
        waiting.is_at_work = false;
        if waiting.look_back.is_none() && waiting.questions.is_empty() {
            self.chats.remove(&chat_id);
        } else {
            self.make_ready(chat_id);
        }
    }

    /// The chat is gone, and nobody there waits any more.
    pub(crate) fn forget(&mut self, chat_id: ChatId) {
        if let Some(waiting) = self.chats.remove(&chat_id) {
            self.len -= waiting.questions.len();
        }
    }

    /// Everything is begun anew.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn make_ready(&mut self, chat_id: ChatId) {
        if let Some(waiting) = self.chats.get_mut(&chat_id)
            && !waiting.is_queued
            && !waiting.is_at_work
            && (waiting.look_back.is_some() || !waiting.questions.is_empty())
        {
            waiting.is_queued = true;
            self.ready.push_back(chat_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_ids::{ChatId, Source, UserId};

    use super::{Inbox, Job, LookBack};
    use crate::question::{Answered, Question, tests::message};

    fn questions(source: &Source, chat_id: ChatId, sequences: &[i64]) -> Vec<Question> {
        let (me, sender): (UserId, UserId) = (source.new_id(), source.new_id());
        let one = |sequence: &i64| {
            let question = Question::of(&message(source, sender, *sequence), me).unwrap();
            Question { chat_id, ..question }
        };
        sequences.iter().map(one).collect()
    }

    fn answer(job: Option<Job>) -> String {
        match job {
            Some(Job::Answer(question)) => question.answer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_chat_is_answered_in_order_and_chats_take_turns() {
        let source = Source::seeded(1);
        let (one, two): (ChatId, ChatId) = (source.new_id(), source.new_id());
        let mut inbox = Inbox::default();
        inbox.add(one, questions(&source, one, &[1, 2]));
        inbox.add(two, questions(&source, two, &[7]));

        assert_eq!(answer(inbox.take()), "echo: text 1");
        assert_eq!(answer(inbox.take()), "echo: text 7");
        assert_eq!(inbox.take(), None, "the second of a chat waits for the first");
        inbox.done(one);
        assert_eq!(answer(inbox.take()), "echo: text 2");
        inbox.done(one);
        inbox.done(two);
        assert_eq!((inbox.take(), inbox.len()), (None, 0));
    }

    #[test]
    fn what_is_found_by_looking_back_is_answered_first() {
        let source = Source::seeded(1);
        let chat_id: ChatId = source.new_id();
        let mut inbox = Inbox::default();
        inbox.add(chat_id, questions(&source, chat_id, &[3]));
        let look_back = LookBack {
            me: source.new_id(),
            chat_id,
            before_sequence: 3,
            answered: Answered::new(),
        };
        inbox.look_back(look_back.clone());

        assert_eq!(inbox.take(), Some(Job::LookBack(look_back)));
        inbox.add(chat_id, questions(&source, chat_id, &[4]));
        inbox.add_before(chat_id, questions(&source, chat_id, &[1, 2]));
        inbox.done(chat_id);
        for expected in ["echo: text 1", "echo: text 2", "echo: text 3", "echo: text 4"] {
            assert_eq!(answer(inbox.take()), expected);
            inbox.done(chat_id);
        }
        assert_eq!(inbox.take(), None);
    }

    #[test]
    fn a_chat_that_is_gone_has_nothing_to_do() {
        let source = Source::seeded(1);
        let chat_id: ChatId = source.new_id();
        let mut inbox = Inbox::default();
        inbox.add(chat_id, questions(&source, chat_id, &[1, 2]));
        assert!(inbox.take().is_some());
        inbox.forget(chat_id);
        inbox.done(chat_id);
        inbox.add_before(chat_id, questions(&source, chat_id, &[0]));
        assert_eq!((inbox.take(), inbox.len()), (None, 0));
    }
}
