//! What a replay counts while it runs.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Counters, shared by everything that runs.
#[derive(Debug, Default)]
pub struct Meter {
    registered: AtomicU64,
    logins: AtomicU64,
    refreshes: AtomicU64,
    members: AtomicU64,
    accepted: AtomicU64,
    repeated: AtomicU64,
    blank: AtomicU64,
    reopened: AtomicU64,
    rate_limited: AtomicU64,
    sends: Mutex<Latencies>,
    deliveries: Mutex<Latencies>,
    sending: Mutex<Busy>,
    retries: Mutex<BTreeMap<String, u64>>,
}

/// The name of the reason that is counted apart, since a setting of the server ends it.
const RATE_LIMITED: &str = "RATE_LIMITED";

macro_rules! counters {
    ($($field:ident, $count:ident, $doc:literal;)+) => {$(
        #[doc = concat!("Counts one of: ", $doc, ".")]
        pub fn $count(&self) {
            self.$field.fetch_add(1, Ordering::Relaxed);
        }

        #[doc = concat!("How many ", $doc, ".")]
        #[must_use]
        pub fn $field(&self) -> u64 {
            self.$field.load(Ordering::Relaxed)
        }
    )+};
}

impl Meter {
    counters! {
        registered, count_registered, "accounts that are registered and logged in";
        logins, count_login, "logins";
        refreshes, count_refresh, "refreshed tokens";
        members, count_member, "memberships";
        accepted, count_accepted, "messages that the server accepted, repetitions included";
        repeated, count_repeated, "accepted messages that were stored before";
        blank, count_blank, "blank messages that were sent";
        reopened, count_reopened, "streams that ended and were opened again";
    }

    /// Counts an attempt that is going to be repeated.
    pub fn count_retry(&self, label: String) {
        if label == RATE_LIMITED {
            self.rate_limited.fetch_add(1, Ordering::Relaxed);
        }
        *self.retries.lock().entry(label).or_default() += 1;
    }

    /// Attempts that met a rate limit.
    #[must_use]
    pub fn rate_limited(&self) -> u64 {
        self.rate_limited.load(Ordering::Relaxed)
    }

    /// Attempts that were repeated, by their cause.
    #[must_use]
    pub fn retries(&self) -> Vec<(String, u64)> {
        self.retries
            .lock()
            .iter()
            .map(|(label, count)| (label.clone(), *count))
            .collect()
    }

    /// Records how long a send took to its answer, repetitions included.
    pub fn record_send(&self, latency: Duration) {
        self.sends.lock().record(latency);
    }

    /// Records how long it took from a send to its arrival on a stream.
    pub fn record_delivery(&self, latency: Duration) {
        self.deliveries.lock().record(latency);
    }

    /// The latencies of sends.
    #[must_use]
    pub fn sends(&self) -> Quantiles {
        self.sends.lock().quantiles()
    }

    /// The latencies from send to delivery.
    #[must_use]
    pub fn deliveries(&self) -> Quantiles {
        self.deliveries.lock().quantiles()
    }

    /// Begins a time of sending; it ends when the guard is dropped.
    pub fn begin_sending(&self) -> Sending<'_> {
        self.sending.lock().begin(Instant::now());
        Sending(self)
    }

    /// For how long at least one chat was being sent to.
    #[must_use]
    pub fn sending_time(&self) -> Duration {
        self.sending.lock().time(Instant::now())
    }
}

/// A time of sending, see [`Meter::begin_sending`].
#[derive(Debug)]
pub struct Sending<'a>(&'a Meter);

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.sending.lock().end(Instant::now());
    }
}

#[derive(Debug, Default)]
struct Busy {
    active: usize,
    since: Option<Instant>,
    total: Duration,
}

impl Busy {
    fn begin(&mut self, now: Instant) {
        self.active += 1;
        self.since.get_or_insert(now);
    }

    fn end(&mut self, now: Instant) {
        self.active -= 1;
        if self.active == 0 {
            self.total = self.time(now);
            self.since = None;
        }
    }

    fn time(&self, now: Instant) -> Duration {
        self.total + self.since.map_or(Duration::ZERO, |since| now.duration_since(since))
    }
}

/// Latencies in microseconds. All are kept, four bytes each: nothing is rounded into buckets.
#[derive(Debug, Default)]
struct Latencies(Vec<u32>);

impl Latencies {
    fn record(&mut self, latency: Duration) {
        self.0.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    fn quantiles(&self) -> Quantiles {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        // The nearest rank: of 100 the 99th is p99.
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100);
            let micros = rank
                .checked_sub(1)
                .and_then(|index| sorted.get(index))
                .copied()
                .unwrap_or(0);
            Duration::from_micros(u64::from(micros))
        };
        Quantiles {
            count: sorted.len(),
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}

/// What is told of latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantiles {
    /// How many there are.
    pub count: usize,
    /// Half are not above this.
    pub p50: Duration,
    /// 99 of 100 are not above this.
    pub p99: Duration,
    /// None is above this.
    pub max: Duration,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Busy, Meter};

    #[test]
    fn quantiles_are_those_of_the_nearest_rank() {
        let meter = Meter::default();
        assert_eq!((meter.sends().count, meter.sends().p99), (0, Duration::ZERO));
        for millis in (1..=100).rev() {
            meter.record_send(Duration::from_millis(millis));
        }
        let sends = meter.sends();
        assert_eq!((sends.p50, sends.p99, sends.max).0, Duration::from_millis(50));
        assert_eq!(
            (sends.p99, sends.max),
            (Duration::from_millis(99), Duration::from_millis(100))
        );
    }

    #[test]
    fn sending_time_counts_overlapping_chats_once() {
        let start = Instant::now();
        let second = |number| start + Duration::from_secs(number);
        let mut busy = Busy::default();
        busy.begin(second(0));
        busy.begin(second(1));
        busy.end(second(2));
        busy.end(second(3));
        assert_eq!(busy.time(second(9)), Duration::from_secs(3));
        busy.begin(second(10));
        assert_eq!(busy.time(second(11)), Duration::from_secs(4));
    }
}
