//! How soon an end of somebody's rights is known everywhere: measured at each process of the message service, while others
//! send.
//!
//! In each round a new user logs in, calls every process in turn as fast as it answers, and listens to a stream of each. Then
//! their rights end in one of several [`Way`]s. From the return of that call on it is measured when each process refuses the
//! next unary call, and when each stream ends. Anything else than the refusal that the API promises fails the measurement.

mod background;
mod observer;
mod report;
mod stage;
mod way;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};

use self::{background::Background, stage::Stage};
pub use self::{
    report::{Report, Times},
    way::Way,
};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the gateway listens.
    pub gateway: String,
    /// Where the processes of the message service listen.
    pub nodes: Vec<String>,
    /// Who may take roles away and suspend users.
    pub admin: Admin,
    /// Where the suite writes its mails, for resets of passwords; without it there are none.
    pub mail_dir: Option<PathBuf>,
    /// Rounds in all, the ways in turn.
    pub rounds: usize,
    /// Users who send all the while, each as fast as they are answered.
    pub senders: usize,
    /// A round in which an end is not known everywhere after so long has failed.
    pub patience: Duration,
}

/// An administrator's name and password.
#[derive(Clone)]
pub struct Admin {
    /// The name to log in with.
    pub username: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Admin {{ {} }}", self.username)
    }
}

/// Measures.
///
/// # Errors
///
/// When the suite cannot be reached, refuses what it should not, or an end is not known everywhere in time.
pub async fn run(options: &Options) -> Result<Report> {
    ensure!(!options.nodes.is_empty(), "no process of the message service is named");
    let stage = Arc::new(Stage::set(options).await?);
    let background = Background::begin(&stage, options.senders).await?;
    let mut report = Report::default();
    let ways = Way::all(options.mail_dir.is_some());
    for (round, way) in ways.iter().cycle().take(options.rounds).enumerate() {
        let times = observer::round(&stage, *way, options.patience).await;
        report.add(*way, times.with_context(|| format!("round {}: {way}", round + 1))?);
    }
    report.sends = background.end().await?;
    Ok(report)
}
