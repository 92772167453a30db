//! Writes down calls that were denied: on its own and in batches, since there is no effect whose transaction it could be.

use std::time::Duration;

use tidings_db::{Error, transaction};
use tidings_rpc::Denial;
use tokio::{
    sync::mpsc::Receiver,
    time::{Instant, sleep},
};

use crate::{Event, Trail, budget::Budget, store};

/// So many are written in one transaction.
const BATCH: usize = 100;

/// How long to wait before a batch is tried again. Meanwhile the channel fills, and what does not fit is counted.
const RETRY: Duration = Duration::from_secs(1);

impl Trail {
    /// Writes denied calls down until the process stops, and then what is left.
    pub(crate) async fn write_denials(self, mut denials: Receiver<Denial>) {
        let (mut batch, mut lost, mut budget) = (Vec::with_capacity(BATCH), 0, Budget::default());
        loop {
            tokio::select! {
                _ = denials.recv_many(&mut batch, BATCH) => {}
                () = self.drain.begun() => break,
            }
            self.write_until_done(&mut batch, &mut budget).await;
            let lost_now = self.denials.lost();
            if lost_now > lost {
                tracing::warn!(
                    schema = %self.schema,
                    count = lost_now - lost,
                    total = lost_now,
                    "denied calls were not written into the audit trail: there were too many; the log has them",
                );
                lost = lost_now;
            }
        }
        denials.close();
        while denials.recv_many(&mut batch, BATCH).await > 0 {
            self.write_until_done(&mut batch, &mut budget).await;
        }
    }

    async fn write_until_done(&self, batch: &mut Vec<Denial>, budget: &mut Budget) {
        let now = Instant::now();
        let within = batch.drain(..).filter_map(|denial| {
            let left_out = budget.take(&denial.origin, now)?;
            let event = Event::of_denial(&self.source, denial);
            Some(if left_out > 0 {
                event.detail("left_out", left_out)
            } else {
                event
            })
        });
        let events: Vec<Event> = within.collect();
        if events.is_empty() {
            return;
        }
        while let Err(error) = self.write(&events).await {
            let count = events.len();
            if self.drain.has_begun() {
                tracing::warn!(schema = %self.schema, %error, count, "denied calls were not written into the audit trail");
                return;
            }
            tracing::warn!(schema = %self.schema, %error, count, "denied calls cannot be written down yet");
            tokio::select! {
                () = sleep(self.source.jitter(RETRY)) => {}
                () = self.drain.begun() => {}
            }
        }
    }

    async fn write(&self, events: &[Event]) -> Result<(), Error> {
        transaction!(&self.pool, |tx| -> Result<(), Error> {
            for event in events {
                store::record(&mut *tx, self.schema, event).await?;
            }
            Ok(())
        })
    }

    /// Writes an event on its own, for a refusal that matters by itself, such as a wrong password: there is no effect in whose
    /// transaction it could stand.
    ///
    /// # Errors
    ///
    /// When Postgres does not do as told.
    pub async fn record(&self, event: Event) -> Result<(), Error> {
        self.write(std::slice::from_ref(&event)).await
    }
}
