//! What the service does on its own: ends what is over.

mod retention;

use std::time::Duration;

use tidings_db::{Error, Pool};
use time::OffsetDateTime;

use crate::{attachment, media::Objects, service::Shared};

/// Rows of `requests` deleted in one statement, so that it never holds locks for long.
const PURGE_MAX: i64 = 1_000;

/// How long a `request_id` is remembered: the week that the contract promises, and a day for clocks that differ.
const REQUESTS_KEPT_FOR: Duration = Duration::from_secs(8 * 24 * 3_600);

/// Sweeps until the process drains. Rounds that could do more follow at once.
pub(crate) async fn run(shared: std::sync::Arc<Shared>, objects: Objects) {
    let drain = shared.env.drain.clone();
    loop {
        let pause = shared.env.source.jitter(shared.config.sweep_interval);
        tokio::select! {
            () = drain.begun() => return,
            () = tokio::time::sleep(pause) => {}
        }
        while !drain.has_begun() {
            match round(&shared, &objects).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "the sweeper could not do its round");
                    break;
                }
            }
        }
    }
}

/// One round; whether another may find more.
pub(crate) async fn round(shared: &Shared, objects: &Objects) -> Result<bool, Error> {
    let now = shared.env.source.now();
    let unused_before = now - shared.config.unused_attachment_lifetime;
    let files = attachment::sweep(&shared.pool, objects, unused_before).await?;
    let requests = purge_requests(&shared.pool, now - REQUESTS_KEPT_FOR).await?;
    let entries = retention::round(&shared.pool, now - shared.config.log_lifetime).await?;
    Ok(files || requests || entries)
}

/// Forgets requests; whether there may be more to forget.
async fn purge_requests(pool: &Pool, before: OffsetDateTime) -> Result<bool, Error> {
    let done = sqlx::query!(
        "delete from messages.requests r
         using (
             select o.chat_id, o.caller_id, o.method, o.request_id
             from messages.requests o
             where o.create_time < $1
             limit $2
         ) o
         where r.chat_id = o.chat_id
           and r.caller_id = o.caller_id
           and r.method = o.method
           and r.request_id = o.request_id",
        before,
        PURGE_MAX,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() >= PURGE_MAX.unsigned_abs())
}
