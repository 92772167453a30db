use std::time::Duration;

use time::OffsetDateTime;

use super::limits::{Throttle, signed};
use crate::store::throttles::{Bucket, Row};

/// Failures are limited within this time.
const WINDOW: time::Duration = time::Duration::minutes(15);

/// Failures in a row are forgotten after this long without another: a row cannot be kept for ever for every name that anybody made
/// up.
const STREAK_KEPT_FOR: time::Duration = time::Duration::days(30);

/// A bucket, and what of it counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    pub(super) bucket: Bucket,
    pub(super) window: bool,
    pub(super) streak: bool,
}

/// Counts an attempt in the rows of its buckets, or in none of them: then how long there is no further attempt, in whole seconds.
pub(super) fn add_to_all(rows: &mut [(Counted, Row)], limits: Throttle, now: OffsetDateTime) -> Result<(), Duration> {
    for (counted, row) in rows.iter_mut() {
        if let Some(wait) = row.refuses(*counted, limits, now) {
            return Err(wait);
        }
    }
    for (counted, row) in rows {
        row.add(*counted, now);
    }
    Ok(())
}

impl Row {
    /// How long the bucket takes no further attempt, in whole seconds, if it takes none now. Drops what counts no longer.
    pub(super) fn refuses(&mut self, counted: Counted, limits: Throttle, now: OffsetDateTime) -> Option<Duration> {
        if now >= self.expire_time {
            *self = Self {
                failure_times: Vec::new(),
                streak: 0,
                expire_time: now,
            };
        }
        self.failure_times.retain(|time| *time > now - WINDOW);
        let max = usize::try_from(limits.window_max.get()).unwrap_or(usize::MAX);
        let in_window = self
            .failure_times
            .len()
            .checked_sub(max)
            .map(|over| self.failure_times[over] + WINDOW);
        let in_streak = (self.streak >= signed(limits.streak_max)).then_some(self.expire_time);
        let until = in_window
            .filter(|_| counted.window)
            .max(in_streak.filter(|_| counted.streak))?;
        let seconds = (until - now).whole_seconds().unsigned_abs() + 1;
        Some(Duration::from_secs(seconds))
    }

    pub(super) fn add(&mut self, counted: Counted, now: OffsetDateTime) {
        if counted.window {
            self.failure_times.push(now);
            self.expire_time = self.expire_time.max(now + WINDOW);
        }
        if counted.streak {
            self.streak = self.streak.saturating_add(1);
            self.expire_time = self.expire_time.max(now + STREAK_KEPT_FOR);
        }
    }

    /// Takes an attempt back that was no failure.
    pub(super) fn take_back(&mut self, time: OffsetDateTime) {
        if let Some(at) = self.failure_times.iter().position(|failure| *failure == time) {
            self.failure_times.remove(at);
        }
        self.streak = self.streak.saturating_sub(1).max(0);
    }
}

#[cfg(test)]
mod tests {
    use tidings_ids::Source;

    use super::{super::limits::number, *};

    const BOTH: Counted = Counted {
        bucket: [0; 32],
        window: true,
        streak: true,
    };

    #[test]
    fn a_window_slides_and_a_streak_does_not() {
        let source = Source::seeded(1);
        let limits = Throttle {
            window_max: number(2),
            streak_max: number(4),
            ..Throttle::STANDARD
        };
        let mut row = Row {
            failure_times: Vec::new(),
            streak: 0,
            expire_time: source.now(),
        };
        for _ in 0..2 {
            for _ in 0..2 {
                assert_eq!(row.refuses(BOTH, limits, source.now()), None);
                row.add(BOTH, source.now());
                source.advance(Duration::from_secs(60));
            }
            let wait = row.refuses(BOTH, limits, source.now()).expect("two in the window");
            if row.streak < 4 {
                assert_eq!(wait, Duration::from_secs(13 * 60 + 1));
            } else {
                assert!(wait > Duration::from_secs(29 * 24 * 3_600), "{wait:?}");
            }
            source.advance(Duration::from_secs(15 * 60));
        }
        assert!(row.refuses(BOTH, limits, source.now()).is_some(), "four in a row");
        source.advance(Duration::from_secs(30 * 24 * 3_600));
        assert_eq!(row.refuses(BOTH, limits, source.now()), None, "forgotten");
    }

    #[test]
    fn what_is_taken_back_was_not_counted() {
        let source = Source::seeded(1);
        let mut row = Row {
            failure_times: Vec::new(),
            streak: 0,
            expire_time: source.now(),
        };
        row.add(BOTH, source.now());
        row.add(BOTH, source.now());
        row.take_back(source.now());
        assert_eq!((row.failure_times.len(), row.streak), (1, 1));
        row.take_back(source.now());
        row.take_back(source.now());
        assert_eq!((row.failure_times.len(), row.streak), (0, 0));
    }
}
