//! What the service does on its own, in each of its processes. Two at once do no harm.

use std::{future::Future, time::Duration};

use tidings_db::{Schema, requests};
use tokio::time::Instant;

use crate::{
    Error,
    auth::Auth,
    email_change, registration, standing,
    store::{
        api_keys, email_changes, exchanged_tokens, keys as signing_keys, mails, proofs, registrations, revocations,
        sessions, throttles, tokens, totps,
    },
};

/// Registrations are settled within 60 s: 30 until they are given up, and a round.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// A new signing key is seen by this process within so long, also where one attempt to read it fails: [`signing`](crate::signing)
/// counts on ten seconds.
const KEYS_EVERY: Duration = Duration::from_secs(3);

/// Longer than any repetition of the rotation that made a key.
const KEYS_KEPT_FOR: time::Duration = time::Duration::days(8);

/// What nobody needs any more is deleted this often, some at a time.
const PURGE_EVERY: Duration = Duration::from_secs(60);

/// Rows that one statement deletes at the least where there are so many, and statements on one table in one round: a hundred thousand
/// rows a minute go, and nothing waits long for it.
const BATCH: u64 = 1_000;
const BATCHES_MAX: usize = 100;

/// The feed keeps an hour, as its proto says, and a little more for clocks that differ.
const REVOCATIONS_KEPT_FOR: Duration = Duration::from_secs(70 * 60);

/// An ended login session is told from an unknown one for so long.
const SESSIONS_KEPT_FOR: time::Duration = time::Duration::days(7);

/// Longer than any repetition of a registration's request, which is kept for 7 days.
const REGISTRATIONS_KEPT_FOR: time::Duration = time::Duration::days(8);

/// A key that was revoked or has expired is shown for so long, as its proto says.
const ENDED_KEYS_KEPT_FOR: time::Duration = time::Duration::days(30);

/// Parked mails are kept for an operator to look at.
const PARKED_MAILS_KEPT_FOR: time::Duration = time::Duration::days(30);

/// Longer than the hour in which mails are counted.
const QUOTAS_KEPT_FOR: time::Duration = time::Duration::hours(2);

/// Makes good what calls left half done, and tells the user service what it is still to be told.
pub(crate) async fn sweep(auth: &Auth) {
    while !auth.env.drain.has_begun() {
        for outcome in [
            registration::sweep(auth).await,
            standing::sweep(auth).await,
            email_change::sweep(auth).await,
        ] {
            if let Err(error) = outcome {
                tracing::warn!(%error, "upkeep could not finish a round");
            }
        }
        tokio::select! {
            () = auth.env.drain.begun() => {}
            () = tokio::time::sleep(auth.source().jitter(SWEEP_EVERY)) => {}
            () = auth.wake.upkeep.notified() => {
                // Whoever wakes it has often just failed to reach a peer: not at once again.
                tokio::time::sleep(auth.source().jitter(Duration::from_millis(500))).await;
            }
        }
    }
}

/// Keeps the signing keys known, and makes the first one.
pub(crate) async fn keys(auth: &Auth) {
    let mut pause = Duration::from_millis(100);
    while !auth.env.drain.has_begun() {
        match auth.signing.load(&auth.pool, auth.source()).await {
            Ok(()) => pause = KEYS_EVERY,
            Err(error) => {
                tracing::warn!(%error, "the signing keys could not be read");
                pause = (pause * 2).min(KEYS_EVERY);
            }
        }
        tokio::select! {
            () = auth.env.drain.begun() => {}
            () = tokio::time::sleep(auth.source().jitter(pause)) => {}
        }
    }
}

/// Deletes what nobody needs any more.
pub(crate) async fn purge(auth: &Auth) {
    while !auth.env.drain.has_begun() {
        let started = Instant::now();
        if let Err(error) = purge_once(auth).await {
            tracing::warn!(%error, "old rows could not be deleted");
        }
        tokio::select! {
            () = auth.env.drain.begun() => {}
            () = tokio::time::sleep_until(started + auth.source().jitter(PURGE_EVERY)) => {}
        }
    }
}

pub(crate) async fn purge_once(auth: &Auth) -> Result<(), Error> {
    let (pool, now) = (&auth.pool, auth.now());
    in_batches(|| requests::purge(pool, Schema::Auth, now)).await?;
    in_batches(|| sessions::purge(pool, now - SESSIONS_KEPT_FOR)).await?;
    in_batches(|| registrations::purge(pool, now - REGISTRATIONS_KEPT_FOR)).await?;
    in_batches(|| tokens::purge(pool, now)).await?;
    in_batches(|| throttles::purge(pool, now)).await?;
    in_batches(|| totps::purge(pool, now)).await?;
    in_batches(|| proofs::purge(pool, now)).await?;
    in_batches(|| email_changes::purge(pool, now)).await?;
    in_batches(|| api_keys::purge(pool, now - ENDED_KEYS_KEPT_FOR)).await?;
    in_batches(|| exchanged_tokens::purge(pool, now)).await?;
    in_batches(|| mails::purge(pool, now - PARKED_MAILS_KEPT_FOR, now - QUOTAS_KEPT_FOR)).await?;
    // These delete all at once.
    revocations::purge(pool, REVOCATIONS_KEPT_FOR).await?;
    signing_keys::purge(pool, now - KEYS_KEPT_FOR).await?;
    Ok(())
}

/// Repeats what deletes some rows at a time while there are many, so that no table grows faster than it is purged.
async fn in_batches<F>(purge: impl Fn() -> F) -> Result<(), Error>
where
    F: Future<Output = Result<u64, tidings_db::Error>>,
{
    for _ in 0..BATCHES_MAX {
        if purge().await? < BATCH {
            break;
        }
    }
    Ok(())
}
