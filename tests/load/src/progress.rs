//! How far a replay is: a bar on a terminal, a line now and then elsewhere.

use std::{collections::VecDeque, io::IsTerminal as _, sync::Arc, time::Duration};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{meter::Meter, survey::Survey};

/// What registering a sender weighs against sending a message, for the time that is left: a registration and a login are two
/// hashes of about 20 ms on one core, a message is about a millisecond.
const SENDER_WEIGHT: u64 = 30;

/// The rate is that of this long.
const RATE_OVER: Duration = Duration::from_secs(5);

/// A line is written this often where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Rate limits that were met before the setting is named that raises them.
const RATE_LIMITED_OFTEN: u64 = 200;

/// What is told when rate limits are met often.
pub const RATE_LIMIT_HINT: &str = "the server's rate limits slow this down: one client plays many users. Start the server with \
                                   --rate-factor 1000 (or TIDINGS_RATE_FACTOR=1000)";

/// Shows how far a replay is, until it is dropped.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    task: JoinHandle<()>,
}

impl Progress {
    /// Begins to show.
    #[must_use]
    pub fn start(meter: Arc<Meter>, survey: &Survey) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}").expect("the template is well-formed");
        let bar = ProgressBar::new(survey.messages).with_style(style);
        let display = Display {
            bar: bar.clone(),
            meter,
            messages: survey.messages,
            senders: u64::try_from(survey.senders.len()).unwrap_or(u64::MAX),
            began: Instant::now(),
            recent: VecDeque::from([(Instant::now(), 0)]),
            hinted: false,
        };
        let task = if std::io::stderr().is_terminal() {
            tokio::spawn(display.show_bar())
        } else {
            tokio::spawn(display.write_lines())
        };
        Self { bar, task }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}

struct Display {
    bar: ProgressBar,
    meter: Arc<Meter>,
    messages: u64,
    senders: u64,
    began: Instant,
    recent: VecDeque<(Instant, u64)>,
    hinted: bool,
}

impl Display {
    async fn show_bar(mut self) {
        let mut ticks = interval(Duration::from_millis(250));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let text = self.text();
            self.bar.set_position(self.done());
            self.bar.set_message(text);
            if self.hint_is_due() {
                self.bar.println(RATE_LIMIT_HINT);
            }
        }
    }

    async fn write_lines(mut self) {
        let mut ticks = interval(LINE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let percent = self.done() * 100 / self.messages.max(1);
            let text = self.text();
            eprintln!("{percent:>3} % {text}");
            if self.hint_is_due() {
                eprintln!("{RATE_LIMIT_HINT}");
            }
        }
    }

    fn done(&self) -> u64 {
        self.meter.accepted() + self.meter.blank()
    }

    fn text(&mut self) -> String {
        let done = self.done();
        let rate = self.rate(done);
        let left = match time_left(self.began.elapsed(), self.weight(done), self.weight_of_all()) {
            Some(left) => format!("{} left", HumanDuration(left)),
            None => "time left unknown".to_owned(),
        };
        format!(
            "{} of {} messages, {rate}/s; {} of {} senders; {left}",
            HumanCount(done),
            HumanCount(self.messages),
            HumanCount(self.meter.registered()),
            HumanCount(self.senders),
        )
    }

    fn rate(&mut self, done: u64) -> u64 {
        let now = Instant::now();
        self.recent.push_back((now, done));
        // The youngest of those that are old enough is what the rate is measured from.
        while self
            .recent
            .get(1)
            .is_some_and(|(time, _)| now.duration_since(*time) >= RATE_OVER)
        {
            self.recent.pop_front();
        }
        let (since, before) = self.recent.front().copied().unwrap_or((now, done));
        let millis = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX);
        (done - before) * 1_000 / millis.max(1)
    }

    fn weight(&self, done: u64) -> u64 {
        done + self.meter.registered() * SENDER_WEIGHT
    }

    fn weight_of_all(&self) -> u64 {
        self.messages + self.senders * SENDER_WEIGHT
    }

    fn hint_is_due(&mut self) -> bool {
        let due = !self.hinted && self.meter.rate_limited() >= RATE_LIMITED_OFTEN;
        self.hinted |= due;
        due
    }
}

/// The time left, if it goes on as it went; nothing before there is anything to go by.
fn time_left(elapsed: Duration, done: u64, all: u64) -> Option<Duration> {
    if done == 0 {
        return None;
    }
    let millis = elapsed.as_millis() * u128::from(all.saturating_sub(done)) / u128::from(done);
    Some(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::time_left;

    #[test]
    fn the_time_left_follows_from_the_work_that_is_done() {
        assert_eq!(time_left(Duration::from_secs(10), 0, 100), None);
        assert_eq!(
            time_left(Duration::from_secs(10), 25, 100),
            Some(Duration::from_secs(30))
        );
        assert_eq!(time_left(Duration::from_secs(10), 100, 100), Some(Duration::ZERO));
    }
}
