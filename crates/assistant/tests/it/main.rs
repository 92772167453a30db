//! The assistant against a suite in memory, which can be told to fail.
#![cfg(test)]

mod fake;
mod perseverance;

use std::time::Duration;

use fake::Fake;
use tidings_assistant::{Config, Patience, Transport};
use tidings_ids::Source;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// An assistant at work, stopped with the value.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(fake: &Fake) -> Self {
        let stop = CancellationToken::new();
        let config = Config {
            username: fake::USERNAME.to_owned(),
            password: fake::PASSWORD.into(),
            patience: Patience {
                retry_min: Duration::from_millis(5),
                retry_max: Duration::from_millis(50),
                ..Patience::default()
            },
            source: Source::system(),
        };
        let transport = Transport::new(fake.routes());
        let task = tokio::spawn(tidings_assistant::run(transport, config, stop.clone()));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.task).await.unwrap().unwrap();
    }
}

/// Waits for a condition.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(LIMIT, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}: not within {LIMIT:?}");
}
