use std::{num::NonZeroU32, time::Duration};

use time::OffsetDateTime;

/// How many failures there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Of one identifier from one network prefix, and of one known device, in 15 minutes.
    pub window_max: NonZeroU32,
    /// Of one identifier from anywhere, and of one known device, since the last success.
    pub streak_max: NonZeroU32,
    /// Of all identifiers from anywhere, known devices aside, in a minute.
    pub minute_max: NonZeroU32,
    /// Answers to one network prefix in 15 minutes that a username or an address is taken.
    pub taken_max: NonZeroU32,
}

pub(super) const fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("a limit is not zero")
}

impl Throttle {
    /// G28 grants an account 10 and 100, and it has two identifiers. 600 in a minute are what a large deployment's users mistype, and
    /// far below what guessing passwords of many accounts takes to get anywhere.
    pub const STANDARD: Self = Self {
        window_max: number(5),
        streak_max: number(50),
        minute_max: number(600),
        taken_max: number(30),
    };

    /// The limits, times `factor`, where one client plays many users.
    #[must_use]
    pub fn times(self, factor: NonZeroU32) -> Self {
        Self {
            window_max: self.window_max.saturating_mul(factor),
            streak_max: self.streak_max.saturating_mul(factor),
            minute_max: self.minute_max.saturating_mul(factor),
            taken_max: self.taken_max.saturating_mul(factor),
        }
    }
}

impl Throttle {
    /// How long no unknown device is listened to after so many failures in this minute, if it is not now.
    pub(super) fn refuses_until_next_minute(&self, failed: i32, now: OffsetDateTime) -> Option<Duration> {
        let left = 60 - now.unix_timestamp().rem_euclid(60);
        (failed >= signed(self.minute_max)).then(|| Duration::from_secs(left.unsigned_abs()))
    }
}

pub(super) fn signed(limit: NonZeroU32) -> i32 {
    i32::try_from(limit.get()).unwrap_or(i32::MAX)
}
