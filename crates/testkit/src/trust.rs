use std::{sync::Arc, time::Duration};

use tidings_authn::Revocations;

/// Well below the ten seconds after which a feed that was not heard is not trusted.
const EVERY: Duration = Duration::from_secs(1);

/// Stands in for the two feeds that a service by itself does not have: from now on they are heard, and have nothing to say. Ends with
/// the runtime, or when nobody else holds the revocations.
pub fn keep_trusted(revocations: &Arc<Revocations>) {
    let hear = |revocations: &Revocations| {
        revocations.heard_sessions();
        revocations.heard_users();
    };
    hear(revocations);
    let revocations = Arc::downgrade(revocations);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(EVERY);
        while let Some(revocations) = revocations.upgrade() {
            hear(&revocations);
            drop(revocations);
            ticks.tick().await;
        }
    });
}
