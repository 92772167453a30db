//! What every part of the service works with.

use std::sync::Arc;

use tidings_db::{Pool, Schema, requests};
use tidings_ids::{LoginSessionId, RequestId, Source};
use tidings_rpc::Environment;
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};

use crate::{Config, Error, password::Hasher, refresh_tree::RefreshTokens, signing::SigningKeys, users::Users};

/// The service's state, shared by all its calls and its background work.
#[derive(Debug)]
pub(crate) struct Auth {
    pub env: Environment,
    pub config: Config,
    pub pool: Pool,
    pub users: Users,
    pub passwords: Hasher,
    pub refresh_tokens: RefreshTokens,
    pub signing: SigningKeys,
    pub wake: Wake,
}

/// Tells the background work of this process that there is some, so that it need not wait for its next round.
#[derive(Debug)]
pub(crate) struct Wake {
    /// Login sessions have ended.
    pub revocations: watch::Sender<()>,
    /// A mail is to be sent.
    pub mails: Notify,
    /// A registration was given up, or the user service is to be told something.
    pub upkeep: Notify,
}

impl Wake {
    pub(crate) fn new() -> Self {
        Self {
            revocations: watch::Sender::new(()),
            mails: Notify::new(),
            upkeep: Notify::new(),
        }
    }
}

impl Auth {
    pub(crate) fn source(&self) -> &Source {
        &self.env.source
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.env.source.now()
    }

    /// What follows the commit that ended login sessions: this process refuses their tokens at once, and the feed goes
    /// out.
    pub(crate) fn announce_ended(&self, sessions: &[LoginSessionId]) {
        for session in sessions {
            self.env.verifier.revocations().session_revoked(*session);
        }
        self.wake.revocations.send_replace(());
    }

    /// The outcome of an earlier call that this one repeats. `None` where there was none.
    pub(crate) async fn earlier(&self, call: Option<&Repeatable>) -> Result<Option<requests::Outcome>, Error> {
        let Some(call) = call else { return Ok(None) };
        match requests::look_up(&self.pool, Schema::Auth, &call.key()).await? {
            requests::Claimed::Fresh => Ok(None),
            requests::Claimed::Replay(outcome) => Ok(Some(outcome)),
            requests::Claimed::Reused => Err(Error::RequestIdReused),
        }
    }

    /// A place at which a test can stop a registration, as if the process had died there.
    #[cfg(feature = "testing")]
    pub(crate) async fn crash_point(&self, step: crate::Step) -> Result<(), Error> {
        match &self.config.crash_points {
            Some(points) if points.reached(step).await => Err(Error::Crashed),
            _ => Ok(()),
        }
    }

    #[cfg(not(feature = "testing"))]
    pub(crate) async fn crash_point(&self, _: crate::Step) -> Result<(), Error> {
        Ok(())
    }
}

/// An unauthenticated call that may be repeated: its `request_id` counts for the RPC and the identifier that it names.
#[derive(Debug, Clone)]
pub(crate) struct Repeatable {
    pub method: &'static str,
    pub identifier: String,
    pub request_id: RequestId,
    pub request_hash: [u8; 32],
}

impl Repeatable {
    pub(crate) fn key(&self) -> requests::Key<'_> {
        requests::Key {
            caller: "",
            method: self.method,
            scope: &self.identifier,
            request_id: self.request_id.uuid(),
            request_hash: &self.request_hash,
        }
    }
}

/// Shared by everything that serves or works in the background.
pub(crate) type Shared = Arc<Auth>;
