//! What the service decides, by noun. Each change is one transaction, in this order: the `request_id` is claimed, the role is locked,
//! the user is locked, access and etag are checked, the effect is stored, and last the feed's entry, whose number other
//! transactions wait for. The one order of locks keeps two of them from waiting for each other.

mod accounts;
mod assignments;
mod fan_out;
mod profiles;
mod roles;

use std::sync::Arc;

use tidings_db::Pool;
use tidings_ids::{Source, UserId};
use tidings_proto_common::v1::Permission;
use tokio::sync::watch;

use crate::{Config, error::Error, permissions::Permissions, requests::Request, store};

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

/// What the caller may do by what is stored now, who must be able to manage roles: an access token may be a second behind.
async fn role_manager(tx: &mut sqlx::PgConnection, caller: UserId) -> Result<Permissions, Error> {
    permitted(tx, caller, Permission::RolesManage).await
}

/// What the caller may do by what is stored now, this at the least.
async fn permitted(tx: &mut sqlx::PgConnection, caller: UserId, permission: Permission) -> Result<Permissions, Error> {
    let held = store::users::permissions(tx, caller)
        .await?
        .ok_or(Error::CallerInactive)?;
    if held.has(permission) {
        Ok(held)
    } else {
        Err(Error::PermissionMissing(permission as i32))
    }
}
