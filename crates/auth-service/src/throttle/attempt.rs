use tidings_db::transaction;
use time::OffsetDateTime;

use super::{buckets::Buckets, counts::Counted};
use crate::{
    Error,
    auth::Auth,
    store::{accounts::Account, throttles},
};

/// An attempt that was admitted, and counts as a failure until it is settled.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(super) buckets: &'a Buckets,
    pub(super) counted: Vec<Counted>,
    pub(super) time: OffsetDateTime,
    pub(super) known_device: bool,
    pub(super) admitted: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut open = self.buckets.open.lock();
        for counted in &self.counted {
            let Some(found) = open.get_mut(&counted.bucket) else {
                continue;
            };
            if self.admitted {
                found.admitted -= 1;
            } else {
                found.asking -= 1;
            }
            if found.admitted + found.asking == 0 {
                open.remove(&counted.bucket);
            }
        }
    }
}

impl Attempt<'_> {
    pub(super) fn admit(mut self) -> Self {
        {
            let mut open = self.buckets.open.lock();
            for counted in &self.counted {
                let found = open.entry(counted.bucket).or_default();
                found.asking -= 1;
                found.admitted += 1;
            }
        }
        self.admitted = true;
        self
    }

    /// It was a wrong guess: it stays counted.
    pub(crate) async fn failed(self, auth: &Auth) {
        if !self.known_device {
            let bucket = self.buckets.minute(self.time);
            let expire_time = self.time + time::Duration::minutes(2);
            report(
                throttles::add(&auth.pool, &bucket, expire_time)
                    .await
                    .map_err(Error::from),
            );
        }
    }

    /// It was no guess, or the right one that came to nothing for another reason: it does not count.
    pub(crate) async fn withdrawn(self, auth: &Auth) {
        report(self.take_back(auth).await);
    }

    /// It has proven who it is: the account has no failures in a row any more, by whichever of its identifiers they were.
    pub(crate) async fn succeeded(self, auth: &Auth, account: &Account) {
        report(self.take_back(auth).await);
        let mut streaks = self.buckets.streaks_of(account);
        streaks.extend(
            self.counted
                .iter()
                .filter(|counted| counted.streak)
                .map(|counted| counted.bucket),
        );
        report(throttles::forgive(&auth.pool, &streaks).await.map_err(Error::from));
    }

    async fn take_back(&self, auth: &Auth) -> Result<(), Error> {
        transaction!(&auth.pool, |tx| -> Result<_, Error> {
            for counted in &self.counted {
                let mut row = throttles::lock(&mut *tx, &counted.bucket, self.time).await?;
                row.take_back(self.time);
                throttles::save(&mut *tx, &counted.bucket, &row).await?;
            }
            Ok(())
        })
    }
}

/// The answer stands whether or not what is counted could be brought up to date: at worst an attempt counts that should not.
fn report(outcome: Result<(), Error>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "an attempt to log in could not be settled and counts as a failure");
    }
}
