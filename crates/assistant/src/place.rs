//! How far the assistant has followed its chats, and what of a frame concerns it. Kept in memory only: a restart begins with
//! snapshots.

use std::collections::HashMap;

use tidings_ids::{ChatId, UserId};
use tidings_proto_common::v1::ChatKind;
use tidings_proto_message::v1::{
    After, Change, ChatCreated, ChatPosition, ChatState, ChatUpdated, Snapshot,
    change::{self, Kind},
    skipped,
    stream_changes_response::Frame,
};

use crate::{
    inbox::LookBack,
    question::{Answered, Question, unanswered},
};

/// Chats that one `after` can name. Of more, those left out begin with a snapshot, which costs more and loses nothing.
const CHATS_MAX: usize = 10_000;

/// Where the assistant is.
#[derive(Debug)]
pub(crate) struct Place {
    me: UserId,
    log_id: String,
    user_position: i64,
    chats: HashMap<ChatId, Chat>,
}

#[derive(Debug, Default)]
struct Chat {
    position: i64,
    /// It is a session of which this is the assistant.
    is_mine: bool,
    is_archived: bool,
}

/// What of a frame concerns the assistant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    /// A chat has new questions, and perhaps old ones further back.
    Questions {
        chat_id: ChatId,
        questions: Vec<Question>,
        look_back: Option<LookBack>,
    },
    /// The chat is not the assistant's any more.
    Left(ChatId),
    /// The logs are others than before: a backup was restored.
    Reset,
}

impl Place {
    /// Nowhere yet.
    pub(crate) fn new(me: UserId) -> Self {
        Self {
            me,
            log_id: String::new(),
            user_position: 0,
            chats: HashMap::new(),
        }
    }

    /// Whose place it is.
    pub(crate) fn me(&self) -> UserId {
        self.me
    }

    /// What to present, so that what is lacking is sent. Closed sessions are not named, and so not sent again: nothing happens in them.
    pub(crate) fn after(&self) -> After {
        let open = self
            .chats
            .iter()
            .filter(|(_, chat)| !(chat.is_mine && chat.is_archived));
        let position = |(chat_id, chat): (&ChatId, &Chat)| ChatPosition {
            chat_id: chat_id.to_string(),
            position: chat.position,
        };
        After {
            log_id: self.log_id.clone(),
            user_position: self.user_position,
            chats: open.take(CHATS_MAX).map(position).collect(),
        }
    }

    /// Takes a frame in.
    pub(crate) fn hear(&mut self, frame: Frame) -> Heard {
        match frame {
            Frame::Opened(opened) => {
                self.log_id = opened.log_id;
                if opened.reset {
                    self.user_position = 0;
                    self.chats.clear();
                    return Heard::Reset;
                }
            }
            Frame::Snapshot(snapshot) => return self.begin(&snapshot),
            Frame::Change(change) => return self.change(change),
            Frame::Skipped(skipped) => match skipped.scope {
                Some(skipped::Scope::ChatId(chat_id)) => self.reached(&chat_id, skipped.last_position),
                Some(skipped::Scope::UserLog(_)) => self.user_reached(skipped.last_position),
                None => {}
            },
            Frame::Heartbeat(heartbeat) => self.reached_all(heartbeat.user_position, &heartbeat.chats),
            Frame::Closing(closing) => {
                if let Some(positions) = closing.positions {
                    self.reached_all(positions.user_position, &positions.chats);
                }
            }
            Frame::CaughtUp(caught_up) => self.user_reached(caught_up.user_position),
            Frame::Left(left) => {
                if let Ok(chat_id) = ChatId::parse(&left.chat_id) {
                    self.chats.remove(&chat_id);
                    return Heard::Left(chat_id);
                }
            }
        }
        Heard::Nothing
    }

    fn begin(&mut self, snapshot: &Snapshot) -> Heard {
        let Some((chat_id, state)) = snapshot.chat.as_ref().and_then(identified) else {
            return Heard::Nothing;
        };
        self.know(chat_id, state);
        self.reached(&state.chat_id, snapshot.position);
        if !self.answers(chat_id) {
            return Heard::Nothing;
        }
        let mut answered = Answered::new();
        let (questions, is_all) = unanswered(&snapshot.messages, self.me, &mut answered);
        let first = snapshot.messages.first().map_or(0, |message| message.sequence);
        let look_back = (!is_all && first > snapshot.first_sequence).then_some(LookBack {
            me: self.me,
            chat_id,
            before_sequence: first,
            answered,
        });
        Heard::Questions {
            chat_id,
            questions,
            look_back,
        }
    }

    fn change(&mut self, change: Change) -> Heard {
        let chat_id = match change.scope {
            Some(change::Scope::ChatId(chat_id)) => chat_id,
            Some(change::Scope::UserLog(_)) => return self.user_change(change.position, change.kind),
            None => return Heard::Nothing,
        };
        self.reached(&chat_id, change.position);
        let Ok(chat_id) = ChatId::parse(&chat_id) else {
            return Heard::Nothing;
        };
        let message = match change.kind {
            Some(Kind::MessageCreated(created)) => created.message,
            Some(
                Kind::ChatCreated(ChatCreated { chat: Some(state) })
                | Kind::ChatUpdated(ChatUpdated { chat: Some(state) }),
            ) => {
                self.know(chat_id, &state);
                None
            }
            _ => None,
        };
        match message.and_then(|message| Question::of(&message, self.me)) {
            Some(question) if self.answers(chat_id) => Heard::Questions {
                chat_id,
                questions: vec![question],
                look_back: None,
            },
            _ => Heard::Nothing,
        }
    }

    fn user_change(&mut self, position: i64, kind: Option<Kind>) -> Heard {
        self.user_reached(position);
        let Some(Kind::ChatLeft(left)) = kind else {
            // A chat that was joined begins with its snapshot.
            return Heard::Nothing;
        };
        let Ok(chat_id) = ChatId::parse(&left.chat_id) else {
            return Heard::Nothing;
        };
        // Beyond the removal, it was undone by a later joining, and this is history.
        let is_over = |chat: &Chat| chat.position <= left.last_visible_position;
        if self.chats.get(&chat_id).is_some_and(is_over) {
            self.chats.remove(&chat_id);
            return Heard::Left(chat_id);
        }
        Heard::Nothing
    }

    fn answers(&self, chat_id: ChatId) -> bool {
        self.chats
            .get(&chat_id)
            .is_some_and(|chat| chat.is_mine && !chat.is_archived)
    }

    fn know(&mut self, chat_id: ChatId, state: &ChatState) {
        let chat = self.chats.entry(chat_id).or_default();
        chat.is_mine = state.kind() == ChatKind::Session && state.assistant_user_id == self.me.to_string();
        chat.is_archived = state.archived;
    }

    fn reached(&mut self, chat_id: &str, position: i64) {
        let chat = ChatId::parse(chat_id)
            .ok()
            .and_then(|chat_id| self.chats.get_mut(&chat_id));
        if let Some(chat) = chat {
            chat.position = chat.position.max(position);
        }
    }

    fn user_reached(&mut self, position: i64) {
        self.user_position = self.user_position.max(position);
    }

    fn reached_all(&mut self, user_position: i64, chats: &[ChatPosition]) {
        self.user_reached(user_position);
        for chat in chats {
            self.reached(&chat.chat_id, chat.position);
        }
    }
}

fn identified(state: &ChatState) -> Option<(ChatId, &ChatState)> {
    Some((ChatId::parse(&state.chat_id).ok()?, state))
}

#[cfg(test)]
mod tests {
    use tidings_ids::{ChatId, Source, UserId};
    use tidings_proto_common::v1::ChatKind;
    use tidings_proto_message::v1::{
        Change, ChatLeft, ChatState, ChatUpdated, Message, MessageCreated, Opened, Snapshot,
        change::{Kind, Scope},
        stream_changes_response::Frame,
    };

    use super::{Heard, Place};
    use crate::question::tests::message;

    struct World {
        source: Source,
        me: UserId,
        person: UserId,
        chat_id: ChatId,
        place: Place,
    }

    impl World {
        fn new() -> Self {
            let source = Source::seeded(1);
            let me = source.new_id();
            Self {
                me,
                person: source.new_id(),
                chat_id: source.new_id(),
                place: Place::new(me),
                source,
            }
        }

        fn state(&self) -> ChatState {
            ChatState {
                chat_id: self.chat_id.to_string(),
                kind: ChatKind::Session.into(),
                assistant_user_id: self.me.to_string(),
                ..ChatState::default()
            }
        }

        fn asked(&self, sequence: i64) -> Message {
            Message {
                chat_id: self.chat_id.to_string(),
                ..message(&self.source, self.person, sequence)
            }
        }

        fn snapshot(&self, position: i64, messages: Vec<Message>) -> Snapshot {
            Snapshot {
                chat: Some(self.state()),
                position,
                first_sequence: 1,
                messages,
                ..Snapshot::default()
            }
        }

        fn change(&self, position: i64, kind: Kind) -> Frame {
            Frame::Change(Change {
                scope: Some(Scope::ChatId(self.chat_id.to_string())),
                position,
                kind: Some(kind),
                ..Change::default()
            })
        }

        fn created(&self, position: i64, message: Message) -> Frame {
            let message = Some(message);
            self.change(position, Kind::MessageCreated(MessageCreated { message }))
        }

        fn position(&self) -> Option<i64> {
            self.place.chats.get(&self.chat_id).map(|chat| chat.position)
        }

        /// The position that is presented of the chat.
        fn presented(&self) -> Option<i64> {
            self.place.after().chats.first().map(|chat| chat.position)
        }
    }

    fn answers(heard: &Heard) -> Vec<&str> {
        match heard {
            Heard::Questions { questions, .. } => questions.iter().map(|question| question.answer.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn a_session_is_answered_from_its_snapshot_on_and_resumed_after_what_was_heard() {
        let mut world = World::new();
        let snapshot = world.snapshot(5, vec![world.asked(1)]);
        let heard = world.place.hear(Frame::Snapshot(snapshot));
        assert_eq!(answers(&heard), ["echo: text 1"]);
        assert!(matches!(heard, Heard::Questions { look_back: None, .. }));

        let next = world.created(6, world.asked(2));
        assert_eq!(answers(&world.place.hear(next)), ["echo: text 2"]);
        assert_eq!(world.presented(), Some(6));
    }

    #[test]
    fn a_snapshot_that_does_not_reach_back_to_an_answer_makes_it_look_back() {
        let mut world = World::new();
        let snapshot = world.snapshot(90, vec![world.asked(51), world.asked(52)]);
        match world.place.hear(Frame::Snapshot(snapshot)) {
            Heard::Questions {
                look_back: Some(look_back),
                ..
            } => assert_eq!(look_back.before_sequence, 51),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_open_sessions_of_its_own_are_answered() {
        let world = World::new();
        let state = world.state();
        let states = [
            ChatState {
                kind: ChatKind::Direct.into(),
                ..state.clone()
            },
            ChatState {
                kind: ChatKind::Group.into(),
                ..state.clone()
            },
            ChatState {
                assistant_user_id: world.person.to_string(),
                ..state.clone()
            },
            ChatState {
                archived: true,
                ..state
            },
        ];
        for state in states {
            let mut world = World::new();
            let snapshot = Snapshot {
                chat: Some(state.clone()),
                ..world.snapshot(5, vec![world.asked(1)])
            };
            assert_eq!(world.place.hear(Frame::Snapshot(snapshot)), Heard::Nothing, "{state:?}");
            let next = world.created(6, world.asked(2));
            assert_eq!(world.place.hear(next), Heard::Nothing, "{state:?}");
            assert_eq!(world.position(), Some(6), "it is followed all the same");
        }
    }

    #[test]
    fn a_session_that_was_closed_is_not_answered_any_more() {
        let mut world = World::new();
        world.place.hear(Frame::Snapshot(world.snapshot(5, Vec::new())));
        let chat = Some(ChatState {
            archived: true,
            ..world.state()
        });
        let closed = world.change(6, Kind::ChatUpdated(ChatUpdated { chat }));
        assert_eq!(world.presented(), Some(5));
        world.place.hear(closed);
        assert_eq!(world.presented(), None, "it would be sent again");
        let late = world.created(7, world.asked(1));
        assert_eq!(world.place.hear(late), Heard::Nothing);
    }

    #[test]
    fn a_chat_that_was_left_is_forgotten_unless_it_was_joined_again() {
        let mut world = World::new();
        world.place.hear(Frame::Snapshot(world.snapshot(5, Vec::new())));
        let left = |last_visible_position| {
            Frame::Change(Change {
                scope: Some(Scope::UserLog(true)),
                position: 9,
                kind: Some(Kind::ChatLeft(ChatLeft {
                    chat_id: world.chat_id.to_string(),
                    last_visible_position,
                    ..ChatLeft::default()
                })),
                ..Change::default()
            })
        };
        assert_eq!(world.place.hear(left(3)), Heard::Nothing);
        assert_eq!(world.place.hear(left(5)), Heard::Left(world.chat_id));
        assert_eq!((world.position(), world.place.after().user_position), (None, 9));
    }

    #[test]
    fn other_logs_make_it_begin_anew() {
        let mut world = World::new();
        world.place.hear(Frame::Snapshot(world.snapshot(5, Vec::new())));
        let opened = Opened {
            log_id: "another".to_owned(),
            user_position: 2,
            reset: true,
        };
        assert_eq!(world.place.hear(Frame::Opened(opened)), Heard::Reset);
        let after = world.place.after();
        assert_eq!(
            (after.log_id.as_str(), after.user_position, after.chats.len()),
            ("another", 0, 0)
        );
    }
}
