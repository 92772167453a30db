//! What one stream still has to send: bounded, so that a client that does not read costs little and delays nobody.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures_util::Stream;
use parking_lot::Mutex;
use tidings_ids::{ChatId, LogId};
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::Problem;
use tokio::sync::Notify;

use super::frame::{Frame, Log, UserEvent};

/// Frames that wait at most, and their bytes. One frame may be larger: it waits alone.
const FRAMES_MAX: usize = 256;
const BYTES_MAX: usize = 256 * 1024;

/// The stream's end at which frames are put in.
#[derive(Debug)]
pub(crate) struct Outbox {
    shared: Arc<Shared>,
}

/// The stream's end at which they are taken out, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Frames {
    shared: Arc<Shared>,
}

/// The client reads no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// How far a client is that has read every frame up to now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) log_id: Option<LogId>,
    pub(crate) user_position: i64,
    /// The chats that moved since the last heartbeat.
    pub(crate) chats: HashMap<ChatId, i64>,
}

/// A frame as it leaves, with the progress that heartbeats and closings tell.
#[derive(Debug)]
pub(crate) enum Sent {
    Frame(Frame),
    CaughtUp { user_position: i64 },
    Heartbeat(Progress),
    Closing(ErrorReason, Progress),
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told when a frame was taken or the client is gone.
    room: Notify,
}

#[derive(Debug)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    progress: Progress,
    /// How the stream ends once the frames are taken.
    end: Option<Option<Problem>>,
    is_gone: bool,
    waker: Option<Waker>,
}

/// Both ends of a stream. `user_position` is what the client has of its user log.
pub(crate) fn outbox(user_position: i64) -> (Outbox, Frames) {
    let state = State {
        frames: VecDeque::new(),
        bytes: 0,
        progress: Progress {
            log_id: None,
            user_position,
            chats: HashMap::new(),
        },
        end: None,
        is_gone: false,
        waker: None,
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        room: Notify::new(),
    });
    (
        Outbox {
            shared: Arc::clone(&shared),
        },
        Frames { shared },
    )
}

impl Outbox {
    /// Puts a frame in, when there is room.
    pub(crate) async fn push(&self, frame: Frame) -> Result<(), Gone> {
        let weight = frame.weight();
        let mut frame = Some(frame);
        loop {
            let room = self.shared.room.notified();
            {
                let mut state = self.shared.state.lock();
                if state.is_gone {
                    return Err(Gone);
                }
                let has_room = state.frames.len() < FRAMES_MAX && state.bytes + weight <= BYTES_MAX;
                if has_room || state.frames.is_empty() {
                    state.bytes += weight;
                    state.frames.extend(frame.take());
                    wake(state);
                    return Ok(());
                }
            }
            room.await;
        }
    }

    /// Returns when the client reads no more.
    pub(crate) async fn gone(&self) {
        loop {
            let room = self.shared.room.notified();
            if self.shared.state.lock().is_gone {
                return;
            }
            room.await;
        }
    }

    /// Ends the stream: what waits is still sent, then why.
    pub(crate) fn close(&self, problem: Problem) {
        let mut state = self.shared.state.lock();
        state.frames.push_back(Frame::Closing(problem.reason()));
        state.end = Some(Some(problem));
        wake(state);
    }

    /// Ends the stream without what waits: for a client that does not read, or may not any more.
    pub(crate) fn cut(&self, problem: Problem) {
        {
            let mut state = self.shared.state.lock();
            state.frames = VecDeque::new();
            state.bytes = 0;
        }
        self.close(problem);
    }
}

impl Drop for Outbox {
    /// A stream whose feeder is dropped, as at the hard end of a drain, ends all the same.
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if state.end.is_none() {
            state.end = Some(Some(Problem::new(ErrorReason::Draining)));
            wake(state);
        }
    }
}

/// Wakes who waits for frames, without the lock.
fn wake(mut state: parking_lot::MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Stream for Frames {
    type Item = Result<Sent, Problem>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.shared.state.lock();
        if let Some(frame) = state.frames.pop_front() {
            state.bytes = state.bytes.saturating_sub(frame.weight());
            if state.frames.is_empty() {
                // An idle stream keeps no buffer.
                state.frames = VecDeque::new();
            }
            let sent = state.progress.sent(frame);
            drop(state);
            self.shared.room.notify_waiters();
            return Poll::Ready(Some(Ok(sent)));
        }
        match &mut state.end {
            Some(problem) => Poll::Ready(problem.take().map(Err)),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state.lock();
            state.is_gone = true;
            state.frames = VecDeque::new();
        }
        self.shared.room.notify_waiters();
    }
}

impl Progress {
    fn sent(&mut self, frame: Frame) -> Sent {
        match &frame {
            Frame::Opened { log_id, reset, .. } => {
                self.log_id = Some(*log_id);
                if *reset {
                    self.user_position = 0;
                }
            }
            Frame::Snapshot(snapshot) => {
                self.chats.insert(snapshot.chat.chat_id, snapshot.position);
            }
            Frame::ChatEntry(entry) => {
                self.chats.insert(entry.chat_id, entry.position);
            }
            Frame::UserEntry(entry) => {
                self.user_position = entry.position;
                if let UserEvent::Left {
                    last_visible_position, ..
                } = entry.event
                    && self
                        .chats
                        .get(&entry.chat_id)
                        .is_some_and(|position| *position <= last_visible_position)
                {
                    // Nothing is left to go on with.
                    self.chats.remove(&entry.chat_id);
                }
            }
            Frame::Skipped(skipped) => match skipped.log {
                Log::Chat(chat_id) => {
                    self.chats.insert(chat_id, skipped.last);
                }
                Log::User => self.user_position = skipped.last,
            },
            Frame::Left { .. } => {}
            Frame::CaughtUp => {
                return Sent::CaughtUp {
                    user_position: self.user_position,
                };
            }
            Frame::Heartbeat => {
                let told = self.clone();
                self.chats = HashMap::new();
                return Sent::Heartbeat(told);
            }
            Frame::Closing(reason) => return Sent::Closing(*reason, self.clone()),
        }
        Sent::Frame(frame)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::StreamExt as _;
    use tidings_ids::{ChatId, Source};
    use tidings_proto_common::v1::ErrorReason;
    use tidings_rpc::Problem;
    use tokio::time::timeout;

    use super::{FRAMES_MAX, Gone, Sent, outbox};
    use crate::sync::frame::{Frame, Log, SkipReason, Skipped};

    fn skipped(chat_id: ChatId, position: i64) -> Frame {
        let log = Log::Chat(chat_id);
        Frame::Skipped(Skipped {
            log,
            first: position,
            last: position,
            reason: SkipReason::Hidden,
        })
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_gets_no_more_than_fits() {
        let chat_id = Source::seeded(1).new_id();
        let (outbox, mut frames) = outbox(0);
        for position in 1..=FRAMES_MAX as i64 {
            outbox.push(skipped(chat_id, position)).await.expect("room");
        }
        let full = timeout(Duration::from_millis(20), outbox.push(skipped(chat_id, 0))).await;
        assert!(full.is_err(), "it is full");
        assert!(frames.next().await.is_some());
        outbox
            .push(skipped(chat_id, FRAMES_MAX as i64 + 1))
            .await
            .expect("one was taken");
    }

    #[tokio::test]
    async fn a_cut_stream_tells_how_far_the_client_is() {
        let chat_id = Source::seeded(1).new_id();
        let (outbox, mut frames) = outbox(3);
        for position in 1..=9 {
            outbox.push(skipped(chat_id, position)).await.expect("room");
        }
        for _ in 0..4 {
            assert!(matches!(frames.next().await, Some(Ok(Sent::Frame(Frame::Skipped(_))))));
        }
        outbox.cut(Problem::new(ErrorReason::SlowConsumer));
        let Some(Ok(Sent::Closing(reason, progress))) = frames.next().await else {
            panic!("no closing")
        };
        assert_eq!(reason, ErrorReason::SlowConsumer);
        assert_eq!((progress.user_position, progress.chats.get(&chat_id)), (3, Some(&4)));
        assert!(frames.next().await.is_some_and(|end| end.is_err()));
        assert!(frames.next().await.is_none());
    }

    #[tokio::test]
    async fn heartbeats_name_the_chats_that_moved_since_the_last_one() {
        let chat_id = Source::seeded(1).new_id();
        let (outbox, mut frames) = outbox(0);
        for frame in [skipped(chat_id, 1), Frame::Heartbeat, Frame::Heartbeat] {
            outbox.push(frame).await.expect("room");
        }
        frames.next().await;
        let mut moved = Vec::new();
        while moved.len() < 2 {
            let Some(Ok(Sent::Heartbeat(progress))) = frames.next().await else {
                panic!("no heartbeat")
            };
            moved.push(progress.chats.len());
        }
        assert_eq!(moved, [1, 0]);
    }

    #[tokio::test]
    async fn a_client_that_is_gone_ends_the_feeding() {
        let (outbox, frames) = outbox(0);
        drop(frames);
        assert_eq!(outbox.push(Frame::Heartbeat).await, Err(Gone));
        outbox.gone().await;
    }
}
