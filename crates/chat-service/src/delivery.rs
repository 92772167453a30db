//! Bringing the outbox to the message service: at any moment at most one flight for each audience in this process, in the order of
//! numbers, as often as it takes.
//!
//! Nodes do not know of each other's flights, and need not: the message service passes over what it has, and both delete the same
//! rows.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use prost::Message as _;
use tidings_db::Pool;
use tidings_ids::AudienceId;
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::AudienceChange;
use tidings_rpc::{Drain, Problem};
use tokio::sync::watch;
use tracing::Instrument as _;

use crate::{
    Error,
    message_log::MessageLog,
    store::outbox::{self, Entry},
};

/// Changes handed over at once; the message service takes up to 1,000.
const BATCH_MAX: i64 = 250;

/// Bytes of changes handed over at once, of the 1 MiB that the request may have. One change has at most about 20 KiB: a chat whose
/// metadata has thousands of short keys.
const BATCH_BYTES_MAX: usize = 768 * 1024;

/// Delivers audiences' changes.
#[derive(Clone)]
pub(crate) struct Deliveries {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    log: MessageLog,
    drain: Drain,
    flights: Mutex<HashMap<AudienceId, watch::Receiver<Progress>>>,
}

impl std::fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Deliveries {{ flights: {} }}", self.inner.flights.lock().len())
    }
}

/// How far a flight is.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    applied_number: i64,
    ended: Option<Ended>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Everything that had been stored before the flight began is delivered.
    Done,
    /// Something was in the way, which is logged.
    Failed,
}

impl Deliveries {
    pub(crate) fn new(pool: Pool, log: MessageLog, drain: Drain) -> Self {
        Self {
            inner: Arc::new(Inner {
                pool,
                log,
                drain,
                flights: Mutex::default(),
            }),
        }
    }

    /// Returns once the audience's changes up to `number`, which are stored, are delivered.
    ///
    /// # Errors
    ///
    /// [`Error::Undelivered`] when a flight that began after this call has failed.
    pub(crate) async fn deliver(&self, audience_id: AudienceId, number: i64) -> Result<(), Error> {
        if number == 0 {
            return Ok(());
        }
        let mut saw_all = false;
        loop {
            let (mut flight, begun) = self.join(audience_id);
            // A flight that was under way may have read the outbox before our rows were there. The next one begins after it.
            saw_all |= begun;
            let arrived = |progress: &Progress| progress.applied_number >= number || progress.ended.is_some();
            let Ok(progress) = flight.wait_for(arrived).await.map(|progress| *progress) else {
                return Err(Error::Undelivered);
            };
            if progress.applied_number >= number {
                return Ok(());
            }
            match progress.ended {
                // There was nothing to deliver any more: another node has done it.
                Some(Ended::Done) if saw_all => return Ok(()),
                Some(Ended::Failed) if saw_all => return Err(Error::Undelivered),
                _ => saw_all = true,
            }
        }
    }

    /// The audience's flight, and whether it begins now.
    fn join(&self, audience_id: AudienceId) -> (watch::Receiver<Progress>, bool) {
        let mut flights = self.inner.flights.lock();
        if let Some(flight) = flights.get(&audience_id) {
            return (flight.clone(), false);
        }
        let (sender, receiver) = watch::channel(Progress::default());
        flights.insert(audience_id, receiver.clone());
        let inner = Arc::clone(&self.inner);
        let landing = Landing {
            inner: Arc::clone(&inner),
            audience_id,
        };
        // A task of its own, since others wait for it too: it must not end with the call that began it, nor with its deadline.
        let flight = async move {
            let ended = inner.fly(audience_id, &sender).await;
            // First out of the list, then the news: who hears it and joins again gets a new flight.
            drop(landing);
            sender.send_modify(|progress| progress.ended = Some(ended));
        };
        self.inner.drain.spawn(flight.in_current_span());
        (receiver, true)
    }
}

/// Takes a flight off the list, however it ends.
struct Landing {
    inner: Arc<Inner>,
    audience_id: AudienceId,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.inner.flights.lock().remove(&self.audience_id);
    }
}

impl Inner {
    async fn fly(&self, audience_id: AudienceId, progress: &watch::Sender<Progress>) -> Ended {
        loop {
            match self.deliver_batch(audience_id, progress).await {
                Ok(true) => {}
                Ok(false) => return Ended::Done,
                Err(error @ (Obstacle::Reused { .. } | Obstacle::Behind { .. })) => {
                    tracing::error!(%audience_id, error = %error, "changes cannot be delivered: the backups are of different times");
                    return Ended::Failed;
                }
                Err(error) => {
                    tracing::warn!(%audience_id, error = %error, cause = error.cause(), "changes cannot be delivered yet");
                    return Ended::Failed;
                }
            }
        }
    }

    /// Delivers what waits, up to the size of a batch. Whether there may be more.
    async fn deliver_batch(
        &self,
        audience_id: AudienceId,
        progress: &watch::Sender<Progress>,
    ) -> Result<bool, Obstacle> {
        let entries = outbox::first(&self.pool, audience_id, BATCH_MAX).await?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(false);
        };
        let (first, last) = (first.number, last.number);
        let is_full = i64::try_from(entries.len()).is_ok_and(|count| count == BATCH_MAX);
        let applied_number = match self.log.apply(audience_id, decode(&entries)?).await {
            Err(status) if reuses_numbers(&status) => {
                // Or another node has delivered these and many more in the meantime, and then they are gone.
                let left = outbox::first(&self.pool, audience_id, 1).await?;
                if left.first().is_none_or(|entry| entry.number > last) {
                    return Ok(true);
                }
                return Err(Obstacle::Reused { first, last });
            }
            outcome => outcome?,
        };
        if applied_number < first {
            // What came before was deleted here once it was confirmed there: a backup of the message service was restored.
            return Err(Obstacle::Behind { applied_number, first });
        }
        // Those who wait can go on; the rows are only tidied up.
        progress.send_modify(|progress| progress.applied_number = applied_number);
        outbox::delete(&self.pool, audience_id, applied_number).await?;
        Ok(is_full || applied_number < last)
    }
}

/// The changes of the first entries, as many as fit into a request.
fn decode(entries: &[Entry]) -> Result<Vec<AudienceChange>, prost::DecodeError> {
    let mut bytes = 0;
    let fitting = entries.iter().take_while(|entry| {
        bytes += entry.change.len();
        bytes <= BATCH_BYTES_MAX
    });
    fitting.map(|entry| AudienceChange::decode(&entry.change[..])).collect()
}

/// Whether the message service refuses changes because it has others under their numbers.
fn reuses_numbers(status: &tonic::Status) -> bool {
    Problem::from_peer(status).reason() == ErrorReason::RequestIdReused
}

/// Why a batch was not delivered.
#[derive(Debug, thiserror::Error)]
enum Obstacle {
    #[error("the outbox cannot be read")]
    Database(#[from] tidings_db::Error),
    #[error("the outbox holds something else")]
    Entry(#[from] prost::DecodeError),
    #[error("the message service did not take the changes")]
    Refused(#[from] Box<tonic::Status>),
    /// An older backup of this service's database was restored than of the message service's: what it has done since then was undone
    /// here only. To deliver anything would leave both with other members.
    #[error(
        "the message service has other changes under the numbers {first} to {last}: an older backup was restored here than there"
    )]
    Reused { first: i64, last: i64 },
    #[error("the message service is at {applied_number}, but the outbox begins at {first}")]
    Behind { applied_number: i64, first: i64 },
}

impl From<tonic::Status> for Obstacle {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl Obstacle {
    fn cause(&self) -> String {
        match self {
            Self::Refused(status) => format!("{:?}: {}", status.code(), status.message()),
            other => std::error::Error::source(other)
                .map(ToString::to_string)
                .unwrap_or_default(),
        }
    }
}
