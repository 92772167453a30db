//! Holds a server to the client's own record: of what it acknowledged nothing lost, nothing stored twice, and no hole.

use std::{collections::HashMap, fmt, path::Path, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::HumanCount;
use tidings_ids::Source;

use crate::{
    client::{self, Client, Failure, Session},
    compare::{Differences, Read},
    identity::Identities,
    meter::Meter,
    read_back,
    record::{Ack, Record, RecordedChat},
};

/// Chats that are read at once.
const CHATS_AT_ONCE: usize = 8;

/// What came out.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Chats of the record.
    pub chats: u64,
    /// Acknowledgements in the record, repeated ones included.
    pub acknowledged: u64,
    /// Messages that the server has in those chats. Those that were stored while their acknowledgement was lost are among them.
    pub stored: u64,
    /// What is not as it must be.
    pub differences: Differences,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} acknowledgements in {} chats, {} messages stored",
            HumanCount(self.acknowledged),
            self.chats,
            HumanCount(self.stored)
        )?;
        if self.differences.is_empty() {
            return writeln!(f, "none lost, none twice, no hole");
        }
        writeln!(
            f,
            "{} differences, the first of them:",
            HumanCount(self.differences.count)
        )?;
        self.differences
            .told
            .iter()
            .try_for_each(|difference| writeln!(f, "  {difference}"))
    }
}

/// Reads the chats of a record and compares.
///
/// # Errors
///
/// When the record or a chat cannot be read.
pub async fn verify(record: &Path, target: &str, patience: Duration) -> anyhow::Result<Verdict> {
    let Record { chats, acks } = Record::read(record)?;
    let options = client::Options {
        target: target.to_owned(),
        patience,
        ..client::Options::default()
    };
    let client = Client::new(&options, Arc::new(Meter::default()), Source::system())?;
    let mut verdict = Verdict::default();
    let mut acks_of: HashMap<String, Vec<Ack>> = HashMap::new();
    for ack in acks {
        verdict.acknowledged += 1;
        acks_of.entry(ack.chat.clone()).or_default().push(ack);
    }
    let chats = chats.into_iter().map(|chat| {
        let acks = acks_of.remove(&chat.chat).unwrap_or_default();
        (chat, acks)
    });
    let chats: Vec<_> = chats.collect();
    for chat in acks_of.keys() {
        verdict
            .differences
            .add(chat, None, "the record names no chat for its acknowledgements");
    }
    let mut read = stream::iter(chats)
        .map(|(chat, acks)| {
            let client = &client;
            async move {
                let stored = read_chat(client, &chat).await?;
                Ok::<_, Failure>((chat, acks, stored))
            }
        })
        .buffer_unordered(CHATS_AT_ONCE);
    while let Some((chat, acks, stored)) = read.try_next().await? {
        verdict.chats += 1;
        verdict.stored += u64::try_from(stored.len()).unwrap_or(u64::MAX);
        verdict.differences.extend(check(&chat.chat, &acks, &stored));
    }
    Ok(verdict)
}

async fn read_chat(client: &Client, chat: &RecordedChat) -> Result<Vec<Read>, Failure> {
    let identities = Identities::of_run(&chat.run);
    let (username, password) = (identities.username(&chat.reader), identities.password(&chat.reader));
    let session = Session::log_in(client, &username, &password).await?;
    Ok(read_back::list(&session, &chat.chat_id).await?.messages)
}

/// Compares what a chat holds with what was acknowledged.
#[must_use]
pub fn check(chat: &str, acks: &[Ack], stored: &[Read]) -> Differences {
    let mut differences = Differences::default();
    let mut by_id = HashMap::with_capacity(stored.len());
    let mut by_line = HashMap::with_capacity(stored.len());
    for (expected, message) in (1..).zip(stored) {
        if message.sequence != expected {
            differences.add(
                chat,
                None,
                format!("a hole: sequence {} stands at place {expected}", message.sequence),
            );
        }
        if by_id.insert(message.message_id.as_str(), message).is_some() {
            differences.add(chat, None, format!("{} is listed twice", message.message_id));
        }
        if let Some(first) = by_line
            .insert(message.line.as_str(), message)
            .filter(|first| !first.line.is_empty())
        {
            let line = message.line.parse().ok();
            differences.add(
                chat,
                line,
                format!("stored twice: sequences {} and {}", first.sequence, message.sequence),
            );
        }
    }
    let mut first_acks: HashMap<u64, &Ack> = HashMap::with_capacity(acks.len());
    for ack in acks {
        let first = first_acks.entry(ack.line).or_insert(ack);
        if first.message_id != ack.message_id || first.sequence != ack.sequence {
            differences.add(
                chat,
                ack.line,
                format!("acknowledged twice and differently: {first:?} and {ack:?}"),
            );
        }
        match by_id.get(ack.message_id.as_str()) {
            None => differences.add(
                chat,
                ack.line,
                format!("lost: {} (sequence {})", ack.message_id, ack.sequence),
            ),
            Some(message) if message.sequence != ack.sequence || message.line != ack.line.to_string() => {
                differences.add(
                    chat,
                    ack.line,
                    format!("acknowledged as {ack:?}, stored as {message:?}"),
                );
            }
            Some(_) => {}
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{compare::Read, record::Ack};

    fn stored(sequence: i64, line: u64) -> Read {
        Read {
            message_id: format!("message-{line}"),
            sequence,
            sender_id: "user".to_owned(),
            text: "hello".to_owned(),
            reply_to: String::new(),
            line: line.to_string(),
        }
    }

    fn ack(sequence: i64, line: u64) -> Ack {
        Ack {
            chat: "log".to_owned(),
            line,
            request_id: format!("request-{line}"),
            message_id: format!("message-{line}"),
            sequence,
        }
    }

    #[test]
    fn what_is_stored_but_was_not_acknowledged_is_no_difference() {
        let acks = [ack(1, 10), ack(1, 10)];
        assert!(check("log", &acks, &[stored(1, 10), stored(2, 11)]).is_empty());
    }

    #[test]
    fn a_lost_message_a_double_and_a_hole_are_found() {
        let told = |acks: &[Ack], stored: &[Read]| {
            let differences = check("log", acks, stored);
            assert!(!differences.is_empty());
            differences.told[0].to_string()
        };
        assert!(told(&[ack(1, 10), ack(2, 11)], &[stored(1, 10)]).contains("lost"));
        let double = Read {
            message_id: "another".to_owned(),
            ..stored(2, 10)
        };
        assert!(told(&[ack(1, 10)], &[stored(1, 10), double]).contains("stored twice"));
        assert!(told(&[ack(1, 10)], &[stored(1, 10), stored(3, 11)]).contains("a hole"));
        assert!(told(&[ack(2, 10)], &[stored(1, 10)]).contains("acknowledged as"));
        let other = Ack {
            message_id: "message-11".to_owned(),
            ..ack(2, 10)
        };
        assert!(told(&[ack(1, 10), other], &[stored(1, 10), stored(2, 11)]).contains("acknowledged twice"));
    }
}
