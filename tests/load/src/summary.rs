//! What a replay tells at its end.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use indicatif::HumanCount;

use crate::{
    compare::Differences,
    meter::{Meter, Quantiles},
    progress::RATE_LIMIT_HINT,
    replay::Played,
    survey::Survey,
};

/// Differences that are printed; all are counted.
const DIFFERENCES_PRINTED_MAX: usize = 20;

/// Rate limits met for each thousand messages above which the setting is named that raises them.
const RATE_LIMITED_PER_THOUSAND: u64 = 10;

/// The outcome of a replay.
#[derive(Debug)]
pub struct Summary {
    /// What was played.
    pub file: PathBuf,
    /// Where to.
    pub target: String,
    /// What runs there.
    pub server_version: String,
    /// The run.
    pub run: String,
    /// What the file holds.
    pub survey: Arc<Survey>,
    /// What was sent and read back.
    pub played: Played,
    /// Rates, latencies, repetitions.
    pub meter: Arc<Meter>,
    /// How long it took, reading back included.
    pub elapsed: Duration,
    /// What is not as it must be.
    pub differences: Differences,
}

impl Summary {
    /// Whether everything came back as it was sent.
    #[must_use]
    pub fn is_faithful(&self) -> bool {
        self.differences.is_empty()
    }

    fn write_stored(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let repeated = self.meter.repeated();
        write!(f, "stored before    {}", HumanCount(self.played.stored_before))?;
        if repeated == 0 {
            return writeln!(f, ": everything was sent for the first time");
        }
        let new = self.played.accepted - repeated;
        writeln!(
            f,
            ": this was a repetition; {} sends got the first message_id and sequence, {} were stored now",
            HumanCount(repeated),
            HumanCount(new)
        )
    }

    fn write_rates(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sending = self.meter.sending_time();
        writeln!(
            f,
            "time             {:.1} s in all, {:.0} messages/s; {:.1} s of it sending, {:.0} sends/s",
            self.elapsed.as_secs_f64(),
            per_second(self.played.accepted, self.elapsed),
            sending.as_secs_f64(),
            per_second(self.played.accepted, sending),
        )?;
        writeln!(f, "send             {}", Latency(self.meter.sends()))?;
        writeln!(f, "send to delivery {}", Latency(self.meter.deliveries()))?;
        writeln!(
            f,
            "sessions         {} logins, {} refreshed tokens, {} streams, opened again {} times",
            HumanCount(self.meter.logins()),
            HumanCount(self.meter.refreshes()),
            HumanCount(self.played.streams),
            HumanCount(self.meter.reopened()),
        )?;
        let retries: Vec<_> = self
            .meter
            .retries()
            .into_iter()
            .map(|(label, count)| format!("{label} {}", HumanCount(count)))
            .collect();
        writeln!(
            f,
            "repeated calls   {}",
            if retries.is_empty() {
                "none".to_owned()
            } else {
                retries.join(", ")
            }
        )?;
        if self.meter.rate_limited() * 1_000 > self.survey.messages * RATE_LIMITED_PER_THOUSAND {
            writeln!(f, "                 {RATE_LIMIT_HINT}")?;
        }
        Ok(())
    }

    fn write_differences(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_faithful() {
            return writeln!(f, "differences      none");
        }
        writeln!(
            f,
            "differences      {}, the first of them:",
            HumanCount(self.differences.count)
        )?;
        for difference in self.differences.told.iter().take(DIFFERENCES_PRINTED_MAX) {
            writeln!(f, "  {difference}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { survey, played, .. } = self;
        let run = if self.run.is_empty() {
            String::new()
        } else {
            format!(", run {}", self.run)
        };
        writeln!(
            f,
            "{} to {} (version {}){run}",
            self.file.display(),
            self.target,
            self.server_version
        )?;
        writeln!(
            f,
            "file             {} messages in {} logs by {} senders; {} replies, {} with control characters replaced, {} blank",
            HumanCount(survey.messages),
            survey.logs,
            HumanCount(u64::try_from(survey.senders.len()).unwrap_or(u64::MAX)),
            HumanCount(survey.replies),
            survey.replaced,
            survey.blank,
        )?;
        writeln!(
            f,
            "sent             {} accepted, {} blank refused; {} accounts, {} memberships",
            HumanCount(played.accepted),
            played.refused,
            HumanCount(self.meter.registered()),
            HumanCount(survey.memberships),
        )?;
        self.write_stored(f)?;
        writeln!(
            f,
            "read back        {} by ListMessages, {} by SyncChanges, {} by StreamChanges",
            HumanCount(played.listed),
            HumanCount(played.synced),
            HumanCount(played.streamed),
        )?;
        self.write_rates(f)?;
        self.write_differences(f)
    }
}

struct Latency(Quantiles);

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quantiles { count, p50, p99, max } = self.0;
        if count == 0 {
            return f.write_str("not measured");
        }
        let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
        write!(
            f,
            "p50 {:.2} ms, p99 {:.2} ms, max {:.1} ms over {}",
            millis(p50),
            millis(p99),
            millis(max),
            HumanCount(u64::try_from(count).unwrap_or(u64::MAX))
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() {
        0.0
    } else {
        count as f64 / time.as_secs_f64()
    }
}
