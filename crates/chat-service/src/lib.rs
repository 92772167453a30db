//! The chat service: groups, chats, memberships and assistant sessions, and the outbox that tells the message service of them.
//!
//! # How a change goes
//!
//! An *audience* is whose membership decides a chat: a group, or a chat that has no group. Every change locks its audience's row,
//! knows a repetition by its `request_id`, checks access again, has its effect, and numbers what the message service must be told:
//! 1, 2, 3 … without holes, in the transaction of the effect (`keeper.rs`, `store/audiences.rs`). After the commit, the audience's outbox
//! is brought to `MembershipLogService` in order (`delivery.rs`), and then the call is answered. What nobody delivers, because a process
//! died or the message service was away, the sweeper does (`sweeper.rs`).
//!
//! **No RPC answers OK about a row whose outbox entry is undelivered**: not the first answer, not a repeated one, not "is a member
//! already", not a read. Each delivers first or answers `DEPENDENCY_UNAVAILABLE`. For that, everything is read together with the number of
//! the audience's last undelivered change, in one statement (`keeper::Seen`).
//!
//! Once an effect is stored, no answer may say otherwise: errors from then on become `DEPENDENCY_UNAVAILABLE`, whose retry is safe.
//!
//! # Where things are
//!
//! | file | one job |
//! | --- | --- |
//! | `service/` | the RPCs: parse, decide, render |
//! | `convert/` | protos to words of this crate and back |
//! | `group`, `membership`, `chat`, `direct`, `session` | what can be done with each, and by whom |
//! | `role` | who outranks whom |
//! | `quota` | how much one user may make and be put into |
//! | `keeper`, `call` | the frame of every change; repeated calls |
//! | `delivery`, `sweeper` | the outbox's way to the message service |
//! | `follower`, `block`, `departure` | user's feed, and what users who block each other or are deleted mean here |
//! | `trail` | what the audit trail is told |
//! | `users`, `message_log` | the peers |
//! | `store/` | statements, by noun |
//!
//! # Adding an RPC
//!
//! Parse it in `service/`, decide in the noun's file within [`Keeper::change`](keeper::Keeper::change), add its statements to `store/`; a
//! new kind of change goes into `change.rs` and `convert/changes.rs`, and the message service must know it first. Locks: the audience's row,
//! then the `request_id`, then the rows of users' quotas, all at once; whoever needs several audiences takes them in the order of ids.

mod block;
mod call;
mod change;
mod chat;
mod config;
mod convert;
mod delivery;
mod departure;
mod direct;
mod error;
mod follower;
mod group;
mod keeper;
mod membership;
mod message_log;
mod quota;
mod role;
mod service;
mod session;
mod store;
mod sweeper;
mod trail;
mod users;

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use sqlx::migrate::Migrator;
use tidings_audit::Trail;
use tidings_db::{Pool, Schema, migrate::Migrations};
use tidings_proto_chat::{
    FILE_DESCRIPTOR_SET,
    v1::{
        chat_audit_service_server::ChatAuditServiceServer, chat_service_server::ChatServiceServer,
        chat_session_service_server::ChatSessionServiceServer, group_service_server::GroupServiceServer,
        membership_service_server::MembershipServiceServer,
    },
};
use tidings_proto_user::v1::user_state_service_client::UserStateServiceClient;
use tidings_rpc::{App, Environment, Health, Peer, Stack, policy::InvalidPolicy};

use crate::{
    delivery::Deliveries,
    error::Error,
    follower::Follower,
    keeper::Keeper,
    message_log::MessageLog,
    service::{Api, AuditRpcs},
    sweeper::Sweeper,
    users::Users,
};

pub use config::Config;

/// The migrations of the schema `chats`.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// The same with the schema's name, as `tidings_db` takes them.
pub static MIGRATIONS: Migrations = Migrations {
    schema: Schema::Chats,
    migrator: &MIGRATOR,
};

/// An application's own data, which the server keeps and does not read.
type Metadata = BTreeMap<String, String>;

/// Work that goes on until the process stops.
pub type Background = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The chat service, put together.
#[derive(Debug)]
pub struct Service {
    /// What a port or a peer hands requests to.
    pub stack: Stack,
    /// The switch of its health.
    pub health: Health,
    sweeper: Sweeper,
    follower: Follower,
    trail: Trail,
}

/// Puts the service together. It connects to nothing yet.
///
/// `user` and `message` are the services that it asks and tells.
///
/// # Errors
///
/// When an RPC declares no policy.
pub fn build(
    environment: &Environment,
    config: Config,
    pool: Pool,
    user: Peer,
    message: Peer,
) -> Result<Service, InvalidPolicy> {
    let trail = Trail::new(environment, pool.clone(), Schema::Chats, Default::default());
    let log = MessageLog::new(message);
    let deliveries = Deliveries::new(pool.clone(), log.clone(), environment.drain.clone());
    let sweeper = Sweeper {
        pool: pool.clone(),
        source: environment.source.clone(),
        drain: environment.drain.clone(),
        deliveries: deliveries.clone(),
        interval: config.sweep_interval,
    };
    let states = UserStateServiceClient::new(user.clone());
    let keeper = Keeper {
        pool,
        source: environment.source.clone(),
        config: Arc::new(config),
        users: Users::new(user),
        log,
        deliveries,
    };
    let follower = Follower {
        keeper: keeper.clone(),
        states,
        drain: environment.drain.clone(),
    };
    let api = Api {
        keeper,
        hasher: environment.hasher.clone(),
        page_tokens: environment.page_tokens.clone(),
    };
    let (stack, health) = App::new(environment)
        .descriptors(FILE_DESCRIPTOR_SET)
        .add(GroupServiceServer::new(api.clone()))
        .add(MembershipServiceServer::new(api.clone()))
        .add(ChatServiceServer::new(api.clone()))
        .add(ChatSessionServiceServer::new(api))
        .add(ChatAuditServiceServer::new(AuditRpcs { trail: trail.clone() }))
        .build()?;
    Ok(Service {
        stack,
        health,
        sweeper,
        follower,
        trail,
    })
}

impl Service {
    /// What the service does on its own: to be spawned on the process' drain, which it watches. Without it calls are answered, but what
    /// nobody delivers stays undelivered until somebody asks for it.
    #[must_use]
    pub fn background(&self) -> Vec<Background> {
        let interval = self.sweeper.interval;
        let mut work: Vec<Background> = vec![
            Box::pin(self.sweeper.clone().run()),
            Box::pin(self.follower.clone().run()),
            Box::pin(departure::run(
                self.follower.keeper.clone(),
                self.sweeper.drain.clone(),
                interval,
            )),
        ];
        work.extend(self.trail.background());
        work
    }
}
