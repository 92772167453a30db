use std::time::Duration;

use tidings_db::{Schema, requests};
use tidings_rpc::Drain;
use tokio::time::sleep;

use crate::{
    directory::Directory,
    error::Error,
    store::{
        housekeeping::{self, STEP_MAX},
        usernames,
    },
};

/// How often changes of roles are looked for that another process left on their way. A change acts within a second, also when the
/// process that began it has died (`reliability.md` G21).
const FAN_OUT_INTERVAL: Duration = Duration::from_millis(800);

/// How often what is too old is forgotten.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(60);

/// The mark of a discarded registration is kept longer than auth keeps the intent that could be carried out late, and than the
/// record of its `request_id`.
const DISCARDED_KEPT_FOR: time::Duration = time::Duration::days(8);

/// Carries changes of roles on that another process left on their way. Every node does; they take turns.
pub(crate) async fn carry_on(directory: Directory, drain: Drain) {
    let work = || directory.fan_out_pending();
    repeat(&drain, FAN_OUT_INTERVAL, "carry role changes on", work).await;
}

/// Forgets what is too old, deleted users among it. Every node does.
pub(crate) async fn forget_old(directory: Directory, drain: Drain) {
    let work = || forget(&directory);
    repeat(&drain, HOUSEKEEPING_INTERVAL, "forget what is old", work).await;
}

/// Does a piece of work again and again. One that fails is tried again at the next turn: the database may be away.
async fn repeat<F>(drain: &Drain, interval: Duration, what: &str, work: impl Fn() -> F)
where
    F: Future<Output = Result<(), Error>>,
{
    while !drain.has_begun() {
        if let Err(error) = work().await {
            let cause = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            tracing::warn!(%error, cause, "the user service could not {what}");
        }
        tokio::select! {
            () = drain.begun() => {}
            () = sleep(interval) => {}
        }
    }
}

async fn forget(directory: &Directory) -> Result<(), Error> {
    let (pool, now) = (&directory.pool, directory.source.now());
    while housekeeping::prune_states(pool).await? >= STEP_MAX {}
    while usernames::prune(pool, now).await? >= STEP_MAX {}
    while directory.finish_deletions().await? {}
    while directory.refresh_words().await? {}
    while housekeeping::prune_block_changes(pool).await? >= STEP_MAX {}
    while housekeeping::prune_discarded(pool, now - DISCARDED_KEPT_FOR).await? >= STEP_MAX {}
    let step = u64::try_from(requests::PURGE_MAX).expect("1,000 fits");
    while requests::purge(pool, Schema::Users, now).await? >= step {}
    Ok(())
}
