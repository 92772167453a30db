//! One log, from the registration of its senders to the comparison of what was read back.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::SendMessageRequest;
use tokio::time::Instant;
use tonic::Code;

use super::room::Room;
use crate::{
    accounts::Accounts,
    chat_log::ChatLog,
    client::Failure,
    compare::{Differences, LINE_KEY, Read, Reading, Sent, compare, is_the_first},
    dataset::{Line, Log},
    follow::{Follower, Timetable},
    read_back,
    record::{self, Ack, Entry, RecordedChat, Recorder},
    survey::Survey,
};

/// What every log needs.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) accounts: Accounts,
    pub(super) survey: Arc<Survey>,
    pub(super) recorder: Option<Recorder>,
    pub(super) subscribers: usize,
    pub(super) patience: Duration,
}

/// What came of one log, or of several.
#[derive(Debug, Default)]
pub struct Played {
    /// Logs that were played to the end.
    pub logs: u64,
    /// Messages that were in the chats before anything was sent.
    pub stored_before: u64,
    /// Sends that were answered OK.
    pub accepted: u64,
    /// Blank texts that were refused as they must be.
    pub refused: u64,
    /// Messages that `ListMessages` told.
    pub listed: u64,
    /// Messages that `SyncChanges` told.
    pub synced: u64,
    /// Messages that all streams together told.
    pub streamed: u64,
    /// Streams that listened.
    pub streams: u64,
    /// What is not as it must be.
    pub differences: Differences,
}

impl Played {
    pub(super) fn add(&mut self, other: Self) {
        self.logs += other.logs;
        self.stored_before += other.stored_before;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.listed += other.listed;
        self.synced += other.synced;
        self.streamed += other.streamed;
        self.streams += other.streams;
        self.differences.extend(other.differences);
    }
}

/// Why a log could not be played to the end.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Call(#[from] Failure),
    #[error(transparent)]
    Record(#[from] record::Error),
}

impl Stage {
    /// Plays a log. A log that cannot be played to the end is a difference; the others go on.
    pub(super) async fn play(&self, log: &Log) -> Played {
        let mut played = Played::default();
        match self.play_to_the_end(log, &mut played).await {
            Ok(()) => played.logs = 1,
            Err(error) => {
                let mut first = Differences::one(&log.name, None, format!("not played to the end: {error}"));
                first.extend(std::mem::take(&mut played.differences));
                played.differences = first;
            }
        }
        played
    }

    async fn play_to_the_end(&self, log: &Log, played: &mut Played) -> Result<(), Error> {
        let room = Room::open(&self.accounts, log).await?;
        let mut readers = self.survey.quiet_senders(log, self.subscribers);
        readers.sort_unstable();
        let (lister, syncer) = (room.member(readers[0]), room.member(readers[readers.len() - 1]));
        if let Some(recorder) = &self.recorder {
            recorder.write(&Entry::Chat(RecordedChat {
                chat: log.name.clone(),
                chat_id: room.chat_id.clone(),
                reader: readers[0].to_owned(),
                run: self.accounts.identities().run().to_owned(),
            }))?;
        }
        let stored = read_back::list(lister, &room.chat_id).await?.messages;
        played.stored_before = count(stored.len());

        let timetable = Arc::new(Timetable::default());
        let mut followers = Vec::with_capacity(readers.len());
        for reader in &readers {
            let place = self.accounts.stream_place(reader).await;
            let stored_before = i64::try_from(stored.len()).unwrap_or(i64::MAX);
            let session = room.member(reader);
            followers.push(Follower::start(
                session,
                place,
                &room.chat_id,
                stored_before,
                Arc::clone(&timetable),
            ));
        }
        for follower in &mut followers {
            follower.caught_up(self.patience).await;
        }

        let sent = self.send_all(log, &room, &stored, &timetable, played).await?;

        let last_sequence = sent.last().map_or(0, |sent| sent.sequence);
        for follower in followers {
            let told = follower.finish(last_sequence, self.patience).await;
            played.streams += 1;
            played.streamed += count(told.messages().len());
            compare_log(log, Reading::Stream, &sent, &told, &mut played.differences);
        }
        let listed = read_back::list(lister, &room.chat_id).await?;
        played.listed = count(listed.messages.len());
        played
            .differences
            .extend(compare(&log.name, Reading::List, &sent, &listed.messages));
        if listed.removed > 0 {
            let what = format!("ListMessages: {} sequences are left out", listed.removed);
            played.differences.extend(Differences::one(&log.name, None, what));
        }
        let synced = read_back::sync(syncer, &room.chat_id).await?;
        played.synced = count(synced.messages().len());
        compare_log(log, Reading::Sync, &sent, &synced, &mut played.differences);
        Ok(())
    }

    /// Sends the log in its order: each message when the one before has its answer.
    async fn send_all(
        &self,
        log: &Log,
        room: &Room,
        stored: &[Read],
        timetable: &Timetable,
        played: &mut Played,
    ) -> Result<Vec<Sent>, Error> {
        let mut sent = Vec::<Sent>::with_capacity(log.lines.len());
        let mut message_ids = HashMap::<u64, String>::with_capacity(log.lines.len());
        for line in &log.lines {
            let session = room.member(&line.sender);
            let meter = session.client().meter();
            let _sending = meter.begin_sending();
            let request = self.request(line, room, &message_ids);
            timetable.depart(i64::try_from(sent.len()).unwrap_or(i64::MAX) + 1);
            let departed = Instant::now();
            let answer = session.send_message(&request).await;
            if line.is_blank() {
                check_refusal(line, answer, played);
                meter.count_blank();
                continue;
            }
            let message = match answer {
                Ok(message) => message,
                Err(failure) if failure.is_transient() || failure.code == Code::Unauthenticated => {
                    return Err(failure.into());
                }
                Err(failure) => {
                    played
                        .differences
                        .add(&log.name, line.line, format!("refused: {failure}"));
                    continue;
                }
            };
            meter.record_send(departed.elapsed());
            meter.count_accepted();
            played.accepted += 1;
            let ack = Ack {
                chat: log.name.clone(),
                line: line.line,
                request_id: request.request_id.clone(),
                message_id: message.message_id.clone(),
                sequence: message.sequence,
            };
            if let Some(first) = stored.get(sent.len()) {
                meter.count_repeated();
                if !is_the_first(first, &ack) {
                    let what = format!("a repetition was answered with {ack:?}; the first message is {first:?}");
                    played.differences.add(&log.name, line.line, what);
                }
            }
            if let Some(recorder) = &self.recorder {
                recorder.write(&Entry::Ack(ack))?;
            }
            message_ids.insert(line.line, message.message_id.clone());
            sent.push(Sent {
                line: line.line,
                sender_id: session.user_id().to_owned(),
                text: request.text,
                reply_to: request.reply_to_message_id,
                message_id: message.message_id,
                sequence: message.sequence,
            });
        }
        Ok(sent)
    }

    fn request(&self, line: &Line, room: &Room, message_ids: &HashMap<u64, String>) -> SendMessageRequest {
        let number = line.line.to_string();
        SendMessageRequest {
            chat_id: room.chat_id.clone(),
            text: line.sendable_text().into_owned(),
            reply_to_message_id: latest_reply(line, message_ids).unwrap_or_default().to_owned(),
            metadata: [(LINE_KEY.to_owned(), number.clone())].into(),
            request_id: self.accounts.identities().request_id("send", &[&line.chat, &number]),
            ..SendMessageRequest::default()
        }
    }
}

/// The latest of the messages that a line answers; of those that were accepted, since a refused one cannot be replied to.
fn latest_reply<'a>(line: &Line, message_ids: &'a HashMap<u64, String>) -> Option<&'a str> {
    let mut lines: Cow<'_, [u64]> = Cow::Borrowed(&line.replies_to);
    if lines.len() > 1 {
        lines.to_mut().sort_unstable();
    }
    lines
        .iter()
        .rev()
        .find_map(|line| message_ids.get(line))
        .map(String::as_str)
}

/// A blank text must be refused, by the code, the reason and the field that the contract names.
fn check_refusal<T>(line: &Line, answer: Result<T, Failure>, played: &mut Played) {
    let what = match answer {
        Ok(_) => "a blank text was accepted".to_owned(),
        Err(failure) => {
            let as_documented = failure.code == Code::InvalidArgument
                && failure.reason == Some(ErrorReason::FieldInvalid)
                && failure.fields.iter().any(|field| field == "text");
            if as_documented {
                played.refused += 1;
                return;
            }
            format!("a blank text was refused in another way: {failure}")
        }
    };
    played.differences.add(&line.chat, line.line, what);
}

fn compare_log(log: &Log, reading: Reading, sent: &[Sent], told: &ChatLog, differences: &mut Differences) {
    let mut faults = Differences::default();
    for fault in told.faults() {
        faults.add(&log.name, None, format!("{reading}: {fault}"));
    }
    differences.extend(faults);
    differences.extend(compare(&log.name, reading, sent, told.messages()));
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::latest_reply;
    use crate::dataset::Line;

    #[test]
    fn a_message_replies_to_the_latest_that_it_answers_and_that_was_accepted() {
        let line = |replies_to: &[u64]| Line {
            chat: "log".to_owned(),
            line: 9,
            time: String::new(),
            sender: "Ada".to_owned(),
            kind: "person".to_owned(),
            text: "yes".to_owned(),
            replies_to: replies_to.to_vec(),
        };
        let ids = HashMap::from([(1, "one".to_owned()), (5, "five".to_owned())]);
        assert_eq!(latest_reply(&line(&[]), &ids), None);
        assert_eq!(latest_reply(&line(&[5, 1]), &ids), Some("five"));
        assert_eq!(latest_reply(&line(&[1, 7]), &ids), Some("one"));
    }
}
