//! The feed of ended login sessions. Its truth is in Postgres, which every stream reads: twice a second and more, and
//! at once when a login session ends in this process.

use std::time::Duration;

use tidings_rpc::Problem;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    Error,
    auth::{Auth, Shared},
    store::revocations::{self, Entry},
};
use tidings_proto_common::v1::ErrorReason;

/// Longer than a reader keeps what it has read ([`tidings_authn::Revocations::KEPT_FOR`]), which is as long as a token that it revokes
/// can be taken anywhere.
const FROM_THE_START: Duration = Duration::from_secs(30 * 60);

/// Entries of one frame.
const BATCH_MAX: i64 = 500;

/// Postgres is asked this often: a feed is to act within a second, and the heartbeat keeps its beat.
const POLL_EVERY: Duration = Duration::from_millis(250);

const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);

/// A reader that takes no frame for so long is sent away. It trusts the feed no longer by then.
const SEND_PATIENCE: Duration = Duration::from_secs(10);

/// Frames that wait for a reader.
const BUFFERED_MAX: usize = 4;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Entries(Vec<Entry>),
    Heartbeat { head: i64, sent: i64 },
}

/// The frames of a stream, and how it ends.
#[derive(Debug)]
pub(crate) struct Feed {
    pub frames: mpsc::Receiver<Frame>,
    pub end: oneshot::Receiver<Problem>,
}

/// Opens the feed after the entry with this number; after 0, with what tokens in use may be revoked by.
pub(crate) async fn watch(auth: &Shared, after: i64) -> Result<Feed, Error> {
    let sent = begin(auth, after).await?;
    let (frames_in, frames) = mpsc::channel(BUFFERED_MAX);
    let (end_in, end) = oneshot::channel();
    let auth = auth.clone();
    tokio::spawn(async move {
        let feeder = Feeder {
            auth: &auth,
            frames: frames_in,
            sent,
        };
        if let Some(problem) = feeder.run().await {
            // The reader may be gone.
            let _ = end_in.send(problem);
        }
    });
    Ok(Feed { frames, end })
}

/// The number that the stream begins after.
async fn begin(auth: &Auth, after: i64) -> Result<i64, Error> {
    let pool = &auth.pool;
    let head = revocations::head(pool).await?;
    if after == 0 {
        // Read after the head, so that an entry above it can only be missed here to be sent later.
        let first = revocations::first_younger(pool, FROM_THE_START).await?;
        return Ok(first.map_or(head, |first| (first - 1).min(head)));
    }
    if after > head {
        return Err(Error::CursorInvalid);
    }
    match revocations::first(pool).await? {
        Some(first) if after < first - 1 => Err(Error::CursorExpired { first }),
        None if after < head => Err(Error::CursorExpired { first: head + 1 }),
        _ => Ok(after),
    }
}

struct Feeder<'a> {
    auth: &'a Auth,
    frames: mpsc::Sender<Frame>,
    /// Every entry up to this one was sent.
    sent: i64,
}

impl Feeder<'_> {
    /// Feeds the stream until it ends, and says how; `None` when the reader went away.
    async fn run(mut self) -> Option<Problem> {
        let mut wake = self.auth.wake.revocations.subscribe();
        let mut head = match self.head().await {
            Ok(head) => head,
            Err(problem) => return Some(problem),
        };
        let mut beat = Instant::now();
        // The first frame is a heartbeat, so that the reader knows where the stream begins.
        let mut outcome = self.send(Frame::Heartbeat { head, sent: self.sent }).await;
        while outcome.is_ok() {
            let drain = self.auth.env.drain.clone();
            tokio::select! {
                () = drain.begun() => return Some(Problem::new(ErrorReason::Draining)),
                () = self.frames.closed() => return None,
                _ = wake.changed() => {}
                () = tokio::time::sleep(POLL_EVERY) => {}
            }
            outcome = async {
                head = self.head().await?;
                self.catch_up(head).await?;
                if beat.elapsed() >= HEARTBEAT_EVERY {
                    beat = Instant::now();
                    self.send(Frame::Heartbeat { head, sent: self.sent }).await?;
                }
                Ok(())
            }
            .await;
        }
        outcome.err()
    }

    async fn head(&self) -> Result<i64, Problem> {
        revocations::head(&self.auth.pool)
            .await
            .map_err(|error| Error::from(error).into())
    }

    /// Sends all entries up to `head`.
    async fn catch_up(&mut self, head: i64) -> Result<(), Problem> {
        while self.sent < head {
            let entries = revocations::list(&self.auth.pool, self.sent, BATCH_MAX)
                .await
                .map_err(Error::from)?;
            let Some(last) = entries.last().map(|entry| entry.number) else {
                // The counter is ahead of what is kept: purged while the stream was behind.
                return Err(Error::CursorExpired { first: head + 1 }.into());
            };
            self.send(Frame::Entries(entries)).await?;
            self.sent = last;
        }
        Ok(())
    }

    async fn send(&self, frame: Frame) -> Result<(), Problem> {
        match tokio::time::timeout(SEND_PATIENCE, self.frames.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            // The reader went away: nobody sees the status.
            Ok(Err(_)) => Err(Problem::new(ErrorReason::Cancelled)),
            Err(_) => Err(Problem::new(ErrorReason::SlowConsumer)),
        }
    }
}
