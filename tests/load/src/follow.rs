//! A member who listens while a chat is sent to, on a `StreamChanges` of their own.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{After, change, stream_changes_response::Frame};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    task::JoinHandle,
    time::Instant,
};
use tonic::Code;

use crate::{
    chat_log::ChatLog,
    client::{ChangeStream, Failure, Session},
    meter::Meter,
};

/// When the messages of a chat were sent, for the followers to know how long each was on its way.
#[derive(Debug, Default)]
pub struct Timetable(Mutex<Vec<Instant>>);

impl Timetable {
    /// Notes that the message that is to get this sequence is sent now. Sequences from the first one noted on are noted in order,
    /// one perhaps again, when the first attempt was refused.
    pub fn depart(&self, sequence: i64) {
        let mut times = self.0.lock();
        let index = index(sequence);
        times.resize(index + 1, Instant::now());
        times[index] = Instant::now();
    }

    fn since_departure(&self, sequence: i64) -> Option<Duration> {
        self.0.lock().get(index(sequence)).map(Instant::elapsed)
    }
}

fn index(sequence: i64) -> usize {
    usize::try_from(sequence - 1).unwrap_or(0)
}

/// How far a follower is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    caught_up: bool,
    last_sequence: i64,
    ended: bool,
}

/// A follower at work. Dropping it ends its stream.
#[derive(Debug)]
pub struct Follower {
    log: Arc<Mutex<ChatLog>>,
    progress: watch::Receiver<Progress>,
    task: JoinHandle<Option<Failure>>,
    _place: OwnedSemaphorePermit,
}

impl Follower {
    /// Follows a chat from its first change. Messages with a sequence above `stored_before` are timed.
    #[must_use]
    pub fn start(
        session: &Session,
        place: OwnedSemaphorePermit,
        chat_id: &str,
        stored_before: i64,
        timetable: Arc<Timetable>,
    ) -> Self {
        let log = Arc::new(Mutex::new(ChatLog::of_chat(chat_id)));
        let (sender, progress) = watch::channel(Progress::default());
        let listener = Listener {
            session: session.clone(),
            log: Arc::clone(&log),
            progress: sender,
            after: After {
                chats: vec![log.lock().chat_position()],
                ..After::default()
            },
            stored_before,
            timetable,
        };
        let task = tokio::spawn(listener.listen());
        Self {
            log,
            progress,
            task,
            _place: place,
        }
    }

    /// Waits until the stream has caught up with what is stored, so that what is sent from now on comes live.
    pub async fn caught_up(&mut self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.progress.wait_for(|now| now.caught_up || now.ended)).await;
    }

    /// Waits for the message with this sequence, and then ends the stream. Answers what it told until then, with a fault if it
    /// had to be given up.
    pub async fn finish(mut self, last_sequence: i64, limit: Duration) -> ChatLog {
        let there = |now: &Progress| now.last_sequence >= last_sequence || now.ended;
        let waited = tokio::time::timeout(limit, self.progress.wait_for(there)).await.is_ok();
        let ended = self.progress.borrow().ended;
        let mut log = self.log.lock().clone();
        if ended && let Ok(Some(failure)) = (&mut self.task).await {
            log.fault(failure.to_string());
        } else if !waited {
            log.fault(format!(
                "silent for {} s at position {}",
                limit.as_secs(),
                log.position()
            ));
        }
        log
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Listener {
    session: Session,
    log: Arc<Mutex<ChatLog>>,
    progress: watch::Sender<Progress>,
    after: After,
    stored_before: i64,
    timetable: Arc<Timetable>,
}

impl Listener {
    /// Listens, and opens the stream again from the last position whenever it ends. Answers why it cannot go on.
    async fn listen(mut self) -> Option<Failure> {
        let failure = loop {
            let mut attempts = self.session.client().attempts("StreamChanges");
            let mut stream = loop {
                match ChangeStream::open(&self.session, self.after.clone()).await {
                    Ok(stream) => break stream,
                    Err(failure) => {
                        if let Err(failure) = attempts.pause_after_failure(perhaps_still_counted(failure)).await {
                            return self.end(failure);
                        }
                    }
                }
            };
            let failure = loop {
                match stream.next().await {
                    Ok(frame) => self.take(frame),
                    Err(failure) => break failure,
                }
            };
            self.meter().count_reopened();
            if let Err(failure) = attempts.pause_after_failure(failure).await {
                break failure;
            }
            self.after.chats = vec![self.log.lock().chat_position()];
        };
        self.end(failure)
    }

    fn take(&mut self, frame: Frame) {
        let mut log = self.log.lock();
        match frame {
            Frame::Opened(opened) => {
                if opened.reset {
                    log.fault("the server has reset the stream");
                }
                self.after.log_id = opened.log_id;
            }
            Frame::Change(change) => {
                if matches!(change.scope, Some(change::Scope::UserLog(_))) {
                    self.after.user_position = change.position;
                }
                if let Some(read) = log.apply(change) {
                    let sequence = read.sequence;
                    if sequence > self.stored_before
                        && let Some(latency) = self.timetable.since_departure(sequence)
                    {
                        self.meter().record_delivery(latency);
                    }
                    self.progress.send_modify(|now| now.last_sequence = sequence);
                }
            }
            Frame::Skipped(skipped) => log.skip(&skipped),
            Frame::Snapshot(snapshot) => {
                if snapshot.chat.is_some_and(|chat| log.is_of(&chat.chat_id)) {
                    log.fault("a snapshot of a chat whose position was presented");
                }
            }
            Frame::Left(left) if log.is_of(&left.chat_id) => log.fault("the chat was left, which nobody did"),
            Frame::Heartbeat(heartbeat) => {
                let told = heartbeat.chats.iter().find(|chat| log.is_of(&chat.chat_id));
                if let Some(told) = told.filter(|told| told.position > log.position()) {
                    let last = log.position();
                    log.fault(format!(
                        "a heartbeat claims position {}, the last one sent was {last}",
                        told.position
                    ));
                }
            }
            Frame::CaughtUp(_) => {
                self.progress.send_modify(|now| now.caught_up = true);
            }
            Frame::Left(_) | Frame::Closing(_) => {}
        }
    }

    fn meter(&self) -> &Meter {
        self.session.client().meter()
    }

    fn end(&self, failure: Failure) -> Option<Failure> {
        self.progress.send_modify(|now| now.ended = true);
        Some(failure)
    }
}

/// A stream that broke may be counted against its user until the server has noticed.
fn perhaps_still_counted(failure: Failure) -> Failure {
    if failure.reason == Some(ErrorReason::QuotaExceeded) {
        Failure {
            code: Code::Unavailable,
            reason: None,
            ..failure
        }
    } else {
        failure
    }
}
