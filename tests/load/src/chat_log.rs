//! One chat's log as a client applies it: positions without holes, and the messages in their order.

use tidings_proto_message::v1::{Change, ChatPosition, Skipped, change, skipped};

use crate::compare::Read;

/// What a client has of one chat's log.
#[derive(Debug, Clone, Default)]
pub struct ChatLog {
    chat_id: String,
    position: i64,
    read: Vec<Read>,
    faults: Vec<String>,
}

impl ChatLog {
    /// A log of which the client has nothing.
    #[must_use]
    pub fn of_chat(chat_id: &str) -> Self {
        Self {
            chat_id: chat_id.to_owned(),
            ..Self::default()
        }
    }

    /// How far it is, as it is presented to the server.
    #[must_use]
    pub fn chat_position(&self) -> ChatPosition {
        ChatPosition {
            chat_id: self.chat_id.clone(),
            position: self.position,
        }
    }

    /// The last position.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Whether this is the chat.
    #[must_use]
    pub fn is_of(&self, chat_id: &str) -> bool {
        self.chat_id == chat_id
    }

    /// The messages that were told, in the order of their positions.
    #[must_use]
    pub fn messages(&self) -> &[Read] {
        &self.read
    }

    /// What was told against the contract.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Notes something that the contract forbids.
    pub fn fault(&mut self, what: impl Into<String>) {
        self.faults.push(what.into());
    }

    /// Applies a change, if it is this chat's. Answers the message that it tells first of.
    pub fn apply(&mut self, change: Change) -> Option<&Read> {
        let Some(change::Scope::ChatId(chat_id)) = &change.scope else {
            return None;
        };
        if !self.is_of(chat_id) {
            return None;
        }
        self.advance(change.position, change.position);
        match change.kind? {
            change::Kind::MessageCreated(created) => {
                let Some(message) = created.message else {
                    self.fault(format!("the message at position {} is not there", change.position));
                    return None;
                };
                self.read.push(message.into());
                self.read.last()
            }
            change::Kind::MessageUpdated(_) | change::Kind::MessageDeleted(_) | change::Kind::ChatDeleted(_) => {
                self.fault(format!("position {} tells a change that nobody made", change.position));
                None
            }
            _ => None,
        }
    }

    /// Passes over a range, if it is this chat's.
    pub fn skip(&mut self, skipped: &Skipped) {
        if matches!(&skipped.scope, Some(skipped::Scope::ChatId(chat_id)) if self.is_of(chat_id)) {
            self.advance(skipped.first_position, skipped.last_position);
        }
    }

    fn advance(&mut self, first: i64, last: i64) {
        if first != self.position + 1 || last < first {
            self.fault(format!("positions {first} to {last} follow position {}", self.position));
        }
        self.position = self.position.max(last);
    }
}

#[cfg(test)]
mod tests {
    use tidings_proto_message::v1::{Change, Message, MessageCreated, Skipped, change, skipped};

    use super::ChatLog;

    fn created(chat_id: &str, position: i64) -> Change {
        let message = Message {
            chat_id: chat_id.to_owned(),
            sequence: position,
            ..Message::default()
        };
        Change {
            scope: Some(change::Scope::ChatId(chat_id.to_owned())),
            position,
            kind: Some(change::Kind::MessageCreated(MessageCreated { message: Some(message) })),
            ..Change::default()
        }
    }

    fn skip(first_position: i64, last_position: i64) -> Skipped {
        Skipped {
            scope: Some(skipped::Scope::ChatId("chat".to_owned())),
            first_position,
            last_position,
            ..Skipped::default()
        }
    }

    #[test]
    fn changes_and_skipped_ranges_together_have_no_hole() {
        let mut log = ChatLog::of_chat("chat");
        log.skip(&skip(1, 3));
        assert!(log.apply(created("chat", 4)).is_some());
        assert!(log.apply(created("another", 1)).is_none());
        assert!(log.apply(created("chat", 5)).is_some());
        assert_eq!((log.position(), log.messages().len()), (5, 2));
        assert!(log.faults().is_empty());
    }

    #[test]
    fn a_hole_a_repetition_and_an_empty_range_are_faults() {
        for (first, second) in [(1, 3), (1, 1), (2, 3)] {
            let mut log = ChatLog::of_chat("chat");
            log.apply(created("chat", first));
            log.apply(created("chat", second));
            assert_eq!(log.faults().len(), 1, "{first}, {second}");
        }
        let mut log = ChatLog::of_chat("chat");
        log.skip(&skip(1, 0));
        assert_eq!(log.faults().len(), 1);
    }
}
