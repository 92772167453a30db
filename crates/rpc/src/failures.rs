use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use parking_lot::Mutex;
use tidings_proto_common::v1::ErrorReason;
use tokio::time::Instant;

use crate::{Problem, RateKey};

/// Access tokens that did not verify, by network. A signature costs more to check than a token costs to make up, so who sent
/// too many that were forged has none checked for a while. Tokens that do verify count nothing.
#[derive(Debug)]
pub(crate) struct Failures {
    per_second: f64,
    burst: f64,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    by_key: HashMap<RateKey, Bucket>,
    swept: Instant,
}

/// How many failures count now; it runs empty with time.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl Failures {
    /// Generous: behind one address may be many users whose tokens a change of keys has made worthless at once.
    const PER_SECOND: u32 = 50;
    const BURST: u32 = 200;

    /// Networks without failures that count are forgotten this often.
    const SWEEP_EVERY: Duration = Duration::from_secs(60);

    /// The limit, times `factor`.
    pub(crate) fn new(factor: NonZeroU32) -> Self {
        let times = |number: u32| f64::from(number) * f64::from(factor.get());
        Self {
            per_second: times(Self::PER_SECOND),
            burst: times(Self::BURST),
            buckets: Mutex::new(Buckets {
                by_key: HashMap::new(),
                swept: Instant::now(),
            }),
        }
    }

    /// Whether a token from there is looked at; it counts nothing yet.
    ///
    /// # Errors
    ///
    /// `RATE_LIMITED`, with the time after which one is.
    pub(crate) fn check(&self, key: RateKey, now: Instant) -> Result<(), Problem> {
        let level = match self.buckets.lock().by_key.get(&key) {
            Some(bucket) => self.level(bucket, now),
            None => return Ok(()),
        };
        let over = level + 1.0 - self.burst;
        if over <= 0.0 {
            return Ok(());
        }
        let wait = Duration::from_secs_f64(over / self.per_second).max(Duration::from_millis(50));
        Err(Problem::new(ErrorReason::RateLimited).retry_after(wait))
    }

    /// A token from there did not verify.
    pub(crate) fn count(&self, key: RateKey, now: Instant) {
        let mut buckets = self.buckets.lock();
        if now.saturating_duration_since(buckets.swept) >= Self::SWEEP_EVERY {
            buckets.swept = now;
            buckets.by_key.retain(|_, bucket| self.level(bucket, now) > 0.0);
        }
        let bucket = buckets.by_key.entry(key).or_insert(Bucket { level: 0.0, at: now });
        *bucket = Bucket {
            level: (self.level(bucket, now) + 1.0).min(self.burst),
            at: now,
        };
    }

    fn level(&self, bucket: &Bucket, now: Instant) -> f64 {
        (bucket.level - now.saturating_duration_since(bucket.at).as_secs_f64() * self.per_second).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, num::NonZeroU32, time::Duration};

    use tokio::time::Instant;

    use super::Failures;
    use crate::RateKey;

    #[test]
    fn only_failures_count_and_only_against_their_network() {
        let now = Instant::now();
        let failures = Failures::new(NonZeroU32::MIN);
        let key = |text: &str| RateKey::prefix(text.parse::<IpAddr>().expect("an address"));
        let (forger, other) = (key("192.0.2.1"), key("198.51.100.1"));
        for _ in 0..10_000 {
            failures.check(forger, now).expect("nothing has failed");
        }
        for _ in 0..200 {
            failures.check(forger, now).expect("within the burst");
            failures.count(forger, now);
        }
        failures.check(forger, now).expect_err("too many");
        failures.check(other, now).expect("another network");
        let later = now + Duration::from_millis(50);
        failures.check(forger, later).expect("some time later");
    }
}
