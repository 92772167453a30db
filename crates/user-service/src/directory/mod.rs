//! What the service decides, by noun. Each change is one transaction, in this order: the `request_id` is claimed, the role is locked,
//! the user is locked, access and etag are checked, the effect is stored, and last the feed's entry, whose number other
//! transactions wait for. The one order of locks keeps two of them from waiting for each other.

mod access;
mod accounts;
mod assignments;
mod authority;
mod blocks;
mod emails;
mod fan_out;
mod foreign;
mod lifecycle;
mod profiles;
mod roles;
mod search;
mod trail;
mod usernames;

use std::sync::Arc;

use tidings_db::Pool;
use tidings_ids::{Source, UserId};
use tokio::sync::watch;

use crate::{Config, permissions::Permissions, requests::Request};

/// All users and roles of the deployment.
#[derive(Debug, Clone)]
pub struct Directory {
    pub(crate) pool: Pool,
    pub(crate) source: Source,
    pub(crate) config: Config,
    wake: Arc<watch::Sender<()>>,
}

/// A change that a user asks for.
#[derive(Debug, Clone)]
pub struct Change {
    /// Who asks.
    pub caller: UserId,
    /// What the caller's token reaches, which may be less than what the caller may do.
    pub reach: Permissions,
    /// What makes it repeatable.
    pub request: Request,
}

impl Directory {
    /// The directory in this database.
    #[must_use]
    pub fn new(pool: Pool, source: Source, config: Config) -> Self {
        Self {
            pool,
            source,
            config,
            wake: Arc::new(watch::Sender::new(())),
        }
    }

    /// Told when this node has added to the feed.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.wake.subscribe()
    }

    fn wake(&self) {
        self.wake.send_replace(());
    }
}
