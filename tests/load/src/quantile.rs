//! Quantiles of what was measured.

use std::time::Duration;

/// The smallest value that so large a part of all is not above; they are in order.
pub fn quantile(all: &[Duration], part: f64) -> Duration {
    let count = all.len();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a part of a count is between zero and it"
    )]
    let rank = (count as f64 * part).ceil() as usize;
    all.get(rank.clamp(1, count.max(1)) - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let all: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(quantile(&all, 0.5), Duration::from_millis(50));
        assert_eq!(quantile(&all, 0.99), Duration::from_millis(99));
        assert_eq!(quantile(&all, 1.0), Duration::from_millis(100));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
