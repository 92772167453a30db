//! One open stream: feeds the client's outbox until something ends it.

use std::{sync::Arc, time::Duration};

use tidings_authn::{Caller, Verifier};
use tidings_db::Error;
use tidings_ids::Source;
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::{Drain, Problem};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    Settings,
    follower::Follower,
    frame::Frame,
    outbox::{Gone, Outbox},
    postgres::Registered,
};

/// A stream's parts.
pub(crate) struct Stream {
    pub(crate) follower: Follower,
    pub(crate) reader: Registered,
    pub(crate) outbox: Outbox,
    pub(crate) caller: Arc<Caller>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) drain: Drain,
    pub(crate) source: Source,
    pub(crate) settings: Settings,
}

/// Why the feeding ends by itself.
enum End {
    /// Nobody reads any more.
    Gone,
    /// The client reads, but not fast enough.
    Slow,
    /// Postgres cannot be read.
    Failed(Error),
}

impl From<Gone> for End {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl Stream {
    /// Runs until the client goes, may no longer read, does not read, or the process stops. Begins with these frames.
    pub(crate) async fn run(self, first: Vec<Frame>) {
        let Self {
            follower,
            reader,
            outbox,
            caller,
            verifier,
            drain,
            source,
            settings,
        } = self;
        let feeder = Feeder {
            reader: &reader,
            outbox: &outbox,
            source: &source,
            settings,
        };
        let fed = tokio::select! {
            biased;
            refusal = verifier.ended(&caller) => {
                // What waits is not sent: the caller may not have it any more.
                outbox.cut(refusal.into());
                return;
            }
            () = drain.begun() => {
                outbox.close(Problem::new(ErrorReason::Draining));
                return;
            }
            end = feeder.feed(follower, first) => end,
        };
        match fed {
            End::Gone => {}
            End::Slow => outbox.cut(Problem::new(ErrorReason::SlowConsumer)),
            End::Failed(error) => outbox.close(error.into()),
        }
    }
}

struct Feeder<'a> {
    reader: &'a Registered,
    outbox: &'a Outbox,
    source: &'a Source,
    settings: Settings,
}

impl Feeder<'_> {
    async fn feed(&self, mut follower: Follower, first: Vec<Frame>) -> End {
        let mut heartbeat = Instant::now() + self.settings.heartbeat_interval;
        let mut failing = Failing::default();
        if let Err(end) = self.push_all(first).await {
            return end;
        }
        loop {
            if Instant::now() >= heartbeat {
                heartbeat = Instant::now() + self.settings.heartbeat_interval;
                if let Err(end) = self.push(Frame::Heartbeat).await {
                    return end;
                }
            }
            follower.rung(self.reader.registration().take());
            // In a box of its own, so that a stream that waits is small.
            let step = Box::pin(follower.step(self.reader)).await;
            let told = match step {
                Ok(Some(frames)) => {
                    failing = Failing::default();
                    self.push_all(frames).await
                }
                Ok(None) => {
                    failing = Failing::default();
                    self.wait(heartbeat).await
                }
                Err(error) => match failing.pause(&error, self.settings.outage_max) {
                    Some(pause) => self.pause(self.source.jitter(pause)).await,
                    None => Err(End::Failed(error)),
                },
            };
            if let Err(end) = told {
                return end;
            }
        }
    }

    async fn push_all(&self, frames: Vec<Frame>) -> Result<(), End> {
        for frame in frames {
            self.push(frame).await?;
        }
        Ok(())
    }

    async fn push(&self, frame: Frame) -> Result<(), End> {
        match timeout(self.settings.slow_after, self.outbox.push(frame)).await {
            Ok(pushed) => Ok(pushed?),
            Err(_) => Err(End::Slow),
        }
    }

    /// Until something moves, a heartbeat is due, or the client goes.
    async fn wait(&self, heartbeat: Instant) -> Result<(), End> {
        tokio::select! {
            () = self.outbox.gone() => Err(End::Gone),
            _ = timeout_at(heartbeat, self.reader.registration().rung()) => Ok(()),
        }
    }

    async fn pause(&self, pause: Duration) -> Result<(), End> {
        tokio::select! {
            () = self.outbox.gone() => Err(End::Gone),
            () = sleep(pause) => Ok(()),
        }
    }
}

/// Since when Postgres cannot be read. A restart of it should not cost every client its stream.
#[derive(Debug, Default)]
struct Failing {
    since: Option<Instant>,
    count: u32,
}

impl Failing {
    const FIRST_PAUSE: Duration = Duration::from_millis(100);

    /// How long to wait before another attempt; `None` when there should be none.
    fn pause(&mut self, error: &Error, outage_max: Duration) -> Option<Duration> {
        if matches!(error, Error::Bug(_) | Error::Constraint { .. }) {
            return None;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        self.count += 1;
        let pause = Self::FIRST_PAUSE * 2_u32.pow(self.count.min(5));
        (since.elapsed() < outage_max).then_some(pause)
    }
}
