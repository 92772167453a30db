//! Credentials, login sessions, tokens, and their end.
//!
//! | file | one job |
//! | --- | --- |
//! | [`service`] | the RPCs: read, do, answer |
//! | [`registration`] | a user and a credential in two services, or neither |
//! | [`login`] | login sessions: how they begin, go on and end |
//! | [`refresh_tree`] | which refresh token works, and what the others mean (pure) |
//! | [`recovery`], [`mail`] | mailed tokens, the outbox, how mails leave |
//! | [`standing`], [`users`] | what the user service is told and asked |
//! | [`signing`], [`revocations`] | what others verify access tokens with, and refuse them by |
//! | [`password`], [`account`] | what passwords, usernames and addresses may be |
//! | [`upkeep`] | what the service does on its own |
//! | [`store`] | every statement on the schema `auth` |
//!
//! # Rules of this crate
//!
//! - Whoever locks an account and its login sessions locks the account first; the feed's counter comes last.
//! - The user service is never asked within a transaction. What it must know is stored as due first, and made good by
//!   [`upkeep`].
//! - Before a password or a mailed token is proven, an answer and the work for it are the same for every account, known
//!   or not. A new path hashes exactly once ([`Service::password_hash_runs`] counts), and asks the same statements.
//! - No secret is stored but as a hash; signing keys are sealed. No secret and no address is logged.

mod account;
mod auth;
mod config;
mod convert;
mod crash;
mod error;
mod login;
mod mail;
mod operator;
mod password;
mod recovery;
mod refresh_tree;
mod registration;
mod revocations;
mod service;
mod signing;
mod standing;
mod store;
mod upkeep;
mod users;

use std::{future::Future, pin::Pin, sync::Arc};

pub use config::{Config, InvalidSetting, MailTransport, Registration};
#[cfg(not(feature = "testing"))]
pub(crate) use crash::Step;
#[cfg(feature = "testing")]
pub use crash::{CrashPoints, Step};
pub use error::Error;
pub use operator::{NewAccount, create_admin, ensure_bot};
use tidings_db::{Pool, Schema, migrate::Migrations};
use tidings_proto_auth::v1::{
    auth_service_server::AuthServiceServer, credential_service_server::CredentialServiceServer,
};
use tidings_rpc::{App, Environment, Health, Peer, Stack, policy::InvalidPolicy};

/// The migrations of the schema `auth`.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// The same, for `tidings_db::migrate` and the tests.
pub static MIGRATIONS: Migrations = Migrations {
    schema: Schema::Auth,
    migrator: &MIGRATOR,
};

/// Work that goes on until the process stops.
pub type Background = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The auth service, put together.
#[derive(Debug)]
pub struct Service {
    /// Its RPCs with their middleware.
    pub stack: Stack,
    /// The switch of its health.
    pub health: Health,
    auth: auth::Shared,
    mailer: Arc<mail::Mailer>,
}

/// Why the service could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A setting cannot be used.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// An error in the build, not in the deployment.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
}

/// Puts the service together. It asks neither Postgres nor the user service yet; whoever serves it also runs
/// [`Service::background`], without which nobody can log in.
///
/// # Errors
///
/// When a setting cannot be used.
pub fn build(env: &Environment, config: Config, pool: Pool, user: Peer) -> Result<Service, BuildError> {
    let mailer = Arc::new(mail::Mailer::new(&config)?);
    let auth = Arc::new(auth::Auth {
        env: env.clone(),
        users: users::Users::new(user, env.source.clone()),
        passwords: password::Hasher::new(),
        refresh_tokens: refresh_tree::RefreshTokens::new(&config.secret),
        signing: signing::SigningKeys::new(&config.secret),
        wake: auth::Wake::new(),
        config,
        pool,
    });
    let rpcs = service::Rpcs {
        auth: Arc::clone(&auth),
    };
    let (stack, health) = App::new(env)
        .descriptors(tidings_proto_auth::FILE_DESCRIPTOR_SET)
        .add(AuthServiceServer::new(rpcs.clone()))
        .add(CredentialServiceServer::new(rpcs))
        .build()?;
    Ok(Service {
        stack,
        health,
        auth,
        mailer,
    })
}

impl Service {
    /// What the service does on its own: to be spawned on the process' drain, which each part watches.
    #[must_use]
    pub fn background(&self) -> Vec<Background> {
        let (auth, mailer) = (|| Arc::clone(&self.auth), Arc::clone(&self.mailer));
        let (keys, sweep, purge, mails) = (auth(), auth(), auth(), auth());
        vec![
            Box::pin(async move { upkeep::keys(&keys).await }),
            Box::pin(async move { upkeep::sweep(&sweep).await }),
            Box::pin(async move { upkeep::purge(&purge).await }),
            Box::pin(async move { mail::work(&mails, &mailer).await }),
        ]
    }

    /// Reads the signing keys now, and makes the first one: for whoever wants to be ready before the first call.
    ///
    /// # Errors
    ///
    /// When Postgres cannot be asked, or the keys were sealed with another secret.
    pub async fn load_signing_keys(&self) -> Result<(), Error> {
        self.auth.signing.load(&self.auth.pool, &self.auth.env.source).await
    }

    /// How often a password has been hashed: a metric, and how tests see that paths which must not be told apart do the
    /// same.
    #[must_use]
    pub fn password_hash_runs(&self) -> u64 {
        self.auth.passwords.runs()
    }

    /// One round of what [`background`](Self::background) does with unfinished registrations, statements and old rows.
    ///
    /// # Errors
    ///
    /// When Postgres or the user service cannot be asked.
    #[cfg(feature = "testing")]
    pub async fn upkeep_once(&self) -> Result<(), Error> {
        registration::sweep(&self.auth).await?;
        standing::sweep(&self.auth).await?;
        upkeep::purge_once(&self.auth).await
    }
}
