//! What the service does on its own: ends what is over.

mod leftovers;
mod retention;

use std::time::Duration;

use tidings_db::{Error, Pool};
use time::OffsetDateTime;

use crate::{attachment, media::Objects, service::Shared};
use leftovers::Leftovers;
use retention::Retention;

/// Rows of `requests` deleted in one statement, so that it never holds locks for long.
const PURGE_MAX: i64 = 1_000;

/// How long a `request_id` is remembered: the week that the contract promises, and a day for clocks that differ.
const REQUESTS_KEPT_FOR: Duration = Duration::from_secs(8 * 24 * 3_600);

/// What is swept. Each goes on where another fails.
#[derive(Debug, Clone, Copy)]
enum Sweep {
    Files,
    Leftovers,
    Requests,
    ChatLogs,
    UserLogs,
}

impl Sweep {
    const ALL: [Self; 5] = [
        Self::Files,
        Self::Leftovers,
        Self::Requests,
        Self::ChatLogs,
        Self::UserLogs,
    ];
}

/// How far the sweeps are that go on where their last round ended.
struct Progress {
    files: attachment::Sweeper,
    leftovers: Leftovers,
    logs: Retention,
}

/// Sweeps until the process drains. A sweep that could find more is repeated at once; one that failed, after the next pause.
pub(crate) async fn run(shared: std::sync::Arc<Shared>, objects: Objects) {
    let drain = &shared.env.drain;
    let mut progress = Progress {
        files: attachment::Sweeper::default(),
        leftovers: Leftovers::of(&shared.config.media_dir),
        logs: Retention::default(),
    };
    loop {
        let pause = shared.env.source.jitter(shared.config.sweep_interval);
        tokio::select! {
            () = drain.begun() => return,
            () = tokio::time::sleep(pause) => {}
        }
        for sweep in Sweep::ALL {
            while !drain.has_begun() {
                match round(sweep, &shared, &objects, &mut progress).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::warn!(%error, ?sweep, "a sweep could not do its round");
                        break;
                    }
                }
            }
        }
    }
}

/// One round of a sweep; whether another may find more.
async fn round(sweep: Sweep, shared: &Shared, objects: &Objects, progress: &mut Progress) -> Result<bool, Error> {
    let (pool, config, now) = (&shared.pool, &shared.config, shared.env.source.now());
    match sweep {
        Sweep::Files => {
            let unused_before = now - config.unused_attachment_lifetime;
            progress.files.round(pool, objects, unused_before).await
        }
        Sweep::Leftovers => Ok(progress.leftovers.round(now).await),
        Sweep::Requests => purge_requests(pool, now - REQUESTS_KEPT_FOR).await,
        Sweep::ChatLogs => progress.logs.chats(pool, now - config.log_lifetime).await,
        Sweep::UserLogs => progress.logs.users(pool, now - config.log_lifetime).await,
    }
}

/// Forgets requests; whether there may be more to forget. Rows that somebody holds are passed over, so that nodes that sweep at one
/// time do not wait for each other. They are in no order, which would have to look at all that is over before each portion.
async fn purge_requests(pool: &Pool, before: OffsetDateTime) -> Result<bool, Error> {
    let done = sqlx::query!(
        "delete from messages.requests r
         using (
             select o.chat_id, o.caller_id, o.method, o.request_id
             from messages.requests o
             where o.create_time < $1
             limit $2
             for update skip locked
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
