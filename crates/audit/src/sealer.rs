//! Gives committed events their numbers, and chains them.

use std::time::Duration;

use tidings_db::{Error, transaction};
use tokio::time::{Instant, sleep};

use crate::{
    Trail,
    encoding::{genesis, hash},
    store::{self, Entry, Head, Kept},
};

/// Entries are sealed so many at a time, so that a long queue neither holds a transaction for long nor fills the memory.
const BATCH: i64 = 500;

/// While sealing fails, it is told this often.
const FAILURES_TOLD_EVERY: Duration = Duration::from_secs(10);

impl Trail {
    /// Seals and signs until the process stops, and then once more. Every node does; they take turns. What commits after that has its
    /// number from another node, or from the next start.
    pub(crate) async fn keep(self) {
        let (mut signed, mut told) = (Instant::now(), None);
        while !self.drain.has_begun() {
            self.tell_failure(self.seal().await.map(drop), &mut told);
            if signed.elapsed() >= self.settings.sign_every {
                signed = Instant::now();
                self.tell_failure(self.sign(self.settings.sign_every / 2).await.map(drop), &mut told);
            }
            tokio::select! {
                () = self.drain.begun() => {}
                () = sleep(self.settings.seal_every) => {}
            }
        }
        let last = async {
            self.seal().await?;
            self.sign(Duration::ZERO).await
        };
        self.tell_failure(last.await.map(drop), &mut None);
    }

    /// Tells that sealing or signing failed, unless that was told a moment ago: while Postgres is away it fails several times a second.
    fn tell_failure(&self, outcome: Result<(), Error>, told: &mut Option<Instant>) {
        let Err(error) = outcome else { return };
        if told.is_some_and(|told| told.elapsed() < FAILURES_TOLD_EVERY) {
            return;
        }
        *told = Some(Instant::now());
        let cause = std::error::Error::source(&error)
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::warn!(schema = %self.schema, %error, cause, "the audit trail cannot be sealed or signed yet");
    }

    /// Gives every event that is committed now its number. Returns how many got one here.
    ///
    /// # Errors
    ///
    /// When Postgres cannot be asked.
    pub async fn seal(&self) -> Result<usize, Error> {
        let mut count = 0;
        while store::is_pending(&self.pool, self.schema).await? {
            let Some(sealed) = self.seal_batch().await? else { break };
            count += sealed;
        }
        Ok(count)
    }

    /// One batch; `None` while another node seals.
    async fn seal_batch(&self) -> Result<Option<usize>, Error> {
        let (schema, now) = (self.schema, self.source.now());
        transaction!(&self.pool, |tx| -> Result<Option<usize>, Error> {
            let Some(mark) = store::elect(&mut *tx, schema).await? else {
                return Ok(None);
            };
            let last_number = store::last_number(&mut *tx, schema).await?;
            if last_number != mark.last_number {
                tracing::error!(%schema, last_number, left_at = mark.last_number, "the audit trail was changed in the database");
            }
            let ids = store::pending(&mut *tx, schema, BATCH).await?;
            let mut events = store::events(&mut *tx, schema, &ids).await?;
            // Numbers that were given are not given again, whatever happened to their entries.
            let mut number = mark.last_number.max(last_number);
            let mut previous_hash = mark.last_hash.unwrap_or_else(|| genesis(schema));
            let mut entries = Vec::with_capacity(ids.len());
            for event_id in &ids {
                let Some(Kept::Whole(event)) = events.remove(event_id) else {
                    tracing::error!(%schema, %event_id, "an audit event was changed in the database before it was sealed");
                    continue;
                };
                number += 1;
                let hash = hash(&previous_hash, number, now, &event);
                entries.push(Entry {
                    number,
                    event_id: *event_id,
                    seal_time: now,
                    previous_hash,
                    hash,
                    event: Kept::Whole(event),
                });
                previous_hash = hash;
            }
            store::chain(&mut *tx, schema, &entries).await?;
            store::end_pending(&mut *tx, schema, &ids).await?;
            Ok(Some(entries.len()))
        })
    }

    /// Signs the head of the chain, unless one was signed within `fresh`, or nothing is new. Returns whether one was signed here.
    ///
    /// # Errors
    ///
    /// When Postgres cannot be asked.
    pub async fn sign(&self, fresh: Duration) -> Result<bool, Error> {
        let (schema, now) = (self.schema, self.source.now());
        let head = transaction!(&self.pool, |tx| -> Result<Option<Head>, Error> {
            let Some(mark) = store::elect(&mut *tx, schema).await? else {
                return Ok(None);
            };
            let Some(hash) = mark.last_hash.filter(|_| mark.last_number > mark.head_number) else {
                return Ok(None);
            };
            let newest = store::newest_head(&mut *tx, schema).await?;
            if newest.is_some_and(|head| now < head.sign_time + fresh) {
                return Ok(None);
            }
            let head = self.signer.sign(mark.last_number, mark.head_number, hash, now);
            store::add_head(&mut *tx, schema, &head).await?;
            Ok(Some(head))
        })?;
        if let Some(head) = &head {
            // The copy that whoever owns the database does not own.
            tracing::info!(
                target: "tidings::audit",
                %schema,
                number = head.number,
                hash = hex::encode(&head.hash),
                sign_time = %head.sign_time,
                previous_number = head.previous_number,
                public_key = hex::encode(&head.public_key),
                signature = hex::encode(&head.signature),
                "the head of the audit trail",
            );
        }
        Ok(head.is_some())
    }
}
