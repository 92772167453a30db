use std::{future::Future, time::Duration};

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
