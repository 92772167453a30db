//! What every part of the service works with.

use std::sync::Arc;

use tidings_db::{Pool, Schema, requests};
use tidings_ids::{LoginSessionId, RequestId, Source, UserId};
use tidings_rpc::Environment;
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};

use crate::{
    Config, Error, blocklist::Blocklist, device::DeviceTokens, password::Hasher, refresh_tree::RefreshTokens,
    signing::SigningKeys, throttle::Buckets, totp::Codes, users::Users,
};

/// The service's state, shared by all its calls and its background work.
#[derive(Debug)]
pub(crate) struct Auth {
    pub env: Environment,
    pub config: Config,
    pub pool: Pool,
    pub users: Users,
    pub passwords: Hasher,
    pub blocklist: Blocklist,
    pub codes: Codes,
    pub refresh_tokens: RefreshTokens,
    pub signing: SigningKeys,
    pub throttle: Buckets,
    pub devices: DeviceTokens,
    pub issuers: crate::external::Issuers,
    /// The password hash of accounts without a password, once it is needed.
    pub unknowable: tokio::sync::OnceCell<String>,
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

    /// Does what a call asks for, unless an earlier one with its `request_id` has: then there is nothing to tell, and `None`.
    ///
    /// Work that is refused is looked up again. The earlier call may have come to its end meanwhile, and what it changed be why this
    /// one is refused: the password that it shows is the old one by now.
    pub(crate) async fn once<T>(
        &self,
        call: Option<&Repeatable>,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<Option<T>, Error> {
        if self.earlier(call).await?.is_some() {
            return Ok(None);
        }
        match work.await {
            Err(_) if self.earlier(call).await?.is_some() => Ok(None),
            done => done.map(Some),
        }
    }

    /// Claims the call's `request_id` in the transaction of its effect. False when a concurrent duplicate has done it all.
    pub(crate) async fn claim(&self, tx: &mut sqlx::PgConnection, call: Option<&Repeatable>) -> Result<bool, Error> {
        let Some(call) = call else { return Ok(true) };
        match requests::claim(tx, Schema::Auth, &call.key(), &requests::Outcome::default(), self.now()).await? {
            requests::Claimed::Fresh => Ok(true),
            requests::Claimed::Replay(_) => Ok(false),
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

/// A call that may be repeated. Its `request_id` counts for the RPC and the account that calls, or without one the identifier
/// that it names.
#[derive(Debug, Clone)]
pub(crate) struct Repeatable {
    /// The account that calls; empty where there is none.
    pub caller: String,
    pub method: &'static str,
    /// What a call without a caller names; empty where there is a caller.
    pub identifier: String,
    pub request_id: RequestId,
    pub request_hash: [u8; 32],
}

impl Repeatable {
    /// A call of this account, if it has an id.
    pub(crate) fn by(
        caller: UserId,
        method: &'static str,
        request_id: Option<RequestId>,
        request_hash: [u8; 32],
    ) -> Option<Self> {
        request_id.map(|request_id| Self {
            caller: caller.to_string(),
            method,
            identifier: String::new(),
            request_id,
            request_hash,
        })
    }

    pub(crate) fn key(&self) -> requests::Key<'_> {
        requests::Key {
            caller: &self.caller,
            method: self.method,
            scope: &self.identifier,
            request_id: self.request_id.uuid(),
            request_hash: &self.request_hash,
        }
    }
}

/// Shared by everything that serves or works in the background.
pub(crate) type Shared = Arc<Auth>;
