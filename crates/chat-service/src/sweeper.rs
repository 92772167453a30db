//! Delivers what is left in the outbox: of a process that died between commit and delivery, and of times when the message service was
//! away. It never gives an entry up, and an audience whose entry fails holds up nobody else's.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tidings_db::{Pool, Schema, requests};
use tidings_ids::{AudienceId, Source};
use tidings_rpc::Drain;
use tokio::time::Instant;

use crate::{Error, delivery::Deliveries, store::outbox};

/// Younger entries are being delivered by the calls that made them.
const AGE_MIN: Duration = Duration::from_secs(1);

/// Audiences looked up at once.
const PAGE_MAX: i64 = 100;

/// Audiences delivered at once: few enough to leave connections for calls.
const CONCURRENCY: usize = 4;

/// The pause grows to this while deliveries fail, so that a message service that comes back is not met by a storm, and still within
/// the time in which clients retry.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Records of calls that can no longer be repeated are looked for this often.
const PURGE_INTERVAL: Duration = Duration::from_secs(600);

/// Sweeps the outbox until the process stops.
#[derive(Debug, Clone)]
pub(crate) struct Sweeper {
    pub(crate) pool: Pool,
    pub(crate) source: Source,
    pub(crate) drain: Drain,
    pub(crate) deliveries: Deliveries,
    pub(crate) interval: Duration,
}

impl Sweeper {
    pub(crate) async fn run(self) {
        let mut pause = self.interval;
        let mut purged = Instant::now();
        loop {
            tokio::select! {
                () = self.drain.begun() => return,
                () = tokio::time::sleep(self.source.jitter(pause)) => {}
            }
            // Flights are tasks of their own, so that leaving here drops none.
            let all_delivered = tokio::select! {
                () = self.drain.begun() => return,
                all_delivered = self.sweep() => all_delivered,
            };
            pause = if all_delivered {
                self.interval
            } else {
                (pause * 2).min(PAUSE_MAX.max(self.interval))
            };
            if purged.elapsed() >= PURGE_INTERVAL {
                purged = Instant::now();
                self.purge().await;
            }
        }
    }

    /// Tries every audience that has entries, once. Whether all went well.
    async fn sweep(&self) -> bool {
        let mut after: Option<AudienceId> = None;
        let mut all_delivered = true;
        loop {
            let before = self.source.now() - AGE_MIN;
            let page = match outbox::left_over(&self.pool, before, after, PAGE_MAX).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(error = %error, "the outbox cannot be swept");
                    return false;
                }
            };
            let Some((last, _)) = page.last() else {
                return all_delivered;
            };
            after = Some(*last);
            let outcomes: Vec<Result<(), Error>> = stream::iter(page)
                .map(|(audience_id, number)| self.deliveries.deliver(audience_id, number))
                .buffer_unordered(CONCURRENCY)
                .collect()
                .await;
            all_delivered &= outcomes.iter().all(Result::is_ok);
        }
    }

    async fn purge(&self) {
        loop {
            match requests::purge(&self.pool, Schema::Chats, self.source.now()).await {
                Ok(count) if count >= requests::PURGE_MAX.unsigned_abs() => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(error = %error, "old requests cannot be purged");
                    return;
                }
            }
        }
    }
}
