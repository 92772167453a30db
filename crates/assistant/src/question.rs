//! Which messages are answered, and with what.

use std::collections::HashSet;

use tidings_ids::{ChatId, MessageId, UserId};
use tidings_proto_message::v1::{Attachment, Message, MessageType};

/// The longest text of a response, as `SendMessageRequest.text` says.
const CHARS_MAX: usize = 8_000;
const BYTES_MAX: usize = 32 * 1024;

/// Stands for what is left out.
const ELLIPSIS: char = '…';

/// A message that waits for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) chat_id: ChatId,
    pub(crate) message_id: MessageId,
    pub(crate) sender_id: UserId,
    /// What it is answered with.
    pub(crate) answer: String,
}

impl Question {
    /// The question in a message, unless it is one that nobody answers: one's own, a response, a tombstone, or the server's.
    /// Whether its sender is a bot is not seen here.
    pub(crate) fn of(message: &Message, me: UserId) -> Option<Self> {
        let is_answerable = message.response.is_none()
            && message.delete_time.is_none()
            && !matches!(message.r#type(), MessageType::System | MessageType::Unspecified);
        let sender_id = UserId::parse(&message.sender_id).ok()?;
        if !is_answerable || sender_id == me {
            return None;
        }
        Some(Self {
            chat_id: ChatId::parse(&message.chat_id).ok()?,
            message_id: MessageId::parse(&message.message_id).ok()?,
            sender_id,
            answer: echo(&message.text, &message.attachments),
        })
    }
}

/// The messages to which responses of one's own were found, by id, as a chat is read from its end backwards.
pub(crate) type Answered = HashSet<String>;

/// What of a stretch of messages, oldest first, is unanswered, and whether what stands before it is known to need no answer.
/// `answered` has what later stretches told.
pub(crate) fn unanswered(messages: &[Message], me: UserId, answered: &mut Answered) -> (Vec<Question>, bool) {
    let me_text = me.to_string();
    let own = messages.iter().filter(|message| message.sender_id == me_text);
    let responses = own.filter_map(|message| message.response.as_ref());
    answered.extend(responses.map(|response| response.to_message_id.clone()));
    // The newest answered message: all before it were dealt with when it was, since a chat is answered in order.
    match messages
        .iter()
        .rposition(|message| answered.contains(&message.message_id))
    {
        Some(index) => (questions(&messages[index + 1..], me), true),
        None => (questions(messages, me), false),
    }
}

fn questions(messages: &[Message], me: UserId) -> Vec<Question> {
    messages
        .iter()
        .filter_map(|message| Question::of(message, me))
        .collect()
}

/// The same words; of attachments their names.
fn echo(text: &str, attachments: &[Attachment]) -> String {
    let mut parts = vec!["echo:".to_owned()];
    if !text.is_empty() {
        parts.push(text.to_owned());
    }
    if !attachments.is_empty() {
        parts.push(acknowledgement(attachments));
    }
    shortened(parts.join(" "))
}

fn acknowledgement(attachments: &[Attachment]) -> String {
    let noun = if attachments.len() == 1 {
        "attachment"
    } else {
        "attachments"
    };
    let names: Vec<&str> = attachments
        .iter()
        .map(|attachment| {
            if attachment.file_name.is_empty() {
                attachment.media_type.as_str()
            } else {
                attachment.file_name.as_str()
            }
        })
        .collect();
    format!("[{} {noun}: {}]", attachments.len(), names.join(", "))
}

/// The text, cut where a response can hold no more.
fn shortened(text: String) -> String {
    if text.len() <= BYTES_MAX && text.chars().count() <= CHARS_MAX {
        return text;
    }
    let mut bytes = ELLIPSIS.len_utf8();
    let mut short: String = text
        .chars()
        .take(CHARS_MAX - 1)
        .take_while(|letter| {
            bytes += letter.len_utf8();
            bytes <= BYTES_MAX
        })
        .collect();
    short.push(ELLIPSIS);
    short
}

#[cfg(test)]
pub(crate) mod tests {
    use tidings_ids::{Source, UserId};
    use tidings_proto_message::v1::{Attachment, Message, MessageType, ResponseReference};

    use super::{Answered, BYTES_MAX, CHARS_MAX, Question, echo, unanswered};

    /// A message from somebody with a chat of its own.
    pub(crate) fn message(source: &Source, sender: UserId, sequence: i64) -> Message {
        Message {
            message_id: source.new_id::<tidings_ids::kind::Message>().to_string(),
            chat_id: source.new_id::<tidings_ids::kind::Chat>().to_string(),
            sequence,
            sender_id: sender.to_string(),
            r#type: MessageType::Text.into(),
            text: format!("text {sequence}"),
            ..Message::default()
        }
    }

    fn response(source: &Source, me: UserId, to: &Message, sequence: i64) -> Message {
        Message {
            response: Some(ResponseReference {
                to_message_id: to.message_id.clone(),
                ..ResponseReference::default()
            }),
            ..message(source, me, sequence)
        }
    }

    fn attachment(file_name: &str) -> Attachment {
        Attachment {
            file_name: file_name.to_owned(),
            media_type: "video/mp4".to_owned(),
            ..Attachment::default()
        }
    }

    #[test]
    fn the_answer_has_the_same_words_and_names_what_came_along() {
        assert_eq!(echo("Grüße, 世界\n", &[]), "echo: Grüße, 世界\n");
        assert_eq!(echo("", &[attachment("a.png")]), "echo: [1 attachment: a.png]");
        assert_eq!(
            echo("look", &[attachment("a.png"), attachment("")]),
            "echo: look [2 attachments: a.png, video/mp4]"
        );
    }

    #[test]
    fn the_longest_text_is_answered_with_one_that_is_not_too_long() {
        for letter in ["a", "é", "世", "😀"] {
            let answer = echo(&letter.repeat(CHARS_MAX), &[]);
            assert!(
                answer.chars().count() <= CHARS_MAX && answer.len() <= BYTES_MAX,
                "{letter}"
            );
            assert!(answer.ends_with('…'), "{letter}");
        }
    }

    #[test]
    fn what_nobody_answers_is_no_question() {
        let source = Source::seeded(1);
        let (me, other): (UserId, UserId) = (source.new_id(), source.new_id());
        assert!(Question::of(&message(&source, other, 1), me).is_some());
        let own = message(&source, me, 1);
        let answer = response(&source, other, &own, 2);
        let tombstone = Message {
            delete_time: Some(prost_types::Timestamp::default()),
            ..message(&source, other, 1)
        };
        let system = Message {
            r#type: MessageType::System.into(),
            ..message(&source, other, 1)
        };
        for silent in [own, answer, tombstone, system] {
            assert_eq!(Question::of(&silent, me), None, "{silent:?}");
        }
    }

    #[test]
    fn what_stands_after_the_newest_answered_message_is_unanswered() {
        let source = Source::seeded(1);
        let (me, other): (UserId, UserId) = (source.new_id(), source.new_id());
        let ask = |sequence| message(&source, other, sequence);
        let (first, second, third) = (ask(1), ask(2), ask(3));
        let answer = response(&source, me, &first, 4);
        let texts = |messages: &[Message], answered: &mut Answered| {
            let (questions, is_all) = unanswered(messages, me, answered);
            (
                questions
                    .into_iter()
                    .map(|question| question.answer)
                    .collect::<Vec<_>>(),
                is_all,
            )
        };

        let all = [first.clone(), second.clone(), third.clone(), answer.clone()];
        let expected = vec!["echo: text 2".to_owned(), "echo: text 3".to_owned()];
        assert_eq!(texts(&all, &mut Answered::new()), (expected, true));

        // In stretches, the last one first: the response stands in another stretch than its message.
        let mut answered = Answered::new();
        assert_eq!(
            texts(&[third, answer], &mut answered),
            (vec!["echo: text 3".to_owned()], false)
        );
        assert_eq!(
            texts(&[first, second], &mut answered),
            (vec!["echo: text 2".to_owned()], true)
        );
    }
}
