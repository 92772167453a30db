use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use time::OffsetDateTime;

use crate::{Id, Kind};

/// Where time and randomness come from. One is made at start and handed to whoever needs either; a test makes its own, with a
/// clock that it moves and numbers that repeat.
///
/// Waiting is not measured with it: time-outs use tokio's monotonic clock.
#[derive(Clone)]
pub struct Source {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    rng: Mutex<StdRng>,
}

enum Clock {
    System,
    Moved(Mutex<OffsetDateTime>),
}

impl Source {
    /// The machine's clock, and random numbers seeded by the operating system.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Clock::System, rand::make_rng())
    }

    /// A clock that stands at 2026-01-01 until [`advance`](Self::advance) moves it, and numbers that repeat for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let start = OffsetDateTime::from_unix_timestamp(1_767_225_600).expect("the first of January 2026 is a time");
        Self::new(Clock::Moved(Mutex::new(start)), StdRng::seed_from_u64(seed))
    }

    /// The machine's clock as it is now, moved only by [`advance`](Self::advance), and numbers that repeat for the same seed:
    /// for tests that meet a database, which has a clock of its own.
    #[must_use]
    pub fn stopped(seed: u64) -> Self {
        Self::new(Clock::Moved(Mutex::new(system_now())), StdRng::seed_from_u64(seed))
    }

    fn new(clock: Clock, rng: StdRng) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock,
                rng: Mutex::new(rng),
            }),
        }
    }

    /// The time now, in UTC, to the microsecond as Postgres keeps it.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        let now = match &self.inner.clock {
            Clock::System => system_now(),
            Clock::Moved(time) => *time.lock(),
        };
        let micros = now.microsecond();
        now.replace_microsecond(micros)
            .expect("its own microsecond is in range")
    }

    /// Moves a test's clock forward. The machine's clock cannot be moved, and nothing happens.
    pub fn advance(&self, by: Duration) {
        if let Clock::Moved(time) = &self.inner.clock {
            *time.lock() += by;
        }
    }

    /// A new id. Ids rise with the millisecond in which they were made, which keeps new rows together; within one millisecond
    /// their order is random, and nothing relies on it.
    #[must_use]
    pub fn new_id<K: Kind>(&self) -> Id<K> {
        let millis = self.now().unix_timestamp_nanos() / 1_000_000;
        let millis = u64::try_from(millis).unwrap_or(0);
        Id::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &self.random()).into_uuid())
    }

    /// Random bytes, fit for keys and tokens when the source is [`system`](Self::system).
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.inner.rng.lock().fill_bytes(&mut bytes);
        bytes
    }

    /// A number from 0 to below 1, for jitter.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        let number = u32::from_be_bytes(self.random());
        f64::from(number) / (f64::from(u32::MAX) + 1.0)
    }

    /// `base`, longer or shorter by up to a fifth (the jitter of gRFC A6).
    #[must_use]
    pub fn jitter(&self, base: Duration) -> Duration {
        base.mul_f64(0.8 + 0.4 * self.fraction())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the machine's clock"
)]
fn system_now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
