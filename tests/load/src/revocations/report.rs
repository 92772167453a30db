use std::{collections::BTreeMap, fmt, time::Duration};

use super::Way;
use crate::quantile::quantile;

/// What one end took.
#[derive(Debug, Clone, Default)]
pub struct Times {
    /// The call that ended the rights.
    pub call: Duration,
    /// From its return until each process refused a unary call.
    pub refused: Vec<Duration>,
    /// From its return until each process closed the stream.
    pub closed: Vec<Duration>,
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Report {
    ways: BTreeMap<Way, Vec<Times>>,
    /// Messages that were sent meanwhile.
    pub sends: u64,
}

impl Report {
    pub(super) fn add(&mut self, way: Way, times: Times) {
        self.ways.entry(way).or_default().push(times);
    }

    /// Rounds that were measured.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.ways.values().map(Vec::len).sum()
    }

    /// The ways that were measured.
    #[must_use]
    pub fn ways(&self) -> Vec<Way> {
        self.ways.keys().copied().collect()
    }

    /// The longest that anything went on after an end.
    #[must_use]
    pub fn max(&self) -> Duration {
        let all = self.ways.values().flatten();
        let all = all.flat_map(|times| times.refused.iter().chain(&times.closed));
        all.copied().max().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} ends of rights, while {} messages were sent; in ms",
            self.rounds(),
            self.sends
        )?;
        writeln!(
            f,
            "{:<22}{:>8}{:>22}{:>28}{:>28}",
            "", "", "the call", "calls refused after", "streams closed after"
        )?;
        let columns = format!("{:>8}{:>8}{:>8}", "p50", "p99", "max");
        writeln!(f, "{:<22}{:>8}{columns:>22}{columns:>28}{columns:>28}", "how", "times")?;
        for (way, times) in &self.ways {
            line(f, &way.to_string(), times)?;
        }
        let all: Vec<Times> = self.ways.values().flatten().cloned().collect();
        line(f, "all", &all)
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, times: &[Times]) -> fmt::Result {
    let quantiles = |mut all: Vec<Duration>| {
        all.sort_unstable();
        let at = |part: f64| millis(quantile(&all, part));
        format!("{:>8}{:>8}{:>8}", at(0.5), at(0.99), at(1.0))
    };
    let calls = quantiles(times.iter().map(|times| times.call).collect());
    let refused = quantiles(times.iter().flat_map(|times| times.refused.clone()).collect());
    let closed = quantiles(times.iter().flat_map(|times| times.closed.clone()).collect());
    writeln!(f, "{name:<22}{:>8}{calls:>22}{refused:>28}{closed:>28}", times.len())
}

fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Report, Times};
    use crate::revocations::Way;

    #[test]
    fn the_longest_of_all_counts_whatever_it_was() {
        let mut report = Report::default();
        let times = |refused, closed| Times {
            call: Duration::from_secs(9),
            refused: vec![Duration::from_millis(refused), Duration::from_millis(1)],
            closed: vec![Duration::from_millis(closed)],
        };
        report.add(Way::Logout, times(20, 3));
        report.add(Way::Suspension, times(4, 30));
        assert_eq!(report.max(), Duration::from_millis(30));
        assert_eq!(report.rounds(), 2);
        assert!(report.to_string().contains("suspension"), "{report}");
    }
}
