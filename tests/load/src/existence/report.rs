use std::{collections::BTreeMap, fmt, time::Duration};

use super::Kind;
use crate::quantile::quantile;

/// What the two calls of a pair took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// For what the caller may not see.
    pub hidden: Duration,
    /// For what does not exist.
    pub absent: Duration,
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Report {
    kinds: BTreeMap<Kind, Vec<Times>>,
}

impl Report {
    pub(super) fn add(&mut self, kind: Kind, times: Times) {
        self.kinds.entry(kind).or_default().push(times);
    }

    /// The medians of a kind of call, of what is hidden and of what is absent; zero where nothing was measured.
    #[must_use]
    pub fn medians(&self, kind: Kind) -> Times {
        self.quantiles(kind, 0.5)
    }

    fn quantiles(&self, kind: Kind, part: f64) -> Times {
        let times = self.kinds.get(&kind).map(Vec::as_slice).unwrap_or_default();
        let of = |of: fn(&Times) -> Duration| {
            let mut all: Vec<Duration> = times.iter().map(of).collect();
            all.sort_unstable();
            quantile(&all, part)
        };
        Times {
            hidden: of(|times| times.hidden),
            absent: of(|times| times.absent),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Refusals of what is hidden and of what is absent, alike to the byte; in ms"
        )?;
        let columns = format!("{:>9}{:>9}{:>9}", "hidden", "absent", "ratio");
        writeln!(f, "{:<20}{:>7}{:>27}{:>27}", "", "", "p50", "p99")?;
        writeln!(f, "{:<20}{:>7}{columns}{columns}", "call", "pairs")?;
        for (kind, times) in &self.kinds {
            write!(f, "{:<20}{:>7}", format!("{kind:?}"), times.len())?;
            for part in [0.5, 0.99] {
                let Times { hidden, absent } = self.quantiles(*kind, part);
                let ratio = hidden.as_secs_f64() / absent.as_secs_f64();
                let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
                write!(f, "{:>9.3}{:>9.3}{ratio:>9.3}", millis(hidden), millis(absent))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_each_half_by_itself() {
        let mut report = Report::default();
        for (hidden, absent) in [(30, 1), (10, 3), (20, 2)] {
            let times = Times {
                hidden: Duration::from_millis(hidden),
                absent: Duration::from_millis(absent),
            };
            report.add(Kind::Chat, times);
        }
        let medians = report.medians(Kind::Chat);
        assert_eq!(
            (medians.hidden, medians.absent),
            (Duration::from_millis(20), Duration::from_millis(2))
        );
        assert_eq!(report.medians(Kind::User).hidden, Duration::ZERO);
        let told = report.to_string();
        assert!(told.contains("Chat") && told.contains("10.000"), "the ratio: {told}");
    }
}
