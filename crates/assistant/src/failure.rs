//! What a refusal means, and how long to wait before trying again.

use std::{fmt, time::Duration};

use tidings_ids::Source;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::Patience;

/// A call that did not succeed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    code: Code,
    /// The reason of the error contract; empty where the failure is not the server's own.
    reason: String,
    /// How long the server asks to wait.
    wait: Option<Duration>,
}

/// What can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It passes: the same call may succeed later.
    Passing,
    /// The credentials do not work any more, or not yet again.
    Unauthenticated,
    /// The server has a defect, which perhaps does not show the next time.
    Defect,
    /// The same call is refused for good.
    Refused,
}

impl Failure {
    /// What this status means.
    pub(crate) fn of(status: &Status) -> Self {
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
        Self {
            kind: kind(status.code(), &reason),
            code: status.code(),
            reason,
            wait: details.retry_info().and_then(|info| info.retry_delay),
        }
    }

    /// There was no answer in time.
    pub(crate) fn timeout() -> Self {
        Self::of(&Status::deadline_exceeded(""))
    }
}

/// The codes are those of the error contract; `UNKNOWN` is never sent by the server, but by whatever stands before it.
fn kind(code: Code, reason: &str) -> Kind {
    match code {
        Code::Unauthenticated => Kind::Unauthenticated,
        Code::ResourceExhausted if matches!(reason, "QUOTA_EXCEEDED" | "MESSAGE_TOO_LARGE") => Kind::Refused,
        Code::Unavailable
        | Code::ResourceExhausted
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Cancelled
        | Code::Ok => Kind::Passing,
        Code::Internal | Code::Unknown | Code::DataLoss => Kind::Defect,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented => Kind::Refused,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reason.is_empty() {
            write!(f, "{:?}", self.code)
        } else {
            f.write_str(&self.reason)
        }
    }
}

/// The waits between repetitions of one thing: each 1.6 times the one before, up to a bound (the numbers of gRPC's
/// connection back-off).
#[derive(Debug)]
pub(crate) struct Backoff {
    patience: Patience,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            patience,
            next: patience.retry_min,
        }
    }

    /// How long to wait after this failure.
    pub(crate) fn after(&mut self, failure: &Failure, source: &Source) -> Duration {
        let wait = source.jitter(self.next).max(failure.wait.unwrap_or_default());
        self.next = self.next.mul_f64(1.6).min(self.patience.retry_max);
        wait.min(self.patience.retry_max)
    }

    /// It succeeded: the next failure is the first again.
    pub(crate) fn reset(&mut self) {
        self.next = self.patience.retry_min;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings_ids::Source;
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::{Backoff, Failure, Kind};
    use crate::Patience;

    fn failure(code: Code, reason: &str) -> Failure {
        let details = ErrorDetails::with_error_info(reason, "tidings", []);
        Failure::of(&Status::with_error_details(code, "", details))
    }

    #[test]
    fn a_limit_on_calls_passes_and_a_quota_does_not() {
        assert_eq!(failure(Code::ResourceExhausted, "RATE_LIMITED").kind, Kind::Passing);
        assert_eq!(failure(Code::ResourceExhausted, "QUOTA_EXCEEDED").kind, Kind::Refused);
        assert_eq!(failure(Code::FailedPrecondition, "CHAT_ARCHIVED").kind, Kind::Refused);
        assert_eq!(
            failure(Code::Unauthenticated, "TOKEN_EXPIRED").kind,
            Kind::Unauthenticated
        );
        assert_eq!(Failure::timeout().kind, Kind::Passing);
    }

    #[test]
    fn waits_grow_up_to_the_bound_and_begin_again() {
        let (source, patience) = (Source::seeded(1), Patience::default());
        let mut backoff = Backoff::new(patience);
        let unavailable = failure(Code::Unavailable, "DRAINING");
        assert!(backoff.after(&unavailable, &source) < Duration::from_millis(200));
        for _ in 0..20 {
            assert!(backoff.after(&unavailable, &source) <= patience.retry_max);
        }
        assert!(backoff.after(&unavailable, &source) > patience.retry_max / 2);
        backoff.reset();
        assert!(backoff.after(&unavailable, &source) < Duration::from_millis(200));
    }

    #[test]
    fn the_server_is_given_the_time_that_it_asks_for() {
        let mut details = ErrorDetails::with_error_info("RATE_LIMITED", "tidings", []);
        details.set_retry_info(Some(Duration::from_secs(3)));
        let limited = Failure::of(&Status::with_error_details(Code::ResourceExhausted, "", details));
        let wait = Backoff::new(Patience::default()).after(&limited, &Source::seeded(1));
        assert_eq!(wait, Duration::from_secs(3));
    }
}
