use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How a process stops: first softly (nothing new begins, what is in hand is finished, streams say good-bye), and after a limit
/// hard (everything is dropped). Both are told here to whoever works.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
}

impl Drain {
    /// The soft part takes this long at the most. A call has ten seconds; the rest is for streams and for stopping Postgres within
    /// the 20 s that `reliability.md` G36 allows.
    pub const GRACE: Duration = Duration::from_secs(12);

    /// Nothing stops yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to stop.
    pub fn begin(&self) {
        self.soft.cancel();
    }

    /// Whether the process is stopping.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Returns when the process begins to stop.
    pub async fn begun(&self) {
        self.soft.cancelled().await;
    }

    /// Returns when everything that is left is dropped.
    pub async fn ended(&self) {
        self.hard.cancelled().await;
    }

    /// Cancelled when the process begins to stop, for what takes a token.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Runs a task that the process waits for when it stops. It must watch [`begun`](Self::begun) itself, and is dropped at the hard end.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<Option<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let hard = self.hard.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                output = task => Some(output),
                () = hard.cancelled() => None,
            }
        })
    }

    /// Begins to stop if that has not begun, waits until all tasks have ended, for [`GRACE`](Self::GRACE) at the most, and drops the
    /// rest. Returns whether all ended by themselves.
    pub async fn finish(&self) -> bool {
        self.begin();
        self.tasks.close();
        let in_time = tokio::time::timeout(Self::GRACE, self.tasks.wait()).await.is_ok();
        self.hard.cancel();
        if !in_time {
            // Dropping a task is quick; one that blocks its thread is not waited for any longer.
            let _ = tokio::time::timeout(Duration::from_secs(1), self.tasks.wait()).await;
        }
        in_time
    }
}
