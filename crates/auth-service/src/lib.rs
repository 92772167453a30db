//! Credentials, login sessions, tokens, and their end.
//!
//! | file | one job |
//! | --- | --- |
//! | [`service`] | the RPCs: read, do, answer |
//! | [`registration`] | a user and a credential in two services, or neither |
//! | [`login`] | login sessions: how they begin, go on and end |
//! | [`throttle`], [`device`] | how many failed attempts are looked at, and whom others' do not touch |
//! | [`login_sessions`], [`introspect`] | what is shown of login sessions and tokens, and who ends them |
//! | [`service_accounts`], [`api_keys`] | accounts of programs, and what they prove themselves by |
//! | [`external`], [`vouched`] | users of other systems, and their login sessions |
//! | [`provision`] | accounts that nobody registers |
//! | [`refresh_tree`] | which refresh token works, and what the others mean (pure) |
//! | [`recovery`], [`mail`] | mailed tokens, the outbox, how mails leave |
//! | [`notice`] | what an account's owner is told has happened to it |
//! | [`password_change`], [`email_change`] | another password; another address, in two services or in neither |
//! | [`second_factor`], [`authenticator`], [`totp`] | codes that a login asks for besides the password, and how they are set up |
//! | [`proof`], [`credential`] | who is at an open device; what a user can prove their identity by |
//! | [`standing`], [`users`] | what the user service is told and asked |
//! | [`states`] | what follows here when a user is renamed, suspended or deleted |
//! | [`signing`], [`revocations`] | what others verify access tokens with, and refuse them by |
//! | [`password`], [`blocklist`], [`account`] | what passwords, usernames and addresses may be |
//! | [`trail`] | what the audit trail is told |
//! | [`upkeep`] | what the service does on its own |
//! | [`store`] | every statement on the schema `auth` |
//!
//! # Rules of this crate
//!
//! - Whoever locks an account and its login sessions locks the account first; the feed's counter comes last. Before all comes
//!   the place in the user service's feed, which only [`states`] locks.
//! - The user service is never asked within a transaction. What it must know is stored as due first, and made good by
//!   [`upkeep`].
//! - Before a password or a mailed token is proven, an answer and the work for it are the same for every account, known
//!   or not. A new path hashes exactly once ([`Service::password_hash_runs`] counts), and asks the same statements.
//! - No secret is stored but as a hash; signing keys are sealed. No secret and no address is logged.

mod account;
mod api_keys;
mod auth;
mod authenticator;
mod blocklist;
mod client;
mod config;
mod convert;
mod crash;
mod credential;
mod device;
mod email_change;
mod error;
mod external;
mod introspect;
mod login;
mod login_sessions;
mod mail;
mod notice;
mod operator;
mod password;
mod password_change;
mod proof;
mod provision;
mod recovery;
mod refresh_tree;
mod registration;
mod revocations;
mod seal;
mod second_factor;
mod service;
mod service_accounts;
mod signing;
mod standing;
mod states;
mod store;
mod throttle;
mod totp;
mod trail;
mod upkeep;
mod users;
mod vouched;

use std::{future::Future, pin::Pin, sync::Arc};

pub use config::{Config, InvalidSetting, MailTransport, Registration, SmtpServer};
#[cfg(not(feature = "testing"))]
pub(crate) use crash::Step;
#[cfg(feature = "testing")]
pub use crash::{CrashPoints, Step};
pub use error::Error;
pub use external::{ExternalIssuer, SigningAlgorithm};
pub use operator::{NameHolder, NewAccount, create_admin, ensure_bot, name_holder, username};
use service::Persons;
use service::audit::AuditRpcs;
pub use throttle::Throttle;
use tidings_audit::Trail;
use tidings_db::{Pool, Schema, migrate::Migrations};
use tidings_proto_auth::v1::{
    auth_audit_service_server::AuthAuditServiceServer, auth_service_server::AuthServiceServer,
    credential_service_server::CredentialServiceServer, login_session_service_server::LoginSessionServiceServer,
    service_account_service_server::ServiceAccountServiceServer,
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
    trail: Trail,
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
        blocklist: blocklist::Blocklist::new(&config)?,
        codes: totp::Codes::new(&config.secret),
        refresh_tokens: refresh_tree::RefreshTokens::new(&config.secret),
        signing: signing::SigningKeys::new(&config.secret),
        throttle: throttle::Buckets::new(
            &config.secret,
            config
                .throttle
                .unwrap_or_else(|| Throttle::STANDARD.times(env.limits.rate_factor)),
        ),
        devices: device::DeviceTokens::new(&config.secret),
        issuers: external::Issuers::new(&config.external_issuers)?,
        unknowable: tokio::sync::OnceCell::new(),
        wake: auth::Wake::new(),
        config,
        pool,
    });
    let trail = Trail::new(env, auth.pool.clone(), Schema::Auth, tidings_audit::Settings::default());
    let rpcs = service::Rpcs {
        auth: Arc::clone(&auth),
    };
    let (stack, health) = App::new(env)
        .descriptors(tidings_proto_auth::FILE_DESCRIPTOR_SET)
        .add(Persons::new(AuthServiceServer::new(rpcs.clone()), &auth))
        .add(Persons::new(CredentialServiceServer::new(rpcs.clone()), &auth))
        .add(Persons::new(LoginSessionServiceServer::new(rpcs.clone()), &auth))
        .add(Persons::new(ServiceAccountServiceServer::new(rpcs), &auth))
        .add(AuthAuditServiceServer::new(AuditRpcs { trail: trail.clone() }))
        .build()?;
    Ok(Service {
        stack,
        health,
        auth,
        mailer,
        trail,
    })
}

impl Service {
    /// What the service does on its own: to be spawned on the process' drain, which each part watches.
    #[must_use]
    pub fn background(&self) -> Vec<Background> {
        let (auth, mailer) = (|| Arc::clone(&self.auth), Arc::clone(&self.mailer));
        let (keys, sweep, purge, mails, states) = (auth(), auth(), auth(), auth(), auth());
        let mut work: Vec<Background> = vec![
            Box::pin(async move { upkeep::keys(&keys).await }),
            Box::pin(async move { upkeep::sweep(&sweep).await }),
            Box::pin(async move { upkeep::purge(&purge).await }),
            Box::pin(async move { states::follow(&states).await }),
            Box::pin(async move { mail::work(&mails, &mailer).await }),
        ];
        work.extend(self.trail.background());
        work
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
    /// same. A login hashes once, whatever comes of it; where it succeeds and the stored hash is weaker than new ones are, once
    /// more, after its answer.
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
        email_change::sweep(&self.auth).await?;
        upkeep::purge_once(&self.auth).await
    }
}
