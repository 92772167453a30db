//! When a call is tried again.

use std::{sync::Arc, time::Duration};

use tidings_ids::Source;
use tidings_proto_common::v1::ErrorReason;
use tokio::time::Instant;
use tonic::Status;

use super::Failure;
use crate::meter::Meter;

/// The first pause; each further one doubles.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// No pause is longer, unless the server asks for it: a server that has come back is found within this.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long a call may be repeated, from its first attempt. Waiting for a rate limit does not count: the server is well.
#[derive(Debug, Clone, Copy)]
pub struct Patience(pub Duration);

/// The attempts of one call.
#[derive(Debug)]
pub struct Attempts {
    method: &'static str,
    count: u32,
    give_up: Instant,
    pause: Duration,
    meter: Arc<Meter>,
    source: Source,
}

impl Attempts {
    pub(super) fn new(method: &'static str, patience: Patience, meter: Arc<Meter>, source: Source) -> Self {
        Self {
            method,
            count: 0,
            give_up: Instant::now() + patience.0,
            pause: PAUSE_MIN,
            meter,
            source,
        }
    }

    /// Waits as long as is sensible before the call is tried again: what the server asks for, or else twice as long as the last
    /// time, with jitter.
    ///
    /// # Errors
    ///
    /// The failure, when another attempt makes no sense.
    pub async fn pause_after(&mut self, status: &Status) -> Result<(), Failure> {
        let failure = Failure::of(self.method, status);
        self.pause_after_failure(failure).await
    }

    /// As [`pause_after`](Self::pause_after).
    ///
    /// # Errors
    ///
    /// The failure, when another attempt makes no sense.
    pub async fn pause_after_failure(&mut self, failure: Failure) -> Result<(), Failure> {
        let pause = self.pause_at(Instant::now(), failure)?;
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn pause_at(&mut self, now: Instant, failure: Failure) -> Result<Duration, Failure> {
        self.count += 1;
        let limited = failure.reason == Some(ErrorReason::RateLimited);
        if !failure.is_transient() || (!limited && now >= self.give_up) {
            return Err(Failure {
                attempts: self.count,
                ..failure
            });
        }
        self.meter.count_retry(failure.label());
        // The jitter of gRFC A6 goes both ways; a server's own wait is never cut short.
        let pause = match failure.retry_after {
            Some(wait) => wait + self.source.jitter(self.pause.min(wait)),
            None => self.source.jitter(self.pause),
        };
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        if limited {
            self.give_up += pause;
        }
        Ok(pause)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tidings_ids::Source;
    use tokio::time::Instant;
    use tonic::{Code, Status};

    use super::{Attempts, Failure, Patience};
    use crate::meter::Meter;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn attempts(meter: &Arc<Meter>) -> Attempts {
        Attempts::new("SendMessage", Patience(PATIENCE), Arc::clone(meter), Source::seeded(1))
    }

    fn away() -> Failure {
        Failure::of("SendMessage", &Status::unavailable("connection refused"))
    }

    #[test]
    fn a_server_that_is_away_is_asked_again_until_patience_is_over() {
        let mut attempts = attempts(&Arc::default());
        let began = Instant::now();
        let mut now = began;
        let failure = loop {
            match attempts.pause_at(now, away()) {
                Ok(pause) => now += pause,
                Err(failure) => break failure,
            }
        };
        assert_eq!(failure.code, Code::Unavailable);
        let waited = now.duration_since(began);
        assert!(
            (PATIENCE..PATIENCE + Duration::from_secs(3)).contains(&waited),
            "{waited:?}"
        );
        assert!((20..60).contains(&failure.attempts), "{} attempts", failure.attempts);
    }

    #[test]
    fn waiting_for_a_rate_limit_does_not_use_up_patience() {
        let mut attempts = attempts(&Arc::default());
        let limited = Failure {
            reason: Some(super::ErrorReason::RateLimited),
            code: Code::ResourceExhausted,
            retry_after: Some(PATIENCE),
            ..away()
        };
        let mut now = Instant::now();
        for _ in 0..3 {
            let pause = attempts.pause_at(now, limited.clone()).unwrap();
            assert!(pause > PATIENCE);
            now += pause;
        }
        assert!(attempts.pause_at(now, away()).is_ok());
    }

    #[test]
    fn a_refusal_is_not_repeated() {
        let refusal = Failure::of("SendMessage", &Status::invalid_argument("no"));
        assert!(attempts(&Arc::default()).pause_at(Instant::now(), refusal).is_err());
    }

    #[test]
    fn each_repetition_is_counted_by_its_cause() {
        let meter = Arc::new(Meter::default());
        let mut attempts = attempts(&meter);
        for _ in 0..2 {
            attempts.pause_at(Instant::now(), away()).unwrap();
        }
        assert_eq!(meter.retries(), [("Unavailable (no reason)".to_owned(), 2)]);
    }
}
