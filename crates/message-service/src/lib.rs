//! The message service: messages, responses, attachments, and the logs by which everybody follows them.
//!
//! # How a message is stored
//!
//! `service/messages.rs` checks the request's form and hands an [`Item`](send) to the batcher of its chat's shard. While one batch
//! commits, the next forms. A batch is one transaction of two statements: the chats' rows are locked, then a younger snapshot decides
//! each send, numbers it and stores it (`migrations/0005_send.sql`). After the commit the followers are woken ([`bus`]) and the
//! answers go out.
//!
//! # How a membership counts
//!
//! The chat service decides and numbers; `membership` applies its changes in order. Every read joins the view `messages.access` in its
//! own statement, every send asks the same facts under the lock of its chat's row, and a removal takes that lock for its place in
//! the log. No cache stands between.
//!
//! | module | one job |
//! | --- | --- |
//! | `service` | the RPCs: form in, nouns, form out |
//! | `access` | who may see what |
//! | `send` | the batcher |
//! | `edit` | edits and deletions |
//! | `read`, `page` | messages by id, place and range; pages of them |
//! | `membership` | what the chat service has decided |
//! | `attachment`, `media` | files: what is decided about them, and their bytes over HTTP |
//! | `requests` | what each `request_id` did |
//! | `sync` | what happens, told to whoever follows it |
//! | [`bus`] | hints for followers, here and on other nodes |
//! | `housekeeping` | ends what is over |
//!
//! # Adding to it
//!
//! - A kind of change: its number in `0003_logs.sql` and in `message.v1.Change`, written under the chat's lock, told to the bus.
//! - A table: keyed by `chat_id`, `audience_id` or `user_id`; in `sqlx.toml` its ids get their types.
//! - A read: join `messages.access`. A write: `access::lock_chat` first, `Call::look_up`, the effect, `Call::remember`.
//! - After changing a query: `cargo check` with `MESSAGE_DATABASE_URL` and `SQLX_OFFLINE_DIR` set writes `.sqlx` anew.

mod access;
mod attachment;
pub mod bus;
mod config;
mod convert;
mod edit;
mod error;
mod housekeeping;
mod media;
mod membership;
mod message;
mod page;
mod read;
mod requests;
mod send;
mod service;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use parking_lot::Mutex;
use tidings_audit::Trail;
use tidings_db::{Pool, Schema, Settings, migrate::Migrations};
use tidings_proto_message::v1::{
    attachment_service_server::AttachmentServiceServer, membership_log_service_server::MembershipLogServiceServer,
    message_audit_service_server::MessageAuditServiceServer, message_service_server::MessageServiceServer,
    response_service_server::ResponseServiceServer, sync_service_server::SyncServiceServer,
};
use tidings_rpc::{App, Environment, Health, Stack, policy::InvalidPolicy};

pub use config::Config;
pub(crate) use error::Error;
pub use sync::Settings as SyncSettings;

use bus::Bus;
use service::{
    Rpcs, Shared,
    audit::AuditRpcs,
    sync::{PageSizes, SyncRpcs},
};

/// The migrations of the schema `messages`.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// The same, for `tidings_db::migrate` and the tests.
pub static MIGRATIONS: Migrations = Migrations {
    schema: Schema::Messages,
    migrator: &MIGRATOR,
};

/// Work that goes on until the process stops.
pub type Background = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The message service, put together.
pub struct Service {
    /// Its RPCs with their middleware.
    pub stack: Stack,
    /// The switch of its health.
    pub health: Health,
    /// The routes of uploads and downloads, with their whole paths below `/media/`: for the gateway where it is in this process, else
    /// for this service's own port, beside gRPC.
    pub media: axum::Router,
    background: Mutex<Vec<Background>>,
}

/// Why the service could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The folder for files cannot be made or used.
    #[error("the folder for files cannot be used")]
    MediaDir(#[source] object_store::Error),
    /// An error in the build, not in the deployment.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
}

/// Puts the service together. It does not ask Postgres yet. `settings` are those of `pool`: sends and hints have connections of their
/// own. Whoever serves it also runs [`Service::background`], without which no message is sent.
///
/// # Errors
///
/// When the folder for files cannot be used.
pub fn build(env: &Environment, config: Config, pool: Pool, settings: &Settings) -> Result<Service, BuildError> {
    let objects = media::Objects::in_folder(&config.media_dir).map_err(BuildError::MediaDir)?;
    let lifetime = config.media_url_lifetime.min(Config::MEDIA_URL_LIFETIME_MAX);
    let urls = media::MediaUrls::new(&env.secret, &config.public_url, lifetime, env.source.clone());
    let media = media::router(media::Media {
        pool: pool.clone(),
        objects: objects.clone(),
        urls: urls.clone(),
    });

    let bus = Bus::new(config.other_nodes);
    let (sends, shards) = send::build(config.send_shards, settings, &pool, &bus, &env.drain);
    let mut background: Vec<Background> = shards;
    let trail = Trail::new(env, pool.clone(), Schema::Messages, Default::default());
    background.extend(trail.background());
    if config.other_nodes {
        let (bus, settings) = (bus.clone(), settings.clone());
        background.push(Box::pin(bus::run_notices(
            bus,
            settings,
            env.source.clone(),
            env.drain.clone(),
        )));
    }

    let logs = sync::Logs::new(env, pool.clone(), config.sync);
    background.push(Box::pin(logs.clone().wake_followers(bus.clone())));
    let pages = PageSizes {
        default: config.page_size_default,
        max: config.page_size_max,
    };
    let sync = SyncRpcs::new(logs, env.page_tokens.clone(), pages);

    let config = Arc::new(config);
    let attachments = attachment::Attachments {
        pool: pool.clone(),
        source: env.source.clone(),
        urls,
        config: Arc::clone(&config),
    };
    let shared = Arc::new(Shared {
        env: env.clone(),
        config,
        pool,
        bus,
        sends,
        attachments,
    });
    background.push(Box::pin(housekeeping::run(Arc::clone(&shared), objects)));

    let rpcs = Rpcs { shared };
    let (stack, health) = App::new(env)
        .descriptors(tidings_proto_message::FILE_DESCRIPTOR_SET)
        .add(MembershipLogServiceServer::new(rpcs.clone()))
        .add(MessageServiceServer::new(rpcs.clone()))
        .add(ResponseServiceServer::new(rpcs.clone()))
        .add(AttachmentServiceServer::new(rpcs))
        .add(SyncServiceServer::new(sync))
        .add(MessageAuditServiceServer::new(AuditRpcs { trail: trail.clone() }))
        .build()?;
    Ok(Service {
        stack,
        health,
        media,
        background: Mutex::new(background),
    })
}

impl Service {
    /// What the service does on its own, to be spawned on the process' drain, which each part watches. The second call finds nothing.
    #[must_use]
    pub fn background(&self) -> Vec<Background> {
        std::mem::take(&mut *self.background.lock())
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("stack", &self.stack)
            .finish_non_exhaustive()
    }
}
