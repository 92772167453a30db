//! What must be known of a file before it is played: how much there is, who is in how many logs, and that no two names meet.

use std::{collections::HashMap, path::Path};

use crate::{
    dataset::{self, Log, Logs},
    identity::Identities,
};

/// A file, counted.
#[derive(Debug, Default)]
pub struct Survey {
    /// Logs.
    pub logs: usize,
    /// Messages, blank ones included.
    pub messages: u64,
    /// Messages without anything to send, which must be refused.
    pub blank: u64,
    /// Messages whose control characters are replaced.
    pub replaced: u64,
    /// Messages that answer another.
    pub replies: u64,
    /// Nicknames, each with the number of logs that it speaks in.
    pub senders: HashMap<String, usize>,
    /// Places in logs: the memberships that a replay makes.
    pub memberships: u64,
}

/// The file cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error(transparent)]
    Dataset(#[from] dataset::Error),
    /// Two nicknames have the same username; with another `--run` they have not.
    #[error("{first:?} and {second:?} would have the username {username}: choose another --run")]
    Collision {
        /// A nickname.
        first: String,
        /// Another.
        second: String,
        /// Their username.
        username: String,
    },
    /// There is nothing in it.
    #[error("the file holds no message")]
    Empty,
}

impl Survey {
    /// Counts the first `logs_max` logs of a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be played.
    pub fn of_file(path: &Path, logs_max: usize, identities: &Identities) -> Result<Self, Error> {
        let mut survey = Self::default();
        for log in Logs::open(path)?.take(logs_max) {
            survey.count(&log?);
        }
        if survey.messages == 0 {
            return Err(Error::Empty);
        }
        survey.check_usernames(identities)?;
        Ok(survey)
    }

    /// The `count` senders of a log that speak in the fewest logs, so that what they read is mostly this log.
    #[must_use]
    pub fn quiet_senders<'a>(&self, log: &'a Log, count: usize) -> Vec<&'a str> {
        let mut senders = log.senders();
        senders.sort_by_key(|sender| self.senders.get(*sender).copied().unwrap_or(0));
        senders.truncate(count);
        senders
    }

    fn count(&mut self, log: &Log) {
        self.logs += 1;
        for line in &log.lines {
            self.messages += 1;
            self.blank += u64::from(line.is_blank());
            self.replaced += u64::from(line.sendable_text() != line.text);
            self.replies += u64::from(!line.replies_to.is_empty());
        }
        for sender in log.senders() {
            self.memberships += 1;
            *self.senders.entry(sender.to_owned()).or_default() += 1;
        }
    }

    fn check_usernames(&self, identities: &Identities) -> Result<(), Error> {
        let mut known: HashMap<String, &str> = HashMap::with_capacity(self.senders.len());
        for sender in self.senders.keys() {
            let username = identities.username(sender);
            if let Some(first) = known.insert(username.clone(), sender) {
                return Err(Error::Collision {
                    first: first.to_owned(),
                    second: sender.clone(),
                    username,
                });
            }
        }
        Ok(())
    }
}
