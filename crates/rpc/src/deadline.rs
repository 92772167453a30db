//! How long a call may take: what its caller names, bounded.

use std::time::Duration;

use http::HeaderMap;
use tidings_proto_common::v1::ErrorReason;
use tokio::time::Instant;

use crate::Problem;

/// A unary call that names no deadline has this one (`reliability.md` G34).
pub const DEFAULT: Duration = Duration::from_secs(10);

/// A longer deadline is shortened to this.
pub const MAX: Duration = Duration::from_secs(60);

/// The header that carries what is left of the time.
pub const HEADER: &str = "grpc-timeout";

/// Reads the deadline that a call names: `None` when it names none.
///
/// # Errors
///
/// `FIELD_INVALID` for a value that is no gRPC timeout, `DEADLINE_EXCEEDED` for one of zero.
pub fn read(headers: &HeaderMap) -> Result<Option<Instant>, Problem> {
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
    Ok(Some(Instant::now() + timeout.min(MAX)))
}

/// What is left until the deadline, as the header's value.
#[must_use]
pub fn write(deadline: Instant) -> String {
    let left = deadline.saturating_duration_since(Instant::now());
    // At most 60 s, so that milliseconds have five digits of the eight that are allowed.
    format!("{}m", left.as_millis().max(1))
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

    use super::parse;

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
