//! The user service: who users are to each other, what they may do, and telling the other services about it.
//!
//! | file | what |
//! | --- | --- |
//! | `service/` | the RPCs of `tidings.user.v1`; with `convert.rs` the only files that name proto messages |
//! | `username`, `email`, `profile`, `permissions`, `role`, `user`, `lifecycle`, `search` | the nouns and their rules, without a database |
//! | `authority` | who may do what to roles and users: the one place that judges it, without a database |
//! | `access`, `block` | questions about access; whom users block |
//! | `directory/` | the decisions, each in the transaction of its effect |
//! | `feed.rs` | the feed of user states, as one reader follows it |
//! | `store/` | all SQL |
//! | `background.rs` | what goes on without being asked |
//!
//! # What others rely on
//!
//! - A user's **state** (status, permissions, role names, token epoch) is kept in the user's row as the feed's newest entry has it, and
//!   worked out anew by `store::states::publish` in the transaction of whatever changes it. So the feed, the tokens that auth
//!   issues, and what is checked here never tell different stories about one user.
//! - The feed's numbers come from a counter on a locked row, taken last in a transaction: what has number 7 is visible before 8 is.
//! - A change of a role reaches all its holders before its RPC answers OK, in batches: `directory/fan_out.rs`.
//! - Nobody gives or takes a permission that they do not hold **now**, by their row and not by their token; and a person who is
//!   active always holds `admin`, whatever bots do. Nobody acts on a role or user of a higher rank. `AccessService` answers by the judgement that the RPCs are held to.
//! - Blocks stand in the feed in one row of numbers with the states; chat and message act on them.
//! - Names and addresses are unique by index, compared as `username.rs` and `email.rs` say. A name that was given up is held back from
//!   everybody else for 30 days, which whoever takes a name for somebody asks after having taken it (`store::usernames`).
//! - A deleted user keeps name, address and roles for 30 days; then `directory/lifecycle.rs` wipes them, and the state says
//!   `deletion_final`. Login sessions from before a suspension or deletion are over by the state's `login_epoch`.
//! - Whoever changes a username, a display name, or whether a user is seen, calls `store::search::refresh`. What is forgotten is
//!   found by the housekeeping.
//!
//! # Adding to it
//!
//! 1. A new permission: in `permissions.proto`, and a migration that adds it to `admin` (and whoever else shall have it); a test says so.
//! 2. Whatever changes a status locks the user's row, publishes with `Cause::Status`, or `Cause::Ended` where login sessions end, and
//!    where it takes an admin's power calls `lock_admins` first, as `directory/lifecycle.rs` does.
//! 3. SQL: edit, apply the migrations to a database, and let the checked macros write `.sqlx/` anew
//!    (`SQLX_OFFLINE_DIR=crates/user-service/.sqlx USER_DATABASE_URL=… cargo check -p tidings-user-service`).

mod access;
mod authority;
mod background;
mod block;
mod config;
mod convert;
mod directory;
mod email;
mod error;
mod feed;
mod lifecycle;
mod permissions;
mod profile;
mod requests;
mod role;
mod search;
mod service;
mod store;
mod user;
mod username;

use std::{future::Future, pin::Pin};

use tidings_audit::Trail;
use tidings_db::{Pool, Schema, migrate::Migrations};
use tidings_proto_user::v1::{
    access_service_server::AccessServiceServer, block_service_server::BlockServiceServer,
    provisioning_service_server::ProvisioningServiceServer, role_service_server::RoleServiceServer,
    user_audit_service_server::UserAuditServiceServer, user_service_server::UserServiceServer,
    user_state_service_server::UserStateServiceServer,
};
use tidings_rpc::{App, Drain, Environment, Health, Policies, Stack, policy::InvalidPolicy};

pub use config::Config;
use service::audit::AuditRpcs;

/// The migrations of the schema `users`.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// The same, for `tidings_db::migrate` and the tests.
pub static MIGRATIONS: Migrations = Migrations {
    schema: Schema::Users,
    migrator: &MIGRATOR,
};

/// The RPCs of the whole suite, which questions about access can be asked of: their descriptors only, no client of any.
static SUITE: [&[u8]; 5] = [
    tidings_proto_auth::FILE_DESCRIPTOR_SET,
    tidings_proto_user::FILE_DESCRIPTOR_SET,
    tidings_proto_chat::FILE_DESCRIPTOR_SET,
    tidings_proto_message::FILE_DESCRIPTOR_SET,
    tidings_proto_gateway::FILE_DESCRIPTOR_SET,
];

/// Work that goes on until the process stops.
pub type Background = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The user service, put together.
#[derive(Debug)]
pub struct Service {
    /// Its RPCs with their middleware.
    pub stack: Stack,
    /// The switch of its health.
    pub health: Health,
    directory: directory::Directory,
    drain: Drain,
    trail: Trail,
}

/// Puts the service together. It asks nobody yet, and no other service ever.
///
/// # Errors
///
/// When an RPC declares no policy: an error in the build.
pub fn build(env: &Environment, config: Config, pool: Pool) -> Result<Service, InvalidPolicy> {
    let directory = directory::Directory::new(pool.clone(), env.source.clone(), config);
    let trail = Trail::new(env, pool.clone(), Schema::Users, tidings_audit::Settings::default());
    let policies = Policies::from_descriptors(&SUITE)?;
    let rpcs = service::Rpcs::new(directory.clone(), env, policies);
    let (stack, health) = App::new(env)
        .descriptors(tidings_proto_user::FILE_DESCRIPTOR_SET)
        .add(UserServiceServer::new(rpcs.clone()))
        .add(RoleServiceServer::new(rpcs.clone()))
        .add(AccessServiceServer::new(rpcs.clone()))
        .add(BlockServiceServer::new(rpcs.clone()))
        .add(ProvisioningServiceServer::new(rpcs.clone()))
        .add(UserStateServiceServer::new(rpcs))
        .add(UserAuditServiceServer::new(AuditRpcs { trail: trail.clone() }))
        .build()?;
    Ok(Service {
        stack,
        health,
        directory,
        drain: env.drain.clone(),
        trail,
    })
}

impl Service {
    /// What the service does on its own: to be spawned on the process' drain, which each part watches. Without it calls are
    /// answered, but nothing is forgotten, and a role's change that a process left on its way stays there.
    #[must_use]
    pub fn background(&self) -> Vec<Background> {
        let (directory, drain) = (|| self.directory.clone(), || self.drain.clone());
        let mut work: Vec<Background> = vec![
            Box::pin(background::carry_on(directory(), drain())),
            Box::pin(background::forget_old(directory(), drain())),
        ];
        work.extend(self.trail.background());
        work
    }
}
