//! How long a call may take: what its caller names, bounded.

use std::time::Duration;

use http::HeaderMap;
use tidings_proto_common::v1::ErrorReason;
use tokio::time::Instant;

use crate::Problem;

/// A unary call that names no deadline has this one (`reliability.md` G34).
pub const DEFAULT: Duration = Duration::from_secs(10);

/// A longer deadline of a unary call is shortened to this. A server stream lasts as long as its caller says; its request must
/// have arrived and its handler must have begun to answer within this.
pub const MAX: Duration = Duration::from_secs(60);

/// The header that carries what is left of the time.
pub const HEADER: &str = "grpc-timeout";

/// Longer than any process lives, and short enough to be added to any time.
const FOREVER: Duration = Duration::from_secs(99_999_999);

/// The deadline of a call that names this timeout, of one with a stream of answers or of a unary one.
#[must_use]
pub fn after(timeout: Duration, server_streaming: bool) -> Instant {
    Instant::now() + timeout.min(if server_streaming { FOREVER } else { MAX })
}

/// Until when a call's request must have arrived and its handler must have answered, or begun to in the case of a stream.
#[must_use]
pub fn to_answer(named: Option<Instant>) -> Instant {
    let now = Instant::now();
    named.map_or(now + DEFAULT, |named| named.min(now + MAX))
}

/// Reads the deadline that a call names: `None` when it names none.
///
/// # Errors
///
/// `FIELD_INVALID` for a value that is no gRPC timeout, `DEADLINE_EXCEEDED` for one of zero.
pub fn read(headers: &HeaderMap, server_streaming: bool) -> Result<Option<Instant>, Problem> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(None);
    };
    let timeout = value
        .to_str()
        .ok()
        .and_then(parse)
        .ok_or_else(|| Problem::field(HEADER, "must be up to 8 digits and one of the units H, M, S, m, u, n"))?;
    if timeout.is_zero() {
        return Err(Problem::new(ErrorReason::DeadlineExceeded));
    }
    Ok(Some(after(timeout, server_streaming)))
}

/// What is left until the deadline, as the header's value.
#[must_use]
pub fn write(deadline: Instant) -> String {
    let left = deadline.saturating_duration_since(Instant::now());
    // Eight digits are allowed: a stream's time may be longer than they tell in milliseconds, and then a second is nothing to it.
    match left.as_millis() {
        millis @ ..100_000_000 => format!("{}m", millis.max(1)),
        _ => format!("{}S", left.as_secs().min(99_999_999)),
    }
}

/// The timeout of the gRPC protocol: 1 to 8 digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue};
    use tokio::time::Instant;

    use super::{DEFAULT, HEADER, MAX, parse, read, to_answer, write};

    #[tokio::test(start_paused = true)]
    async fn the_cap_is_for_unary_calls() {
        let left = |deadline: Instant| deadline.duration_since(Instant::now());
        let named = |text: &'static str, server_streaming| {
            let headers = HeaderMap::from_iter([(HEADER.parse().expect("a name"), HeaderValue::from_static(text))]);
            read(&headers, server_streaming).expect("valid").expect("named")
        };
        assert_eq!(left(named("10M", false)), MAX);
        let long = named("10M", true);
        assert_eq!(left(long), Duration::from_secs(600));
        assert_eq!(left(to_answer(Some(long))), MAX);
        assert_eq!(left(to_answer(None)), DEFAULT);
        for (deadline, least) in [
            (long, Duration::from_secs(599)),
            (named("99999999H", true), Duration::from_secs(99_999_000)),
        ] {
            let written = parse(&write(deadline)).expect("a timeout of the protocol");
            assert!(written > least, "{written:?}");
        }
    }

    #[test]
    fn timeouts_are_read_as_the_protocol_has_them() {
        assert_eq!(parse("200m"), Some(Duration::from_millis(200)));
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!(parse("0n"), Some(Duration::ZERO));
        for garbage in ["", "m", "abc", "-1S", "123456789S", "1", "1x", "1 S", "٣S", "1é"] {
            assert_eq!(parse(garbage), None, "{garbage:?}");
        }
    }
}
