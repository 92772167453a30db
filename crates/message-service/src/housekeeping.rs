//! What the service does on its own: ends what is over.

mod leftovers;
mod removed_chats;
mod requests;
mod retention;

use std::time::Duration;

use tidings_db::Error;
use tokio::time::Instant;

use crate::{attachment, media::Objects, service::Shared};
use leftovers::Leftovers;
use removed_chats::RemovedChats;
use requests::Requests;
use retention::Retention;

/// How long one sweep may be repeated before the others have their turn, however much it has still to do.
const TURN: Duration = Duration::from_secs(10);

/// What is swept. Each goes on where another fails.
#[derive(Debug, Clone, Copy)]
enum Sweep {
    RemovedChats,
    Files,
    Leftovers,
    Requests,
    ChatLogs,
    UserLogs,
}

impl Sweep {
    const ALL: [Self; 6] = [
        Self::RemovedChats,
        Self::Files,
        Self::Leftovers,
        Self::Requests,
        Self::ChatLogs,
        Self::UserLogs,
    ];
}

/// How far the sweeps are that go on where their last round ended.
struct Progress {
    removed_chats: RemovedChats,
    files: attachment::Sweeper,
    leftovers: Leftovers,
    requests: Requests,
    logs: Retention,
}

/// Sweeps until the process drains. A sweep that could find more is repeated at once, while its turn lasts; one that failed, after the
/// next pause.
pub(crate) async fn run(shared: std::sync::Arc<Shared>, objects: Objects) {
    let drain = &shared.env.drain;
    let mut progress = Progress {
        removed_chats: RemovedChats::default(),
        files: attachment::Sweeper::default(),
        leftovers: Leftovers::of(&shared.config.media_dir),
        requests: Requests::default(),
        logs: Retention::default(),
    };
    loop {
        let pause = shared.env.source.jitter(shared.config.sweep_interval);
        tokio::select! {
            () = drain.begun() => return,
            () = tokio::time::sleep(pause) => {}
        }
        for sweep in Sweep::ALL {
            let turn = Instant::now() + TURN;
            while !drain.has_begun() && Instant::now() < turn {
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
        Sweep::RemovedChats => {
            let removed_before = now - config.removed_chat_lifetime;
            progress.removed_chats.round(pool, removed_before).await
        }
        Sweep::Files => {
            let unused_before = now - config.unused_attachment_lifetime;
            progress.files.round(pool, objects, unused_before).await
        }
        Sweep::Leftovers => Ok(progress.leftovers.round(now).await),
        Sweep::Requests => progress.requests.round(pool, now).await,
        Sweep::ChatLogs => progress.logs.chats(pool, now - config.log_lifetime).await,
        Sweep::UserLogs => progress.logs.users(pool, now - config.log_lifetime).await,
    }
}
