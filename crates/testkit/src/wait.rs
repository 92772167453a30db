use std::{future::Future, time::Duration};

use tidings_db::Pool;
use tokio::time::{Instant, sleep};

/// Conditions are asked this often.
const EVERY: Duration = Duration::from_millis(20);

/// Waits until the condition holds.
///
/// # Panics
///
/// When it does not within the limit.
pub async fn until<F>(what: &str, limit: Duration, mut condition: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    until_some(what, limit, || {
        let holds = condition();
        async { holds.await.then_some(()) }
    })
    .await;
}

/// Waits until there is a value, and returns it.
///
/// # Panics
///
/// When there is none within the limit.
pub async fn until_some<T, F>(what: &str, limit: Duration, mut value: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    loop {
        if let Some(value) = value().await {
            return value;
        }
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}");
        sleep(EVERY).await;
    }
}

/// Waits until so many sessions of the pool's database wait for a lock, for a minute at the most.
///
/// # Panics
///
/// When they do not, or Postgres cannot be asked.
pub async fn until_waiting(pool: &Pool, sessions: i64) {
    until("sessions that wait for a lock", Duration::from_secs(60), async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*)
             from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(pool)
        .await
        .expect("readable");
        waiting >= sessions
    })
    .await;
}
