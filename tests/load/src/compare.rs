//! What was read back, held against what was sent.

use std::fmt;

use tidings_proto_message::v1::Message;

use crate::record::Ack;

/// The key in a message's metadata under which its line in the log is sent along, so that a message that was stored twice shows.
pub const LINE_KEY: &str = "line";

/// Differences of one reading that are told; the rest is only counted, since most often one causes the next.
pub const DIFFERENCES_TOLD_MAX: usize = 5;

/// Differences that are kept to be told, of all readings and logs.
const DIFFERENCES_KEPT_MAX: usize = 200;

/// A message that was sent and accepted, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The line in the log.
    pub line: u64,
    /// The `user_id` of the sender.
    pub sender_id: String,
    /// The text as it was sent.
    pub text: String,
    /// The `message_id` that it replies to; empty for none.
    pub reply_to: String,
    /// What the server answered.
    pub message_id: String,
    /// What the server answered.
    pub sequence: i64,
}

/// A message as a reading has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Its id.
    pub message_id: String,
    /// Its number in the chat.
    pub sequence: i64,
    /// Who sent it.
    pub sender_id: String,
    /// What it says.
    pub text: String,
    /// What it replies to; empty for nothing.
    pub reply_to: String,
    /// The line in the log, from the metadata; empty where there is none.
    pub line: String,
}

impl From<Message> for Read {
    fn from(mut message: Message) -> Self {
        Self {
            message_id: message.message_id,
            sequence: message.sequence,
            sender_id: message.sender_id,
            text: message.text,
            reply_to: message.reply_to_message_id,
            line: message.metadata.remove(LINE_KEY).unwrap_or_default(),
        }
    }
}

/// How the messages were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// By `ListMessages`, page by page.
    List,
    /// By `SyncChanges`, page by page, from the first change.
    Sync,
    /// By `StreamChanges`, while they were sent.
    Stream,
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "ListMessages",
            Self::Sync => "SyncChanges",
            Self::Stream => "StreamChanges",
        })
    }
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{log}{}: {what}", self.line.map(|line| format!(" line {line}")).unwrap_or_default())]
pub struct Difference {
    /// The log.
    pub log: String,
    /// The line in the log, where it is about one.
    pub line: Option<u64>,
    /// What is different.
    pub what: String,
}

/// The differences that were found: the first ones, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// The first ones, of each reading.
    pub told: Vec<Difference>,
    /// All of them.
    pub count: u64,
}

impl Differences {
    /// A single one.
    #[must_use]
    pub fn one(log: &str, line: impl Into<Option<u64>>, what: impl Into<String>) -> Self {
        let mut differences = Self::default();
        differences.add(log, line, what);
        differences
    }

    /// Adds one of the same reading.
    pub fn add(&mut self, log: &str, line: impl Into<Option<u64>>, what: impl Into<String>) {
        self.count += 1;
        if self.told.len() < DIFFERENCES_TOLD_MAX {
            self.told.push(Difference {
                log: log.to_owned(),
                line: line.into(),
                what: what.into(),
            });
        }
    }

    /// Adds those of another reading or log.
    pub fn extend(&mut self, other: Self) {
        self.count += other.count;
        let room = DIFFERENCES_KEPT_MAX.saturating_sub(self.told.len());
        self.told.extend(other.told.into_iter().take(room));
    }

    /// Whether everything is as it must be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Compares a reading with what was sent: as many messages, in the order of the file, numbered 1, 2, 3 …, each with its id,
/// sender, text and reply target.
#[must_use]
pub fn compare(log: &str, reading: Reading, sent: &[Sent], read: &[Read]) -> Differences {
    let mut differences = Differences::default();
    for (index, (sent, read)) in sent.iter().zip(read).enumerate() {
        let mut differs = |what: &str, expected: &dyn fmt::Debug, found: &dyn fmt::Debug| {
            differences.add(
                log,
                sent.line,
                format!("{reading}: {what} is {found:?} instead of {expected:?}"),
            );
        };
        let dense = i64::try_from(index).map_or(i64::MAX, |index| index + 1);
        if read.sequence != dense {
            differs("the sequence", &dense, &read.sequence);
        }
        if read.message_id != sent.message_id {
            differs("the message_id", &sent.message_id, &read.message_id);
        }
        if read.sender_id != sent.sender_id {
            differs("the sender", &sent.sender_id, &read.sender_id);
        }
        if read.text != sent.text {
            differs("the text", &sent.text, &read.text);
        }
        if read.reply_to != sent.reply_to {
            differs("the reply target", &sent.reply_to, &read.reply_to);
        }
        if read.line != sent.line.to_string() {
            differs("the line in the metadata", &sent.line.to_string(), &read.line);
        }
    }
    for missing in sent.iter().skip(read.len()) {
        differences.add(
            log,
            missing.line,
            format!("{reading}: the message (sequence {}) is missing", missing.sequence),
        );
    }
    for extra in read.iter().skip(sent.len()) {
        differences.add(
            log,
            None,
            format!("{reading}: {extra:?} was never sent, or a second time"),
        );
    }
    differences
}

/// Compares the answer to a send with the message that stood at its place before: a repetition must get the first message.
#[must_use]
pub fn is_the_first(stored: &Read, ack: &Ack) -> bool {
    stored.message_id == ack.message_id && stored.sequence == ack.sequence
}

#[cfg(test)]
mod tests {
    use super::{DIFFERENCES_TOLD_MAX, Read, Reading, Sent, compare};

    fn sent() -> Vec<Sent> {
        let text = |number| ["first", "second \u{FFFD}", "third"][number];
        (0..3)
            .map(|number| Sent {
                line: 10 + number as u64,
                sender_id: format!("user-{}", number % 2),
                text: text(number).to_owned(),
                reply_to: if number == 2 {
                    "message-0".to_owned()
                } else {
                    String::new()
                },
                message_id: format!("message-{number}"),
                sequence: number as i64 + 1,
            })
            .collect()
    }

    fn read_of(sent: &[Sent]) -> Vec<Read> {
        sent.iter()
            .map(|sent| Read {
                message_id: sent.message_id.clone(),
                sequence: sent.sequence,
                sender_id: sent.sender_id.clone(),
                text: sent.text.clone(),
                reply_to: sent.reply_to.clone(),
                line: sent.line.to_string(),
            })
            .collect()
    }

    #[test]
    fn a_faithful_reading_has_no_difference() {
        assert!(compare("log", Reading::List, &sent(), &read_of(&sent())).is_empty());
    }

    #[test]
    fn each_planted_difference_is_found_and_named() {
        type Plant = fn(&mut Vec<Read>);
        let plants: [(&str, Plant); 6] = [
            ("the text", |read| read[1].text = "second ".to_owned()),
            ("the sender", |read| read[1].sender_id = "user-0".to_owned()),
            ("the reply target", |read| read[1].reply_to = "message-0".to_owned()),
            ("the sequence", |read| read[1].sequence = 4),
            ("the message_id", |read| read[1].message_id = "message-9".to_owned()),
            ("the line", |read| read[1].line.clear()),
        ];
        for (name, plant) in plants {
            let mut read = read_of(&sent());
            plant(&mut read);
            let differences = compare("log", Reading::Sync, &sent(), &read);
            assert_eq!(differences.count, 1, "{name}");
            let told = differences.told[0].to_string();
            assert!(told.starts_with(&format!("log line 11: SyncChanges: {name}")), "{told}");
        }
    }

    #[test]
    fn a_lost_a_doubled_and_two_swapped_messages_are_found() {
        let mut lost = read_of(&sent());
        lost.pop();
        let differences = compare("log", Reading::Stream, &sent(), &lost);
        assert_eq!(
            differences.told[0].to_string(),
            "log line 12: StreamChanges: the message (sequence 3) is missing"
        );

        let mut doubled = read_of(&sent());
        doubled.push(Read {
            sequence: 4,
            ..doubled[2].clone()
        });
        assert_eq!(compare("log", Reading::List, &sent(), &doubled).count, 1);

        let mut swapped = read_of(&sent());
        swapped.swap(0, 1);
        assert!(!compare("log", Reading::List, &sent(), &swapped).is_empty());
    }

    #[test]
    fn the_first_differences_are_told_and_all_are_counted() {
        let differences = compare("log", Reading::List, &[sent(), sent(), sent(), sent()].concat(), &[]);
        assert_eq!((differences.count, differences.told.len()), (12, DIFFERENCES_TOLD_MAX));
    }
}
